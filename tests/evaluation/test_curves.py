"""ROC, SIC and AUC against values worked out by hand, and the 20 % rule."""

from __future__ import annotations

import numpy as np
import pytest

from common.errors import InputError
from evaluation.curves import exact_curves
from evaluation.scores import scores_of_runs
from evaluation_utils import (
    Evaluation,
    compare_on_various_runs,
    compare_runs,
    evaluate_run,
    evaluate_scores,
    figures_of_merit,
    full_single_evaluation,
    max_sic,
    sic_curve,
    tprs_fprs_sics,
)
from models.training.epochs import EpochRule

# Ten events in the order of falling score: S S B S B S B B B B
SCORES = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.15, 0.1])
LABELS = np.array([1, 1, 0, 1, 0, 1, 0, 0, 0, 0])


def test_ten_events_by_hand():
    (tpr,), (fpr,), (sic,) = exact_curves(SCORES, LABELS)
    np.testing.assert_allclose(tpr, [0, 0.25, 0.5, 0.5, 0.75, 0.75, 1, 1, 1, 1, 1])
    np.testing.assert_allclose(fpr, np.array([0, 0, 0, 1, 1, 2, 2, 3, 4, 5, 6]) / 6)
    assert np.isnan(sic[:3]).all()
    np.testing.assert_allclose(sic[3:7], [0.5 * 6**0.5, 0.75 * 6**0.5, 0.75 * 3**0.5, 3**0.5])
    # 21 of the 24 pairs of one signal and one background event are in the right order
    assert evaluate_scores(np.tile(SCORES, 5), np.tile(LABELS, 5)).auc[0] == pytest.approx(21 / 24)


def test_max_sic_obeys_the_20_percent_rule():
    """One background event in front would give SIC 0.5 √n; with 25 needed, the maximum is where 25 pass."""
    fpr, tpr = np.array([1, 24, 25, 100, 1000]) / 1000, np.array([0.5, 0.6, 0.65, 0.7, 1.0])
    best = max_sic(tpr, fpr, n_background=1000)
    assert best == pytest.approx((0.65 / np.sqrt(0.025), 0.65, 0.025))
    assert max_sic(tpr, fpr, n_background=1000, max_relative_error=1.0).value == pytest.approx(0.5 / np.sqrt(0.001))
    with pytest.raises(ValueError, match="too few"):
        max_sic(tpr, fpr, n_background=24)


def test_runs_that_separate_almost_perfectly_are_judged_by_their_own_curves():
    """All signal passes before the 25th background event: on the grid only the point where everything passes obeys the rule."""
    rng = np.random.default_rng(0)
    labels = np.repeat([1, 0], [100, 2000])
    scores = np.stack([np.where(labels == 1, 2.0, rng.uniform(size=2100)) for _ in range(3)])
    scores[:, 100:103] = 3.0
    evaluation = evaluate_scores(scores, labels)
    assert evaluation.max_sic.value == pytest.approx(1 / np.sqrt(25 / 2000), rel=0.01)
    assert evaluation.max_sic in evaluation.run_max_sic
    merit = figures_of_merit(scores, labels, n_bootstrap=20)
    assert merit.max_sic.value == evaluation.max_sic.value
    assert 0 < merit.max_sic.error < 2


def test_max_sic_does_not_look_at_class_sizes_of_the_signal():
    rng = np.random.default_rng(0)
    scores = np.concatenate([rng.normal(1, 1, 5000), rng.normal(0, 1, 5000)])
    labels = np.repeat([1, 0], 5000)
    more = np.concatenate([np.tile(scores[:5000], 3), scores[5000:]])
    more_signal = evaluate_scores(np.stack([more, more]), np.repeat([1, 0], [15000, 5000]))
    evaluation = evaluate_scores(np.stack([scores, scores]), labels)
    assert more_signal.max_sic.value == pytest.approx(evaluation.max_sic.value, rel=1e-6)
    assert evaluation.max_sic.value == pytest.approx(evaluation.run_max_sic[0].value, rel=0.02)
    assert evaluation.auc[0] == pytest.approx(0.760, abs=0.01)


