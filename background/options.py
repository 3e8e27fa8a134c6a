"""The options of stages 2 to 4, and those about the background that several of them share."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from background.registry import MODES
from common.errors import InputError
from common.options import Options, ResumableOptions, finite, not_negative, option, positive
from events.options import EventOptions, ExtraSignalOptions, SplitOptions
from models.registry import CLASSIFIERS, DENSITIES

SomeFoldOptions = TypeVar("SomeFoldOptions", bound="FoldOptions")
SAVEDIR = Path("CATHODE_results")
PRESETS = ("paper",)
USUAL_FOLDS, FEWEST_FOLDS = 5, 3


def check_folds(value: int) -> str | None:
    """What is wrong with a number of folds: one is scored, one validates, the others train."""
    return None if value == 0 or value >= FEWEST_FOLDS else f"must be 0 or at least {FEWEST_FOLDS}"


@dataclass(frozen=True, kw_only=True)
class ModeOptions(Options):
    """What stands for the background."""

    mode: str = option(
        "CATHODE", "what stands for the background, see README", choices=MODES.names, chained_as="mode", switches=True
    )


@dataclass(frozen=True, kw_only=True)
class PresetOptions(Options):
    """A name for many flags."""

    preset: str | None = option(
        None,
        "other defaults for flags; paper: those with which each mode repeats arXiv:2109.00546 and 2210.14924, listed in docs/running.md",
        choices=PRESETS,
    )


@dataclass(frozen=True, kw_only=True)
class FoldOptions(EventOptions):
    """Whether events are scored in folds."""

    k_folds: int | None = option(
        None,
        "score every event of data.npy by density estimators and classifiers that have neither trained nor validated on its fold, of so "
        "many; 0: no folds",
        check=check_folds,
        default_text=f"{USUAL_FOLDS} in a search and where the events have no labels, else 0",
        chained_as="cf_k_folds",
    )

    @property
    def may_have_folds(self) -> bool:
        """Whether there can be any."""
        return True

    def with_folds(self: SomeFoldOptions) -> SomeFoldOptions:
        """The same options with the number of folds written down, which depends on the events."""
        from events.regions import has_labels

        if self.k_folds is not None or not Path(self.data_dir).is_dir():
            return self
        return replace(self, k_folds=USUAL_FOLDS if self.may_have_folds and not has_labels(self.data_dir) else 0)


@dataclass(frozen=True, kw_only=True)
class DensityNameOptions(Options):
    """What a density estimator's files are called."""

    model_file_name: str = option(
        "my_ANODE_model", "beginning of the density estimator's file names", metavar="NAME", chained_as="DE_file_name"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if Path(self.model_file_name).name != self.model_file_name:
            raise InputError(f"{self.flag('model_file_name')} {self.model_file_name}: a name, not a path")


@dataclass(frozen=True, kw_only=True)
class DensityOptions(DensityNameOptions, SplitOptions, FoldOptions, ResumableOptions):
    """Options of stage 2."""

    model: str = option("flow", "density estimator, see docs/estimators.md", choices=DENSITIES.names)
    epochs: int = option(20, "passes over the training events", unit="epochs", check=positive)
    batch_size: int | None = option(
        None,
        "events per step",
        unit="events",
        check=positive,
        default_text="1024, fewer where an epoch would have less than 40 steps",
    )
    patience: int = option(
        10, "stop after so many epochs without a lower validation loss; 0: never", unit="epochs", check=not_negative
    )
    config_file: Path | None = option(
        None,
        "YAML file with the density estimator's hyperparameters",
        metavar="FILE",
        default_text="the estimator's own, DE_MAF_model.yml for flow",
        recorded=False,
    )
    no_logit: bool = option(False, "standardize the features without a logit transformation first")
    dequantize: tuple[str, ...] = option(
        (),
        "discrete features, which are smeared by their own spacing before the training; samples are rounded back",
        metavar="NAME",
    )
    closure: int = option(
        0,
        "leave out so many pseudo signal regions of the sideband, each in a training of its own with these settings, and compare samples "
        "with the data there; with folds, too, this tests the settings, not the flow of each fold",
        check=not_negative,
    )
    inner_model: bool = option(
        False, "train on the signal region instead of the sideband, as NAME_inner (for ANODE)", chained_as=None
    )
    savedir: Path = option(SAVEDIR, "folder for the trained estimator", metavar="DIR", chained_as=None, recorded=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.inner_model and self.k_folds:
            flags = self.flag("k_folds"), self.flag("inner_model")
            raise InputError(
                f"{flags[0]} {self.k_folds}: {flags[1]} has no folds, ANODE scores what both its densities have seen"
            )

    @property
    def may_have_folds(self) -> bool:
        return not self.inner_model


@dataclass(frozen=True, kw_only=True)
class DensityUseOptions(DensityNameOptions, EventOptions):
    """Which trained density estimator is used on which events, and where the results go."""

    savedir: Path = option(SAVEDIR, "folder for what is written", metavar="DIR", chained_as=None, recorded=False)
    DE_dir: Path | None = option(
        None,
        "folder of the trained density estimator, which several runs may share; for a search that of another search",
        metavar="DIR",
        default_text="where the results go",
        chained_as="DE_dir",
        recorded=False,
    )
    fiducial_cut: bool = option(
        False,
        "keep only events with every feature, scaled by its range to (0, 1), between 0.05 and 0.95",
        chained_as="fiducial_cut",
    )

    @property
    def results_folder(self) -> Path:
        """Where the results go.

        Raises
        ------
        InputError
            If the separated events are there, whose columns.json would be replaced.
        """
        if self.savedir.resolve() == self.data_dir.resolve():
            raise InputError(f"{self.savedir}: the separated events are there; the results need a folder of their own")
        return self.savedir

    @property
    def density_folder(self) -> Path:
        """Where the density estimator is."""
        return self.savedir if self.DE_dir is None else self.DE_dir


@dataclass(frozen=True, kw_only=True)
class ArraysOptions(DensityUseOptions, SplitOptions, FoldOptions, ExtraSignalOptions, ModeOptions):
    """Options of stage 3; which of them a mode has a use for, it says itself (`ClassifierMode.uses`)."""

    ANODE_models: tuple[Path, ...] = option(
        (),
        "weights (.par) to sample from",
        metavar="PATH",
        default_text="the best epochs in the estimator's folder",
        chained_as=None,
        recorded=False,
    )
    n_samples: int = option(130000, "background events to sample, shared between the epochs", unit="events", check=positive)
    realistic_conditional: bool = option(
        False, "sample m_JJ from a kernel density estimate of the SR training masses instead of uniformly"
    )
    KDE_bandwidth: float = option(
        0.01, "width of that estimate's Gaussian kernel, in logit(m_JJ scaled to (0, 1))", check=positive
    )
    oversampling: bool = option(
        False,
        "use all samples, split as the data are; otherwise as many as data. In run_all.py it implies --cf_use_class_weights",
    )
    no_logit: bool = option(False, "standardize the classifier's inputs without a logit transformation first")
    no_logit_trained: bool = option(
        False, "insist that the density estimator was trained with --no_logit", chained_as=None, recorded=False
    )
    external_samples: tuple[Path, ...] = option(
        (), "background samples made elsewhere (.npy; columns m_JJ in TeV, then the features)", metavar="FILE", recorded=False
    )
    n_latent_epochs: int = option(
        1,
        "LaCATHODE: so many epochs of the density estimator, those of lowest validation loss, are latent spaces; scores are averaged",
        check=positive,
    )
    extra_bkg: bool = option(
        False, "idealized_AD and supervised: take the background from innerdata_extrabkg_*.npy, not from the SR data themselves"
    )

    @property
    def may_have_folds(self) -> bool:
        mode = MODES.get(self.mode)
        return mode.has_classifier and not mode.needs_labels


# Those of `ArraysOptions` that only some modes have a use for; they say so in `uses`.
NOT_FOR_ALL = (
    "ANODE_models", "model_file_name", "DE_dir", "no_logit_trained", "n_samples", "realistic_conditional", "KDE_bandwidth",
    "external_samples", "n_latent_epochs", "extra_bkg", "oversampling", "no_logit",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class LearningOptions(SplitOptions, ModeOptions):
    """What a classifier is given, and how events are weighted in its loss."""

    use_class_weights: bool = option(False, "weight data and samples so that both count the same in total; trees always do")
    SR_center: float | None = option(
        None, "m_JJ between the two strips, for CWoLa", unit="TeV", check=finite, default_text="the middle of the data's masses"
    )
    use_mjj: bool = option(False, "give m_JJ to the classifier as well")


TREES = "hgb"
NUMBERS = {"n_runs": 10, "n_ensemble": 1, "patience": 0}  # where they are not given
NUMBERS_OF_TREES = {"n_runs": 3, "n_ensemble": 50, "patience": 10}


@dataclass(frozen=True, kw_only=True)
class ClassifierOptions(LearningOptions, ExtraSignalOptions, ResumableOptions):
    """Options of stage 4."""

    model: str = option("nn", "classifier: networks or boosted trees, see docs/estimators.md", choices=CLASSIFIERS.names)
    epochs: int = option(30, "passes over the training events (not of trees)", unit="epochs", check=positive)
    n_runs: int | None = option(
        None,
        "number of independent classifiers, whose spread shows how reliable they are",
        check=positive,
        default_text="10; 3 for hgb",
    )
    n_ensemble: int | None = option(
        None, "members of each, whose scores are averaged", check=positive, default_text="1; 50 for hgb"
    )
    batch_size: int | None = option(
        None,
        "events per step (not of trees)",
        unit="events",
        check=positive,
        default_text="384, fewer where an epoch would have less than 40 steps",
    )
    patience: int | None = option(
        None,
        "a classifier is done after so many epochs (or trees) without a lower validation loss; 0: never",
        unit="epochs",
        check=not_negative,
        default_text="0; 10 for hgb",
    )
    config_file: Path | None = option(
        None,
        "YAML file with the classifier's hyperparameters",
        metavar="FILE",
        default_text="the classifier's own, classifier.yml for nn, classifier_hgb.yml for hgb",
        recorded=False,
    )
    save_model: bool = option(
        False, "keep the weights, and the mean score of those epochs of every run that are scored, instead of every epoch's"
    )
    data_dir: Path = option(SAVEDIR, "folder with the arrays of stage 3", metavar="DIR", chained_as=None, recorded=False)
    savedir: Path = option(SAVEDIR, "folder for losses and scores", metavar="DIR", chained_as=None, recorded=False)

    @property
    def numbers(self) -> dict[str, int]:
        """Runs, members and patience: as given, or as is best for the classifier."""
        usual = NUMBERS_OF_TREES if self.model == TREES else NUMBERS
        return {name: value if getattr(self, name) is None else getattr(self, name) for name, value in usual.items()}
