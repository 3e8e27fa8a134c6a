"""Whole searches on toys: one window, a scan; done again, killed, planned."""

from __future__ import annotations

import csv
import json
import re
import shutil

import numpy as np
import pytest
from searches import SCAN, SMALL, contents, found, results

from common.script import run_script
from events.window import Window
from reports.search import search_page
from search.options import SearchOptions
from workflow.search import curve_stage


@pytest.fixture(scope="module")
def scan(own, run, tmp_path_factory):
    """A scan of two windows; not to be changed."""
    folder = tmp_path_factory.mktemp("scan") / "scan"
    run("run_bump_hunt", *SMALL, *SCAN, data_dir=own, save_dir=folder, mode="CWoLa", drawn=True)
    return folder


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


@pytest.mark.parametrize(("script", "out"), [("run_all", "save_dir"), ("run_classifier_data_creation", "savedir")])
def test_a_run_among_the_results_of_a_search_is_refused(own, scan, fails, script, out):
    line = fails(script, data_dir=own, mode="CWoLa", **{out: scan})
    assert "holds results (bump_hunt); a run needs a folder of its own" in line


def test_searches_with_several_amounts_have_a_folder_of_their_own(own, scan, signal_file, fails):
    flags = ("--inject", 0, 0.05, "--inject_from", signal_file)
    line = fails("run_bump_hunt", *SMALL, *flags, data_dir=own, save_dir=scan, mode="CWoLa")
    assert "holds results of one search; these need another --save_dir" in line


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
