"""STAGE.json: what is up to date is not done again, what depends on a change is, and nothing is mixed."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
from processes import contents

from common.errors import InputError
from common.files import save_json
from common.options import StageOptions
from common.script import run_script
from evaluation_utils import full_single_evaluation
from workflow.records import fingerprint, read_records
from workflow.stage import PLAN, Stage, perform, recover

NAMES = ["density_estimator my_ANODE_model", "classifier_arrays", "classifiers"]


@pytest.fixture
def analysis(toy_copy, small_configs, tmp_path, run, caplog):
    """Run the CATHODE mode; returns what it said of every stage."""
    caplog.set_level(logging.INFO)

    def run_it(*argv: object, mode: str = "CATHODE") -> dict[str, str]:
        caplog.clear()
        run("run_all", *small_configs, "--cf_save_model", *argv, mode=mode, data_dir=toy_copy, save_dir=tmp_path / "out")
        said = [record.getMessage().partition(": ") for record in caplog.records if record.name == "workflow.plan"]
        stages = (*NAMES, "likelihood_ratios", "density_estimator my_ANODE_model_inner")
        return {name: text for name, _, text in said if name in stages}

    return run_it


def test_a_second_run_does_nothing_again(analysis, tmp_path):
    assert analysis() == dict.fromkeys(NAMES, "not done yet")
    before = contents(tmp_path / "out")
    assert analysis() == dict.fromkeys(NAMES, "up to date")
    assert contents(tmp_path / "out") == before
    assert not [path for path in (tmp_path / "out").iterdir() if path.name.startswith(".")]


def test_records_say_how_results_were_obtained(analysis, toy_copy, tmp_path):
    analysis("--seed", 7)
    records = read_records(tmp_path / "out")
    assert list(records) == [*NAMES, "evaluation"]
    density, arrays, classifiers, evaluation = records.values()
    assert density["options"]["seed"] == 7
    assert density["options"]["epochs"] == 3
    assert density["hyperparameters"]["num_blocks"] == 3
    assert density["inputs"].keys() == {"outerdata_train.npy", "outerdata_test.npy"}
    assert density["inputs"]["outerdata_train.npy"] == fingerprint(toy_copy / "outerdata_train.npy")
    assert density["results"]["lowest_validation_loss"] == np.nanmin(
        np.load(tmp_path / "out" / "my_ANODE_model_val_losses.npy")[1:]
    )
    assert {"python", "numpy", "torch"} <= density["environment"].keys()
    assert density["threads"] >= 1
    assert density["start"] <= density["end"]
    written = {path.name for path in (tmp_path / "out").iterdir()} - {"STAGE.json", "run.log"}
    assert set().union(*(record["outputs"] for record in records.values())) == written
    assert evaluation["options"]["mode"] == "CATHODE"
    assert evaluation["results"]["max_sic"] > 1
    assert density["command"]
    assert {"X_train.npy", "X_test.npy"} <= arrays["outputs"].keys()
    assert "my_ANODE_model_epoch_2.par" in arrays["inputs"]
    assert arrays["results"]["X_train"]["data"] == (np.load(tmp_path / "out" / "X_train.npy")[:, -2] == 1).sum()
    assert len(classifiers["results"]["lowest_validation_losses"]) == 2


@pytest.mark.parametrize(
    ("change", "done"),
    [
        (["--cf_epochs", 5], {"classifiers": "--cf_epochs was 4, is now 5"}),
        (["--cf_oversampling"], {"classifier_arrays": "--cf_oversampling was False, is now True"}),
        (["--DE_epochs", 2], {NAMES[0]: "--DE_epochs was 3, is now 2"}),
        (["--seed", 2], {NAMES[0]: "--seed was 1, is now 2"}),
        (["--force"], dict.fromkeys(NAMES, "--force")),
    ],
)
def test_a_changed_flag_redoes_its_stage_and_what_depends_on_it(analysis, change, done):
    analysis()
    said = analysis(*change)
    first = NAMES.index(next(iter(done)))
    for name in NAMES[:first]:
        assert said[name] == "up to date"
    for name in NAMES[first:]:
        assert said[name] == done.get(name, said[name]) != "up to date"


def test_a_changed_file_redoes_what_read_or_wrote_it(analysis, toy_copy, tmp_path):
    analysis()
    events = np.load(toy_copy / "innerdata_test.npy")
    np.save(toy_copy / "innerdata_test.npy", events[:-1])
    said = analysis()
    assert said[NAMES[0]] == "up to date"
    assert said[NAMES[1]] == "innerdata_test.npy is not the file it was"
    (tmp_path / "out" / "preds_matris.npy").write_bytes(b"damaged")
    assert analysis() == {
        NAMES[0]: "up to date",
        NAMES[1]: "up to date",
        NAMES[2]: "preds_matris.npy is not the file that was written",
    }
    (tmp_path / "out" / "my_ANODE_model_epoch_1.par").unlink()
    assert analysis() == {NAMES[0]: "my_ANODE_model_epoch_1.par is absent", NAMES[1]: "up to date", NAMES[2]: "up to date"}


def test_the_same_folder_elsewhere_is_still_up_to_date(analysis, tmp_path, toy_copy, small_configs, run, caplog):
    analysis()
    shutil.move(tmp_path / "out", tmp_path / "moved")
    shutil.move(toy_copy, tmp_path / "events")
    caplog.clear()
    run("run_all", "--data_dir", tmp_path / "events", "--save_dir", tmp_path / "moved", *small_configs, "--cf_save_model")
    assert caplog.text.count("up to date") == 3


def test_another_mode_in_the_same_folder_replaces_what_it_writes(analysis, tmp_path):
    analysis()
    said = analysis(mode="ANODE")
    assert said[NAMES[0]] == "up to date"
    assert list(read_records(tmp_path / "out")) == [NAMES[0], "density_estimator my_ANODE_model_inner", "likelihood_ratios",
                                                    "evaluation"]  # fmt: skip
    assert not (tmp_path / "out" / "X_train.npy").exists()
    assert not (tmp_path / "out" / "my_classifier_epoch_0.par").exists()
    assert set(analysis(mode="ANODE").values()) == {"up to date"}


def test_dry_run_says_what_would_be_done_and_does_nothing(analysis, tmp_path, capsys, toy_copy):
    analysis("--dry_run")
    plan = capsys.readouterr().out
    assert f"{NAMES[0]}: to do: not done yet" in plan
    assert f"what {NAMES[0]} writes\n" in plan
    assert f"reads  {toy_copy}/outerdata_train.npy, {toy_copy}/outerdata_test.npy" in plan
    assert not (tmp_path / "out").exists()
    analysis()
    before = contents(tmp_path / "out")
    capsys.readouterr()
    analysis("--dry_run", "--cf_n_runs", 3, "--DE_skip")
    plan = capsys.readouterr().out
    assert f"{NAMES[0]}: skipped, as asked for" in plan
    assert "classifier_arrays: up to date" in plan
    assert "classifiers: to do: --cf_n_runs was 2, is now 3" in plan
    analysis("--dry_run", "--DE_epochs", 4)
    plan = capsys.readouterr().out
    assert f"{NAMES[0]}: to do: --DE_epochs was 3, is now 4" in plan
    assert f"classifier_arrays: to do, if its inputs become others: {NAMES[0]} will be done" in plan
    assert contents(tmp_path / "out") == before


@pytest.mark.parametrize(
    ("skip", "change", "fault"),
    [
        ("--DE_skip", ["--datashift", "0.1"], "--datashift was 0.0, is now 0.1"),
        ("--DE_skip", ["--DE_no_logit"], "--DE_no_logit was False, is now True"),
        ("--cf_skip_create", ["--cf_SR_min", "3.4"], "--cf_SR_min was 3.3, is now 3.4"),
        ("--cf_skip_create", ["--mode", "CWoLa"], "--mode was CATHODE, is now CWoLa"),
        ("--cf_skip_train", ["--mode", "supervised"], "--mode was CATHODE, is now supervised"),
        ("--cf_skip_train", ["--mode", "LaCATHODE"], "--mode was CATHODE, is now LaCATHODE"),
    ],
)
def test_what_is_skipped_must_fit(analysis, fails, toy_copy, small_configs, tmp_path, skip, change, fault):
    analysis()
    before = contents(tmp_path / "out")
    line = fails("run_all", *small_configs, skip, *change, data_dir=toy_copy, save_dir=tmp_path / "out")
    assert "cannot be skipped, it does not fit" in line
    assert fault in line
    assert contents(tmp_path / "out") == before


def test_scores_of_one_mode_are_not_taken_for_those_of_another(analysis, fails, toy_copy, small_configs, tmp_path):
    analysis()
    out = ["--data_dir", toy_copy, "--save_dir", tmp_path / "out", *small_configs]
    line = fails("run_all", "--mode", "ANODE", *out, "--cf_skip_train")
    assert "likelihood_ratios cannot be skipped, the files there are those of classifier_arrays, classifiers, evaluation" in line


def test_new_arrays_and_old_scores_are_not_mixed(analysis, fails, run, toy_copy, small_configs, tmp_path):
    analysis()
    out = ["--data_dir", toy_copy, "--save_dir", tmp_path / "out", *small_configs]
    run("run_classifier_data_creation", "--data_dir", toy_copy, "--savedir", tmp_path / "out",
        "--n_samples", 3000, "--seed", 3)  # fmt: skip
    line = fails("run_all", *out, "--cf_skip_train")
    assert "classifiers cannot be skipped, it does not fit: X_" in line
    events = np.load(tmp_path / "out" / "X_test.npy")
    np.save(tmp_path / "out" / "X_test.npy", events[::-1])
    with pytest.raises(InputError, match=r"scores of another X_test\.npy"):
        full_single_evaluation(tmp_path / "out", tmp_path / "out")


def test_an_estimator_trained_on_other_events_is_not_used(analysis, fails, toy_copy, small_configs, tmp_path):
    analysis()
    path = toy_copy / "outerdata_train.npy"
    np.save(path, np.load(path)[:-5])
    line = fails("run_all", *small_configs, "--DE_skip", data_dir=toy_copy, save_dir=tmp_path / "out")
    assert "outerdata_train.npy is not the file it was" in line


def test_a_skip_says_which_flags_differ(analysis, caplog):
    analysis()
    analysis("--cf_skip_train", "--cf_n_runs", 9, "--cf_n_samples", 77)
    assert "classifier_arrays is used as it is, though --cf_n_samples was 4000, is now 77" in caplog.text
    assert "classifiers is used as it is, though --cf_n_runs was 2, is now 9" in caplog.text


def test_dry_run_refuses_what_the_run_would_refuse(fails, toy_copy, small_configs, tmp_path):
    out = ["--save_dir", tmp_path / "out", *small_configs, "--dry_run"]
    assert "nowhere: no such folder" in fails("run_all", "--data_dir", tmp_path / "nowhere", *out)
    assert "no such file" in fails("run_all", "--data_dir", toy_copy, *out, "--DE_skip")
    assert not (tmp_path / "out").exists()


def test_dry_run_tells_of_an_interrupted_training(analysis, tmp_path, capsys):
    unfinished = tmp_path / "out" / ".unfinished_density_estimator_my_ANODE_model"
    unfinished.mkdir(parents=True)
    save_json(unfinished / PLAN, begun(epochs=2))
    (unfinished / ".checkpoint").write_bytes(b"")
    analysis("--dry_run")
    assert "an interrupted training will be discarded, --resume would go on with it" in capsys.readouterr().out
    analysis("--dry_run", "--resume")
    assert "will be refused, an interrupted training cannot go on" in capsys.readouterr().out


def test_results_without_a_record_can_be_skipped_to(analysis, caplog, tmp_path):
    """Those of an older version, or a colleague's; the log says that nothing could be checked."""
    analysis()
    (tmp_path / "out" / "STAGE.json").unlink()
    assert analysis("--DE_skip", "--cf_skip_create", "--cf_skip_train")["classifiers"] == "skipped"
    assert caplog.text.count("so nobody can say whether it fits") == 2
    analysis("--cf_skip_train")  # the evaluation has a record now, and still whether the rest fits is not known
    assert caplog.text.count("so nobody can say whether it fits") == 2


