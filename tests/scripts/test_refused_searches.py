"""Searches that cannot be, refused in one line."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from paper_runs import write_run
from toys import toy_background


def test_results_in_the_folder_of_the_events_are_refused(own, fails):
    assert "need a folder of their own" in fails("run_bump_hunt", data_dir=own, save_dir=own, mode="CWoLa")


def test_a_search_among_the_results_of_a_run_is_refused(own, fails, tmp_path):
    write_run(tmp_path / "results", "CWoLa", 1.0)
    line = fails("run_bump_hunt", data_dir=own, save_dir=tmp_path / "results", mode="CWoLa")
    assert "holds results (classifiers, classifier_arrays, evaluation); a search needs a folder of its own" in line


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
