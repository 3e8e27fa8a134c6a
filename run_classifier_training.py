"""Stage 4: the classifier's arrays -> an ensemble of classifiers and the scores of the test data.

    python run_classifier_training.py --data_dir CATHODE_results/ --savedir CATHODE_results/ --use_class_weights --save_model
    python run_classifier_training.py --data_dir CWoLa_results/ --savedir CWoLa_results/ --mode CWoLa --save_model

Writes loss_matris.npy, val_loss_matris.npy [n_runs, epochs] (NaN where a run was done already), preds_matris.npy (and
preds_matris_extrasig.npy, preds_matris_sideband.npy) [n_runs, n_kept, n_test], classifier_losses_run_R.png and, with --save_model, the
weights of all runs in the epochs that were averaged, my_classifier_epoch_E.par, with my_classifier_estimator.json.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from background.options import NUMBERS, TREES
from background.options import ClassifierOptions as Options
from common.script import run_script
from models.registry import CLASSIFIERS

if TYPE_CHECKING:
    from workflow.stage import Stage

logger = logging.getLogger(__name__)

SETTINGS = ("epochs", "batch_size", *NUMBERS)


def main(options: Options) -> None:
    """Read the arrays and the hyperparameters, then train and score."""
    from workflow.stage import run_stage, seeded

    run_stage(stage(seeded(options, options.savedir)), resume=options.resume)


def stage(options: Options) -> Stage:
    """Stage 4 with these options."""
    from background.arrays import ClassifierArrays, fold_folders, in_all_places, latent_folder, latent_folders
    from background.mode import classifier_mode
    from common.files import writable_folder
    from evaluation.folds import SCORES_FILE
    from evaluation.scores import EVALUATION_FILES, SCORE_FILES, average_scores, scored_rule
    from workflow.classifiers import train, train_in_folds
    from workflow.stage import Stage

    classifier_mode(options)
    hyperparameters = CLASSIFIERS.hyperparameters(options.model, options.config_file)
    accepted = CLASSIFIERS.parameters(options.model)
    options.settings(SETTINGS, accepted, options.model)
    options = replace(options, **options.numbers, use_class_weights=options.use_class_weights or options.model == TREES)

    def inputs() -> list[Path]:
        folds = fold_folders(options.data_dir)
        places = folds or latent_folders(options.data_dir)
        record = [options.data_dir / "folds.npy"] if folds else []
        return [*record, *(path for place in places for path in sorted(place.glob("X_*.npy")))]

    def work(folder: Path) -> dict[str, Any]:
        if folds := fold_folders(options.data_dir):
            return train_in_folds(options, hyperparameters, folds, folder)
        spaces = latent_folders(options.data_dir)
        arrays = [ClassifierArrays.read(space, extra_signal=not options.no_extra_signal) for space in spaces]
        folders = [writable_folder(latent_folder(folder, number)) for number in range(len(spaces))]
        results = [train(options, hyperparameters, *pair) for pair in zip(arrays, folders, strict=True)]
        if len(spaces) == 1:
            return results[0]
        average_scores(folders, scored_rule(results[0]))
        return {f"latent space {number}": result for number, result in enumerate(results)}

    return Stage(
        "classifiers",
        options.savedir,
        options,
        inputs,
        in_all_places(*SCORE_FILES, SCORES_FILE, *EVALUATION_FILES),
        work,
        hyperparameters=hyperparameters,
        unused=[name for name in SETTINGS if name not in accepted],
        must_match=("mode",),
        after=("classifier_arrays",),
    )


if __name__ == "__main__":
    run_script(main, __doc__, Options)
