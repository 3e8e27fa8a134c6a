"""Whole searches on toys: one window, a scan, injected signal; blind, resumed, killed, on bad input."""

from __future__ import annotations

import csv
import json
import re
import shutil

import numpy as np
import pytest
from paper_runs import write_run
from toys import toy_background, toy_data, toy_signal, write_own

from common.script import run_script
from events.window import Window
from reports.search import search_page
from search.options import SearchOptions
from workflow.search import curve_stage

EVENTS = 14_000
SMALL = ("--cf_model", "hgb", "--cf_n_runs", 1, "--cf_n_ensemble", 2, "--cf_k_folds", 3, "--cf_oversampling", "--cf_no_logit",
         "--n_toys", 30, "--efficiencies", 0.1)  # fmt: skip
SCAN = ("--scan_min", 3500, "--scan_max", 4200, "--n_windows", 2)


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """Separated events without labels and without signal."""
    return write_own(tmp_path_factory.mktemp("search") / "own", toy_data(EVENTS, 0))


@pytest.fixture(scope="module")
def signal_file(tmp_path_factory):
    """Signal events in the units of the data."""
    path = tmp_path_factory.mktemp("signal") / "signal.npy"
    events = toy_signal(600, np.random.default_rng(9)) * np.array([1000, 1, 1, 1, 1, 1], dtype=np.float32)
    np.save(path, events)
    return path


@pytest.fixture(scope="module")
def scan(own, run, tmp_path_factory):
    """A scan of two windows; not to be changed."""
    folder = tmp_path_factory.mktemp("scan") / "scan"
    run("run_bump_hunt", *SMALL, *SCAN, data_dir=own, save_dir=folder, mode="CWoLa", drawn=True)
    return folder


def results(folder):
    return json.loads((folder / "bump_hunt.json").read_text())


def found(folder, efficiency):
    """What the first window has at an efficiency."""
    return next(each for each in results(folder)["windows"][0]["efficiencies"] if each["efficiency"] == efficiency)


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.suffix in (".npy", ".csv")}


