"""Background efficiencies, and what cuts on them select."""

from __future__ import annotations

import numpy as np
import pytest
from toys import SR

from common.errors import InputError
from common.files import save_array
from evaluation.curves import evaluate_scores
from evaluation.folds import (
    FILE,
    ScoredRun,
    background_efficiency,
    fill_in,
    selected_by_cuts,
    selected_in_window,
    unscored,
)
from events.records import load_folds, load_scores
from events.window import Window


@pytest.mark.parametrize("n_held_out", [99, 999])
def test_background_has_an_efficiency_below_e_with_a_probability_of_e(n_held_out):
    rng = np.random.default_rng(1)
    found = [background_efficiency(rng.normal(size=200), rng.normal(size=n_held_out)) for _ in range(300)]
    for cut in (0.5, 0.1, 0.01):
        assert np.mean(np.concatenate(found) <= cut) == pytest.approx(cut, rel=4 / np.sqrt(300 * min(200, n_held_out) * cut))


def test_the_highest_score_has_the_lowest_efficiency_and_never_0():
    efficiency = background_efficiency(np.array([200.0, -5.0, 49.0]), np.arange(99.0))
    np.testing.assert_allclose(efficiency, [0.01, 1.0, 0.51])


def test_background_outside_the_range_is_never_selected_but_counts():
    held_out = np.concatenate([np.linspace(0, 1, 50), np.full(49, np.nan)])
    assert background_efficiency(np.array([0.0]), held_out) == pytest.approx(0.51)
    assert np.isnan(background_efficiency(np.array([np.nan]), held_out)).all()


def test_equal_scores_pass_together():
    assert background_efficiency(np.array([0.5]), np.full(9, 0.5)) == 1.0


def test_weights_count_whatever_their_scale():
    scores, held_out = np.array([0.15, 0.35]), np.array([0.1, 0.2, 0.3, 0.4])
    weights = np.array([1.0, 1.0, 1.0, 5.0])
    np.testing.assert_allclose(background_efficiency(scores, held_out, weights), [(7 + 5) / 13, (5 + 5) / 13])
    np.testing.assert_allclose(
        background_efficiency(scores, held_out, 100 * weights), background_efficiency(scores, held_out, weights)
    )


@pytest.mark.parametrize(("n_held_out", "share"), [(800, 0.1), (999, 0.1), (1450, 0.01), (1890, 0.01), (55, 0.1)])
def test_what_is_selected_scatters_as_its_error_says(n_held_out, share):
    """Also where the efficiency is no multiple of 1 / (N + 1), and where the held-out events are few."""
    rng, pulls = np.random.default_rng(2), []
    for _ in range(400):
        efficiency = [background_efficiency(rng.normal(size=n), rng.normal(size=n_held_out)) for n in (300, 200)]
        [cut] = selected_by_cuts(np.concatenate(efficiency), np.repeat([0, 1], (300, 200)), [n_held_out] * 2, [share])
        pulls.append((cut.found - cut.expected) / cut.error)
    assert cut.expected == pytest.approx(500 * np.floor(share * (n_held_out + 1)) / (n_held_out + 1))
    assert np.mean(pulls) == pytest.approx(0, abs=0.15)
    assert np.std(pulls) == pytest.approx(1, abs=0.13)


def scored(n: int = 4000, n_folds: int = 4) -> tuple[ScoredRun, np.ndarray]:
    """A run whose folds score on scales of their own, and the labels."""
    rng = np.random.default_rng(3)
    labels, m = (rng.random(n) < 0.1).astype(int), rng.uniform(3, 4, n)
    known = {"row": np.arange(n), "m": m, "fold": rng.integers(n_folds, size=n)}
    scores = unscored(known, n, n_runs=2)
    for fold in range(n_folds):
        rows = np.flatnonzero(known["fold"] == fold)
        separating = rng.normal(size=(2, len(rows))) + 2 * labels[rows]
        fill_in(scores, rows, 10.0**fold * separating, 10.0**fold * rng.normal(size=(2, 1000)))
    return ScoredRun(scores, Window(*SR), labels, (1000,) * n_folds), labels


def test_efficiencies_make_folds_comparable():
    run, _ = scored()
    scores, labels = run.tested()
    inside = run.window.contains(run.scores["m"])
    one_fold = inside & (run.scores["fold"] == 0)
    alone = evaluate_scores(run.scores["score"][one_fold], run.labels[one_fold]).auc[0]
    assert evaluate_scores(scores, labels).auc[0] == pytest.approx(alone, abs=0.03)
    assert evaluate_scores(run.scores["score"][inside], labels).auc[0] < alone - 0.05, "raw scores do not compare"