def test_a_drawn_seed_is_logged_recorded_and_kept(toy_copy, flow_config, tmp_path, caplog):
    from run_ANODE_training import Options, main

    caplog.set_level(logging.INFO)
    argv = ["--data_dir", str(toy_copy), "--config_file", str(flow_config), "--epochs", "1", "--savedir"]
    weights = []
    for _ in range(2):
        run_script(main, "", Options, [*argv, str(tmp_path / "out")])
        weights.append((tmp_path / "out" / "my_ANODE_model_epoch_0.par").read_bytes())
    seed = read_records(tmp_path / "out")[NAMES[0]]["options"]["seed"]
    assert caplog.text.count(f"seed {seed}; --seed {seed} repeats it") == 2
    assert weights[0] == weights[1]
    run_script(main, "", Options, [*argv, str(tmp_path / "other")])
    assert (tmp_path / "other" / "my_ANODE_model_epoch_0.par").read_bytes() != weights[0]


def test_resume_refuses_other_flags_and_other_events(run, fails, toy_copy, flow_config, tmp_path, monkeypatch, caplog):
    """A training that ended in its middle, here because of a fault, goes on with what it was begun with and nothing else."""
    caplog.set_level(logging.INFO)
    script = "run_ANODE_training"
    flags = {"data_dir": toy_copy, "savedir": tmp_path / "out", "config_file": flow_config, "epochs": 2}
    with monkeypatch.context() as patch:
        patch.setattr("plots.losses.loss_curves", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run(script, **flags)
    unfinished = tmp_path / "out" / ".unfinished_density_estimator_my_ANODE_model"
    state = unfinished / ".checkpoint"
    line = fails(script, "--resume", **flags, patience=3)
    assert "--resume cannot go on with density_estimator my_ANODE_model, --patience was 10, is now 3" in line
    other = tmp_path / "other.yml"
    other.write_text("num_blocks: 3\nnum_hidden: 16\nlr: 4.0e-3\nschedule: one_cycle\n")
    line = fails(script, "--resume", **flags | {"config_file": other})
    assert "the hyperparameter lr was 0.003, is now 0.004" in line
    events = np.load(toy_copy / "outerdata_train.npy")
    np.save(toy_copy / "outerdata_train.npy", events[:-1])
    line = fails(script, "--resume", **flags)
    assert "outerdata_train.npy is not the file it was" in line
    np.save(toy_copy / "outerdata_train.npy", events)
    for path, fault in ((state, "not a readable weights file"), (unfinished / ".epochs" / "epoch_0.par", "has vanished")):
        content = path.read_bytes()
        path.unlink() if "epoch" in path.name else path.write_bytes(content[:100])
        line = fails(script, "--resume", **flags)
        assert fault in line
        assert "without --resume" in line
        path.write_bytes(content)
    run(script, "--resume", **flags)
    assert "density estimator: is trained already" in caplog.text
    assert len(read_records(tmp_path / "out")[NAMES[0]]["resumed"]) == 3
    run(script, **flags | {"savedir": tmp_path / "whole"})
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_without_resume_an_unfinished_training_is_discarded_with_a_warning(run, toy_copy, flow_config, tmp_path, caplog):
    unfinished = tmp_path / "out" / ".unfinished_density_estimator_my_ANODE_model"
    unfinished.mkdir(parents=True)
    save_json(unfinished / PLAN, begun())
    (unfinished / ".checkpoint").write_bytes(b"")
    run("run_ANODE_training", data_dir=toy_copy, savedir=tmp_path / "out", config_file=flow_config, epochs=1)
    assert "is discarded, --resume would have gone on with it" in caplog.text
    assert not unfinished.exists()


def begun(**options: object) -> dict:
    """What an unfinished stage says of its beginning."""
    return {"options": options, "hyperparameters": {}, "inputs": {}, "environment": {}, "start": ""}


def a_stage(folder: Path, work) -> Stage:
    return Stage("test", folder, StageOptions(), lambda: [], ("*.txt", "below/*.txt"), work)


def test_old_outputs_stay_until_the_new_ones_are_whole(tmp_path):
    def first(folder: Path) -> dict:
        (folder / "below").mkdir()
        for name in ("a.txt", "b.txt", "below/c.txt"):
            (folder / name).write_text("old")
        return {}

    def failing(folder: Path) -> dict:
        (folder / "a.txt").write_text("new")
        raise InputError("bad")

    def second(folder: Path) -> dict:
        (folder / "a.txt").write_text("new")
        assert (tmp_path / "a.txt").read_text() == "old"
        return {"n": 1}

    perform(a_stage(tmp_path, first), resume=False)
    before = contents(tmp_path)
    with pytest.raises(InputError, match="bad"):
        perform(a_stage(tmp_path, failing), resume=False)
    assert contents(tmp_path) == before
    perform(a_stage(tmp_path, second), resume=False)
    assert contents(tmp_path).keys() == {"a.txt", "STAGE.json"}
    assert (tmp_path / "a.txt").read_text() == "new"
    assert not (tmp_path / "below").exists()


def test_a_run_that_died_while_moving_its_files_is_completed(tmp_path, monkeypatch):
    def work(folder: Path) -> dict:
        for name in "ab":
            (folder / f"{name}.txt").write_text(name)
        return {}

    replace = Path.replace

    def dies(path: Path, target: Path) -> Path:
        if path.name == "b.txt":
            raise KeyboardInterrupt
        return replace(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", dies)
        with pytest.raises(KeyboardInterrupt):
            perform(a_stage(tmp_path, work), resume=False)
    assert (tmp_path / "a.txt").exists()
    assert not (tmp_path / "b.txt").exists()
    (tmp_path / ".x.npy.123.tmp").write_text("left by a dead process")
    (tmp_path / ".notes.tmp").write_text("not ours")
    recover(tmp_path)
    assert contents(tmp_path).keys() == {"a.txt", "b.txt", "STAGE.json", ".notes.tmp"}


def test_an_input_that_changes_meanwhile_is_noticed(tmp_path):
    source = tmp_path / "input.npy"
    np.save(source, np.zeros(3))

    def work(folder: Path) -> dict:
        np.save(source, np.ones(4))
        return {}

    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match=r"input\.npy: was changed while test ran"):
        perform(Stage("test", tmp_path / "out", StageOptions(), lambda: [source], (), work), resume=False)
    assert list((tmp_path / "out").iterdir()) == []


def test_finished_results_of_other_events_are_not_replaced(toy_copy, small_configs, tmp_path, run, fails):
    """As published, --data_dir elsewhere and the same mode would overwrite them; events that changed where they are may be."""
    other = tmp_path / "other"
    shutil.copytree(toy_copy, other)
    events = np.load(other / "innerdata_train.npy")
    np.save(other / "innerdata_train.npy", events[:-3])
    flags = {"mode": "CWoLa", "save_dir": tmp_path / "out"}
    run("run_all", *small_configs, **flags, data_dir=toy_copy)
    before = contents(tmp_path / "out")
    line = fails("run_all", *small_configs, **flags, data_dir=other)
    assert f"holds finished results of the events in {toy_copy}; those in {other} are others" in line
    assert contents(tmp_path / "out") == before
    run("run_all", *small_configs, "--force", **flags, data_dir=other)
    shutil.copy(toy_copy / "innerdata_train.npy", other)
    run("run_all", *small_configs, **flags, data_dir=other)


def test_figures_in_another_format(toy_copy, flow_config, tmp_path, run):
    """The format decides no result: the stage stays up to date; done again, its figures replace those of the other format."""
    options = {"data_dir": toy_copy, "savedir": tmp_path / "out", "config_file": flow_config, "epochs": 1}
    run("run_ANODE_training", **options)
    assert (tmp_path / "out" / "my_ANODE_model_losses.png").is_file()
    run("run_ANODE_training", "--resume", **options, figures="svg")
    assert (tmp_path / "out" / "my_ANODE_model_losses.png").is_file(), "up to date"
    run("run_ANODE_training", **options, figures="svg")
    assert [path.name for path in (tmp_path / "out").glob("*_losses.[ps]*g")] == ["my_ANODE_model_losses.svg"]
    assert "figures" not in read_records(tmp_path / "out")["density_estimator my_ANODE_model"]["options"]
