"""Stage 4: the classifier's arrays -> an ensemble of classifiers and the scores of the test data.

    python run_classifier_training.py --data_dir CATHODE_results/ --savedir CATHODE_results/ --use_class_weights --save_model
    python run_classifier_training.py --data_dir CWoLa_results/ --savedir CWoLa_results/ --mode CWoLa --save_model

Writes loss_matris.npy, val_loss_matris.npy [n_runs, epochs] (NaN where a run was done already), preds_matris.npy (and
preds_matris_extrasig.npy, preds_matris_sideband.npy) [n_runs, n_kept, n_test], classifier_losses_run_R.png and, with --save_model, the
weights of all runs in the epochs that were averaged, my_classifier_epoch_E.par, with my_classifier_estimator.json.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from background.options import SAVEDIR, LearningOptions
from common.errors import InputError
from common.options import ResumableOptions, not_negative, option, positive
from common.script import run_script
from events.options import ExtraSignalOptions
from models.registry import CLASSIFIERS

if TYPE_CHECKING:
    import numpy as np

    from background.arrays import ClassifierArrays
    from workflow.stage import Stage

logger = logging.getLogger(__name__)

NAME = "my_classifier"
TREES = "hgb"
NUMBERS = {"n_runs": 10, "n_ensemble": 1, "patience": 0}  # where they are not given
NUMBERS_OF_TREES = {"n_runs": 3, "n_ensemble": 50, "patience": 10}
SETTINGS = ("epochs", "batch_size", *NUMBERS)
SUSPICIOUS_LOSS = 0.87  # of that of a blind classifier; 10 % of signal that is told from all background would give 0.93
SMALLEST_SPREAD = 1e-3  # of the scores of a network that is alive; one that has merely learned nothing has more than 0.01


@dataclass(frozen=True, kw_only=True)
class Options(LearningOptions, ExtraSignalOptions, ResumableOptions):
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


def main(options: Options) -> None:
    """Read the arrays and the hyperparameters, then train and score."""
    from workflow.stage import run_stage, seeded

    run_stage(stage(seeded(options, options.savedir)), resume=options.resume)


def stage(options: Options) -> Stage:
    """Stage 4 with these options."""
    from background.arrays import ClassifierArrays, in_all_spaces, latent_folder, latent_folders
    from background.mode import classifier_mode
    from common.files import writable_folder
    from evaluation.scores import EVALUATION_FILES, SCORE_FILES, average_scores, scored_rule
    from workflow.stage import Stage

    classifier_mode(options)
    hyperparameters = CLASSIFIERS.hyperparameters(options.model, options.config_file)
    accepted = CLASSIFIERS.parameters(options.model)
    options.settings(SETTINGS, accepted, options.model)
    options = replace(options, **options.numbers, use_class_weights=options.use_class_weights or options.model == TREES)

    def inputs() -> list[Path]:
        return [path for space in latent_folders(options.data_dir) for path in sorted(space.glob("X_*.npy"))]

    def work(folder: Path) -> dict[str, Any]:
        spaces = latent_folders(options.data_dir)
        arrays = [ClassifierArrays.read(space, extra_signal=not options.no_extra_signal) for space in spaces]
        folders = [writable_folder(latent_folder(folder, number)) for number in range(len(spaces))]
        results = [_train(options, hyperparameters, *pair) for pair in zip(arrays, folders, strict=True)]
        if len(spaces) == 1:
            return results[0]
        average_scores(folders, scored_rule(results[0]))
        return {f"latent space {number}": result for number, result in enumerate(results)}

    return Stage(
        "classifiers",
        options.savedir,
        options,
        inputs,
        in_all_spaces(*SCORE_FILES, *EVALUATION_FILES),
        work,
        hyperparameters=hyperparameters,
        unused=[name for name in SETTINGS if name not in accepted],
        must_match=("mode",),
        after=("classifier_arrays",),
    )


def _train(options: Options, hyperparameters: dict[str, Any], arrays: ClassifierArrays, folder: Path) -> dict[str, Any]:
    """Train the classifiers on the arrays of one latent space, score the test data, write losses, scores and weights."""
    import numpy as np

    from background.mode import classifier_mode
    from common.files import save_arrays
    from common.processes import usable_cores
    from common.seeds import make_seed
    from evaluation.scores import RULE, losses_of_runs
    from models.arrays import no_gpu
    from models.training.checkpoints import CHECKPOINT, Checkpoint
    from plots import losses as figures
    from plots.style import save

    sets, n_val = classifier_mode(options).training_sets(arrays, options), len(arrays.validation)
    (X, y, weight), (X_val, y_val, weight_val) = sets if len(sets) == 2 else (sets[0], (None, None, None))
    classifier = CLASSIFIERS.create(
        options.model, hyperparameters, options, ("epochs", "batch_size"), **options.numbers, n_inputs=X.shape[1],
        use_class_weights=False, val_split=n_val / (len(arrays.train) + n_val), n_jobs=usable_cores(options.threads),
        no_gpu=no_gpu(options.device), verbose=True, random_state=make_seed(options.seed, "classifier"),
    )  # fmt: skip
    try:
        classifier.fit(X, y, X_val, y_val, weight, weight_val, checkpoint=Checkpoint(folder / CHECKPOINT))
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"the classifiers cannot be trained: {error}") from error
    if options.save_model:
        classifier.save(folder, NAME)
    curves, n_ensemble = (classifier.train_losses_[1:], classifier.val_losses_[1:]), getattr(classifier, "n_ensemble", 1)
    losses = dict(zip(("loss_matris", "val_loss_matris"), (losses_of_runs(curve, n_ensemble) for curve in curves), strict=True))
    save_arrays(folder, losses)
    for suffix, events in (("", arrays.test), ("_extrasig", arrays.extrasig), ("_sideband", arrays.sideband)):
        if events is not None:
            every_epoch = (
                not options.save_model and suffix != "_sideband" and hasattr(classifier, "predict_versions") and n_ensemble == 1
            )
            inputs = arrays.inputs(events, use_mjj=options.use_mjj)
            scores = classifier.predict_versions(inputs) if every_epoch else classifier.predict_runs(inputs)[:, None]
            save_arrays(folder, {f"preds_matris{suffix}": scores.astype(np.float32, copy=False)})
            if not suffix:
                spreads = np.ptp(classifier.predict_runs(inputs) if every_epoch else scores[:, 0], axis=1)
                _warn_of_dead_runs(spreads, "nothing was learned" if options.model == TREES else "a lower learning rate helps")
    for run, (train, val) in enumerate(zip(*losses.values(), strict=True)):
        steps = "trees (mean over the members)" if options.model == TREES else "epoch"
        figure = figures.loss_curves({"training": train, "validation": val}, "cross-entropy per event (nats)", xlabel=steps)
        save(figure, folder / f"classifier_losses_run_{run}.png")
    lowest = np.nanmin(losses["val_loss_matris"], axis=1)
    share = np.average(y, weights=weight)
    blind = -share * np.log(share) - (1 - share) * np.log(
        1 - share
    )  # the loss of a classifier that knows but the classes' weights
    if options.mode != "supervised" and lowest.mean() < SUSPICIOUS_LOSS * blind:
        text = "classifiers: a validation loss of %.3f nats is far below %.3f: data and background differ by more than a signal"
        logger.warning(text, lowest.mean(), blind)
    text = "classifiers (%d): lowest validation loss %.4f nats on average, %.4f to %.4f"
    logger.info(text, len(lowest), lowest.mean(), lowest.min(), lowest.max())
    results = {"lowest_validation_losses": lowest.tolist(), "epochs": np.isfinite(losses["val_loss_matris"]).sum(axis=1).tolist()}
    return results | {name: value for name, value in classifier.get_params().items() if name in RULE}


def _warn_of_dead_runs(spreads: np.ndarray, advice: str) -> None:
    """A ReLU network that a large step has thrown off may give one score for all events, and never recovers."""
    dead = [str(run) for run, spread in enumerate(spreads) if spread < SMALLEST_SPREAD]
    if dead:
        text = "classifiers: run(s) %s give all test events practically the same score: %s"
        logger.warning(text, ", ".join(dead), advice)


if __name__ == "__main__":
    run_script(main, __doc__, Options)
