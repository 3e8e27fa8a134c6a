"""Columns have names: what an axis is called, its unit, and how it was computed; columns.json beside the arrays says so."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from common.errors import InputError
from common.files import load_json, save_json

FILE = "columns.json"
LONGEST_TEXT = 200


@dataclass(frozen=True)
class Column:
    """One column of events.

    Attributes
    ----------
    name : str
        As it is typed in flags and written in messages.
    label : str
        As it is written on axes (matplotlib's mathtext between dollars).
    unit : str
        Empty where there is none.
    formula : str
        How it is computed.
    """

    name: str
    label: str
    unit: str = ""
    formula: str = ""

    @property
    def axis(self) -> str:
        """Label and unit, which some have in a column's name already."""
        unit = f" ({self.unit})" if self.unit else ""
        return f"{self.label.removesuffix(unit)}{unit}"

    def quantity(self, text: str) -> str:
        """A number or a range with the unit behind it, if there is one."""
        return f"{text} {self.unit}" if self.unit else text


M_JJ = Column("m_JJ", r"$m_{JJ}$", "TeV", "invariant mass of the two leading jets")


@dataclass(frozen=True)
class Columns:
    """The resonant variable and the features.

    Attributes
    ----------
    named : bool
        False where nobody has said what the features are.
    signal_region : (float, float) or None
        Edges at which the events were separated, in the unit of the resonant variable; None where nobody has said it.
    """

    resonant: Column
    features: tuple[Column, ...]
    named: bool = True
    signal_region: tuple[float, float] | None = None

    @classmethod
    def positional(cls, n_features: int) -> Columns:
        """Those of a folder without columns.json: m_JJ, feature 1, feature 2 ..."""
        return cls(M_JJ, tuple(Column(f"feature_{i + 1}", f"feature {i + 1}") for i in range(n_features)), named=False)

    @classmethod
    def read(cls, folder: Path, n_features: int) -> Columns:
        """Those of the events in a folder.

        Raises
        ------
        InputError
            If columns.json is damaged, or names another number of features than there are.
        """
        path = Path(folder) / FILE
        if not path.exists():
            return cls.positional(n_features)
        content = load_json(path)
        features = content.get("features")
        if not isinstance(features, list):
            raise InputError(f"{path}: does not say what the features are")
        resonant, edges = resonant_and_edges(content, path)
        columns = cls(resonant, tuple(_column(entry, path) for entry in features), signal_region=edges)
        if len(columns.features) != n_features:
            raise InputError(f"{path}: names {len(columns.features)} features, but the events have {n_features}")
        return columns

    def save(self, folder: Path) -> None:
        """Write columns.json, where there is something to say."""
        if self.named:
            features = [asdict(column) for column in self.features]
            region = {} if self.signal_region is None else {"signal_region": list(self.signal_region)}
            save_json(Path(folder) / FILE, {"resonant": asdict(self.resonant), "features": features, **region})

    @property
    def names(self) -> list[str]:
        """Of the features."""
        return [column.name for column in self.features]

    @property
    def axes(self) -> list[str]:
        """Axis labels of the resonant variable and the features."""
        return [self.resonant.axis, *(column.axis for column in self.features)]

    def with_features(self, features: Sequence[Column]) -> Columns:
        """The same resonant variable, with other features."""
        return replace(self, features=tuple(features), named=True)


def stored_resonant(folder: Path) -> Column:
    """The resonant variable of the events in a folder; m_JJ where columns.json is not there.

    Raises
    ------
    InputError
        If columns.json is damaged.
    """
    path = Path(folder) / FILE
    return resonant_and_edges(load_json(path), path)[0] if path.exists() else M_JJ


def resonant_and_edges(content: Mapping[str, Any], path: Path) -> tuple[Column, tuple[float, float] | None]:
    """What the content of columns.json says of the resonant variable, and of the edges of the signal region if it names them.

    Raises
    ------
    InputError
        If it is damaged.
    """
    resonant = _column(content.get("resonant"), path)
    if (region := content.get("signal_region")) is None:
        return resonant, None
    numbers = isinstance(region, list) and len(region) == 2 and all(type(edge) in (int, float) for edge in region)
    if not numbers or not 0 <= region[0] < region[1] < math.inf:
        raise InputError(f"{path}: signal_region must be two edges, the lower one first")
    return resonant, (float(region[0]), float(region[1]))


def _column(content: Any, path: Path) -> Column:
    keys = ("name", "label", "unit", "formula")
    if not isinstance(content, dict) or content.keys() != set(keys):
        raise InputError(f"{path}: a column needs {', '.join(keys)}, and nothing else")
    if not all(isinstance(text, str) and is_one_line(text) for text in content.values()):
        raise InputError(f"{path}: {', '.join(keys)} must be text of one line")
    return Column(**content)


def is_one_line(text: str) -> bool:
    """Whether a text is short, and can be printed in one line."""
    return len(text) <= LONGEST_TEXT and text.isprintable()
