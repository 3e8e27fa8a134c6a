"""Stage 3: density estimator and signal-region data -> the classifier's arrays.

    python run_classifier_data_creation.py --savedir CATHODE_results/ --n_samples 400000 --realistic_conditional --oversampling --no_logit
    python run_classifier_data_creation.py --savedir CWoLa_results/ --mode CWoLa --oversampling --no_logit
    python run_classifier_data_creation.py --savedir LaCATHODE_results/ --mode LaCATHODE
    python run_classifier_data_creation.py --savedir my_results/ --external_samples my_samples.npy --no_logit

Writes X_train, X_validation, X_test (and X_extrasig) .npy with the columns m_JJ (TeV), preprocessed features, data (1) or sample (0),
label (1 signal, 0 background, 5 sample), X_sideband of the test sideband among them; y_*.npy, the data/sample column; columns.json, the
columns' names; and data_vs_samples.png. Further latent spaces are written in the same form into latent_1/, latent_2/ ..., folds into
fold_0/, fold_1/ ..., with X_held_out of background that their classifiers have not seen; folds.npy says which event is in which.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from background.options import ArraysOptions as Options
from common.script import run_script

if TYPE_CHECKING:
    from workflow.stage import Stage

logger = logging.getLogger(__name__)


def main(options: Options) -> None:
    """Choose the background of the mode, mix, preprocess, write."""
    from workflow.stage import run_stage, seeded

    run_stage(stage(seeded(options, options.savedir)), resume=False)


def stage(options: Options) -> Stage:
    """Stage 3 with these options."""
    from background.arrays import ARRAY_FILES, fold_folder, in_all_places, latent_folder
    from background.densities import density_name, stored_densities
    from background.folds import FoldedEvents
    from background.mode import classifier_mode
    from common.files import save_array, writable_folder
    from events.regions import EventSource
    from plots.spectra import data_against_samples
    from plots.style import save
    from workflow.stage import Stage

    options = options.with_edges().with_folds()
    mode = classifier_mode(options)
    mode.check_options(options)
    densities = mode.densities_for(options)

    def inputs() -> list[Path]:
        trained = [path for each in stored_densities(options, *densities) for path in each.files()]
        return [*EventSource(options).paths(*mode.files(options)), *trained, *options.external_samples]

    def work(folder: Path) -> dict[str, Any]:
        counts, source = {}, EventSource(options)
        if options.k_folds:
            folded = FoldedEvents(mode, source, options)
            save_array(folder / "folds.npy", folded.record)
            source.columns.save(folder)
        for number, arrays in enumerate(folded.arrays() if options.k_folds else mode.build(source, options)):
            place, train = writable_folder((fold_folder if options.k_folds else latent_folder)(folder, number)), arrays.train
            if n_known := arrays.n_tested_and_learned():
                text = "%d of the test events are among those to be learned from: efficiencies will be too good"
                logger.warning(text, n_known)
            data, background = train[train.is_data].m_and_x, train[~train.is_data].m_and_x
            figure = data_against_samples(data, background, arrays.columns.axes, mode.class_names)
            save(figure, place / f"data_vs_samples.{options.figures}")
            arrays = arrays.preprocessed(
                use_logit=mode.use_logit(options),
                fiducial_cut=options.fiducial_cut,
                cut_range=mode.cuts_range,
                learned_from=mode.scaled_by,
            )
            counts[f"{'fold' if options.k_folds else 'latent space'} {number}"] = arrays.write(place)
        return counts if len(counts) > 1 else counts["latent space 0"]

    return Stage(
        "classifier_arrays",
        options.results_folder,
        options,
        inputs,
        in_all_places(*ARRAY_FILES),
        work,
        unused=mode.unused(options),
        must_match=("mode", "SR_min", "SR_max", "datashift", "random_shift", "k_folds"),
        after=tuple(f"density_estimator {density_name(options.model_file_name, region)}" for region in densities),
    )


if __name__ == "__main__":
    run_script(main, __doc__, Options)
