"""The background fit: an extended binned Poisson likelihood of the dijet functions, in the sideband alone.

    f(m) = p0 (1 - x)^p1 x^-(p2 + p3 ln x + p4 ln² x + p5 ln³ x),    x = m / √s

with the first 2 to 5 of these parameters, as in searches (arXiv:1806.00843, arXiv:1910.08447). A spectrum that needs five gets a
sixth, as the one more. ln f is linear in ln p0, p1 ... p5, so the fit works in coordinates in which these are uncorrelated and of unit
error: iminuit converges from nearly everywhere.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from iminuit import Minuit
from scipy.special import xlogy
from scipy.stats import chi2

from search.bins import MassBins
from search.counting import Count

logger = logging.getLogger(__name__)

ORDERS = (2, 3, 4, 5, 6)  # numbers of parameters
LAST_TESTED = 5  # the last one is only the one more
SIGNIFICANCE_OF_ORDER = 0.32  # of the likelihood-ratio tests: one standard deviation
NODES = 3  # of the Gauss-Legendre quadrature in every bin
RANDOM_STARTS = 3
EVENTS_PER_PARAMETER = 30  # of the sideband, for more parameters than three
LARGEST_ERROR = 2.0  # relative, of a prediction
LARGEST_EXPONENT = 300.0
MAX_CALLS = 2000


class FitError(Exception):
    """There is no background fit, for the reason that is given; it gives no numbers."""


def quadrature(edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights [n, NODES] of the integrals between edges [n + 1]."""
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    middle, half = (edges[1:] + edges[:-1]) / 2, np.diff(edges) / 2
    return middle[:, None] + half[:, None] * nodes, half[:, None] * weights


def dijet_basis(x: np.ndarray) -> np.ndarray:
    """The functions [..., 6] of x = m / √s [...] of which ln f is the sum, with ln p0, p1 ... p5 as factors."""
    log = np.log(x)
    return np.stack([np.ones_like(x), np.log1p(-x), -log, -(log**2), -(log**3), -(log**4)], axis=-1)


def _improved_upon(order: int, fits: Mapping[int, BackgroundFit]) -> bool:
    """Whether a likelihood-ratio test prefers a higher order; twice the log of the ratio has a χ² distribution (Wilks, 1938)."""
    ratios = ((k - order, 2 * (fits[order].half_deviance - other.half_deviance)) for k, other in fits.items() if k > order)
    return any(chi2.sf(ratio, further) < SIGNIFICANCE_OF_ORDER for further, ratio in ratios)


@dataclass(frozen=True)
class BackgroundFit:
    """A fit of the sideband.

    Attributes
    ----------
    bins : MassBins
    parameters : array [order]
        ln p0 (of events per unit of mass), p1, p2 ...
    covariance : array [order, order]
    half_deviance : float
        Negative log-likelihood, less that of a model that fits every bin exactly.
    n_bins : int
        Bins that were fitted.
    """

    bins: MassBins
    parameters: np.ndarray
    covariance: np.ndarray
    half_deviance: float
    n_bins: int

    @property
    def order(self) -> int:
        """Number of parameters."""
        return len(self.parameters)

    def between(self, edges: np.ndarray) -> np.ndarray:
        """Expected events [n] between edges [n + 1], in the unit of the mass."""
        nodes, weights = quadrature(np.asarray(edges, dtype=np.float64))
        return (weights * np.exp(dijet_basis(nodes / self.bins.sqrt_s)[..., : self.order] @ self.parameters)).sum(axis=1)

    @cached_property
    def expected(self) -> np.ndarray:
        """Expected events in every bin [n], also in those of the window."""
        return self.between(np.array(self.bins.edges))

    @cached_property
    def _gradients(self) -> np.ndarray:
        """Derivatives [n, order] of `expected` by the parameters."""
        nodes, weights = quadrature(np.array(self.bins.edges))
        basis = dijet_basis(nodes / self.bins.sqrt_s)[..., : self.order]
        return np.einsum("nq,nqp->np", weights * np.exp(basis @ self.parameters), basis)

    @cached_property
    def error(self) -> np.ndarray:
        """Errors of `expected` [n] from the covariance of the parameters."""
        return np.sqrt(np.einsum("np,pq,nq->n", self._gradients, self.covariance, self._gradients))

    @cached_property
    def prediction(self) -> tuple[float, float]:
        """Expected background in the signal region, and its error from the covariance of the parameters."""
        inside = self.bins.in_window
        gradient = self._gradients[inside].sum(axis=0)  # that of ln p0 is the number of events
        return float(gradient[0]), float(np.sqrt(gradient @ self.covariance @ gradient))

    def counted(self, counts: np.ndarray, systematic: float, shift: float = 0.0) -> Count:
        """What a spectrum [n] has in the signal region, and what is expected there, with a relative systematic error.

        `shift` says by how many of its standard deviations the systematic has moved the expectation: in the data nobody knows it.
        """
        background, error = (np.exp(systematic * shift) * value for value in self.prediction)
        return Count(int(counts[self.bins.in_window].sum()), float(background), float(np.hypot(error, systematic * background)))


