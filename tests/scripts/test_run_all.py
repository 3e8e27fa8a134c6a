"""The stages together: every mode on toy events, flags, contracts on disk, and the physics that only shows end to end."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import joblib
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from toys import ROOT, toy_background, write_toy

import run_all
from background.registry import MODES
from common.script import run_script
from evaluation.curves import exact_curves
from evaluation_utils import (
    classic_ANODE_eval,
    evaluate_run,
    load_test_scores,
    minimum_val_loss_model_evaluation,
    signal_to_background,
)
from models.classifier import NeuralNetworkClassifier
from models.density import load_density
from reports.run import run_page

DEFAULTS = {
    "CATHODE": ["--cf_realistic_conditional", "--cf_oversampling", "--cf_no_logit", "--cf_use_class_weights", "--cf_save_model"],
    "LaCATHODE": ["--cf_use_class_weights", "--cf_save_model"],
    "ANODE": [],
    "CWoLa": ["--cf_oversampling", "--cf_no_logit", "--cf_save_model"],
    "idealized_AD": ["--cf_oversampling", "--cf_no_logit", "--cf_use_class_weights", "--cf_save_model", "--cf_extra_bkg"],
    "supervised": ["--cf_oversampling", "--cf_no_logit", "--cf_save_model", "--cf_extra_bkg"],
}


@pytest.mark.parametrize("mode", MODES.names)
def test_every_mode_runs_and_finds_the_toy_signal(mode, toy_dir, small_configs, tmp_path, run, undrawn):
    out = tmp_path / "out"
    run("run_all", "--mode", mode, "--data_dir", toy_dir, "--save_dir", out, *small_configs, *DEFAULTS[mode], "--cf_epochs", 8,
        drawn=True)  # fmt: skip
    evaluation = evaluate_run(out, out)
    assert evaluation.auc.mean() > (0.97 if mode == "supervised" else 0.55)
    assert (out / "result_SIC.png").exists()
    X = np.load(out / "X_test.npy")
    preds = np.load(out / "preds_matris.npy")
    assert X.shape[1] == 7
    assert (out / "sculpting.png").exists() == (out / "sculpting.json").exists() == (mode != "ANODE")
    assert X.dtype == np.float32
    check_report(out, mode)
    if mode == "ANODE":
        assert preds.shape == (1, 1, len(X))
        assert (preds >= 0).all()
        assert len(X) == len(np.load(out / "sig_labels.npy")) == 1500
        (grid,), (rejection,), (sic,), (tprs,), (fprs,) = classic_ANODE_eval(out, suppress_show=True, return_all=True)
        assert np.trapezoid(fprs[0, 0], tprs[0, 0]) == pytest.approx(1 - evaluation.auc[0], abs=2e-3)
        np.testing.assert_allclose(sic, grid * np.sqrt(rejection), rtol=0.02)
        return
    found = minimum_val_loss_model_evaluation(out, out, extra_signal=mode != "supervised")
    np.testing.assert_allclose(found if mode == "supervised" else found[0], preds, atol=1e-6)
    assert preds.shape == (2, 1, len(X))
    assert np.load(out / "loss_matris.npy").shape == np.load(out / "val_loss_matris.npy").shape == (2, 8)
    for name in ("train", "validation", "test"):
        X, y = np.load(out / f"X_{name}.npy"), np.load(out / f"y_{name}.npy")
        np.testing.assert_array_equal(X[:, -2], y)
        assert set(np.unique(X[X[:, -2] == 0, -1])) <= ({0} if mode == "supervised" else {5})
    assert (out / "X_extrasig.npy").exists() == (mode != "supervised")


def check_report(folder, mode):
    """The report of a whole run misses nothing, and says what STAGE.json says."""
    page, found = run_page(folder), json.loads((folder / "STAGE.json").read_text())
    titles, results = [section.title for section in page.sections], found["evaluation"]["results"]
    assert not [section.missing for section in page.sections if section.missing]
    assert ("Background sculpting" in titles) == ("Data and background" in titles) == (mode != "ANODE")
    assert ("Training of the density" in titles) == (mode in ("CATHODE", "LaCATHODE", "ANODE"))
    assert "Selected events" not in titles
    facts = {fact.name: fact.value for fact in page.facts}
    merit = results["merit"]["max_sic"]
    assert facts["Max SIC"] == f"{merit['value']:.2f} ± {merit['error']:.2f}"
    assert facts["AUC"] == f"{np.mean(results['auc']):.3f}"
    assert ("S/√B" in facts) == (mode not in ("ANODE", "supervised"))
    assert page.command.startswith("python ") or ".py" not in page.command
    assert all(picture.alt for section in page.sections for picture in section.pictures)


def test_stage_files_of_the_density_estimator(toy_dir, small_configs, tmp_path, run):
    run("run_all", "--data_dir", toy_dir, "--save_dir", tmp_path, *small_configs, "--DE_file_name", "flow", "--no_extra_signal")
    losses = {name: np.load(tmp_path / f"flow_{name}_losses.npy") for name in ("train", "val")}
    assert losses["train"].shape == losses["val"].shape == (4,)
    assert losses["val"][1:].min() < losses["val"][0]
    assert {path.name for path in tmp_path.glob("*.par")} == {f"flow_epoch_{epoch}.par" for epoch in range(3)}
    assert not (tmp_path / "preds_matris_extrasig.npy").exists()
    assert np.load(tmp_path / "preds_matris.npy").shape[:2] == (2, 4)  # without --cf_save_model every epoch's scores are kept
    assert signal_to_background(tmp_path) == pytest.approx(60 / 1500, rel=0.05)


def test_skips_use_what_is_there_and_same_seed_gives_the_same_bytes(toy_dir, small_configs, tmp_path, run):
    base = ["--data_dir", toy_dir, *small_configs, "--cf_save_model"]
    run("run_all", *base, "--save_dir", tmp_path / "a")
    run("run_all", *base, "--save_dir", tmp_path / "b")
    first = (tmp_path / "a" / "preds_matris.npy").read_bytes()
    assert (tmp_path / "b" / "preds_matris.npy").read_bytes() == first
    run("run_all", *base, "--save_dir", tmp_path / "b", "--DE_skip", "--cf_skip_create")
    assert (tmp_path / "b" / "preds_matris.npy").read_bytes() == first
    (tmp_path / "b" / "X_train.npy").unlink()
    run("run_all", *base, "--save_dir", tmp_path / "b", "--DE_skip", "--cf_skip_create", "--cf_skip_train")
    run("run_all", *base, "--save_dir", tmp_path / "c", "--seed", "2")
    assert (tmp_path / "c" / "preds_matris.npy").read_bytes() != first


def test_saved_weights_give_the_saved_scores(toy_dir, small_configs, tmp_path, run):
    """The kept scores are the mean over the last two epochs, recomputed here from the weights on disk."""
    run("run_all", "--mode", "CWoLa", "--data_dir", toy_dir, "--save_dir", tmp_path, *small_configs, "--cf_save_model")
    X = np.load(tmp_path / "X_test.npy")
    epochs = [
        NeuralNetworkClassifier(layers=(16, 16), n_runs=2)
        .load_weights(tmp_path / f"my_classifier_epoch_{epoch}.par")
        .predict_runs(X[:, 1:-2])
        for epoch in (2, 3)
    ]
    np.testing.assert_allclose(np.load(tmp_path / "preds_matris.npy")[:, 0], np.mean(epochs, axis=0), rtol=1e-5)


@pytest.mark.parametrize(("rule", "published"), [("last", False), ("lowest", True)])
def test_the_rule_of_the_epochs_is_recorded_and_applied_to_runs_without_weights(
    toy_dir, small_configs, tmp_path, run, rule, published
):
    """The evaluation averages as stage 4 would have done with --cf_save_model."""
    config = tmp_path / "classifier.yml"
    config.write_text(f"layers: [8]\nscored_epochs: {rule}\nn_scored_epochs: 2\n")
    common = {"mode": "CWoLa", "data_dir": toy_dir, "cf_config_file": config}
    run("run_all", *small_configs, **common, save_dir=tmp_path / "every_epoch")
    run("run_all", *small_configs, "--cf_save_model", **common, save_dir=tmp_path / "mean")
    records = [json.loads((tmp_path / name / "STAGE.json").read_text()) for name in ("every_epoch", "mean")]
    every, mean = (record["evaluation"]["results"] for record in records)
    assert every["max_sic_of_averaged_score"] == pytest.approx(mean["max_sic_of_averaged_score"], rel=1e-3)
    assert every["sculpting_chi2_per_ndf"] == pytest.approx(mean["sculpting_chi2_per_ndf"], rel=0.05)
    results = records[0]["classifiers"]["results"]
    assert (results["scored_epochs"], results["n_scored_epochs"]) == (rule, 2)
    every, mean = (load_test_scores(tmp_path / name, tmp_path / name)[0] for name in ("every_epoch", "mean"))
    np.testing.assert_allclose(every, mean, atol=1e-6)
    other = load_test_scores(tmp_path / "every_epoch", tmp_path / "every_epoch", n_ensemble_epochs=2 if published else 1)[0]
    assert np.allclose(every, other, atol=1e-6) == published


def test_sideband_scores_leave_out_what_cwola_trains_on(toy_dir, small_configs, tmp_path, run):
    """Without --cf_save_model, too, they are the mean over the scored epochs; the strips next to the signal region are not scored."""
    run("run_all", "--mode", "CWoLa", "--data_dir", toy_dir, "--save_dir", tmp_path, *small_configs)
    X, events = np.load(tmp_path / "X_sideband.npy"), np.load(toy_dir / "outerdata_test.npy")
    outside = (X[:, 0] <= 3.1) | (X[:, 0] >= 3.9)
    assert outside.all()
    assert 0 < len(X) <= np.sum((events[:, 0] <= 3.1) | (events[:, 0] >= 3.9))
    assert np.load(tmp_path / "preds_matris_sideband.npy").shape == (2, 1, len(X))


def test_latent_arrays_are_the_flows_latent_space(toy_dir, small_configs, tmp_path, run):
    """Before standardization the background is N(0, 1), four times the data; the data are what the flow makes of the SR events."""
    flags = ["--mode", "LaCATHODE", "--data_dir", toy_dir, "--save_dir", tmp_path, *small_configs, "--cf_separate_val_set"]
    run("run_all", *flags, "--cf_n_latent_epochs", 2, "--cf_save_model")
    X = np.load(tmp_path / "X_train.npy")
    data, background = X[X[:, -2] == 1], X[X[:, -2] == 0]
    n_data = sum(len(np.load(toy_dir / f"innerdata_{name}.npy")) for name in ("train", "val"))
    n_background = sum((np.load(tmp_path / f"X_{name}.npy")[:, -2] == 0).sum() for name in ("train", "validation"))
    assert n_background == 4 * n_data
    flow = load_density(tmp_path, "my_ANODE_model", n_best=1)
    events = np.load(toy_dir / "innerdata_train.npy")
    latent = flow.transform(events[:, 1:-1], events[:, :1])
    latent = latent[np.isfinite(latent).all(axis=1)]
    assert len(latent) == len(data)
    # Standardization is linear: event by event, matched by mass, data and latent coordinates are correlated to 1.
    masses = events[np.isfinite(flow.transform(events[:, 1:-1], events[:, :1])).all(axis=1), 0]
    data, latent = data[np.argsort(data[:, 0])], latent[np.argsort(masses)]
    once = np.isin(data[:, 0], [value for value, n in zip(*np.unique(data[:, 0], return_counts=True), strict=True) if n == 1])
    assert once.sum() > 1000
    for column in range(4):
        assert np.corrcoef(data[once, 1 + column], latent[once, column])[0, 1] > 0.999999
    np.testing.assert_allclose(np.corrcoef(background[:, 1:-2].T), np.eye(4), atol=0.05)
    first, second = (np.load(folder / "X_test.npy") for folder in (tmp_path, tmp_path / "latent_1"))
    np.testing.assert_array_equal(first[:, 0], second[:, 0])
    assert not np.allclose(first[:, 1:-2], second[:, 1:-2])
    # The kept scores are means over the latent spaces; a run of another mode removes these.
    alone = NeuralNetworkClassifier(layers=(16, 16), n_runs=2, n_inputs=4)
    expected = []
    for folder, events in ((tmp_path, first), (tmp_path / "latent_1", second)):
        kept = [alone.load_weights(folder / f"my_classifier_epoch_{epoch}.par").predict_runs(events[:, 1:-2]) for epoch in (2, 3)]
        expected.append(np.mean(kept, axis=0))
    np.testing.assert_allclose(np.load(tmp_path / "preds_matris.npy")[:, 0], np.mean(expected, axis=0), atol=1e-5)
    run("run_all", "--mode", "CWoLa", "--data_dir", toy_dir, "--save_dir", tmp_path, *small_configs, "--cf_epochs", 2)
    assert not (tmp_path / "latent_1").exists()


def test_external_samples_replace_the_density_estimator(toy_dir, small_configs, tmp_path, run):
    rng = np.random.default_rng(5)
    samples = toy_background(3000, rng, rng.uniform(3.2, 3.8, 3000))[:, :-1]
    np.save(tmp_path / "samples.npy", samples)
    run("run_all", "--data_dir", toy_dir, "--save_dir", tmp_path / "out", *small_configs, "--cf_oversampling",
        "--cf_external_samples", tmp_path / "samples.npy", "--cf_save_model")  # fmt: skip
    assert not list((tmp_path / "out").glob("my_ANODE_model*"))
    X = np.concatenate([np.load(tmp_path / "out" / f"X_{name}.npy") for name in ("train", "validation")])
    in_sr = ((samples[:, 0] > 3.3) & (samples[:, 0] < 3.7)).sum()
    assert in_sr - 20 <= (X[:, -2] == 0).sum() <= in_sr


def test_use_mjj_gives_the_classifier_one_input_more(toy_dir, small_configs, tmp_path, run):
    import torch

    run("run_all", *small_configs, "--cf_save_model", "--cf_use_mjj", mode="CWoLa", data_dir=toy_dir, save_dir=tmp_path)
    assert torch.load(tmp_path / "my_classifier_epoch_3.par", weights_only=True)["weights.0"].shape == (2, 5, 16)


@pytest.mark.parametrize("n_features", [2, 5])
def test_any_number_of_features(n_features, tmp_path, small_configs, run):
    folder = write_toy(tmp_path / "data", n_sr=400)
    for path in folder.glob("*.npy"):
        events = np.load(path)
        features = np.concatenate([events[:, 1:-1], events[:, 1:2] ** 2], axis=1)[:, :n_features]
        np.save(path, np.column_stack([events[:, 0], features, events[:, -1]]))
    run("run_all", "--data_dir", folder, "--save_dir", tmp_path / "out", *small_configs, "--datashift", "0.1", "--random_shift")
    assert np.load(tmp_path / "out" / "X_train.npy").shape[1] == n_features + 3


def test_idealized_AD_without_signal_gives_auc_one_half(tmp_path, run):
    """No signal: data and background are the same, and events held out from training cannot be told apart (3 standard deviations)."""
    sample = ROOT / "sample_data"
    run("run_data_preparation_LHCORD", "--features_file", sample / "events.features.h5", "--extra_bkg_file",
        sample / "extra_inneronly.features.h5", "--outdir", tmp_path / "data", "--S_over_B", "0")  # fmt: skip
    run("run_all", "--mode", "idealized_AD", "--data_dir", tmp_path / "data", "--save_dir", tmp_path / "out", "--cf_separate_val_set",
        "--cf_no_logit", "--cf_oversampling", "--cf_use_class_weights", "--cf_save_model", "--cf_extra_bkg", "--cf_epochs", "10",
        "--cf_n_runs", "1")  # fmt: skip
    X = np.load(tmp_path / "out" / "X_validation.npy")
    scores = NeuralNetworkClassifier().load_weights(tmp_path / "out" / "my_classifier_epoch_9.par").predict(X[:, 1:-2])
    n_data, n_background = (X[:, -2] == 1).sum(), (X[:, -2] == 0).sum()
    sigma = np.sqrt((n_data + n_background + 1) / (12 * n_data * n_background))
    assert roc_auc_score(X[:, -2], scores) == pytest.approx(0.5, abs=3 * sigma)
    assert sigma < 0.01


def test_copied_results_evaluate_without_a_display(toy_dir, small_configs, tmp_path, run):
    run("run_all", "--mode", "CWoLa", "--data_dir", toy_dir, "--save_dir", tmp_path / "a", *small_configs)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    code = "from evaluation_utils import full_single_evaluation as f; f('b', 'b', savefig='result_SIC')"
    environment = {"PATH": "", "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True)
    assert (tmp_path / "result_SIC.png").exists()


def test_a_dry_run_needs_no_seed(toy_dir, small_configs, tmp_path, capsys):
    argv = ["--data_dir", str(toy_dir), "--save_dir", str(tmp_path / "out"), *small_configs, "--dry_run"]
    run_script(run_all.main, "", run_all.Options, argv)
    assert "density_estimator my_ANODE_model: to do: not done yet" in capsys.readouterr().out


def test_names_of_columns_travel_from_stage_1_to_the_last(tmp_path, small_configs, run):
    sample = ROOT / "sample_data"
    run("run_data_preparation_LHCORD", "--add_deltaR", features_file=sample / "events.features.h5", S_over_B=0.03,
        extra_bkg_file="none", outdir=tmp_path / "data")  # fmt: skip
    run(
        "run_all",
        *small_configs,
        "--cf_n_latent_epochs",
        2,
        mode="LaCATHODE",
        data_dir=tmp_path / "data",
        save_dir=tmp_path / "out",
        drawn=True,
    )
    names = [column["name"] for column in json.loads((tmp_path / "data" / "columns.json").read_text())["features"]]
    assert names == ["m_J1", "delta_m_J", "tau21_J1", "tau21_J2", "deltaR_JJ"]
    trained_on = json.loads((tmp_path / "out" / "my_ANODE_model_preprocessing.json").read_text())["trained_on"]
    assert trained_on["features"] == names
    for folder in (tmp_path / "out", tmp_path / "out" / "latent_1"):
        latent = json.loads((folder / "columns.json").read_text())["features"]
        assert [column["name"] for column in latent] == [f"z_{k}" for k in range(1, 6)]


def test_several_runs_share_one_density_estimator(toy_dir, flow_config, small_configs, tmp_path, run, fails):
    """--DE_dir takes the estimator of another folder, whatever the seed; --DE_seed and --cf_seed make of one seed two."""
    run("run_ANODE_training", data_dir=toy_dir, savedir=tmp_path / "flow", config_file=flow_config, epochs=3, seed=5)
    shared = [*small_configs, "--data_dir", toy_dir, "--cf_save_model", "--DE_dir", tmp_path / "flow"]
    run("run_all", *shared, "--save_dir", tmp_path / "a", "--seed", 7)
    run("run_all", *small_configs, "--cf_save_model", data_dir=toy_dir, save_dir=tmp_path / "b", DE_seed=5, cf_seed=7)
    assert not list((tmp_path / "a").glob("my_ANODE_model*"))
    for name in ("X_train.npy", "preds_matris.npy"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    records = json.loads((tmp_path / "b" / "STAGE.json").read_text())
    seeds = [
        records[name]["options"]["seed"] for name in ("density_estimator my_ANODE_model", "classifier_arrays", "classifiers")
    ]
    assert seeds == [5, 7, 7]
    line = fails("run_all", *shared, "--datashift", "0.1", save_dir=tmp_path / "c")
    assert "it does not fit: --datashift was 0.0, is now 0.1" in line
    assert "no such file" in fails("run_all", *shared, "--DE_file_name", "other", save_dir=tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_only_the_epochs_that_are_used_are_kept(toy_dir, small_configs, tmp_path, run):
    flags = ["--cf_save_model", "--cf_epochs", 16, "--cf_n_runs", 1]
    run("run_all", *small_configs, *flags, mode="CWoLa", data_dir=toy_dir, save_dir=tmp_path)
    assert {path.name for path in tmp_path.glob("my_classifier_epoch*")} == {f"my_classifier_epoch_{e}.par" for e in (14, 15)}
    classifier = NeuralNetworkClassifier.load_from(tmp_path, "my_classifier")
    X = np.load(tmp_path / "X_test.npy")[:, 1:-2]
    np.testing.assert_array_equal(classifier.predict_runs(X), np.load(tmp_path / "preds_matris.npy")[:, 0])


@pytest.mark.parametrize("mode", ["CATHODE", "CWoLa"])
def test_masses_in_gev_give_what_masses_in_tev_give(mode, toy_dir, small_configs, tmp_path, run):
    """Another unit of m_JJ changes neither strips nor flow nor samples: scores agree to 0.02."""
    gev = shutil.copytree(toy_dir, tmp_path / "gev")
    for path in gev.glob("*.npy"):
        events = np.load(path).astype(np.float64)
        events[:, 0] *= 1000
        np.save(path, events)
    common = [*small_configs, "--cf_save_model", "--cf_realistic_conditional", "--no_extra_signal", "--mode", mode]
    run("run_all", *common, data_dir=toy_dir, save_dir=tmp_path / "a")
    run("run_all", *common, data_dir=gev, save_dir=tmp_path / "b", cf_SR_min=3300, cf_SR_max=3700)
    in_tev, in_gev = (np.load(tmp_path / name / "X_train.npy") for name in "ab")
    assert len(in_tev) == len(in_gev)
    np.testing.assert_allclose(in_gev[:, 0], 1000 * in_tev[:, 0], rtol=1e-5)
    np.testing.assert_allclose(in_gev[:, 1:], in_tev[:, 1:], atol=0.02)
    scores = [np.load(tmp_path / name / "preds_matris.npy") for name in "ab"]
    np.testing.assert_allclose(*scores, atol=0.02)


def test_closure_is_a_stage_of_its_own(toy_dir, small_configs, tmp_path, run, caplog, monkeypatch):
    """It leaves the density estimator as it is, and is not done again; the result does not depend on the number of processes."""
    monkeypatch.setattr(joblib, "cpu_count", lambda: 2)
    flags = {"data_dir": toy_dir, "mode": "CATHODE", "save_dir": tmp_path}
    run("run_all", *small_configs, "--cf_save_model", **flags)
    flow = (tmp_path / "my_ANODE_model_estimator.json").read_bytes()
    records = []
    for threads in (1, 2):
        with caplog.at_level("INFO"):
            caplog.clear()
            again = ["--force"] if threads == 2 else []
            run("run_all", *small_configs, "--cf_save_model", *again, **flags, DE_closure=2, threads=threads, drawn=bool(again))
        records.append(json.loads((tmp_path / "STAGE.json").read_text())["closure_test my_ANODE_model"]["results"])
        assert caplog.text.count("closure in") == 2
        if threads == 1:
            assert "density_estimator my_ANODE_model: up to date" in caplog.text
    assert (tmp_path / "my_ANODE_model_estimator.json").read_bytes() == flow
    written = json.loads((tmp_path / "my_ANODE_model_closure.json").read_text())
    assert {np.shape(region.pop("pulls")) for region in written["regions"]} == {(4, 20)}
    assert {np.shape(region.pop("bins")) for region in written["regions"]} == {(4, 21)}
    assert records[0] == records[1] == written
    for region in records[0]["regions"]:
        assert 0.4 < region["two_sample_auc"] < 0.7
    assert 0 < records[0]["mean_two_sample_auc_error"] < min(region["two_sample_auc_error"] for region in records[0]["regions"])
    for region in records[0]["regions"]:
        assert region["events"] > 100
    assert (tmp_path / "my_ANODE_model_closure.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("mode", "flags"),
    [("CWoLa", ["--fiducial_cut"]), ("CWoLa", ["--fiducial_cut", "--no_extra_signal"]), ("LaCATHODE", []),
     ("LaCATHODE", ["--cf_n_latent_epochs", 2]), ("supervised", ["--fiducial_cut"])],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, list) else value,
)  # fmt: skip
def test_efficiencies_count_all_test_events(mode, flags, toy_copy, small_configs, tmp_path, run):
    """Events that are cut are not selected: they stay in both denominators, and their curves end where all others have passed."""
    tested = np.load(toy_copy / "innerdata_test.npy")
    tested[::100, 2] = 100  # far beyond all others
    np.save(toy_copy / "innerdata_test.npy", tested)
    run("run_all", *small_configs, "--cf_save_model", *flags, mode=mode, data_dir=toy_copy, save_dir=tmp_path)
    labels = [np.load(toy_copy / f"{name}.npy")[:, -1] for name in ("innerdata_test", "innerdata_extrabkg_test")
              if (toy_copy / f"{name}.npy").exists()]  # fmt: skip
    if "--no_extra_signal" not in flags and mode != "supervised":
        labels += [np.load(toy_copy / f"innerdata_extrasig_{half}.npy")[:, -1] for half in ("train", "val")]
    labels = np.concatenate(labels)
    evaluation = evaluate_run(tmp_path, tmp_path)
    assert (evaluation.n_signal, evaluation.n_background) == ((labels == 1).sum(), (labels == 0).sum())
    scores, kept = load_test_scores(tmp_path, tmp_path, all_events=False)
    everything, all_labels = load_test_scores(tmp_path, tmp_path)
    assert len(kept) < len(labels) == everything.shape[1]
    np.testing.assert_array_equal(everything[:, : len(kept)], scores)
    assert (everything[:, len(kept) :] < scores.min()).all()
    (all_curves, inside) = (exact_curves(*pair)[:2] for pair in ((everything[:1], all_labels), (scores[:1], kept)))
    for curve, of_inside, label in zip(all_curves, inside, (1, 0), strict=True):
        share = (kept == label).sum() / (labels == label).sum()
        np.testing.assert_allclose(curve[0][: len(of_inside[0])], share * of_inside[0])
    results = json.loads((tmp_path / "STAGE.json").read_text())["evaluation"]["results"]
    n_cut = sum(sum(counts.values()) for counts in results["outside_the_range"].values())
    assert n_cut == len(labels) - len(kept) >= len(tested) // 100


def test_oversampling_implies_class_weights(toy_dir, small_configs, tmp_path, run, caplog):
    """As published; and the log says so where nobody asked for weights."""
    with caplog.at_level("INFO"):
        run("run_all", *small_configs, "--cf_oversampling", mode="idealized_AD", data_dir=toy_dir, save_dir=tmp_path)
    assert "--cf_oversampling: data and background are weighted" in caplog.text
    assert "is advisable" not in caplog.text
    assert json.loads((tmp_path / "STAGE.json").read_text())["classifiers"]["options"]["use_class_weights"] is True


def test_flags_that_only_classifiers_have_are_named_where_there_is_none(toy_dir, small_configs, tmp_path, run, caplog):
    with caplog.at_level("INFO"):
        flags = [*small_configs, "--cf_separate_val_set", "--cf_n_ensemble", 4, "--cf_k_folds", 5]
        run("run_all", *flags, data_dir=toy_dir, save_dir=tmp_path, mode="ANODE")
    (line,) = (r.getMessage() for r in caplog.records if "of no use in the ANODE mode" in r.getMessage())
    assert "--cf_n_samples" in line
    assert "--cf_n_ensemble" in line
    assert "--cf_k_folds" in line
    assert not any(flag in line for flag in ("--cf_separate_val_set", "--mode", "--seed", "--DE_"))


def test_a_borrowed_density_may_have_another_seed(toy_dir, small_configs, tmp_path, run, caplog):
    run("run_all", *small_configs, data_dir=toy_dir, save_dir=tmp_path / "flow", mode="CATHODE", seed=1)
    caplog.clear()
    run("run_all", *small_configs, data_dir=toy_dir, save_dir=tmp_path / "other", mode="CATHODE", seed=2,
        DE_dir=tmp_path / "flow")  # fmt: skip
    assert "is used as it is" not in caplog.text
