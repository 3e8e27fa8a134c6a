"""The classifier's arrays: data and what stands for the background, mixed, preprocessed, written by stage 3 and read by stage 4.

Columns of the arrays are m_JJ (TeV), d preprocessed features, data (1) or sample (0), label (1 signal, 0 background, 5 sample).
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from background.options import ArraysOptions
from common.contract import OutputFile, figure_file, patterns
from common.errors import InputError
from common.files import load_array, save_arrays, save_json
from events.columns import Columns
from events.quality import feature_range, n_shared
from events.regions import EventSource
from events.view import DATA, SAMPLE, SAMPLE_LABEL, Events, drop_nan_rows
from models.scalers import ExtPipeline, LogitScaler, fit_scaler, scaler_to_dict

logger = logging.getLogger(__name__)

FIDUCIAL = (0.05, 0.95)
OUTSIDE = "outside_the_range"  # what STAGE.json calls test events that are cut: no cut on the score selects them
SETS = ("train", "validation", "test", "extrasig", "sideband", "held_out")
OPTIONAL = ("extrasig", "sideband", "held_out")
UNCUT = ("test", "held_out")  # in folds: NaN stands for features outside the range
SCALER_FILE = "X_preprocessing.json"
ARRAY_FILES = (
    OutputFile(
        "X_train.npy, X_validation.npy",
        "m_JJ (TeV), preprocessed features (no unit), data (1) or sample (0), label (1 signal, 0 background, 5 sample; in the supervised "
        "mode the background has 0)",
        "[n, d + 3]",
        "X_*.npy",
    ),
    OutputFile("X_test.npy", "the test events, all of them data", "[n, d + 3]"),
    OutputFile("X_extrasig.npy", "the extra signal, without `--no_extra_signal`", "[n, d + 3]"),
    OutputFile("X_sideband.npy", "test events of the sideband", "[n, d + 3]"),
    OutputFile(
        "X_held_out.npy",
        "with folds, all of these are in fold_F/; this is background that its classifiers have not seen. X_test.npy holds all data of "
        "the fold there, SR and SB; features are NaN outside the feature range",
        "[n, d + 3]",
    ),
    OutputFile(
        "folds.npy",
        "with folds: a record (row in the input, m, fold) for every event of data.npy; those of fold F are in its X_test.npy",
        "[n]",
    ),
    OutputFile(SCALER_FILE, "how the features were preprocessed: from it, figures have them in their own units"),
    OutputFile("y_train.npy and so on", "the column data (1) or sample (0) of every X", "[n]", "y_*.npy"),
    OutputFile("columns.json", "name, axis label, unit and formula of m_JJ and the features; copied from stage 1, or latent"),
    figure_file("data_vs_samples", "training data against background, in m_JJ and every feature"),
)


@dataclass(frozen=True)
class Counts:
    """Numbers of signal and background events."""

    signal: int
    background: int

    @classmethod
    def of(cls, events: Events) -> Counts:
        """Those among events."""
        return cls(int((events.label == 1).sum()), int((events.label == 0).sum()))

    def without(self, others: Counts) -> Counts:
        """Those that are left."""
        return Counts(self.signal - others.signal, self.background - others.background)

    def as_dict(self) -> dict[str, int]:
        """For a JSON file."""
        return asdict(self)


@dataclass(frozen=True)
class Background:
    """What stands for the background, and how data must be seen to be compared with it.

    Attributes
    ----------
    events : Events
        As the classifier will see them, but for the scaling of its inputs.
    transform : callable, optional
        The way of data to there, a latent space for example: Events of the same number, with NaN where one has no place. None leaves
        them as they are.
    columns : Columns, optional
        What the features are after that.
    """

    events: Events
    transform: Callable[[Events], Events] | None = None
    columns: Columns | None = None


@dataclass(frozen=True)
class ClassifierArrays:
    """What stage 3 hands to stage 4; `extrasig` and `sideband` are tested where they exist.

    The arrays of a fold have `held_out`, background that is neither learned from nor validated on, and in `test` all data of the fold.
    Events outside the feature range stay in both, with NaN for features.

    Attributes
    ----------
    all_tested : mapping
        Of "test" and "extrasig": how many signal and background events there were before any cut.
    scaler : ExtPipeline or None
        What has preprocessed the features.
    """

    train: Events
    validation: Events
    test: Events
    extrasig: Events | None
    sideband: Events | None
    columns: Columns
    held_out: Events | None = None
    all_tested: Mapping[str, Counts] = field(default_factory=dict)
    scaler: ExtPipeline | None = None

    @classmethod
    def read(cls, folder: Path, *, extra_signal: bool) -> ClassifierArrays:
        """Read X_train, X_validation, X_test and (if there, and wanted) X_extrasig, X_sideband, X_held_out.

        Raises
        ------
        InputError
            If one is unreadable, empty, or of another width than X_train; or if training or validation lack data or samples.
        """
        found: dict[str, Events | None] = {}
        is_fold = (Path(folder) / "X_held_out.npy").is_file()
        for name in SETS:
            path = Path(folder) / f"X_{name}.npy"
            if name in OPTIONAL and ((name == "extrasig" and not extra_signal) or not path.is_file()):
                found[name] = None
                continue
            array = load_array(path)
            if array.ndim != 2 or array.shape[1] < 4 or len(array) == 0:
                raise InputError(f"{path}: shape {array.shape}, expected [n, d + 3] (m_JJ, features, data or sample, label)")
            events = Events(array if is_fold and name in UNCUT else drop_nan_rows(array, path), mixed=True)
            if found and events.n_features != found["train"].n_features:
                raise InputError(f"{path}: {events.n_features} features, but X_train.npy has {found['train'].n_features}")
            if name in ("train", "validation") and set(np.unique(events.array[:, -2])) != {DATA, SAMPLE}:
                raise InputError(f"{path}: needs data (1) and samples (0) in the column before the last")
            if name == "test" and not events.is_data.any():
                raise InputError(f"{path}: holds no data to score")
            found[name] = events[events.is_data] if name == "test" else events
        return cls(**found, columns=Columns.read(folder, found["train"].n_features))

    def sets(self) -> Iterator[tuple[str, Events]]:
        """Name and events of every array that exists."""
        return ((name, getattr(self, name)) for name in SETS if getattr(self, name) is not None)

    def scored(self) -> Iterator[tuple[str, Events]]:
        """What the classifiers score: the end of the name of the scores, and the events."""
        endings = {"test": "", "extrasig": "_extrasig", "sideband": "_sideband", "held_out": "_held_out"}
        return ((endings[name], events) for name, events in self.sets() if name in endings)

    def n_tested_and_learned(self) -> int:
        """How many test events are training or validation events as well, with all their values."""
        learned = np.concatenate([self.train.m_and_x, self.validation.m_and_x])
        return sum(n_shared(events.m_and_x, learned) for events in (self.test, self.extrasig) if events is not None)

    def write(self, folder: Path) -> dict[str, dict[str, Any]]:
        """Write X_NAME.npy, y_NAME.npy (the column data or sample), columns.json and the preprocessing; returns the numbers of events."""
        counts = {}
        for name, events in self.sets():
            save_arrays(folder, {f"X_{name}": events.array, f"y_{name}": events.array[:, -2]})
            counts[f"X_{name}"] = {"data": int(events.is_data.sum()), "background": int((~events.is_data).sum())}
            n_data, n_background = counts[f"X_{name}"].values()
            logger.info("X_%s: %d data%s", name, n_data, f", {n_background} that stand for background" if n_background else "")
            if name in self.all_tested:
                counts[f"X_{name}"][OUTSIDE] = self.all_tested[name].without(Counts.of(events)).as_dict()
        self.columns.save(folder)
        if self.scaler is not None:
            save_json(Path(folder) / SCALER_FILE, scaler_to_dict(self.scaler))
        return counts

    def inputs(self, events: Events, *, use_mjj: bool) -> np.ndarray:
        """What a classifier is given of events: the features; with `use_mjj` preceded by m_JJ, standardized on the training events."""
        if not use_mjj:
            return events.x
        mass = self.train.m.astype(np.float64)
        return np.column_stack([(events.m - mass.mean()) / mass.std(), events.x])

    def preprocessed(
        self,
        *,
        use_logit: bool,
        fiducial_cut: bool,
        cut_range: bool = True,
        learned_from: Callable[[Events], np.ndarray] = lambda events: events.is_data,
    ) -> ClassifierArrays:
        """The arrays as the classifier sees them; range and scaling are learned from the training data alone (arXiv:2109.00546).

        Events on or beyond the boundary of the training data's range are dropped and counted in the log: a density with a logit makes no
        event there, so that a classifier would tell data from samples by the boundary. Lowest and highest values of discrete features
        stay.

        Parameters
        ----------
        fiducial_cut : bool
            Keep only events with every feature, scaled to (0, 1) by its training range, inside (0.05, 0.95).
        cut_range : bool
            False keeps what lies outside the range (in a latent space, which has no boundary).
        learned_from : callable
            Which training events [n] the range and the scaling are learned from.
        """
        reference = learned_from(self.train)
        ends = feature_range(self.train.x[reference])
        reach = LogitScaler().fit(ends)
        low, high = FIDUCIAL if fiducial_cut else (0.0, 1.0) if cut_range or use_logit else (-np.inf, np.inf)

        def inside(events: Events) -> np.ndarray:
            scaled = reach.scale(events.x)
            return ((scaled > low) & (scaled < high)).all(axis=1)

        kept: dict[str, Events | None] = dict.fromkeys(SETS)
        for name, events in self.sets():
            keep, uncut = inside(events), self.held_out is not None and name in UNCUT
            if not keep.all():
                range_, fate = "fiducial" if fiducial_cut else "training", "without a score" if uncut else "dropped"
                logger.info("X_%s: %d of %d events outside the %s range %s", name, (~keep).sum(), len(keep), range_, fate)
            if not keep.any() and name not in ("sideband", "held_out"):
                raise InputError(f"X_{name}: no event is left inside the feature range")
            if name == "train":
                if not (keep & reference).any():
                    raise InputError("X_train: no data are left inside the feature range")
                scaler = fit_scaler(ends, events.x[reference & keep], use_logit=use_logit)
            scaled = events[keep]
            if keep.any():
                scaled.x[:] = scaler.transform(scaled.x)
            if uncut:
                kept[name] = events[np.arange(len(events))]
                kept[name].x[:] = np.nan
                kept[name].array[keep] = scaled.array
            elif keep.any():
                kept[name] = scaled
        return replace(self, **kept, scaler=scaler)


def share_out(
    background: Events, n_train: int, n_val: int, oversampling: bool, rng: np.random.Generator
) -> tuple[Events, Events]:
    """Split what stands for the background between training and validation in the data's proportion.

    Parameters
    ----------
    n_train, n_val : int
        Number of training and validation data.
    oversampling : bool
        Use all background; otherwise as many events as there are data (or all, where there are fewer).
    """
    wanted = len(background) if oversampling else min(len(background), n_train + n_val)
    shuffled = background[rng.permutation(len(background))[:wanted]]
    n_first = round(wanted * n_train / (n_train + n_val))
    if n_first == 0 or n_first == wanted:
        raise InputError(f"{wanted} background events are too few to train and validate on")
    return shuffled[:n_first], shuffled[n_first:]


def mix(
    data: tuple[Events, Events],
    background: Background,
    source: EventSource,
    options: ArraysOptions,
    *,
    use_all: bool,
    background_label: int = SAMPLE_LABEL,
    without_strips: bool = False,
) -> ClassifierArrays:
    """Join data and background, training and validation, with the test events of signal region and sideband.

    Parameters
    ----------
    data : pair of Events
        Training and validation events.
    use_all : bool
        Use all background, see `share_out`.
    background_label : int
        0 where it is true background, for the supervised mode; else 5 (sample).
    without_strips : bool
        Leave the strips of CWoLa out of the test sideband.
    """

    def as_data(name: str, events: Events) -> Events:
        if background.transform is not None:
            events, n = background.transform(events), len(events)
            events = events[np.isfinite(events.x).all(axis=1)]
            if len(events) == 0:
                raise InputError(f"{name}: no event lies inside the range the density estimator was trained on")
            logger.info("%s: %d of %d events outside the density estimator's range dropped", name, n - len(events), n)
        return Events.mix(events.m, events.x, DATA, events.label)

    shares = share_out(background.events, *map(len, data), use_all, source.rng("sharing out the background"))
    rng = source.rng("mixing")
    mixed = []
    for name, d, b in zip(("training", "validation"), data, shares, strict=True):
        joined = Events.joined(as_data(name, d), Events.mix(b.m, b.x, SAMPLE, background_label))
        mixed.append(joined[rng.permutation(len(joined))])
    extrasig = None if options.no_extra_signal else source.extra_signal()
    tested = {
        "test": source.test(),
        "extrasig": None if extrasig is None else Events.joined(*extrasig),
        "sideband": source.test_sideband(without_strips=without_strips),
    }
    all_tested = {name: Counts.of(events) for name, events in tested.items() if events is not None and name != "sideband"}
    tested = {name: None if events is None else as_data(name, events) for name, events in tested.items()}
    return ClassifierArrays(*mixed, **tested, columns=background.columns or source.columns, all_tested=all_tested)


def latent_folder(folder: Path, number: int) -> Path:
    """Where the arrays of a latent space are: the first in the run's folder, the others below it."""
    return folder if number == 0 else folder / f"latent_{number}"


def latent_folders(folder: Path) -> list[Path]:
    """The run's folder and those of its further latent spaces, if any."""
    further = (latent_folder(folder, number) for number in itertools.count(1))
    return [folder, *itertools.takewhile(lambda each: (each / "X_train.npy").is_file(), further)]


def fold_folder(folder: Path, fold: int) -> Path:
    """Where the arrays of a fold are."""
    return folder / f"fold_{fold}"


def fold_folders(folder: Path) -> list[Path]:
    """Those of all folds, if any."""
    every = (fold_folder(folder, fold) for fold in itertools.count())
    return list(itertools.takewhile(lambda each: (each / "X_train.npy").is_file(), every))


def in_all_places(*files: OutputFile) -> tuple[str, ...]:
    """Patterns of files in the run's folder, and in those of its further latent spaces and folds."""
    return tuple(f"{folder}{pattern}" for folder in ("", "latent_[0-9]*/", "fold_[0-9]*/") for pattern in patterns(files))
