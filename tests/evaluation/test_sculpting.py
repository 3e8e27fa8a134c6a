"""Background sculpting: a score that knows the mass is found out, one that does not is not."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.stats import kstest

from common.errors import InputError
from common.files import save_array
from evaluation.sculpting import expected_sr_events
from evaluation_utils import background_sculpting, sculpting_of_run
from events.view import DATA, Events


def test_p_values_of_an_independent_score_are_uniform():
    rng = np.random.default_rng(1)
    m = 2.5 + rng.exponential(0.8, 20000)
    p = np.concatenate([r.p_value for r in background_sculpting(m, rng.random((100, len(m))), [0.2, 0.05])])
    assert kstest(p, "uniform").pvalue > 0.01


def test_a_score_that_follows_the_mass_sculpts():
    rng = np.random.default_rng(1)
    m = 2.5 + rng.exponential(0.8, 20000)
    (result,) = background_sculpting(m, rng.random(len(m)) + 0.2 * m, [0.05])
    assert result.chi2_per_ndf > 5
    assert result.p_value[0] < 1e-10
    assert result.after.sum() == 1000
    assert 0.01 < result.jensen_shannon[0] < np.log(2)


def test_too_few_events_are_refused():
    with pytest.raises(InputError, match="too few"):
        background_sculpting(np.arange(50.0), np.arange(50.0), [0.1])
    with pytest.raises(InputError, match="50 masses, but 49 scores"):
        background_sculpting(np.arange(50.0), np.arange(49.0))
    with pytest.raises(InputError, match="not finite"):
        background_sculpting(np.arange(500.0), np.full(500, np.nan))


def test_equal_scores_do_not_sculpt():
    """A classifier that has learned nothing keeps events of all masses."""
    m = np.sort(2.5 + np.random.default_rng(1).exponential(0.8, 20000))
    assert all(r.chi2_per_ndf < 2.5 for r in background_sculpting(m, np.zeros(len(m))))


def test_expected_sr_events_of_a_falling_spectrum():
    """An exponential of slope 1.25 / TeV: as many events as were left out, to 5 %."""
    m = 2.5 + np.random.default_rng(1).exponential(0.8, 400_000)
    inside = (m > 3.3) & (m < 3.7)
    assert expected_sr_events(m[~inside], m[inside][::7]) == pytest.approx(inside.sum(), rel=0.05)
    strips = (m > 3.1) & (m < 3.9)
    assert expected_sr_events(m[~strips], m[inside]) == pytest.approx(inside.sum(), rel=0.05)


def test_signal_does_not_count(tmp_path):
    """Truth labels choose the background; figure and numbers are written."""
    rng = np.random.default_rng(2)
    sideband = np.concatenate([rng.uniform(2.5, 3.3, 2000), rng.uniform(3.7, 4.1, 1000)])
    for name, m, n_signal in (("test", rng.uniform(3.3, 3.7, 3000), 400), ("sideband", sideband, 0)):
        labels = (np.arange(3000) < n_signal).astype(int)
        save_array(tmp_path / f"X_{name}.npy", Events.mix(m, m, DATA, labels).array)
        scores = np.where(labels == 1, 2.0, rng.random(3000))
        save_array(tmp_path / f"preds_matris{'' if name == 'test' else '_sideband'}.npy", scores[None, None].astype(np.float32))
    results = sculpting_of_run(tmp_path, tmp_path, tmp_path / "sculpting.png")
    # 2 500 events per TeV on both sides: 1 000 of the signal region's 2 600 background events belong to them.
    assert results[0].before.sum() == pytest.approx(4000, abs=100)
    assert all(r.chi2_per_ndf < 2.5 for r in results)
    assert (tmp_path / "sculpting.png").stat().st_size > 1000
    content = json.loads((tmp_path / "sculpting.json").read_text())
    assert [cut["share_kept"] for cut in content["cuts"]] == [0.2, 0.05, 0.01]
