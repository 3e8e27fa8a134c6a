"""Killed, told to end, or out of disk space: every stage loses nothing that was there, and ends where it would have ended."""

from __future__ import annotations

import os
import shutil
import signal
import time
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from processes import contents, server, start, wait_for
from toys import ROOT, toy_data

from workflow.records import read_records

SAMPLE = ROOT / "sample_data"
TRAINED = "run_ANODE_training"
STAGES = {
    "separation": "run_data_preparation_LHCORD",
    "separation of a table": "run_data_preparation",
    "density estimator": TRAINED,
    "density estimators in folds": TRAINED,
    "arrays": "run_classifier_data_creation",
    "latent arrays": "run_classifier_data_creation",
    "arrays in folds": "run_classifier_data_creation",
    "classifiers": "run_classifier_training",
    "classifiers, weights not kept": "run_classifier_training",
    "classifiers in processes": "run_classifier_training",
    "boosted trees": "run_classifier_training",
    "classifiers in folds": "run_classifier_training",
    "likelihood ratios": "run_ANODE_evaluation",
}
RECORDS = {
    "separation of a table": "separation",
    "arrays in folds": "classifier_arrays",
    "classifiers in folds": "classifiers",
    "density estimator": "density_estimator my_ANODE_model",
    "density estimators in folds": "density_estimator my_ANODE_model",
    "arrays": "classifier_arrays",
    "latent arrays": "classifier_arrays",
    "classifiers, weights not kept": "classifiers",
    "classifiers in processes": "classifiers",
    "boosted trees": "classifiers",
    "likelihood ratios": "likelihood_ratios",
}
N_KILLS = {"boosted trees": 4, "separation": 4, "separation of a table": 2, "arrays": 4, "latent arrays": 4, "arrays in folds": 2,
           "classifiers in folds": 3, "density estimators in folds": 3}  # fmt: skip  # of other trainings 10

NOT_TO_FILL = ("separation of a table", "density estimators in folds", "arrays in folds")  # the disk with: like others


@pytest.fixture(scope="module")
def context():
    with server() as running:
        yield running


@pytest.fixture(scope="module")
def workplace(tmp_path_factory, context):
    """The bundled sample, taken through all stages with small networks."""
    folder = tmp_path_factory.mktemp("workplace")
    (folder / "flow.yml").write_text(
        "num_blocks: 3\nnum_hidden: 16\nlr: 3.0e-3\nschedule: one_cycle\nnormalization: batch_norm\n"
    )
    (folder / "classifier.yml").write_text("layers: [16, 16]\nschedule: one_cycle\nscored_epochs: last\nn_scored_epochs: 2\n")
    table = pd.DataFrame(toy_data(5000, 100), columns=["m", "a", "b", "c", "d", "truth"])
    table.to_csv(folder / "events.csv", index=False)
    for stage, script in STAGES.items():
        code, text = start(context, script, *flags(stage, folder)).end()
        assert code == 0, text
        if stage == "density estimator":
            assert start(context, script, *flags(stage, folder), "--inner_model").end()[0] == 0
    return folder


def flags(stage: str, folder: Path) -> list[object]:
    """The command line of a stage that works below `folder`."""
    data, seed = ["--data_dir", folder / "data"], ["--seed", 1]
    if stage == "separation":
        return ["--features_file", SAMPLE / "events.features.h5", "--extra_bkg_file", SAMPLE / "extra_inneronly.features.h5",
                "--S_over_B", 0.03, "--outdir", folder / "data", *seed]  # fmt: skip
    if stage == "separation of a table":
        return ["--input", folder / "events.csv", "--resonant", "m", "--features", "a,b,c,d", "--SR_min", 3.3, "--SR_max", 3.7,
                "--outdir", folder / "own", *seed]  # fmt: skip
    if stage == "arrays in folds":
        return ["--data_dir", folder / "own", "--savedir", folder / "folds", "--CWoLa", "--k_folds", 3, *seed]
    if stage == "density estimators in folds":
        return ["--data_dir", folder / "own", "--savedir", folder / "flows", *seed, "--config_file", folder / "flow.yml", "--k_folds", 3,
                "--epochs", 2, "--batch_size", 512]  # fmt: skip
    flow = ["--savedir", folder / "flow", *seed]
    if stage == "density estimator":
        return [*data, *flow, "--config_file", folder / "flow.yml", "--epochs", 4, "--batch_size", 512]
    if stage in ("arrays", "latent arrays"):
        latent, sampled = ["--LaCATHODE", "--n_latent_epochs", 2], ["--oversampling", "--no_logit", "--n_samples", 5000]
        kind = sampled if stage == "arrays" else latent
        models = [folder / "flow" / f"my_ANODE_model_epoch_{epoch}.par" for epoch in (2, 3)]
        return [*data, "--savedir", folder / stage.replace(" ", "_"), *seed, "--ANODE_models", *models, *kind]
    if stage == "likelihood ratios":
        return [*data, *flow]
    places = {"classifiers": "latent_arrays", "classifiers in folds": "folds"}
    arrays = ["--data_dir", folder / places.get(stage, "arrays")]
    if stage == "boosted trees":
        return [
            *arrays,
            "--savedir",
            folder / "scores_trees",
            "--model",
            "hgb",
            "--n_runs",
            2,
            "--n_ensemble",
            8,
            *seed,
            "--save_model",
        ]
    kept = [] if stage.endswith("not kept") else ["--save_model"]
    n_runs = 7 if stage.endswith("in processes") else 2
    kept += ["--CWoLa"] if stage.endswith("in folds") else []
    return [*arrays, "--savedir", folder / f"scores_{stage.split()[-1]}", "--config_file", folder / "classifier.yml", "--epochs", 4,
            "--batch_size", 512, "--n_runs", n_runs, *seed, *kept]  # fmt: skip


