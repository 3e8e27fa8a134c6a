"""Folds: what is scored, what trains, what validates, and what stands for the background in each."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from toys import toy_background, toy_data, write_own

import background.cathode
import background.lacathode
from background.arrays import ClassifierArrays
from background.densities import stored_densities
from background.folds import FoldedEvents
from background.options import ArraysOptions, ClassifierOptions
from background.registry import MODES
from common.errors import InputError
from events.regions import EventSource
from events.view import Events

LOW, HIGH = 3300.0, 3700.0


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """Separated events without labels."""
    return write_own(tmp_path_factory.mktemp("own"), toy_data())


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """Samples of the signal region, in the place of a density estimator."""
    rng = np.random.default_rng(5)
    m = rng.uniform(LOW + 1, HIGH - 1, 3000)
    path = tmp_path_factory.mktemp("samples") / "samples.npy"
    events = toy_background(3000, rng, m / 1000)[:, :-1]
    events[:, 0] = m
    np.save(path, events)
    return path


def folded(own, mode: str, **options: object) -> FoldedEvents:
    options = ArraysOptions(data_dir=own, seed=1, mode=mode, **options).with_folds()
    return FoldedEvents(MODES.get(mode), EventSource(options), options)


def known(events: Events) -> set[tuple[float, ...]]:
    """Events by all their values."""
    return set(map(tuple, events.m_and_x.tolist()))


@pytest.mark.parametrize("mode", ["CATHODE", "CWoLa"])
@pytest.mark.parametrize("n_folds", [3, 5])
def test_no_fold_learns_from_an_event_that_it_scores(own, samples, mode, n_folds):
    external = {"external_samples": (samples,)} if mode == "CATHODE" else {}
    events = folded(own, mode, k_folds=n_folds, oversampling=True, **external)
    data, data_row = np.load(own / "data.npy"), np.load(own / "data_row.npy")
    row_of_mass = dict(zip(data[:, 0].tolist(), data_row.tolist(), strict=True))
    scored_in: dict[int, int] = {}
    for fold, arrays in enumerate(events.arrays()):
        learned = Events.joined(arrays.train, arrays.validation)
        assert not known(learned) & known(arrays.test)
        assert not known(learned) & known(arrays.held_out)
        assert not known(arrays.train) & known(arrays.validation)
        rows = [row_of_mass[m] for m in arrays.test.m.tolist()]
        assert rows == events.record["row"][events.record["fold"] == fold].tolist(), "in the order of data.npy"
        assert not scored_in.keys() & set(rows)
        scored_in |= dict.fromkeys(rows, fold)
        inside = arrays.train[arrays.train.is_data].m
        assert ((inside > LOW) & (inside < HIGH)).all()
    assert fold == n_folds - 1
    assert scored_in.keys() == set(data_row.tolist()), "every event is scored once"
    assert len(scored_in) == len(data)


def test_all_data_of_the_signal_region_are_learned_from_by_all_but_two_folds(own, samples):
    n_inside = int(np.sum((np.load(own / "data.npy")[:, 0] > LOW) & (np.load(own / "data.npy")[:, 0] < HIGH)))
    counts = [(arrays.train.is_data.sum(), arrays.validation.is_data.sum(), len(arrays.held_out))
              for arrays in folded(own, "CATHODE", external_samples=(samples,), oversampling=True).arrays()]  # fmt: skip
    trained, validated, held_out = np.sum(counts, axis=0)
    assert (trained, validated, held_out) == (3 * n_inside, n_inside, 3000)


def test_without_oversampling_there_is_as_much_background_as_data_and_all_of_it_is_held_out_once(own, samples):
    for arrays in folded(own, "CATHODE", external_samples=(samples,)).arrays():
        for part in (arrays.train, arrays.validation):
            assert part.is_data.sum() == (~part.is_data).sum()
        assert len(arrays.held_out) == 600


def test_strips_belong_to_the_folds_of_their_events(own):
    for fold, arrays in enumerate(folded(own, "CWoLa", oversampling=True).arrays()):
        strips = arrays.held_out.m
        assert (((strips > 3100) & (strips <= LOW)) | ((strips >= HIGH) & (strips < 3900))).all()
        assert known(arrays.held_out) <= known(arrays.test), f"fold {fold}"


def test_held_out_strips_count_the_same(own):
    arrays = next(folded(own, "CWoLa", oversampling=True).arrays())
    learned = arrays.train[arrays.train.is_data]
    weights = MODES.get("CWoLa").held_out_weights(arrays.held_out, learned, ClassifierOptions(mode="CWoLa"))
    below = arrays.held_out.m < 3500
    assert below.sum() > (~below).sum()
    assert weights[below].sum() == pytest.approx(weights[~below].sum())


@pytest.mark.parametrize("mode", ["CATHODE", "CWoLa"])
def test_what_a_fold_learns_from_does_not_depend_on_the_features_of_the_events_that_it_scores(mode, own, samples, tmp_path):
    """Range and scaling are learned from the training folds alone; nor does the held-out background change."""
    external = {"external_samples": (samples,)} if mode == "CATHODE" else {}
    events = folded(own, mode, **external)
    before, scored = next(events.arrays()), events.record["fold"] == 0
    changed = write_own(tmp_path / "changed", toy_data())
    data = np.load(changed / "data.npy")
    data[scored & (data[:, 0] > LOW) & (data[:, 0] < HIGH), 1:5] += 0.01
    np.save(changed / "data.npy", data)
    after = next(folded(changed, mode, **external).arrays())
    assert not np.array_equal(before.test.x, after.test.x)
    for name in ("train", "validation", "held_out"):
        first, second = (getattr(arrays.preprocessed(use_logit=False, fiducial_cut=False), name) for arrays in (before, after))
        np.testing.assert_array_equal(first.array, second.array)


def test_events_outside_the_range_stay_as_nan(own, samples, tmp_path):
    arrays = next(folded(own, "CATHODE", external_samples=(samples,)).arrays())
    arrays.test.x[:5] = 1e3
    arrays.held_out.x[:7] = 1e3
    for name, n_outside in (("test", 5), ("held_out", 7)):
        events = getattr(arrays.preprocessed(use_logit=False, fiducial_cut=False), name)
        assert len(events) == len(getattr(arrays, name))
        assert np.isnan(events.x[:n_outside]).all()
        assert np.isfinite(events.m).all()
        assert np.isfinite(events.x).all(axis=1).mean() > 0.9
    arrays.preprocessed(use_logit=False, fiducial_cut=False).write(tmp_path)
    again = ClassifierArrays.read(tmp_path, extra_signal=False)
    assert len(again.test) == len(arrays.test)
    assert len(again.held_out) == len(arrays.held_out)


@pytest.mark.parametrize("n_folds", [3, 5])
def test_what_scores_a_fold_learns_from_no_sideband_event_of_it(own, n_folds):
    source = EventSource(ArraysOptions(data_dir=own, seed=1))
    data = source.all_data()[0]
    fold = folded(own, "CWoLa", k_folds=n_folds).record["fold"]
    outside = (data.m <= LOW) | (data.m >= HIGH)
    for scored in range(n_folds):
        train, val = source.sideband_for_fold(scored, n_folds)
        assert known(val) == known(data[outside & (fold == (scored + 1) % n_folds)])
        assert known(train) | known(val) == known(data[outside & (fold != scored)])
        assert not known(train) & known(val)


def test_folds_are_those_of_the_data_whatever_the_seed(own):
    """So that runs with other seeds can share the density estimators of all folds."""
    options = [ArraysOptions(data_dir=own, seed=seed, mode="CWoLa").with_folds() for seed in (1, 2)]
    records = [FoldedEvents(MODES.get("CWoLa"), EventSource(each), each).record for each in options]
    np.testing.assert_array_equal(*records)


def test_density_estimators_of_a_mode_in_folds_are_those_of_all_folds(tmp_path):
    options = ArraysOptions(savedir=tmp_path, DE_dir=tmp_path / "flows", k_folds=3)
    assert [each.folder for each in stored_densities(options, "sideband")] == [tmp_path / "flows" / f"fold_{k}" for k in range(3)]
    assert [each.folder for each in stored_densities(replace(options, k_folds=0), "sideband")] == [tmp_path / "flows"]


class FoldsOwn:
    """In the place of the density estimator for a fold, whose number is in all that it does."""

    def __init__(self, fold: int) -> None:
        self.fold = fold
        self.preprocessing = SimpleNamespace(training_range=(np.full(4, -np.inf), np.full(4, np.inf)))

    def sample(self, m: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return np.full((len(m), 4), 100.0 * (1 + self.fold))

    def transform(self, x: np.ndarray, m: np.ndarray) -> np.ndarray:
        return x + 100.0 * (1 + self.fold)

    def versions(self, n_best: int, no_gpu: bool) -> list[FoldsOwn]:
        return [self]


def test_every_fold_is_compared_with_samples_of_its_own_density(own, monkeypatch):
    monkeypatch.setattr(background.cathode, "load_densities", lambda *given, fold, no_gpu: (FoldsOwn(fold),))
    for fold, arrays in enumerate(folded(own, "CATHODE", n_samples=3000).arrays()):
        for part in (arrays.train, arrays.validation, arrays.held_out):
            assert set(part[~part.is_data].x.ravel()) == {100.0 * (1 + fold)}


def test_every_fold_is_seen_in_the_latent_space_of_its_own_density(own, monkeypatch):
    monkeypatch.setattr(background.lacathode, "checked_density", lambda options, source, fold: FoldsOwn(fold))
    for fold, arrays in enumerate(folded(own, "LaCATHODE").arrays()):
        for part in (arrays.train, arrays.validation, arrays.test):
            x = part[part.is_data].x - 100.0 * (1 + fold)
            assert (np.abs(x) < 50).all()


def test_labels_decide_whether_folds_are_usual(own, toy_dir):
    assert ArraysOptions(data_dir=own).with_folds().k_folds == 5
    assert ArraysOptions(data_dir=own, k_folds=0).with_folds().k_folds == 0
    assert ArraysOptions(data_dir=toy_dir).with_folds().k_folds == 0


@pytest.mark.parametrize(("damage", "message"), [
    (lambda folder: (folder / "data.npy").unlink(), "separate the events again"),
    (lambda folder: (folder / "data_row.npy").unlink(), "separate the events again"),
    (lambda folder: np.save(folder / "data_row.npy", np.arange(5)), "different separations"),
    (lambda folder: np.save(folder / "outerdata_test.npy", np.load(folder / "outerdata_test.npy")[1:]), "different separations"),
])  # fmt: skip
def test_a_thinned_signal_region_is_refused(tmp_path, damage, message):
    own = write_own(tmp_path / "own", toy_data())
    damage(own)
    with pytest.raises(InputError, match=message):
        folded(own, "CWoLa")


def test_too_few_events_for_so_many_folds(own):
    with pytest.raises(InputError, match="in one of 200 folds"):
        list(folded(own, "CWoLa", k_folds=200).arrays())


@pytest.mark.parametrize(("mode", "options", "message"), [
    ("CATHODE", {"k_folds": 2}, "must be 0 or at least 3"),
    ("supervised", {"k_folds": 5}, "has no folds"),
    ("idealized_AD", {"k_folds": 5}, "has no folds"),
    ("LaCATHODE", {"k_folds": 5, "n_latent_epochs": 2}, "needs --n_latent_epochs 1"),
    ("CATHODE", {"k_folds": 5, "ANODE_models": (Path("flow_epoch_1.par"),)}, "has a density estimator of its own"),
])  # fmt: skip
def test_options_that_make_no_sense_in_folds(mode, options, message):
    with pytest.raises(InputError, match=message):
        MODES.get(mode).check_options(ArraysOptions(mode=mode, **options))
