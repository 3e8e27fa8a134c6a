"""What a search sees: blind, or with injected signal; what the events of the window decide."""

from __future__ import annotations

import csv
import re
import shutil

import numpy as np
import pytest
from searches import SMALL, found, results

from reports.search import search_page


def test_injected_signal_is_found_the_better_the_more_it_is(own, signal_file, run, tmp_path):
    amounts = (0, 0.05)
    run(
        "run_bump_hunt", *SMALL, "--inject", *amounts, "--inject_from", signal_file, data_dir=own, save_dir=tmp_path, mode="CWoLa"
    )
    with (tmp_path / "injection.csv").open() as file:
        z = [float(line["z"]) for line in csv.DictReader(file) if line["efficiency"] == "0.1"]
    assert z[0] < 2 < 3.5 < z[1]
    assert (tmp_path / "injection.png").is_file()
    m = np.load(own / "data.npy")[:, 0]
    n_inside = int(((m > 3300) & (m < 3700)).sum())
    for amount in amounts:
        observed = found(tmp_path / f"injected_{amount:g}", 1.0)["observed"]
        assert observed == n_inside + round(amount * n_inside)
    rows = [np.load(tmp_path / f"injected_{amount:g}" / "window_3500" / "separated_data" / "data.npy") for amount in amounts]
    np.testing.assert_array_equal(rows[1][: len(rows[0])], rows[0])
    assert found(tmp_path / "injected_0.05", 0.1)["interval_95"][0] > 0
    flags = ("--blind", "--systematic", 0.1, "--inject", *amounts, "--inject_from", signal_file)
    run("run_bump_hunt", *SMALL, *flags, data_dir=own, save_dir=tmp_path, mode="CWoLa")
    with (tmp_path / "injection.csv").open() as file:
        assert {(line["observed"], line["z"], line["p0"]) for line in csv.DictReader(file)} == {("", "", "")}
    assert not (tmp_path / "injection.png").exists(), "a blind search shows no curve, not even that of before"
    [curve] = [section for section in search_page(tmp_path).sections if section.title == "Injected signal"]
    assert curve.pictures == []
    assert "There is no curve" in curve.text[0]


@pytest.mark.parametrize("mode", ["CATHODE", "CWoLa"])
def test_a_blind_search_logs_no_number_of_events(mode, own, signal_file, run, small_configs, tmp_path, caplog):
    """Those of the whole and of the sideband would do: the window has the difference."""
    caplog.set_level("INFO")
    flags = () if mode == "CWoLa" else (*small_configs[:2], "--DE_epochs", "1", "--cf_n_samples", "4000")
    flags = (*flags, "--blind", "--inject", 0.05, "--inject_from", signal_file)
    run("run_bump_hunt", *SMALL, *flags, data_dir=own, save_dir=tmp_path, mode=mode)
    counting = re.compile(r"\d+ (?:data|signal events|(?:of \d+ )?(?:events|samples))(?! expected)")
    assert not [line for line in caplog.messages if counting.search(line)]


def test_blind_trains_and_says_what_is_expected_but_not_what_is_there(own, run, tmp_path, caplog):
    caplog.set_level("INFO")
    run("run_bump_hunt", *SMALL, "--blind", data_dir=own, save_dir=tmp_path, mode="CWoLa")
    content = results(tmp_path)
    for each in content["windows"][0]["efficiencies"]:
        assert each["expected"] > 0
        assert [each[name] for name in ("observed", "p0", "z", "yield", "limit")] == [None] * 5
    assert content["global"] is None
    assert not (tmp_path / "p0.png").exists()
    assert (tmp_path / "spectrum_3500_0.1.png").exists()
    assert (
        "blind: what a window has is hidden in its own results; it is part of the sidebands of its neighbours" in caplog.messages
    )
    n_inside = int(((np.load(own / "data.npy")[:, 0] > 3300) & (np.load(own / "data.npy")[:, 0] < 3700)).sum())
    assert not [line for line in caplog.messages if f"{n_inside}" in line or f"{n_inside // 2}" in line]
    caplog.clear()
    run("run_bump_hunt", *SMALL, data_dir=own, save_dir=tmp_path, mode="CWoLa")
    assert "classifiers: up to date" in caplog.messages
    seen = found(tmp_path, 0.1)
    assert seen["observed"] > 0
    assert seen["expected"] == content["windows"][0]["efficiencies"][1]["expected"]


def test_features_of_the_window_leave_flow_prediction_and_their_own_fold_s_classifier_unchanged(
    own, run, small_configs, tmp_path
):
    """Blinding: what the events of the window in one fold look like, only the classifiers of other folds have seen."""
    flags = [*SMALL, *small_configs[:2], "--DE_epochs", "2", "--cf_n_samples", "4000", "--cf_use_class_weights"]
    run("run_bump_hunt", *flags, data_dir=own, save_dir=tmp_path / "first", mode="CATHODE")
    one, other = tmp_path / "first" / "window_3500", tmp_path / "second" / "window_3500"
    changed = tmp_path / "own"
    shutil.copytree(own, changed)
    events = np.load(changed / "data.npy")
    chosen = (events[:, 0] > 3300) & (events[:, 0] < 3700) & (np.load(one / "folds.npy")["fold"] == 0)
    events[chosen, 1:-1] = np.random.default_rng(0).permutation(events[chosen, 1:-1]) * 1.01
    np.save(changed / "data.npy", events)
    run("run_bump_hunt", *flags, data_dir=changed, save_dir=tmp_path / "second", mode="CATHODE")
    of_flows = [path.relative_to(one) for path in one.glob("fold_*/my_ANODE_model_*") if path.suffix in (".par", ".npy", ".json")]
    assert len([path for path in of_flows if path.suffix == ".par"]) == 3 * 2, "folds and epochs"
    for name in of_flows:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    for name in ("expected", "error", "order", "parameters", "goodness"):
        assert found(tmp_path / "first", 1.0)[name] == found(tmp_path / "second", 1.0)[name]
    for name in ("X_train.npy", "preds_matris_held_out.npy"):
        same = [(one / f"fold_{fold}" / name).read_bytes() == (other / f"fold_{fold}" / name).read_bytes() for fold in range(2)]
        assert same == [True, False], "fold 1 is trained on fold 0"
    scores, others = np.load(one / "scores.npy"), np.load(other / "scores.npy")
    untouched = (scores["fold"] == 0) & ~chosen
    np.testing.assert_array_equal(scores["background_efficiency"][untouched], others["background_efficiency"][untouched])
    assert (scores["background_efficiency"][chosen] != others["background_efficiency"][chosen]).any()