def test_a_scan_of_background_finds_nothing(scan, own):
    content = results(scan)
    assert [each["window"]["center"] for each in content["windows"]] == pytest.approx([3500, 4200])
    assert [each["efficiency"] for each in content["windows"][0]["efficiencies"]] == [1, 0.1]
    assert content["global"]["n_toys"] == 30
    assert content["global"]["n_above"] > 0
    assert content["global"]["p_limit_95"] is None, "there is a p-value"
    assert content["global"]["z"] < 3
    assert any("sidebands of its neighbours" in line for line in content["said"])
    assert "global p-value" in content["said"][-1]
    with (scan / "bump_hunt.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [float(line["z"]) for line in lines] == [each["z"] for window in content["windows"] for each in window["efficiencies"]]
    for name in ("spectrum_3500_1.png", "spectrum_4200_0.1.png", "p0.png"):
        assert (scan / name).read_bytes().startswith(b"\x89PNG")
    m = np.load(own / "data.npy")[:, 0]
    first = content["windows"][0]
    assert first["efficiencies"][0]["observed"] == ((m > first["window"]["low"]) & (m < first["window"]["high"])).sum()


def test_the_report_of_a_search(scan, undrawn):
    page, content = search_page(scan), results(scan)
    assert not [section.missing for section in page.sections if section.missing]
    titles = [section.title for section in page.sections]
    assert len(set(titles)) == len(titles)
    regions = re.findall('role="region" aria-label="([^"]*)"', page.html())
    assert len(set(regions)) == len(regions) > 3, "a screen reader tells them apart by nothing else"
    assert sum(title.startswith("Window ") for title in titles) == 2
    facts = {fact.name: fact.value for fact in page.facts}
    assert facts["Global p-value"] == f"{content['global']['p']:.2g}"
    assert facts["Largest local significance"] == f"{content['global']['z']:.2f} σ"
    assert page.summary.rstrip(".").lower() == content["said"][-1].lower()
    window = next(section for section in page.sections if section.title.startswith("Window "))
    assert {picture.source[:15] for picture in window.pictures} == {"data:image/png;"}, (
        "drawings of six windows take more than 3 MB"
    )
    table = window.tables[0]
    assert [row[2] for row in table.rows] == [str(each["observed"]) for each in content["windows"][0]["efficiencies"]]


def test_the_report_leaves_out_windows_of_an_earlier_scan(scan, undrawn, tmp_path):
    folder = tmp_path / "scan"
    shutil.copytree(scan, folder)
    shutil.copytree(folder / "window_4200", folder / "window_5000")
    titles = [section.title for section in search_page(folder).sections]
    assert "Stages of window_4200" in titles
    assert "Stages of window_5000" not in titles


def test_a_curve_is_of_one_window_and_has_a_gap_where_it_is_left_out(scan, tmp_path, caplog):
    content = results(scan)
    for name, windows in (("all", content["windows"]), ("other", content["windows"][1:])):
        (tmp_path / name).mkdir()
        (tmp_path / name / "bump_hunt.json").write_text(json.dumps(content | {"windows": windows}))
    options = SearchOptions(seed=1, efficiencies=(0.1,))
    stage = curve_stage(options, tmp_path, {0.0: tmp_path / "all", 0.1: tmp_path / "other"}, Window(3300, 3700))
    stage.work(tmp_path)
    points = json.loads((tmp_path / "injection.json").read_text())["points"]
    assert [(each["injected_s_over_b"], each["efficiency"], each["z"] is None) for each in points] == [
        (0.0, 1.0, False), (0.0, 0.1, False), (0.1, 1.0, True), (0.1, 0.1, True)]  # fmt: skip
    assert len({each["center"] for each in points}) == 1
    assert "left out: the curve has no point there" in caplog.text


def test_every_window_is_separated_anew_from_all_data(scan, own):
    m = np.load(own / "data.npy")[:, 0]
    for window in results(scan)["windows"]:
        folder = scan / f"window_{window['window']['center']:.4g}" / "separated_data"
        edges = json.loads((folder / "columns.json").read_text())["signal_region"]
        assert edges == [window["window"]["low"], window["window"]["high"]]
        inside = (m > edges[0]) & (m < edges[1])
        sideband = np.concatenate([np.load(folder / f"outerdata_{part}.npy")[:, 0] for part in ("train", "test")])
        np.testing.assert_array_equal(np.sort(sideband), np.sort(m[~inside]))
        np.testing.assert_array_equal(np.load(folder / "data.npy")[:, :-1], np.load(own / "data.npy")[:, :-1])


def test_an_event_has_the_same_fold_in_every_window(scan):
    first, second = (np.load(path) for path in sorted(scan.glob("window_*/scores.npy")))
    for name in ("row", "m", "fold"):
        np.testing.assert_array_equal(first[name], second[name])


def test_again_nothing_is_done_and_other_statistics_train_nothing(scan, own, run, tmp_path, caplog):
    folder = tmp_path / "scan"
    shutil.copytree(scan, folder)
    before = contents(folder)
    caplog.set_level("INFO")
    run("run_bump_hunt", *SMALL, *SCAN, data_dir=own, save_dir=folder, mode="CWoLa")
    assert "bump_hunt: up to date" in caplog.messages
    assert contents(folder) == before
    caplog.clear()
    run("run_bump_hunt", *SMALL, *SCAN, "--systematic", 0.05, data_dir=own, save_dir=folder, mode="CWoLa")
    assert caplog.messages.count("classifiers: up to date") == 2
    assert "the box was open before, and now --systematic was [], is now [0.05]. Of several results, the first" in caplog.text
    z, other = (
        np.array([each["z"] for window in results(place)["windows"] for each in window["efficiencies"]])
        for place in (scan, folder)
    )
    assert (np.abs(other) < np.abs(z)).all()
    caplog.clear()
    for flags in (("--blind", "--systematic", 0.1), ("--systematic", 0.1)):
        assert "the box was open before" not in caplog.text, "nothing is opened yet"
        run("run_bump_hunt", *SMALL, *SCAN, *flags, data_dir=own, save_dir=folder, mode="CWoLa")
    assert "the box was open before, and now the settings or the scores are not those of the first time" in caplog.text
    caplog.clear()
    run("run_bump_hunt", *SMALL, *SCAN, data_dir=own, save_dir=folder, mode="CWoLa")
    assert "the box was open before" not in caplog.text, "this is the first result again"
    assert len(results(folder)["opened"]) == 3


def test_a_killed_scan_goes_on_and_gives_the_same(scan, own, run, tmp_path, monkeypatch, caplog):
    import workflow.classifiers as classifiers

    train, calls = classifiers.train, []

    def killed(*args, **kwargs):
        calls.append(args)
        if len(calls) == 5:  # the second fold of the second window
            raise KeyboardInterrupt
        return train(*args, **kwargs)

    monkeypatch.setattr(classifiers, "train", killed)
    folder = tmp_path / "scan"
    with pytest.raises(SystemExit):
        run("run_bump_hunt", *SMALL, *SCAN, data_dir=own, save_dir=folder, mode="CWoLa")
    assert not (folder / "bump_hunt.json").exists()
    caplog.set_level("INFO")
    run("run_bump_hunt", *SMALL, *SCAN, "--resume", data_dir=own, save_dir=folder, mode="CWoLa")
    assert caplog.messages.count("classifiers: up to date") == 1, "the first window is not done again"
    assert contents(folder) == contents(scan)


def test_a_fit_that_does_not_converge_gives_no_number_anywhere(scan, own, run, tmp_path, monkeypatch):
    folder = tmp_path / "scan"
    shutil.copytree(scan, folder)
    monkeypatch.setattr("search.fit.MAX_CALLS", 1)
    flags = (*SCAN, "--fit_min", 2600, "--fit_max", 6000)
    run("run_bump_hunt", *SMALL, *flags, data_dir=own, save_dir=folder, mode="CWoLa")
    content = results(folder)
    for each in (each for window in content["windows"] for each in window["efficiencies"]):
        assert "converges" in each["failure"]
        assert [each[name] for name in ("expected", "error", "p0", "z", "yield", "limit", "order")] == [None] * 7
    assert content["global"] is None
    assert any("no fit: no fit with 2 parameters converges" in line for line in content["said"])
    assert not list(folder.glob("spectrum_*.png"))
    with (folder / "bump_hunt.csv").open() as file:
        assert [line["z"] for line in csv.DictReader(file)] == [""] * 4


def test_a_drawn_seed_is_kept_from_the_first_stage_on(own, tmp_path, monkeypatch):
    import run_bump_hunt
    import workflow.classifiers as classifiers

    def killed(*args, **kwargs):
        raise KeyboardInterrupt

    command = [
        str(each) for each in (*SMALL, "--data_dir", own, "--save_dir", tmp_path / "out", "--mode", "CWoLa", "--n_toys", 0)
    ]
    with monkeypatch.context() as patch:
        patch.setattr(classifiers, "train", killed)
        with pytest.raises(SystemExit):
            run_script(run_bump_hunt.main, "", run_bump_hunt.Options, command)
    record = tmp_path / "out" / "window_3500" / "separated_data" / "STAGE.json"
    before = record.read_bytes()
    run_script(run_bump_hunt.main, "", run_bump_hunt.Options, [*command, "--resume"])
    assert record.read_bytes() == before
    seed = json.loads(before)["separation"]["options"]["seed"]
    assert json.loads((tmp_path / "out" / "STAGE.json").read_text())["bump_hunt"]["options"]["seed"] == seed
    assert "no global p-value without toys" in results(tmp_path / "out")["said"][-1]


def test_results_in_the_folder_of_the_events_are_refused(own, fails):
    assert "need a folder of their own" in fails("run_bump_hunt", data_dir=own, save_dir=own, mode="CWoLa")


def test_a_search_among_the_results_of_a_run_is_refused(own, fails, tmp_path):
    write_run(tmp_path / "results", "CWoLa", 1.0)
    line = fails("run_bump_hunt", data_dir=own, save_dir=tmp_path / "results", mode="CWoLa")
    assert "holds results (classifiers, classifier_arrays, evaluation); a search needs a folder of its own" in line


@pytest.mark.parametrize(("script", "out"), [("run_all", "save_dir"), ("run_classifier_data_creation", "savedir")])
def test_a_run_among_the_results_of_a_search_is_refused(own, scan, fails, script, out):
    line = fails(script, data_dir=own, mode="CWoLa", **{out: scan})
    assert "holds results (bump_hunt); a run needs a folder of its own" in line


def test_searches_with_several_amounts_have_a_folder_of_their_own(own, scan, signal_file, fails):
    flags = ("--inject", 0, 0.05, "--inject_from", signal_file)
    line = fails("run_bump_hunt", *SMALL, *flags, data_dir=own, save_dir=scan, mode="CWoLa")
    assert "holds results of one search; these need another --save_dir" in line


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


@pytest.mark.parametrize("mode", ["CATHODE", "LaCATHODE"])
def test_modes_with_a_flow_share_it(mode, own, run, small_configs, tmp_path, caplog):
    first, second = tmp_path / "first", tmp_path / "second"
    flags = [*small_configs[:2], "--DE_epochs", "2", "--cf_n_samples", "4000", "--cf_use_class_weights"]
    flags += ["--efficiencies", "1", "0.1", "--systematic", "0", "0.1"]
    run("run_bump_hunt", *SMALL[:-2], *flags, data_dir=own, save_dir=first, mode=mode)
    all_events, selected = found(first, 1.0), found(first, 0.1)
    assert selected["expected"] > 0
    assert all_events["error"] == all_events["fit_error"]
    assert selected["error"] == pytest.approx(np.hypot(selected["fit_error"], 0.1 * selected["expected"]))
    caplog.set_level("INFO")
    run("run_bump_hunt", *SMALL[:-2], *flags, "--DE_dir", first, data_dir=own, save_dir=second, mode=mode)
    assert any(line.startswith("density_estimator") and line.endswith("skipped") for line in caplog.messages)
    assert found(second, 0.1)["z"] == found(first, 0.1)["z"]


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


def test_dry_run_says_what_would_be_done_and_does_nothing(own, run, tmp_path, capsys):
    run("run_bump_hunt", *SMALL, *SCAN, "--dry_run", data_dir=own, save_dir=tmp_path / "none", mode="CWoLa")
    text = capsys.readouterr().out
    assert text.count("separation: to do: not done yet") == 2
    assert "to do: fits, significance and figures" in text
    assert not (tmp_path / "none").exists()


def test_dry_run_of_a_finished_scan(scan, own, run, capsys):
    run("run_bump_hunt", *SMALL, *SCAN, "--dry_run", data_dir=own, save_dir=scan, mode="CWoLa")
    text = capsys.readouterr().out
    assert text.count("classifiers: up to date") == 2
    assert "to do" not in text


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (("--mode", "ANODE"), "a search needs one of CATHODE, LaCATHODE, CWoLa"),
        (("--mode", "CWoLa", "--cf_k_folds", 0), "needs folds"),
        (("--mode", "LaCATHODE"), "--systematic: LaCATHODE needs a systematic error"),
        (("--mode", "CWoLa", "--systematic", 0.1, 0.2), "2 numbers, but the efficiencies are 1 0.1 0.01 0.001"),
        (("--mode", "CWoLa", "--systematic", 1.5), "must be 0 or above, and below 1"),
        (("--mode", "CWoLa", "--scan_min", 3500), "belong together"),
        (("--mode", "CWoLa", "--scan_min", 4000, "--scan_max", 3500), "must be below --scan_max"),
        (("--mode", "CWoLa", "--fit_min", 5000, "--fit_max", 4000), "--fit_min 5000 must be below --fit_max 4000"),
        (("--mode", "CWoLa", "--sqrt_s", 4), "--sqrt_s 4 (TeV): m goes up to 8000 GeV"),
        (("--mode", "CWoLa", "--cf_SR_min", 4000), "a signal region from 4000 to 3700"),
        (("--mode", "CWoLa", "--cf_SR_min", 0), "a signal region from 0 to 3700: a search needs one above 0"),
        (("--mode", "CWoLa", "--cf_SR_min", -1), "a signal region from -1 to 3700: a search needs one above 0"),
        (("--mode", "LaCATHODE", "--systematic", 0), "needs a systematic error"),
        (("--mode", "CWoLa", "--efficiencies", 0), "must be different numbers, above 0 and at most 1"),
        (("--mode", "CWoLa", "--efficiencies", 0.1, 0.1), "must be different numbers"),
        (("--mode", "CWoLa", "--inject_from", "none.npy"), "needs --inject"),
        (("--mode", "CWoLa", "--inject", 0.1, 0.1), "must be different numbers"),
        (("--mode", "CWoLa", "--inject", 0.1), "no signal events"),
        (("--mode", "CWoLa", "--fit_min", 3200), "no window can be searched"),
        (("--mode", "CWoLa", "--cf_SR_min", 9000, "--cf_SR_max", 9500), "no window can be searched"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_in_one_line(flags, reason, own, fails, tmp_path):
    line = fails("run_bump_hunt", *flags, data_dir=own, save_dir=tmp_path / "out")
    assert reason in line
    assert not (tmp_path / "out" / "bump_hunt.json").exists()


def test_a_thinned_signal_region_is_refused(own, fails, tmp_path):
    """The split of stage 1 may lack events of the SR: a spectrum of it would have a hole."""
    folder = tmp_path / "own"
    shutil.copytree(own, folder)
    (folder / "data.npy").unlink()
    assert "may be thinned" in fails("run_bump_hunt", data_dir=folder, save_dir=tmp_path / "out", mode="CWoLa")
    assert not (tmp_path / "out").exists()


def test_a_variable_without_a_mass_unit_is_refused(own, fails, tmp_path):
    folder = tmp_path / "own"
    shutil.copytree(own, folder)
    path = folder / "columns.json"
    content = json.loads(path.read_text())
    content["resonant"]["unit"] = ""
    path.write_text(json.dumps(content))
    assert "--unit" in fails("run_bump_hunt", data_dir=folder, save_dir=tmp_path / "out", mode="CWoLa")


def test_an_injection_of_more_signal_than_is_known_is_refused(own, signal_file, fails, tmp_path):
    flags = ("--inject", 0.9, "--inject_from", signal_file)
    assert "more signal than the 600 that are known" in fails(
        "run_bump_hunt", *flags, data_dir=own, save_dir=tmp_path / "out", mode="CWoLa"
    )


def test_signal_is_not_taken_for_background_of_the_injection(own, fails, tmp_path):
    path = tmp_path / "background.npy"
    np.save(path, toy_background(100, np.random.default_rng(0)))
    flags = ("--inject", 0.01, "--inject_from", path)
    assert "no event of label 1" in fails("run_bump_hunt", *flags, data_dir=own, save_dir=tmp_path / "out", mode="CWoLa")
