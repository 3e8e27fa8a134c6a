"""Whole runs on events without labels, in folds; and on labelled events in folds."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from toys import toy_background, toy_data, write_own

from background.arrays import ARRAY_FILES
from common.contract import patterns
from common.errors import InputError
from evaluation.folds import SCORES_FILE, selected_by_cuts
from evaluation.scores import SCORE_FILES
from evaluation_utils import evaluate_run, sculpting_of_run
from events.folds import folds_of_data, learned_from
from events.records import load_scores
from models.density import DENSITY_FILES
from reports.run import run_page

EVENTS = 7000
IN_FOLDS = ("--cf_use_class_weights", "--cf_k_folds", "3", "--mode", "CWoLa")


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """Separated events without labels, with a strong signal."""
    return write_own(tmp_path_factory.mktemp("own"), toy_data(EVENTS, 150))


@pytest.fixture(scope="module")
def truth(own):
    """True labels by the row in the input."""
    labels = np.full(2 * EVENTS, np.nan)
    labels[np.load(own / "data_row.npy")] = toy_data(EVENTS, 150)[:, -1]
    return labels


@pytest.mark.parametrize("mode", ["CATHODE", "LaCATHODE", "CWoLa", "ANODE"])
def test_events_without_labels_go_through(mode, own, truth, tmp_path, run, small_configs, caplog, undrawn):
    caplog.set_level("INFO")
    folds = ["--cf_k_folds", 3] if mode in ("LaCATHODE", "CWoLa") else []
    run("run_all", *small_configs, *folds, "--cf_use_class_weights", data_dir=own, save_dir=tmp_path, mode=mode, drawn=True)
    scores = load_scores(tmp_path / "scores.npy")
    np.testing.assert_array_equal(scores["row"], np.load(own / "data_row.npy"))
    np.testing.assert_array_equal(scores["m"], np.load(own / "data.npy")[:, 0])
    inside = (scores["m"] > 3300) & (scores["m"] < 3700)
    efficiency = scores["background_efficiency"]
    assert np.isfinite(efficiency[inside]).mean() > 0.97
    assert (np.isfinite(efficiency[~inside]).mean() > 0.5) == (mode != "ANODE")
    assert set(scores["fold"]) == ({-1} if mode == "ANODE" else set(range(3 if folds else 5)))
    assert scores["score_of_runs"].shape == (len(scores), 1 if mode == "ANODE" else 2)
    signal = truth[scores["row"]] == 1
    assert np.nanmedian(efficiency[inside & signal]) < 0.1, "signal is found"
    assert 0.3 < np.nanmedian(efficiency[inside & ~signal]) < 0.6
    assert sum("the events have no labels, so that there is no ROC" in line for line in caplog.messages) == 1
    found = json.loads((tmp_path / "STAGE.json").read_text())["evaluation"]["results"]
    cut = found["selected"][-1]
    assert cut["efficiency"] == {"CWoLa": 0.1, "ANODE": 0.001}.get(mode, 0.01), "there are held-out events"
    assert cut["found"] == int(np.sum(efficiency[inside] <= cut["efficiency"]))
    assert cut["held_out"] == pytest.approx(cut["efficiency"] * inside.sum(), rel=0.15)
    assert cut["by"] == ("held-out background" if mode == "ANODE" else "sideband")
    assert abs(cut["expected"] - cut["held_out"]) < 4 * cut["error"], "the signal is not in the expectation"
    assert found["selected"][0]["found"] > found["selected"][0]["expected"] + 4 * found["selected"][0]["error"]
    assert ("sideband_share" in cut) == (mode != "ANODE")
    assert "max_sic" not in found
    known = [pattern for files in (ARRAY_FILES, SCORE_FILES, (SCORES_FILE,)) for pattern in patterns(files)]
    known += [pattern.replace("NAME", "my_ANODE_model") for pattern in patterns(DENSITY_FILES)]
    written = [path for path in tmp_path.glob("fold_*/*")] + [tmp_path / "scores.npy"]
    assert all(any(path.match(pattern) for pattern in known) for path in written)
    assert (tmp_path / "selected.png").is_file()
    assert not (tmp_path / "result_SIC.png").exists()
    page = run_page(tmp_path)
    assert not [section.missing for section in page.sections if section.missing]
    assert not {"Performance", "Background sculpting"} & {section.title for section in page.sections}
    assert {fact.name: fact.value for fact in page.facts}[f"Selected at ε_B = {cut['efficiency']:g}"] == str(cut["found"])
    assert "Nobody knows the labels" in page.summary
    [table] = next(section.tables for section in page.sections if section.title == "Selected events")
    assert cut["by"] == ("held-out background" if mode == "ANODE" else "sideband"), "ANODE scores no sideband"
    assert table.rows[-1][-2:] == (cut["by"], f"{cut['held_out']:.1f}")
    says = f"{cut['expected']:.1f} ± {cut['error']:.1f} (statistical) are expected from the {cut['by']}"
    assert says in page.summary
    remarks = {fact.name: fact.remark for fact in page.facts}
    assert says in remarks[f"Selected at ε_B = {cut['efficiency']:g}"]
    assert (f"would say {cut['held_out']:.1f}" in page.summary) == (mode != "ANODE")
    caplog.clear()
    run("run_all", *small_configs, *folds, "--cf_use_class_weights", data_dir=own, save_dir=tmp_path, mode=mode)
    assert sum(line.endswith(": up to date") for line in caplog.messages) >= 2
    (tmp_path / "selected.png").unlink()
    run("run_all", *folds, "--cf_skip_train", data_dir=own, save_dir=tmp_path, mode=mode)
    assert (tmp_path / "selected.png").is_file()
    run("run_all", *folds, "--cf_skip_train", data_dir=own / "gone", save_dir=tmp_path, mode=mode)


def test_the_flow_for_a_fold_knows_nothing_of_its_sideband_events(own, tmp_path, run, fails, small_configs):
    flags = [*small_configs[:2], "--DE_epochs", 2]
    flags = [str(each).replace("--DE_", "--") for each in flags] + ["--k_folds", 3, "--seed", 1]
    run("run_ANODE_training", *flags, data_dir=own, savedir=tmp_path / "first")
    changed = shutil.copytree(own, tmp_path / "own")
    events = np.load(changed / "data.npy")
    of_fold = folds_of_data(len(events), 3) == 0
    events[of_fold & (events[:, 0] < 3300), 1:-1] *= 1.01
    np.save(changed / "data.npy", events)
    run("run_ANODE_training", *flags, data_dir=changed, savedir=tmp_path / "second")
    for fold, (trains_alike, validates_alike) in enumerate([(True, True), (False, True), (True, False)]):
        for name, alike in (("epoch_1.par", trains_alike), ("val_losses.npy", trains_alike and validates_alike)):
            first, second = (tmp_path / place / f"fold_{fold}" / f"my_ANODE_model_{name}" for place in ("first", "second"))
            assert (first.read_bytes() == second.read_bytes()) == alike, first
    results = json.loads((tmp_path / "first" / "STAGE.json").read_text())["density_estimator my_ANODE_model"]["results"]
    assert results.keys() == {"fold 0", "fold 1", "fold 2"}
    shared = {"data_dir": own, "savedir": tmp_path / "out", "DE_dir": tmp_path / "first", "seed": 1}
    other_order = write_own(tmp_path / "other", toy_data(EVENTS, 150)[::-1])
    line = fails("run_classifier_data_creation", "--k_folds", 3, **(shared | {"data_dir": other_order}))
    assert "trained with data 6989 events" in line
    (tmp_path / "first" / "fold_0").rename(tmp_path / "first" / "fold_3")
    shutil.copytree(tmp_path / "first" / "fold_3", tmp_path / "first" / "fold_0")
    line = fails("run_classifier_data_creation", "--k_folds", 4, **shared)
    assert "trained with fold 0 of 3, but the events have 0 of 4" in line
    shutil.rmtree(tmp_path / "first" / "fold_0")
    line = fails("run_classifier_data_creation", "--k_folds", 3, **shared)
    assert "fold_0/my_ANODE_model_preprocessing.json" in line


def test_flows_of_folds_are_shared_and_shown(own, tmp_path, run, fails, small_configs, undrawn):
    flags = [*small_configs, "--cf_use_class_weights", "--cf_k_folds", 3]
    run("run_all", *flags, data_dir=own, save_dir=tmp_path / "first", seed=1)
    run("run_all", *flags, "--DE_dir", tmp_path / "first", data_dir=own, save_dir=tmp_path / "second", mode="LaCATHODE", seed=2)
    for name in ("first", "second"):
        page = run_page(tmp_path / name)
        assert not [section.missing for section in page.sections if section.missing]
        [table] = next(section.tables for section in page.sections if section.title == "Training of the density")
        assert [row[0] for row in table.rows] == ["fold 0", "fold 1", "fold 2"]
    assert [path.name for path in (tmp_path / "second" / "fold_0").glob("*.par")] == []
    line = fails("run_all", "--DE_skip", data_dir=own, save_dir=tmp_path / "first", mode="ANODE")
    assert "my_ANODE_model_preprocessing.json: no such file; the density estimators there are those of folds" in line
    run("run_all", *small_configs, "--cf_use_class_weights", "--cf_k_folds", 4, data_dir=own, save_dir=tmp_path / "first", seed=1)
    assert len(list((tmp_path / "first").glob("fold_*/my_ANODE_model_estimator.json"))) == 4
    run("run_all", *small_configs, "--cf_use_class_weights", "--cf_k_folds", 3, data_dir=own, save_dir=tmp_path / "first", seed=1)
    assert not (tmp_path / "first" / "fold_3").exists()


def test_sampled_masses_are_those_of_training_folds(own, tmp_path, run, small_configs):
    """Else the scored events, or those that validate, would be among the background that they are compared with."""
    flags = [*small_configs, "--cf_use_class_weights", "--cf_k_folds", 3, "--mode", "LaCATHODE"]
    run("run_all", *flags, data_dir=own, save_dir=tmp_path)
    record = np.load(tmp_path / "folds.npy")
    for fold in range(3):
        arrays = [np.load(tmp_path / f"fold_{fold}" / f"X_{name}.npy") for name in ("train", "validation", "held_out")]
        background = np.concatenate([array[array[:, -2] == 0, 0] for array in arrays])
        trains = np.isin(record["fold"], learned_from(fold, 3)[0])
        assert set(background.tolist()) <= set(record["m"][trains].tolist())
        assert len(set(background.tolist())) > 100


@pytest.fixture(scope="module")
def with_labels(tmp_path_factory, run, small_configs):
    """A run in folds on the same events with labels; not to be changed."""
    folder = tmp_path_factory.mktemp("labelled")
    labelled = write_own(folder / "events", toy_data(EVENTS, 150), labelled=True)
    run("run_all", *small_configs, *IN_FOLDS, data_dir=labelled, save_dir=folder / "results")
    return folder


def test_labels_do_not_change_a_score_and_give_a_sic(with_labels, own, tmp_path, run, small_configs):
    results = with_labels / "results"
    run("run_all", *small_configs, *IN_FOLDS, data_dir=own, save_dir=tmp_path)
    assert (tmp_path / "scores.npy").read_bytes() == (results / "scores.npy").read_bytes()
    assert (results / "result_SIC.png").is_file()
    assert (results / "sculpting.json").is_file()
    evaluation = evaluate_run(results, results)
    assert evaluation.max_sic.value > 2
    assert evaluation.n_signal > 100
    assert len(sculpting_of_run(results, results)) >= 1
    said = json.loads((results / "STAGE.json").read_text())["evaluation"]["results"]
    assert said["max_sic"] == pytest.approx(evaluation.max_sic.value)


def test_a_run_in_folds_is_not_skipped_into_one_with_others(with_labels, fails, small_configs):
    flags = [*small_configs, "--mode", "CWoLa", "--cf_k_folds", 4, "--cf_skip_create"]
    line = fails("run_all", *flags, data_dir=with_labels / "events", save_dir=with_labels / "results")
    assert "--cf_k_folds was 3, is now 4" in line


def test_a_fold_that_is_missing_is_refused(with_labels, tmp_path, fails):
    results = shutil.copytree(with_labels / "results", tmp_path / "results")
    (results / "fold_2" / "X_train.npy").unlink()
    line = fails("run_classifier_training", "--CWoLa", data_dir=results, savedir=tmp_path / "scores")
    assert "folds.npy has the folds 0, 1, 2, but there are arrays of 2 folds" in line
    with pytest.raises(InputError, match="is not of the 2 folds"):
        evaluate_run(results, results)


def test_scores_of_other_events_are_refused(with_labels, tmp_path):
    results = shutil.copytree(with_labels / "results", tmp_path / "results")
    events = np.load(results / "fold_1" / "X_test.npy")
    np.save(results / "fold_1" / "X_test.npy", events[::-1])
    with pytest.raises(InputError, match=r"scores of another fold_1/X_test\.npy"):
        evaluate_run(results, results)


def test_a_cut_selects_as_much_background_as_it_says_in_every_fold(tmp_path, run, small_configs):
    """Without signal, and with samples of the background's own law."""
    rng = np.random.default_rng(7)
    own = write_own(tmp_path / "own", toy_data(10_000, 0))
    m = np.load(own / "data.npy")[:, 0]
    masses = rng.choice(m[(m > 3300) & (m < 3700)], 15_000)
    samples = toy_background(len(masses), rng, masses / 1000)[:, :-1]
    samples[:, 0] = masses
    np.save(tmp_path / "samples.npy", samples)
    flags = ["--cf_external_samples", tmp_path / "samples.npy", "--cf_oversampling", "--cf_use_class_weights", "--cf_k_folds", 3]
    run("run_all", *small_configs, *flags, data_dir=own, save_dir=tmp_path / "out", mode="CATHODE")
    scores = load_scores(tmp_path / "out" / "scores.npy")
    inside = (scores["m"] > 3300) & (scores["m"] < 3700)
    for fold in range(3):
        mine = scores[inside & (scores["fold"] == fold)]
        for cut in selected_by_cuts(mine["background_efficiency"], np.zeros(len(mine)), [5000]):
            assert abs(cut.found - cut.expected) < 3.5 * cut.error, (fold, cut)


