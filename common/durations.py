"""Durations in words."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """A time that people read.

    Examples
    --------
    >>> duration(42), duration(125), duration(7380), duration(200_000)
    ('42 s', '2 min 5 s', '2 h 3 min', '2 d 7 h')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours_of_day = divmod(hours, 24)
    if days > 1:
        return f"{days} d {hours_of_day} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