class SpectrumFitter:
    """Fits spectra in one set of bins, as often as one likes.

    Parameters
    ----------
    bins : MassBins
    leave_out : bool
        Whether the bins of the window are left out. They are in, if the spectrum is to be described and not to be searched.

    Notes
    -----
    The functions are made orthonormal with the number of events as weights, in their order, so that the first k of them span what the
    first k span: parameters have errors of about one, and a lower order is a higher one with zeros.
    """

    def __init__(self, bins: MassBins, *, leave_out: bool = True) -> None:
        self.bins, self.fitted = bins, ~bins.in_window if leave_out else np.ones(len(bins), dtype=bool)
        nodes, weights = quadrature(np.array(bins.edges))
        self._weights, self._basis = weights[self.fitted], dijet_basis(nodes[self.fitted] / bins.sqrt_s)
        self._below = bins.below_window[self.fitted]

    def fit(self, counts: np.ndarray, order: int, rng: np.random.Generator | None) -> BackgroundFit:
        """Fit one order.

        Parameters
        ----------
        counts : array [n]
            Events in every bin; those in the window are not looked at.
        rng : numpy.random.Generator or None
            For further starts, of which the best counts; None is content with the first one that converges.

        Raises
        ------
        FitError
            If there are too few events, or no start converges.
        """
        n = np.asarray(counts, dtype=np.float64)[self.fitted]
        self._check(n, order)
        triangle = self._orthonormal(n, order)
        basis, weights = self._basis[..., :order] @ triangle, self._weights
        saturated = xlogy(n, n).sum() - n.sum()

        def rates(theta: np.ndarray) -> np.ndarray:
            return weights * np.exp(np.clip(basis @ theta, -LARGEST_EXPONENT, LARGEST_EXPONENT))

        def half_deviance(theta: np.ndarray) -> float:
            mu = rates(theta).sum(axis=1)
            return float(mu.sum() - xlogy(n, mu).sum() + saturated)

        def gradient(theta: np.ndarray) -> np.ndarray:
            nodes = rates(theta)
            return np.einsum("bq,bqp->p", (1 - n / nodes.sum(axis=1))[:, None] * nodes, basis)

        best: Minuit | None = None
        for start in self._starts(n, basis, order, rng):
            minuit = Minuit(half_deviance, start, grad=gradient)
            minuit.errordef, minuit.strategy, minuit.print_level = Minuit.LIKELIHOOD, 0, 0
            minuit.migrad(ncall=MAX_CALLS)
            if minuit.valid and np.isfinite(minuit.fval) and (best is None or minuit.fval < best.fval):
                best = minuit
            if best is not None and rng is None:
                break
        if best is None:
            raise FitError(f"no fit with {order} parameters converges")
        theta = np.array(best.values)
        nodes = rates(theta)
        mu, slopes = nodes.sum(axis=1), np.einsum("bq,bqp->bp", nodes, basis)
        information = (slopes / mu[:, None]).T @ slopes  # expected (Fisher); its inverse is the covariance
        if not np.linalg.cond(information) < 1e12:
            raise FitError(f"the fit with {order} parameters does not determine them")
        covariance = triangle @ np.linalg.inv(information) @ triangle.T
        fit = BackgroundFit(self.bins, triangle @ theta, covariance, float(best.fval), len(n))
        expected, error = fit.prediction
        if not error < LARGEST_ERROR * expected:
            raise FitError(f"the fit with {order} parameters does not determine the background in the window")
        return fit

    def choose(self, counts: np.ndarray, rng: np.random.Generator | None) -> BackgroundFit:
        """The fit of the order that the spectrum asks for.

        It is one parameter more than the lowest order that no higher one improves upon, by likelihood-ratio tests at one standard
        deviation. The tests compare two to five parameters; the sixth is never tested, only added. What such tests do not see may be as
        large as the error of the prediction: with tests at 5 %, and without the one more, background toys had a mean significance of up
        to 0.4 standard deviations, and p below 0.01 in up to 9 % (benchmarks/README.md).
        Few events allow no more than three parameters: more follow their fluctuations.

        Raises
        ------
        FitError
            If the fit fails.
        """
        fits = self._fits(counts, rng)
        tested = {order: fit for order, fit in fits.items() if order <= LAST_TESTED}
        enough = next((order for order in tested if not _improved_upon(order, tested)), max(fits))
        return fits[min((order for order in fits if order > enough), default=enough)]

    def richest(self, counts: np.ndarray) -> BackgroundFit:
        """The fit with the most parameters that so few events allow: what toys are drawn from.

        Toys of a fit with fewer parameters are described by these too well: a choice that overlooks a parameter in the data would have
        nothing to overlook in the toys, and their significances would scatter less (benchmarks/README.md).

        Raises
        ------
        FitError
            If no fit succeeds.
        """
        fits = self._fits(counts, None)
        return fits[max(fits)]

    def _fits(self, counts: np.ndarray, rng: np.random.Generator | None) -> dict[int, BackgroundFit]:
        """The fits that succeed, by rising order; at least one."""
        fits: dict[int, BackgroundFit] = {}
        failures = []
        most = max(3, int(np.asarray(counts)[self.fitted].sum()) // EVENTS_PER_PARAMETER)
        for order in (order for order in ORDERS if order <= most):
            try:
                fits[order] = self.fit(counts, order, rng)
            except FitError as error:
                failures.append(error)
        if not fits:
            raise failures[0]
        return fits

    def goodness(self, counts: np.ndarray, fit: BackgroundFit, n_toys: int, rng: np.random.Generator) -> float:
        """Share of toy spectra of the fit that are described no better by a fit of their own, of the same order.

        A toy that cannot be fitted counts as described worse.
        """
        worse = 0
        for _ in range(n_toys):
            toy = rng.poisson(fit.expected)
            try:
                worse += self.fit(toy, fit.order, None).half_deviance >= fit.half_deviance
            except FitError:
                worse += 1
        return (worse + 1) / (n_toys + 1)

    def _check(self, n: np.ndarray, order: int) -> None:
        if n[self._below].sum() == 0 or n[~self._below].sum() == 0:
            side = "below" if n[self._below].sum() == 0 else "above"
            raise FitError(f"no event {side} the signal region")
        if (n > 0).sum() <= order:
            raise FitError(f"{(n > 0).sum()} bins with events are too few for {order} parameters")

    def _orthonormal(self, n: np.ndarray, order: int) -> np.ndarray:
        """Matrix [order, order], upper triangular: the functions times it are orthonormal with the events as weights."""
        root = np.sqrt(np.repeat((n + 0.1)[:, None], NODES, axis=1) / NODES)[..., None]
        r = np.linalg.qr((self._basis[..., :order] * root).reshape(-1, order), mode="r")
        return np.linalg.inv(r)

    def _starts(self, n: np.ndarray, basis: np.ndarray, order: int, rng: np.random.Generator | None) -> Iterator[np.ndarray]:
        """Points to start from: a straight line through the logarithms of the counts, and around it."""
        middle, log = basis.mean(axis=1), np.log((n + 0.1) / self._weights.sum(axis=1))
        root = np.sqrt(n + 0.1)
        first = np.linalg.lstsq(middle * root[:, None], log * root, rcond=None)[0]
        yield first
        flat = np.zeros(order)
        flat[: min(order, 2)] = np.linalg.lstsq(middle[:, :2] * root[:, None], log * root, rcond=None)[0]
        yield flat
        others = np.random.default_rng(0) if rng is None else rng
        for _ in range(RANDOM_STARTS):
            yield first + others.normal(size=order)