def test_boosted_trees_in_folds(own, truth, tmp_path, run):
    flags = ["--mode", "CWoLa", "--cf_model", "hgb", "--cf_n_runs", 1, "--cf_n_ensemble", 3, "--cf_k_folds", 3]
    run("run_all", *flags, data_dir=own, save_dir=tmp_path)
    scores = load_scores(tmp_path / "scores.npy")
    signal = (truth[scores["row"]] == 1) & (scores["m"] > 3300) & (scores["m"] < 3700)
    assert np.nanmedian(scores["background_efficiency"][signal]) < 0.1


@pytest.mark.parametrize(("flags", "words"), [
    (["--mode", "supervised"], "no labels, which the supervised mode needs"),
    (["--mode", "idealized_AD"], "no labels, which the idealized_AD mode needs"),
    (["--mode", "CWoLa", "--cf_k_folds", 2], "--cf_k_folds 2: must be 0 or at least 3"),
    (["--mode", "CWoLa", "--cf_k_folds", 0], "leave out --cf_k_folds 0"),
    (["--mode", "CWoLa", "--cf_SR_min", 3200], "--cf_SR_min 3200: the events in"),
    (["--mode", "LaCATHODE", "--cf_n_latent_epochs", 2], "it needs --cf_n_latent_epochs 1"),
    (["--mode", "CWoLa", "--cf_skip_train"], "scores.npy: no such file"),
    (["--mode", "CWoLa", "--cf_skip_create"], "fold_0/X_train.npy: no such file"),
])  # fmt: skip
def test_what_cannot_be_is_one_line_in_the_first_seconds(flags, words, own, tmp_path, fails):
    assert words in fails("run_all", *flags, data_dir=own, save_dir=tmp_path / "results")
    assert not list(tmp_path.iterdir())