def resume(script: str) -> list[str]:
    return ["--resume"] if script in (TRAINED, "run_classifier_training") else []


def output(stage: str, folder: Path) -> Path:
    """Where a stage writes."""
    argv = flags(stage, folder)
    return Path(argv[argv.index("--outdir" if stage.startswith("separation") else "--savedir") + 1])


def without_output(stage: str, workplace: Path, target: Path) -> Path:
    """A copy of everything that the stage has not written yet."""
    shutil.copytree(workplace, target)
    if stage == "likelihood ratios":
        for pattern in ("X_*", "y_*", "preds_*"):
            for path in (target / "flow").glob(pattern):
                path.unlink()
    else:
        shutil.rmtree(output(stage, target))
    return target


@pytest.mark.parametrize("stage", STAGES)
def test_killed_at_random_moments_it_ends_where_it_would_have_ended(stage, workplace, context, tmp_path):
    script, rng = STAGES[stage], np.random.default_rng(zlib.crc32(stage.encode()))
    whole = without_output(stage, workplace, tmp_path / "whole")
    began = time.monotonic()
    assert start(context, script, *flags(stage, whole)).end()[0] == 0
    longest, expected = time.monotonic() - began, contents(output(stage, whole))
    assert len(expected) > 1
    n_killed = n_resumed = 0
    while n_killed < N_KILLS.get(stage, 10):
        folder = without_output(stage, workplace, tmp_path / "killed")
        running = start(context, script, *flags(stage, folder))
        time.sleep(rng.uniform(0, longest))
        running.process.kill()
        if running.end()[0] == -signal.SIGKILL:
            n_killed += 1
            code, text = start(context, script, *flags(stage, folder), *resume(script)).end()
            assert code == 0, text
            n_resumed += "goes on where it was interrupted" in text
            assert contents(output(stage, folder)) == expected
        shutil.rmtree(folder)
    assert n_resumed > 0 or not resume(script), "no kill came after the first checkpoint"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("stage", ["density estimator", "classifiers", "classifiers in processes"])
def test_a_signal_ends_a_training_with_a_checkpoint(stage, number, workplace, context, tmp_path):
    folder, script = without_output(stage, workplace, tmp_path / "ended"), STAGES[stage]
    name = RECORDS.get(stage, stage).replace(" ", "_")
    running = start(context, script, *flags(stage, folder), "--epochs", 10_000, "--patience", 0, checkpoint_seconds=1e9)
    part = ".runs_0/" if stage.endswith("in processes") else ""
    checkpoint = output(stage, folder) / f".unfinished_{name}" / f"{part}.checkpoint"
    wait_for(checkpoint)
    os.kill(running.process.pid, number)
    code, text = running.end()
    assert code == 128 + number
    assert text.splitlines()[-1].endswith(f"ended by {number.name}; a checkpoint was written, --resume goes on from it")
    assert "Traceback" not in text
    assert [path.name for path in output(stage, folder).iterdir()] == [f".unfinished_{name}"]
    code, text = start(context, script, *flags(stage, folder), *resume(script)).end()
    assert code == 2, "another number of epochs is another training"
    assert "--epochs was 10000, is now 4" in text


@pytest.mark.parametrize("largest_file", [0, 1500, "largest output"])
@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage not in NOT_TO_FILL])
def test_a_full_disk_is_one_line_and_leaves_what_was_there(stage, largest_file, workplace, context, tmp_path):
    folder, script = tmp_path / "full", STAGES[stage]
    shutil.copytree(workplace, folder)
    before = contents(folder)
    if largest_file == "largest output":
        record = read_records(output(stage, folder))[RECORDS.get(stage, stage)]
        largest_file = max(written["size"] for written in record["outputs"].values()) // 2
    code, text = start(context, script, *flags(stage, folder), "--seed", 2, largest_file=largest_file).end()
    assert code == 3, text
    lines = [line for line in text.splitlines() if " INFO " not in line and " WARNING " not in line]
    assert len(lines) == 1, text
    assert "cannot be written" in lines[0] or "cannot be made" in lines[0]
    after = contents(folder)
    assert {name: after.get(name) for name in before} == before
    assert all("/.unfinished_" in name for name in after.keys() - before.keys())


def test_a_vanished_input_is_one_line(workplace, context, tmp_path):
    """The estimator's weights are removed while the stage that samples from it is at work."""
    folder = without_output("arrays", workplace, tmp_path / "vanished")
    running = start(context, STAGES["arrays"], *flags("arrays", folder))
    wait_for(folder / "arrays" / ".unfinished_classifier_arrays" / ".plan.json")
    (folder / "flow" / "my_ANODE_model_epoch_3.par").unlink()
    code, text = running.end()
    assert code == 2
    assert "my_ANODE_model_epoch_3.par: " in text.splitlines()[-1]
    assert "Traceback" not in text
    assert not (folder / "arrays").exists()


def test_two_runs_in_one_folder(workplace, context, tmp_path):
    """The second stops; when the first has been killed, its lock does not hold any more."""
    folder = without_output("density estimator", workplace, tmp_path / "twice")
    first = start(context, TRAINED, *flags("density estimator", folder), "--epochs", 10_000, "--patience", 0)
    wait_for(folder / "flow" / ".unfinished_density_estimator_my_ANODE_model" / ".checkpoint")
    code, text = start(context, TRAINED, *flags("density estimator", folder)).end()
    assert code == 3
    assert f"process {first.process.pid} on " in text.splitlines()[-1]
    first.process.kill()
    first.end()
    assert start(context, TRAINED, *flags("density estimator", folder)).end()[0] == 0
    assert not (folder / "flow" / ".lock").exists()
