"""The edges of the signal region are those at which the events were separated; flags must not contradict them."""

from __future__ import annotations

import json

import pytest
from toys import ROOT

from common.errors import InputError
from events.options import EventOptions, RegionOptions
from events.window import stored_window

SAMPLE = {"features_file": ROOT / "sample_data/events.features.h5", "extra_bkg_file": "none", "S_over_B": 0.02, "seed": 1}


@pytest.fixture(scope="module")
def separated(tmp_path_factory):
    """Events of the bundled sample, separated at 3.2 and 3.6 TeV."""
    from common.script import run_script
    from run_data_preparation_LHCORD import Options, main

    folder = tmp_path_factory.mktemp("separated")
    argv = [str(text) for name, value in SAMPLE.items() for text in (f"--{name}", value)]
    run_script(main, "", Options, [*argv, "--SR_min", "3.2", "--SR_max", "3.6", "--outdir", str(folder)])
    return folder


def test_later_stages_take_the_edges_of_the_folder(separated, small_configs, tmp_path, run):
    run("run_all", *small_configs, data_dir=separated, save_dir=tmp_path, mode="CATHODE", cf_n_samples=2000)
    record = json.loads((tmp_path / "STAGE.json").read_text())
    for stage in ("density_estimator my_ANODE_model", "classifier_arrays"):
        assert (record[stage]["options"]["SR_min"], record[stage]["options"]["SR_max"]) == (3.2, 3.6)
    assert stored_window(tmp_path).edges == (3.2, 3.6)
    assert EventOptions(data_dir=separated).window.center == pytest.approx(3.4)


def test_flags_that_contradict_the_folder_are_refused(separated, small_configs, tmp_path, run, capsys):
    with pytest.raises(SystemExit) as ending:
        run("run_all", *small_configs, data_dir=separated, save_dir=tmp_path / "out", mode="CWoLa", cf_SR_min=3.3)
    assert ending.value.code == 2
    assert f"--cf_SR_min 3.3: the events in {separated} were separated at 3.2" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert EventOptions(data_dir=separated, SR_min=3.2, SR_max=3.6).window.edges == (3.2, 3.6)


def test_where_the_folder_says_nothing_flags_decide(toy_dir):
    assert EventOptions(data_dir=toy_dir).window.edges == (3.3, 3.7)
    assert EventOptions(data_dir=toy_dir, SR_max=3.5).window.edges == (3.3, 3.5)


@pytest.mark.parametrize(("low", "high"), [(3.7, None), (None, 3.3), (3.5, 3.4), (-1.0, None)])
def test_edges_out_of_order_are_refused(low, high):
    with pytest.raises(InputError, match=r"must be (below|0 or above)"):
        _ = RegionOptions(SR_min=low, SR_max=high).window


@pytest.mark.parametrize("region", [[3.7, 3.3], [3.3], ["3.3", "3.7"], [3.3, True], {}, 3.3, [-1, 2], [0, 1e999]])
def test_damaged_edges_are_refused(region, tmp_path):
    column = {"name": "m", "label": "m", "unit": "", "formula": ""}
    text = json.dumps({"resonant": column, "features": [column], "signal_region": region}).replace("Infinity", "1e999")
    (tmp_path / "columns.json").write_text(text)
    with pytest.raises(InputError, match=r"columns\.json"):
        stored_window(tmp_path)
