"""Options about events that several stages share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from common.errors import InputError
from common.options import Options, StageOptions, finite, option


@dataclass(frozen=True, kw_only=True)
class RegionOptions(Options):
    """The window in m_JJ that is the signal region."""

    SR_min: float = option(3.3, "lower edge of the signal region in m_JJ", unit="TeV", check=finite, chained_as="cf_SR_min")
    SR_max: float = option(3.7, "upper edge of the signal region in m_JJ", unit="TeV", check=finite, chained_as="cf_SR_max")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.SR_min < self.SR_max:
            raise InputError(f"{self.flag('SR_min')} {self.SR_min:g} must be below {self.flag('SR_max')} {self.SR_max:g} (TeV)")

    @property
    def sr_range(self) -> tuple[float, float]:
        """Both edges (TeV)."""
        return self.SR_min, self.SR_max

    @property
    def sr_center(self) -> float:
        """The middle of the signal region (TeV)."""
        return (self.SR_min + self.SR_max) / 2


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