def test_tied_scores_are_one_cut():
    (tpr,), (fpr,), _ = exact_curves(np.array([0.5, 0.5, 0.1]), np.array([1, 0, 0]))
    np.testing.assert_allclose(np.stack([tpr, fpr]), [[0, 1, 1], [0, 0.5, 1]])


def test_no_signal_or_bad_scores_are_errors():
    with pytest.raises(ValueError, match="signal and background"):
        exact_curves(SCORES, np.zeros(10))
    with pytest.raises(ValueError, match="not finite"):
        exact_curves(np.where(LABELS == 1, np.nan, SCORES), LABELS)


def test_sic_without_background_is_nan():
    assert np.isnan(sic_curve(np.array([0.5]), np.array([0.0]))).all()


def write_run(folder, n_runs=3, n_epochs=12, extrasig=False):
    """A run folder with 400 background and 200 signal events; epoch 3 of every run is the good one, all others are noise."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], [400, 200])
    X = np.column_stack([np.full(600, 3.5), rng.normal(size=(600, 4)), np.ones(600), labels]).astype(np.float32)
    samples = X[:50].copy()
    samples[:, -2:] = 0, 5
    np.save(folder / "X_test.npy", np.concatenate([samples, X]))
    preds = rng.uniform(size=(n_runs, n_epochs, 600))
    preds[:, 3] = labels + 0.01 * rng.uniform(size=(n_runs, 600))
    np.save(folder / "preds_matris.npy", preds.astype(np.float32))
    losses = np.ones((n_runs, n_epochs))
    losses[:, 3] = 0.1
    losses[:, 5] = np.nan
    np.save(folder / "val_loss_matris.npy", losses)
    if extrasig:
        np.save(folder / "preds_matris_extrasig.npy", np.ones((n_runs, n_epochs, 77), dtype=np.float32))
    return preds


def test_best_epochs_are_averaged(tmp_path):
    preds = write_run(tmp_path)
    np.testing.assert_allclose(scores_of_runs(tmp_path, EpochRule("lowest", 1)), preds[:, 3], rtol=1e-6)
    ten = [0, 1, 2, 3, 4, 6, 7, 8, 9, 10]  # all but the NaN epoch and, of equals, the last
    np.testing.assert_allclose(scores_of_runs(tmp_path, EpochRule("lowest", 10)), preds[:, ten].mean(axis=1), rtol=1e-5)


def test_evaluate_run_draws_and_returns(tmp_path):
    write_run(tmp_path)
    evaluation = evaluate_run(str(tmp_path), str(tmp_path), n_ensemble_epochs=1, savefig=tmp_path / "result_SIC")
    assert (tmp_path / "result_SIC.png").stat().st_size > 1000
    assert isinstance(evaluation, Evaluation)
    assert evaluation.auc.tolist() == [1, 1, 1]
    assert (evaluation.n_signal, evaluation.n_background) == (200, 400)


def test_published_functions_return_what_published_notebooks_unpack(tmp_path):
    """Lists of ε_S, 1/ε_B and SIC, one entry for every collection of runs; dictionaries by run and epoch."""
    preds = write_run(tmp_path)
    grid, rejection, sic = full_single_evaluation(
        tmp_path, tmp_path, n_ensemble_epochs=1, savefig=tmp_path / "SIC", suppress_show=True
    )
    assert [len(each) for each in (grid, rejection, sic)] == [1, 1, 1]
    np.testing.assert_allclose(rejection[0][-1], 1, rtol=0.01)
    assert grid[0].shape == rejection[0].shape == sic[0].shape == (1000,)
    *_, tprs, fprs = full_single_evaluation(tmp_path, tmp_path, n_ensemble_epochs=1, suppress_show=True, return_all=True)
    assert set(tprs[0]) == set(fprs[0]) == {(0, 0), (1, 0), (2, 0)}
    X = np.load(tmp_path / "X_test.npy")
    y, every = X[:, -2], np.concatenate([np.zeros((3, 12, 50)), preds], axis=2)
    tprs, fprs, sics = tprs_fprs_sics(every, y, X)
    assert set(sics) == {(run, epoch) for run in range(3) for epoch in range(12)}
    for key, fpr in fprs.items():
        assert fpr.min() > 0
        np.testing.assert_allclose(sics[key], tprs[key] / fpr**0.5)
    lists = compare_on_various_runs(
        [tprs, tprs], [fprs, fprs], [[3, 3, 3], [0, 1, 2]], ["good", "noise"], sic_lim=(0, 20), suppress_show=True, return_all=True,
        savefig=tmp_path / "both",
    )  # fmt: skip
    assert len(lists) == 5
    assert lists[3:] == ([tprs, tprs], [fprs, fprs])
    assert lists[0][0].min() == 1, "background passes only where all signal does"
    assert lists[0][1].min() < 0.05
    assert (tmp_path / "both.png").stat().st_size > 10_000
    with pytest.raises(InputError, match="as many labels"):
        compare_on_various_runs([tprs], [fprs], [[0]], [], suppress_show=True)


def test_a_single_run_is_judged_on_its_exact_curve():
    """1 of 2000 signal events more passes the one cut at which the SIC peaks: between points of a grid of 1001."""
    rng = np.random.default_rng(0)
    scores, labels = np.append(rng.normal(1.5, 0.5, 997), rng.normal(size=50_000)), np.repeat([1, 0], [997, 50_000])
    evaluation = evaluate_scores(scores, labels)
    (tpr,), (fpr,), _ = exact_curves(scores, labels)
    assert evaluation.max_sic == max_sic(tpr, fpr, 50_000) == evaluation.run_max_sic[0]
    assert figures_of_merit(scores, labels, n_bootstrap=2).max_sic.value == evaluation.max_sic.value


def test_errors_of_sics_are_their_scatter_over_test_sets():
    rng = np.random.default_rng(0)

    def one() -> tuple[np.ndarray, np.ndarray]:
        signal, background = rng.normal(2, 1, 2000), rng.normal(size=30_000)
        noise = rng.normal(0, 0.1, (3, 32_000))
        return np.append(signal, background) + noise, np.repeat([1, 0], [2000, 30_000])

    merits = [figures_of_merit(*one(), n_bootstrap=30) for _ in range(40)]
    for values in ([m.max_sic for m in merits], [m.sic_at[1e-2] for m in merits], [m.sic_at[1e-3] for m in merits]):
        scatter = np.std([v.value for v in values])
        assert np.mean([v.error for v in values]) == pytest.approx(scatter, rel=0.35)
    assert set(merits[0].summary()) == {"max_sic", "sic_at_0.01", "sic_at_0.001"}
    few = figures_of_merit(np.arange(3000.0), np.repeat([0, 1], [2900, 100]), n_bootstrap=2)
    assert set(few.sic_at) == {1e-2}, "at 1e-3 three background events pass"


def test_extra_signal_is_used_if_it_is_there(tmp_path):
    write_run(tmp_path, extrasig=True)
    assert evaluate_run(tmp_path, tmp_path).n_signal == 277
    assert evaluate_run(tmp_path, tmp_path, extra_signal=False).n_signal == 200
    (tmp_path / "preds_matris_extrasig.npy").unlink()
    with pytest.raises(InputError, match=r"preds_matris_extrasig\.npy: no such file"):
        evaluate_run(tmp_path, tmp_path, extra_signal=True)


def test_comparison_has_one_entry_per_run(tmp_path):
    write_run(tmp_path)
    both = compare_runs([tmp_path, tmp_path], ["a", "b"], savefig=tmp_path / "both.pdf")
    assert list(both) == ["a", "b"]
    assert (tmp_path / "both.pdf").exists()


def test_scores_of_other_arrays_are_refused(tmp_path):
    write_run(tmp_path)
    np.save(tmp_path / "X_test.npy", np.load(tmp_path / "X_test.npy")[:-5])
    with pytest.raises(InputError, match=r"600 events, but .* has 595 data"):
        full_single_evaluation(tmp_path, tmp_path, suppress_show=True)
