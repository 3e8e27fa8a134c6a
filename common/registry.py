"""Things that are chosen by name and imported when they are used."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Generic, TypeVar

from common.errors import InputError

Thing = TypeVar("Thing")


class Registry(Generic[Thing]):
    """Names and where each is to be imported from.

    Parameters
    ----------
    kind : str
        What the things are, for messages.
    places : mapping
        "module:attribute" of every name.

    Examples
    --------
    >>> Registry("function", {"root": "math:sqrt"}).get("root")(9.0)
    3.0
    """

    def __init__(self, kind: str, places: Mapping[str, str]) -> None:
        self.kind, self._places = kind, dict(places)

    @property
    def names(self) -> tuple[str, ...]:
        """All names, in the order in which they were written down."""
        return tuple(self._places)

    def get(self, name: str) -> Thing:
        """Import what is called `name`.

        Raises
        ------
        InputError
            If nothing is.
        """
        if name not in self._places:
            raise InputError(f"{name!r} is no {self.kind} (known: {', '.join(self.names)})")
        module, attribute = self._places[name].split(":")
        return getattr(importlib.import_module(module), attribute)
