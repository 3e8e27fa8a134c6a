"""`--preset paper`: the flags that it stands for, what is given beside it, and what STAGE.json says."""

from __future__ import annotations

import json

import pytest

import run_all
from background.options import PRESETS
from background.registry import MODES
from common.options import flags, make_options, parse

ALL = "--no_extra_signal"
CLASSIFIER = f"{ALL} --cf_separate_val_set --cf_save_model"
TYPED = {
    "CATHODE": f"{CLASSIFIER} --cf_n_samples 400000 --cf_realistic_conditional --cf_oversampling --cf_no_logit --cf_use_class_weights",
    "LaCATHODE": f"{CLASSIFIER} --cf_use_class_weights",
    "ANODE": ALL,
    "CWoLa": f"{CLASSIFIER} --cf_oversampling --cf_no_logit --cf_use_class_weights",
    "idealized_AD": f"{CLASSIFIER} --cf_no_logit --cf_oversampling --cf_use_class_weights --cf_extra_bkg",
    "supervised": f"{CLASSIFIER} --cf_no_logit --cf_oversampling --cf_extra_bkg",
}


def values(command: str) -> dict:
    return parse("", run_all.Options, command.split())


@pytest.mark.parametrize("mode", MODES.names)
def test_it_stands_for_the_flags_of_the_papers(mode):
    preset, typed = values(f"--mode {mode} --preset paper"), values(f"--mode {mode} {TYPED[mode]}")
    assert preset.pop("preset") == "paper"
    assert typed.pop("preset") is None
    assert preset == typed != values(f"--mode {mode}")


@pytest.mark.parametrize("mode", MODES.names)
def test_every_mode_has_every_preset_and_no_unknown_flag(mode):
    assert set(MODES.get(mode).presets) == set(PRESETS)
    for preset in MODES.get(mode).presets.values():
        assert preset.keys() <= flags(run_all.Options).keys()


def test_what_is_given_beside_it_counts():
    given = values("--preset paper --cf_n_samples 1000 --cf_oversampling false --cf_extra_bkg --cf_no_logit true")
    assert (given["cf_n_samples"], given["cf_oversampling"], given["cf_extra_bkg"]) == (1000, False, True)
    assert given["cf_no_logit"] is given["cf_realistic_conditional"] is True
    options = make_options(run_all.Options, values("--cf_oversampling false --preset paper --cf_save_model false"))
    assert not options.arrays.oversampling
    assert not options.classifiers.save_model
    assert options.arrays.no_logit


def test_a_flag_is_true_or_false(fails, toy_dir):
    line = fails("run_all", "--cf_oversampling", "no", data_dir=toy_dir)
    assert "unrecognized arguments: no" in line
    assert "--preset" in fails("run_all", data_dir=toy_dir, preset="mine")


def test_the_record_says_what_it_stood_for(toy_dir, small_configs, tmp_path, run):
    flags = ["--preset", "paper", *small_configs, "--cf_realistic_conditional", "false"]
    run("run_all", *flags, data_dir=toy_dir, save_dir=tmp_path, mode="CATHODE")
    records = json.loads((tmp_path / "STAGE.json").read_text())
    assert records["evaluation"]["options"]["preset"] == "paper"
    assert records["evaluation"]["results"]["preset_stands_for"] == MODES.get("CATHODE").presets["paper"]
    used = records["classifier_arrays"]["options"]
    assert (used["oversampling"], used["no_logit"], used["realistic_conditional"], used["n_samples"]) == (True, True, False, 4000)
    assert records["classifiers"]["options"]["use_class_weights"]
    run("run_all", *small_configs, data_dir=toy_dir, save_dir=tmp_path / "without", mode="CWoLa")
    record = json.loads((tmp_path / "without" / "STAGE.json").read_text())["evaluation"]
    assert record["options"]["preset"] is None
    assert "preset_stands_for" not in record["results"]
