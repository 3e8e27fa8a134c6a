"""Numbers in words, as a report has them."""

from __future__ import annotations

from typing import Any

from evaluation.curves import MIN_BACKGROUND
from evaluation.folds import HELD_OUT

RULE = f"taken where the statistical error of ε_B is at most 20 %, that is where at least {MIN_BACKGROUND} background events pass"


def measured(content: dict[str, float]) -> str:
    """A value and its error, as `evaluation.errors.Measured` prints them."""
    return f"{content['value']:.2f} ± {content['error']:.2f}"


def expected(cut: dict[str, Any]) -> str:
    """How many events a cut (`evaluation.folds.Selected`) should select if all are background, and what says so.

    Examples
    --------
    >>> expected({"expected": 41.26, "error": 7.1, "by": "sideband", "held_out": 52.0})
    '41.3 ± 7.1 (statistical) are expected from the sideband; held-out background would say 52.0'
    >>> expected({"expected": 52.0, "error": 7.1, "by": "held-out background", "held_out": 52.0})
    '52.0 ± 7.1 (statistical) are expected from the held-out background'
    """
    other = f"; {HELD_OUT} would say {cut['held_out']:.1f}" if cut["by"] != HELD_OUT else ""
    return f"{cut['expected']:.1f} ± {cut['error']:.1f} (statistical) are expected from the {cut['by']}{other}"


def area(content: dict[str, float], prefix: str = "") -> str:
    """A two-sample AUC and its error."""
    return f"{content[f'{prefix}two_sample_auc']:.4f} ± {content[f'{prefix}two_sample_auc_error']:.4f}"


def time(text: str) -> str:
    """A time of STAGE.json, which is in UTC.

    Examples
    --------
    >>> time("2026-11-26T18:18:44+00:00")
    '2026-11-26 18:18:44'
    """
    return text.replace("T", " ").removesuffix("+00:00")


def size(n: int) -> str:
    """A number of bytes.

    Examples
    --------
    >>> size(812), size(20_480), size(7_340_032)
    ('812 B', '20 kB', '7.3 MB')
    """
    return f"{n} B" if n < 1000 else f"{n / 1000:.0f} kB" if n < 10**6 else f"{n / 10**6:.1f} MB"


def plural(n: int, word: str) -> str:
    """A number of things.

    Examples
    --------
    >>> plural(1, "run"), plural(3, "run")
    ('1 run', '3 runs')
    """
    return f"{n} {word}{'' if n == 1 else 's'}"