def test_events_without_a_score_are_tested_as_never_selected():
    run, labels = scored()
    run.scores["background_efficiency"][np.flatnonzero(run.in_signal_region)[:10]] = np.nan
    scores, tested = run.tested()
    assert len(tested) == run.in_signal_region.sum()
    assert (scores[0, :10] == scores.min()).all()
    np.testing.assert_array_equal(tested, labels[run.in_signal_region])
    assert run.selected()[0].found == np.sum(run.efficiency[run.in_signal_region] <= 0.1)


def test_sculpting_is_that_of_all_background():
    run, labels = scored(20_000)
    found = run.sculpting()
    assert found.sideband_events + found.signal_region_events == np.sum(labels == 0)
    assert found.cuts[0].chi2_per_ndf < 2
    run.scores["background_efficiency"] = (run.scores["m"] - 3) / 1.001
    assert run.sculpting().cuts[0].chi2_per_ndf > 20


def test_without_labels_there_is_no_sic():
    run, _ = scored()
    unlabelled = ScoredRun(run.scores, run.window, None, run.n_held_out)
    for needs_labels in (unlabelled.tested, unlabelled.sculpting):
        with pytest.raises(InputError, match="no labels"):
            needs_labels()
    assert len(unlabelled.selected()) == 2


def test_what_is_expected_is_right_where_held_out_background_is_wrong():
    """Classifiers that find what samples are wrong by select more background than the samples say, in window and sideband alike."""
    rng, pulls = np.random.default_rng(5), []
    for _ in range(100):
        m = 2.5 + rng.exponential(0.7, 20_000)
        efficiency = background_efficiency(rng.normal(0.1, 1, len(m)), rng.normal(size=4999))
        [cut] = selected_in_window(m, efficiency, np.zeros(len(m)), Window(*SR), [4999], [0.1])
        pulls.append((cut.found - cut.expected) / cut.error)
    assert cut.by == "sideband"
    assert cut.expected > 1.1 * cut.held_out
    assert np.mean(pulls) == pytest.approx(0, abs=0.3)
    assert np.std(pulls) == pytest.approx(1, abs=0.25)


def test_without_scores_in_the_sideband_held_out_background_says_what_is_expected():
    run, _ = scored()
    run.scores["background_efficiency"][~run.in_signal_region] = np.nan
    found = run.selected()[0]
    assert found.by == "held-out background"
    assert found.expected == found.held_out


def test_cuts_that_too_little_of_the_sideband_passes_are_left_out():
    run, _ = scored()
    run.scores["background_efficiency"][(run.scores["m"] > SR[1]) & (run.efficiency < 0.05)] = 0.06
    assert [cut.efficiency for cut in run.selected()] == [0.1]


def test_what_is_no_record_of_scores_is_refused(tmp_path):
    run, _ = scored(100)
    save_array(tmp_path / FILE, run.scores)
    np.testing.assert_array_equal(load_scores(tmp_path / FILE), run.scores)
    damaged = [run.scores.copy() for _ in range(3)]
    for each, (field, value) in zip(
        damaged, [("m", np.nan), ("background_efficiency", -5), ("background_efficiency", 1.5)], strict=True
    ):
        each[field][3] = value
    other = np.array([("a", 1.0)], dtype=[("row", "U1"), ("m", "f4")])
    for wrong in (np.zeros(5), run.scores[["row", "m"]].copy(), other, run.scores[:, None], *damaged):
        np.save(tmp_path / FILE, wrong)
        with pytest.raises(InputError, match=r"scores\.npy: (holds (no records|masses)|no records of)"):
            load_scores(tmp_path / FILE)
        with pytest.raises(InputError, match="no records"):
            load_folds(tmp_path / FILE)


def test_cuts_that_hardly_any_held_out_event_passes_are_left_out():
    efficiency, fold = np.random.default_rng(1).random(1000), np.repeat([0, 1], 500)
    assert [cut.efficiency for cut in selected_by_cuts(efficiency, fold, [10_000, 1_000])] == [0.1, 0.01]
    assert [cut.efficiency for cut in selected_by_cuts(efficiency, fold, [10_000, 10_000])] == [0.1, 0.01, 0.001]
