"""Options about events that several stages share."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from common.errors import InputError
from common.options import Options, StageOptions, finite, option

if TYPE_CHECKING:
    from events.window import Window

SomeOptions = TypeVar("SomeOptions", bound="RegionOptions")
SomeEventOptions = TypeVar("SomeEventOptions", bound="EventOptions")
PAPER_REGION = (3.3, 3.7)  # TeV (arXiv:2109.00546)
SIDEBAND_TRAIN = 0.8  # share of a table's sideband to train on


@dataclass(frozen=True, kw_only=True)
class RegionOptions(Options):
    """The window in the resonant variable that is the signal region."""

    SR_min: float | None = option(
        None,
        "lower edge of the signal region, in the unit of the resonant variable (m_JJ: TeV)",
        check=finite,
        chained_as="cf_SR_min",
        default_text="that of the separated events, else 3.3",
    )
    SR_max: float | None = option(
        None,
        "upper edge of the signal region, in the unit of the resonant variable (m_JJ: TeV)",
        check=finite,
        chained_as="cf_SR_max",
        default_text="that of the separated events, else 3.7",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if None not in (self.SR_min, self.SR_max):
            self._in_order(self.SR_min, self.SR_max)

    @property
    def window(self) -> Window:
        """The signal region; with the paper's edges in m_JJ (TeV) where none are given.

        Raises
        ------
        InputError
            If the edges are not in order.
        """
        from events.window import Window

        given = zip((self.SR_min, self.SR_max), PAPER_REGION, strict=True)
        return Window(*self._in_order(*(edge if value is None else value for value, edge in given)))

    def _in_order(self, low: float, high: float) -> tuple[float, float]:
        if low < 0:
            raise InputError(f"{self.flag('SR_min')} {low:g} must be 0 or above")
        if low >= high:
            raise InputError(f"{self.flag('SR_min')} {low:g} must be below {self.flag('SR_max')} {high:g}")
        return low, high

    def with_edges(self: SomeOptions) -> SomeOptions:
        """The same options with both edges written down, as a record needs them."""
        low, high = self.window.edges
        return replace(self, SR_min=low, SR_max=high)


@dataclass(frozen=True, kw_only=True)
class EventOptions(RegionOptions, StageOptions):
    """Which separated events are read, and what is done to them."""

    data_dir: Path = option(
        Path("separated_data"),
        "folder with the separated .npy files of stage 1",
        metavar="DIR",
        chained_as="data_dir",
        recorded=False,
    )
    datashift: float = option(
        0.0,
        "add this number times m_JJ (TeV) to m_J1 and Δm_J (TeV), so that features and m_JJ are correlated",
        check=finite,
        chained_as="datashift",
    )
    random_shift: bool = option(
        False,
        "let --datashift add the m_JJ of randomly chosen data instead: the same smearing without the correlation",
        chained_as="random_shift",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.random_shift and self.datashift == 0:
            raise InputError(f"{self.flag('random_shift')} needs a {self.flag('datashift')} to randomise")

    @property
    def window(self) -> Window:
        """The signal region at which the events in the folder were separated; where it does not say, as given, or the paper's.

        Raises
        ------
        InputError
            If flags contradict the folder.
        """
        from events.window import stored_window

        if (stored := stored_window(self.data_dir)) is None:
            return super().window
        for name, edge in zip(("SR_min", "SR_max"), stored.edges, strict=True):
            if getattr(self, name) not in (None, edge):
                raise InputError(
                    f"{self.flag(name)} {getattr(self, name):g}: the events in {self.data_dir} were separated at {edge:g}"
                )
        return stored

    def with_edges(self: SomeEventOptions) -> SomeEventOptions:
        """The same options with both edges written down; as they are where the events are gone."""
        return super().with_edges() if Path(self.data_dir).is_dir() else self


@dataclass(frozen=True, kw_only=True)
class SplitOptions(Options):
    """How training and validation are told apart."""

    separate_val_set: bool = option(
        False,
        "keep innerdata_val.npy for validation; without it training and validation events are pooled and split at random",
        chained_as="cf_separate_val_set",
    )


@dataclass(frozen=True, kw_only=True)
class ExtraSignalOptions(Options):
    """Whether the extra signal events are tested."""

    no_extra_signal: bool = option(
        False, "leave the extra signal events (innerdata_extrasig*.npy) out of the evaluation", chained_as="no_extra_signal"
    )
