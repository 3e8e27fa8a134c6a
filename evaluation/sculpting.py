"""Background sculpting: does a cut on the anomaly score change the shape of the background's mass spectrum?

A bump hunt takes the background after the cut to be as smooth as before. Where the score depends on m_JJ, it is not
(arXiv:2210.14924, section V).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.distance import jensenshannon
from scipy.stats import chi2

from common.errors import InputError
from evaluation.scores import load_events_and_scores
from events.columns import stored_resonant
from events.window import Window, stored_window
from models.training.epochs import EpochRule

SHARES = (0.2, 0.05, 0.01, 0.001)
MAX_BINS = 40
MIN_EXPECTED = 10  # events per bin after the cut, for χ² to be distributed as such
SIGNIFICANCE = 0.01  # p-value, times the number of cuts, below which a spectrum is called sculpted
MIN_DRAWN = 4  # events per bin after the cut that are expected, in figures
FINE_BINS = 60  # of equal width, of which those in figures are joined
DRAWN_SHARE = 0.999  # of the masses


@dataclass(frozen=True)
class Spectrum:
    """The background's spectrum in bins to be drawn: each is as wide as it needs to be for `MIN_DRAWN` expected events after the cut.

    What lies above the last bin is too little for another one.

    Attributes
    ----------
    edges : array [n_bins + 1]
        In the unit of the resonant variable.
    before, after : arrays [n_bins], [n_runs, n_bins]
        Events before and after the cut, for every run's score.
    """

    edges: np.ndarray
    before: np.ndarray
    after: np.ndarray


@dataclass(frozen=True)
class Sculpting:
    """How the spectrum of m_JJ changes when only the most anomalous background is kept.

    Attributes
    ----------
    share : float
        Share of the background that is kept.
    edges : array [n_bins + 1]
        Bins in m_JJ (TeV), with the same number of events in each before the cut.
    before : array [n_bins]
        Events before the cut.
    after : array [n_runs, n_bins]
        Events after the cut, for every run's score.
    chi2, p_value, jensen_shannon : arrays [n_runs]
        χ² of the kept share being the same in every bin, its p-value, and the Jensen-Shannon divergence of both spectra (nats).
    drawn : Spectrum
        The same in bins for a figure.
    """

    share: float
    edges: np.ndarray = field(repr=False)
    before: np.ndarray = field(repr=False)
    after: np.ndarray = field(repr=False)
    chi2: np.ndarray
    p_value: np.ndarray
    jensen_shannon: np.ndarray
    drawn: Spectrum = field(repr=False)

    @property
    def ndf(self) -> int:
        """Degrees of freedom: bins less the overall share, which is taken from the same events."""
        return len(self.before) - 1

    @property
    def chi2_per_ndf(self) -> float:
        """Median over the runs."""
        return float(np.median(self.chi2) / self.ndf)

    @property
    def typical_change(self) -> float:
        """Root mean square over the bins of the relative change of shape, what is due to statistics taken off; median over the runs."""
        excess = max(float(np.median(self.chi2)) - self.ndf, 0.0)
        return float(np.sqrt(excess / self.before.sum() * (1 - self.share) / self.share))


@dataclass(frozen=True)
class Verdict:
    """Whether cuts sculpt the spectrum.

    Attributes
    ----------
    is_sculpted : bool
        Whether the smallest p-value of the cuts, times their number (Bonferroni), is below `SIGNIFICANCE`.
    worst : Sculpting
        The cut with the smallest p-value, median over the runs.
    p_value : float
        That p-value.
    n_cuts : int
    """

    is_sculpted: bool
    worst: Sculpting
    p_value: float
    n_cuts: int

    @classmethod
    def of(cls, cuts: Sequence[Sculpting]) -> Verdict:
        """That on all cuts."""
        p_value, number = min((float(np.median(cut.p_value)), number) for number, cut in enumerate(cuts))
        return cls(p_value * len(cuts) < SIGNIFICANCE, cuts[number], p_value, len(cuts))

    def sentence(self) -> str:
        """One line with the rule behind it."""
        product = f"{self.p_value:.2g} × {self.n_cuts} cuts = {min(self.p_value * self.n_cuts, 1.0):.2g}"
        rule = f"p-value {product}, {'' if self.is_sculpted else 'not '}below {SIGNIFICANCE:g}"
        if not self.is_sculpted:
            return f"no sculpting seen: no cut on the score changes the shape of the background's mass spectrum (smallest {rule})"
        share, change = 100 * self.worst.share, 100 * self.worst.typical_change
        text = f"sculpting: the cut that keeps {share:g} % changes the shape of the background's mass spectrum ({rule})"
        return f"{text}, by {change:.2g} % in a bin (root mean square without statistics)"


@dataclass(frozen=True)
class RunSculpting:
    """Sculpting of a run's test background, and the events behind it.

    Attributes
    ----------
    cuts : list of Sculpting
    sideband_events, signal_region_events : int
        Events in the spectrum.
    signal_region_events_expected : int
        As many events of the signal region belong to the sideband's.
    window : Window
        The signal region, in the variable whose spectrum it is.
    """

    cuts: list[Sculpting]
    sideband_events: int
    signal_region_events: int
    signal_region_events_expected: int
    window: Window

    @property
    def verdict(self) -> Verdict:
        """Whether the cuts sculpt the spectrum."""
        return Verdict.of(self.cuts)

    def summary(self) -> dict[str, Any]:
        """The numbers, for a JSON file."""
        rows = [
            {
                "share_kept": cut.share,
                "chi2_per_ndf": cut.chi2_per_ndf,
                "ndf": cut.ndf,
                "p_value": float(np.median(cut.p_value)),
                "jensen_shannon_nats": float(np.median(cut.jensen_shannon)),
                "typical_change": cut.typical_change,
                "chi2_of_runs": cut.chi2.tolist(),
            }
            for cut in self.cuts
        ]
        events = {name: value for name, value in vars(self).items() if name not in ("cuts", "window")}
        return {"verdict": self.verdict.sentence(), "is_sculpted": self.verdict.is_sculpted} | events | {"cuts": rows}


def background_sculpting(m: np.ndarray, scores: np.ndarray, shares: Sequence[float] = SHARES) -> list[Sculpting]:
    """Compare the spectrum of background masses m [n] (TeV) before and after cuts on the scores [n_runs, n].

    χ² = Σ (k_i − ε n_i)² / (ε (1 − ε) n_i) with n_i events in bin i before and k_i after the cut, ε = Σ k / Σ n: the variance is that of
    a binomial, since the kept events are part of all events. Cuts that keep too few events for two bins are left out.

    Raises
    ------
    InputError
        If no cut keeps enough events, if masses and scores differ in number, or if a score is not finite.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> m = rng.uniform(2.5, 5, 100_000)
    >>> [smooth] = background_sculpting(m, rng.random(100_000), [0.01])
    >>> [sculpted] = background_sculpting(m, rng.random(100_000) + 0.1 * m, [0.01])
    >>> smooth.chi2_per_ndf < 2 < 20 < sculpted.chi2_per_ndf
    True
    """
    m, scores = np.asarray(m, dtype=np.float64), np.atleast_2d(scores)
    if scores.shape[1] != len(m):
        raise InputError(f"{len(m)} masses, but {scores.shape[1]} scores")
    if not all(0 < share < 1 for share in shares):
        raise InputError(f"shares to keep must lie between 0 and 1, not {list(shares)}")
    if not np.isfinite(scores).all():
        raise InputError("some scores are not finite: leave those events out")
    order = np.random.default_rng(0).permutation(len(m))  # equal scores are kept or not irrespective of the mass
    m, scores = m[order], scores[:, order]
    results = []
    for share in shares:
        n_kept = round(share * len(m))
        n_bins = min(MAX_BINS, n_kept // MIN_EXPECTED)
        if n_bins < 2:
            continue
        edges = np.quantile(m, np.linspace(0, 1, n_bins + 1))
        before = np.histogram(m, edges)[0]
        most_anomalous = np.argpartition(scores, -n_kept, axis=1)[:, -n_kept:]
        after = np.stack([np.histogram(m[kept], edges)[0] for kept in most_anomalous])
        kept_share = n_kept / len(m)
        statistic = np.sum((after - kept_share * before) ** 2 / (kept_share * (1 - kept_share) * before), axis=1)
        divergence = np.array([jensenshannon(before, counts) ** 2 for counts in after])
        p_value, drawn = chi2.sf(statistic, n_bins - 1), _drawn(m, [m[kept] for kept in most_anomalous], kept_share)
        results.append(Sculpting(share, edges, before, after, statistic, p_value, divergence, drawn))
    if not results:
        raise InputError(f"{len(m)} background events are too few to see sculpting")
    return results


def _drawn(m: np.ndarray, kept: Sequence[np.ndarray], share: float) -> Spectrum:
    """Masses [n] before and, for every run, after a cut, in bins for a figure."""
    fine = np.linspace(m.min(), np.quantile(m, DRAWN_SHARE), FINE_BINS + 1)
    edges, expected = [fine[0]], 0.0
    for count, edge in zip(np.histogram(m, fine)[0], fine[1:], strict=True):
        expected += share * count
        if expected >= MIN_DRAWN:
            edges, expected = [*edges, edge], 0.0
    drawn = np.array(edges)
    return Spectrum(drawn, np.histogram(m, drawn)[0], np.stack([np.histogram(masses, drawn)[0] for masses in kept]))


def expected_sr_events(sideband: np.ndarray, sr_masses: np.ndarray) -> int:
    """How many signal-region events belong to the sideband masses (TeV), from a log-linear interpolation of their density."""
    low, high = sideband[sideband < sr_masses.min()], sideband[sideband > sr_masses.max()]
    if len(low) == 0 or len(high) == 0:
        raise InputError("sculpting needs sideband events on both sides of the signal region")
    width = sr_masses.max() - sr_masses.min()
    edges = (low.max() - width / 2, low.max()), (high.min(), high.min() + width / 2)
    log_densities = [np.log(max(np.sum((sideband >= a) & (sideband <= b)), 1) / (b - a)) for a, b in edges]
    grid = np.linspace(sr_masses.min(), sr_masses.max(), 101)
    slope = (log_densities[1] - log_densities[0]) / (np.mean(edges[1]) - np.mean(edges[0]))
    return round(width * np.mean(np.exp(log_densities[0] + slope * (grid - np.mean(edges[0])))))


def sculpting_of_folders(data_dir: Path, preds_dir: Path, rule: EpochRule) -> RunSculpting:
    """Sculpting of a run's test background, signal region and sideband together.

    The test set holds many extra events of the signal region; as many are used, chosen at random, as belong to the sideband's.

    Parameters
    ----------
    data_dir, preds_dir : path
        Folders with X_test.npy and X_sideband.npy (stage 3), and with preds_matris.npy and preds_matris_sideband.npy (stage 4).
    rule : EpochRule
        The epochs that are scored: in the signal region those over which stage 4 has averaged the scores of the sideband.

    Raises
    ------
    InputError
        If files are absent or do not fit together, or if there is too little background.
    """
    sr, sr_scores = _background(data_dir, preds_dir, "X_test", "preds_matris", rule)
    sideband, sideband_scores = _background(data_dir, preds_dir, "X_sideband", "preds_matris_sideband", rule)
    n_expected = expected_sr_events(sideband, sr)
    window = stored_window(data_dir) or Window(float(sr.min()), float(sr.max()), stored_resonant(data_dir))
    chosen = np.random.default_rng(0).permutation(len(sr))[:n_expected]
    scores = np.concatenate([sr_scores[:, chosen], sideband_scores], axis=1)
    cuts = background_sculpting(np.concatenate([sr[chosen], sideband]), scores)
    return RunSculpting(cuts, len(sideband), len(chosen), n_expected, window)


def _background(data_dir: Path, preds_dir: Path, events: str, predictions: str, rule: EpochRule) -> tuple[np.ndarray, np.ndarray]:
    """Masses [n] (TeV) and scores [n_runs, n] of the background among scored events."""
    found, scores = load_events_and_scores(data_dir, preds_dir, events, predictions, rule)
    background = found.label == 0
    return found.m[background].astype(np.float64), scores[:, background]
