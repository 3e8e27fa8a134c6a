"""Ensembles of boosted trees: what they stop on, what they average, how they are kept, and that damaged ones are refused."""

from __future__ import annotations

import joblib
import numpy as np
import pytest
import torch
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.metrics import roc_auc_score

from common.errors import InputError, Interrupted
from models.boosted_trees import HGBClassifier
from models.registry import CLASSIFIERS
from models.training.checkpoints import CHECKPOINT, Checkpoint
from models.trees import Trees

SETTINGS = {"max_iters": 30, "max_leaf_nodes": 8, "random_state": 3}


def two_gaussians(n: int = 2000, shift: float = 1.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = rng.integers(2, size=n)
    return rng.normal(size=(n, 2)) + shift * y[:, None] * [1, 0], y


@pytest.fixture(scope="module")
def trained() -> HGBClassifier:
    return HGBClassifier(n_runs=2, n_ensemble=2, **SETTINGS).fit(*two_gaussians(), *two_gaussians(seed=1))


def test_reaches_the_optimal_auc():
    classifier = HGBClassifier(n_ensemble=5, **SETTINGS).fit(*two_gaussians(8000))
    X, y = two_gaussians(20000, seed=1)
    assert roc_auc_score(y, classifier.predict(X)) == pytest.approx(0.760, abs=0.01)  # Phi(1/sqrt(2))


def test_a_single_one_is_the_librarys():
    """The same probabilities as scikit-learn's own after its best iteration."""
    X, y = two_gaussians()
    X_val, y_val = two_gaussians(seed=1)
    mine = HGBClassifier(**SETTINGS | {"max_iters": 100}, use_class_weights=False).fit(X, y, X_val, y_val)
    theirs = HistGradientBoostingClassifier(max_iter=100, max_leaf_nodes=8, max_bins=127, early_stopping=True)
    theirs.fit(X, y, X_val=X_val, y_val=y_val)
    best = int(np.argmax(theirs.validation_score_[1:]))
    assert 0 < best < theirs.n_iter_ - 1
    expected = list(theirs.staged_predict_proba(X_val))[best][:, 1]
    np.testing.assert_allclose(mine.predict(X_val), expected, rtol=1e-6)
    np.testing.assert_allclose(mine.val_losses_[:, 0], -theirs.validation_score_)


def test_it_stops_on_the_validation_events_that_are_given():
    X, y = two_gaussians()
    X_val, y_val = two_gaussians(seed=1)
    right, wrong = (HGBClassifier(**SETTINGS).fit(X, y, X_val, labels) for labels in (y_val, 1 - y_val))
    assert right.trees_.n_trees[0] > 5
    assert wrong.trees_.n_trees[0] == 1


def test_it_stops_on_the_validation_weights_that_are_given():
    """Half of the validation events have the wrong class: their weight decides."""
    X, y = two_gaussians()
    X_val, y_val = two_gaussians(seed=1)
    is_wrong = np.arange(len(X_val)) % 2 == 1
    labels = np.where(is_wrong, 1 - y_val, y_val)
    right, wrong = (HGBClassifier(**SETTINGS).fit(X, y, X_val, labels, None, w) for w in (1.0 - is_wrong, 1.0 * is_wrong))
    assert right.trees_.n_trees[0] > 5
    assert wrong.trees_.n_trees[0] == 1


def test_training_weights_count():
    X, y = two_gaussians()
    is_wrong = np.arange(len(X)) < 1500
    labels = np.where(is_wrong, 1 - y, y)
    weighted = HGBClassifier(**SETTINGS).fit(X, labels, X, y, np.where(is_wrong, 1e-6, 1.0))
    assert roc_auc_score(y, weighted.predict(X)) > 0.7


def test_classes_count_the_same():
    """With nine times as many of one class, the mean score is still about 1/2."""
    X, y = two_gaussians(4000)
    keep = (y == 0) | (np.arange(len(y)) % 9 == 0)
    X_test, _ = two_gaussians(4000, seed=1)
    balanced, plain = (
        HGBClassifier(**SETTINGS, use_class_weights=on).fit(X[keep], y[keep]).predict(X_test).mean() for on in (True, False)
    )
    assert balanced == pytest.approx(0.5, abs=0.03)
    assert plain < 0.3


def test_members_split_training_and_validation_events_together():
    """Where only the validation events show the second class to the right, an ensemble has learned that, too."""
    X, y = two_gaussians()
    left, right = X - [2 * 5, 0] * y[:, None], X + [5, 0] * y[:, None]
    classifier = HGBClassifier(n_ensemble=3, **SETTINGS).fit(left, y, right, y)
    assert roc_auc_score(y, classifier.predict(right)) > 0.95
    assert len({losses.tobytes() for losses in classifier.val_losses_.T}) == 3


def test_a_run_is_the_mean_of_its_members(trained):
    X, _ = two_gaussians(100, seed=5)
    logits = trained.trees_.logits(X)
    assert logits.shape == (4, 100)
    members = 1 / (1 + np.exp(-logits))
    np.testing.assert_allclose(trained.predict_runs(X), members.reshape(2, 2, 100).mean(axis=1), rtol=1e-6)
    assert not np.allclose(*trained.predict_runs(X))
    with_nan = np.where(np.arange(100)[:, None] == 7, np.nan, X)
    assert np.isnan(trained.predict_runs(with_nan)).any(axis=0).nonzero()[0].tolist() == [7]


def test_the_number_of_processes_does_not_matter(monkeypatch, trained, tmp_path):
    monkeypatch.setattr(joblib, "cpu_count", lambda: 2)
    monkeypatch.setattr("models.boosted_trees.SCORED_TOGETHER", 600)
    other = HGBClassifier(n_runs=2, n_ensemble=2, n_jobs=2, **SETTINGS).fit(*two_gaussians(), *two_gaussians(seed=1))
    X, _ = two_gaussians(seed=5)
    assert other.predict_runs(X).tobytes() == trained.predict_runs(X).tobytes()
    for name, array in trained.trees_.arrays().items():
        assert array.tobytes() == getattr(other.trees_, name).tobytes()


def test_interrupted_it_goes_on_with_the_members_that_are_missing(monkeypatch, trained, tmp_path):
    learn, n_trained = HGBClassifier._learn, []

    def stopping(self, seed, events, validation, place):
        if not place.exists():
            if len(n_trained) == 3:
                raise Interrupted(15)
            n_trained.append(place)
        return learn(self, seed, events, validation, place)

    monkeypatch.setattr(HGBClassifier, "_learn", stopping)
    events = (*two_gaussians(), *two_gaussians(seed=1))
    with pytest.raises(Interrupted, match="--resume trains the others"):
        HGBClassifier(n_runs=2, n_ensemble=2, **SETTINGS).fit(*events, checkpoint=Checkpoint(tmp_path / CHECKPOINT))
    n_trained.clear()
    resumed = HGBClassifier(n_runs=2, n_ensemble=2, **SETTINGS).fit(*events, checkpoint=Checkpoint(tmp_path / CHECKPOINT))
    assert len(n_trained) == 1
    for name, array in trained.trees_.arrays().items():
        assert array.tobytes() == getattr(resumed.trees_, name).tobytes()
    np.testing.assert_array_equal(resumed.val_losses_, trained.val_losses_)


def test_stored_trees_score_as_those_that_were_trained(trained, tmp_path):
    trained.save(tmp_path, "mine")
    loaded = CLASSIFIERS.load(tmp_path, "mine")
    X, _ = two_gaussians(seed=5)
    assert isinstance(loaded, HGBClassifier)
    assert loaded.predict_runs(X).tobytes() == trained.predict_runs(X).tobytes()
    assert loaded.n_runs == loaded.n_ensemble == 2
    np.testing.assert_array_equal(loaded.val_losses_, trained.val_losses_)


def test_kept_in_a_folder_as_sk_cathode_users_expect(tmp_path):
    X, y = two_gaussians()
    fitted = HGBClassifier(tmp_path, **SETTINGS).fit(X, y)
    loaded = HGBClassifier(save_path=tmp_path, load=True)
    assert loaded.predict(X).tobytes() == fitted.predict(X).tobytes()
    fitted.set_params(n_runs=2, n_ensemble=3).fit(X, y)
    loaded = HGBClassifier(save_path=tmp_path, load=True)
    assert loaded.predict_runs(X).tobytes() == fitted.predict_runs(X).tobytes()
    np.testing.assert_array_equal(loaded.load_val_loss(), fitted.load_val_loss())
    with pytest.raises(NotFittedError):
        HGBClassifier().predict(X)


def changed(name, value, where=0):
    def change(arrays):
        arrays[name] = arrays[name].copy()
        arrays[name].flat[where] = value

    return change


def of_type(name, dtype):
    def change(arrays):
        arrays[name] = arrays[name].astype(dtype)

    return change


def shorter(name):
    def change(arrays):
        arrays[name] = arrays[name][:-1]

    return change


DAMAGE = {
    "child beyond the tree": changed("children", 10**6),
    "negative child": changed("children", -5),
    "root as its own child": changed("children", 0),
    "child of another tree": lambda arrays: changed("children", arrays["n_nodes"][0])(arrays),
    "unknown column": changed("feature", 2),
    "negative column": changed("feature", -1),
    "value NaN": changed("value", np.nan),
    "threshold NaN": changed("threshold", np.nan),
    "baseline infinite": changed("baseline", np.inf),
    "tree of no node": changed("n_nodes", 0),
    "negative size": changed("n_nodes", -3),
    "a tree too many": changed("n_trees", 99),
    "values in float32": of_type("value", np.float32),
    "children in int64": of_type("children", np.int64),
    "columns as numbers with a point": of_type("feature", np.float64),
    **{f"{name} too short": shorter(name) for name in Trees.names()},
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_malformed_trees_are_refused(trained, tmp_path, damage):
    """The library would follow wrong children into foreign memory."""
    trained.save(tmp_path, "mine")
    arrays = dict(trained.trees_.arrays())
    damage(arrays)
    for name, array in arrays.items():
        np.save(tmp_path / f"mine_estimator_{name}.npy", array)
    with pytest.raises(InputError, match="damaged trees"):
        HGBClassifier.load_from(tmp_path, "mine")


KEPT_DAMAGE = {
    "value missing": lambda kept: kept.pop("value"),
    "child beyond the tree": lambda kept: kept["children"].fill_(2**30),
    "a loop": lambda kept: kept["children"][0].copy_(torch.tensor([0, 1])),
    "fewer trees": lambda kept: kept.update(n_nodes=kept["n_nodes"][:-1]),
    "losses missing": lambda kept: kept.pop("val_losses"),
    "losses as whole numbers": lambda kept: kept.update(val_losses=kept["val_losses"].int()),
}


@pytest.mark.parametrize("damage", KEPT_DAMAGE.values(), ids=KEPT_DAMAGE.keys())
def test_malformed_trees_in_a_checkpoint_are_refused(damage, tmp_path):
    X, y = two_gaussians(400)
    HGBClassifier(n_ensemble=2, **SETTINGS).fit(X, y, checkpoint=Checkpoint(tmp_path / CHECKPOINT))
    place = Checkpoint(tmp_path / ".member_1" / CHECKPOINT)
    kept = place.load()
    damage(kept)
    place.save(kept)
    with pytest.raises(InputError, match=r"damaged trees .* without --resume the training begins anew"):
        HGBClassifier(n_ensemble=2, **SETTINGS).fit(X, y, checkpoint=Checkpoint(tmp_path / CHECKPOINT))


@pytest.mark.parametrize(
    ("old", "new"), [('"n_inputs": 2', '"n_inputs": null'), ('"n_inputs": 2', '"max_bins": 3'), ('"parameters"', '"other"')]
)
def test_a_damaged_description_is_refused(trained, tmp_path, old, new):
    trained.save(tmp_path, "mine")
    description = tmp_path / "mine_estimator.json"
    assert old in description.read_text()
    description.write_text(description.read_text().replace(old, new))
    with pytest.raises(InputError, match=r"mine_estimator\.json"):
        CLASSIFIERS.load(tmp_path, "mine")


def test_damaged_losses_are_refused(trained, tmp_path):
    trained.save(tmp_path, "mine")
    np.save(tmp_path / "mine_estimator_val_losses.npy", np.ones((2, 2)))
    with pytest.raises(InputError, match="val_losses are missing, or not those of 4 members"):
        HGBClassifier.load_from(tmp_path, "mine")


def test_other_numbers_of_members_or_columns_are_refused(trained, tmp_path):
    trained.save(tmp_path, "mine")
    description = tmp_path / "mine_estimator.json"
    for old, new in (('"n_runs": 2', '"n_runs": 3'), ('"n_inputs": 2', '"n_inputs": 1')):
        text = description.read_text()
        assert old in text
        description.write_text(text.replace(old, new))
        with pytest.raises(InputError, match="damaged trees"):
            HGBClassifier.load_from(tmp_path, "mine")
        description.write_text(text)


@pytest.mark.parametrize(
    ("y", "message"), [([0, 0, 0, 0], "1 class"), ([0, 1, 2, 1], "multiclass"), ([0, 1], "not one class for each")]
)
def test_what_cannot_be_learned_is_refused(y, message):
    with pytest.raises(ValueError, match=message):
        HGBClassifier().fit(np.arange(8.0).reshape(4, 2), y)
