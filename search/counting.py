"""Is there an excess in the signal region? The counting experiment n ~ Poisson(s + b e^(δα)), with a Gaussian constraint on α.

b is the background that the fit predicts, δ its relative error (of the fit, and a systematic one), s the yield of the signal. Profile
likelihood ratios, q0 and CLs are those of arXiv:1007.1727. Below `ASYMPTOTIC_FROM` expected events their distributions are summed over
counts and integrated over the outcome of the constraint, which is what infinitely many toys would give.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.optimize import brentq
from scipy.special import xlogy
from scipy.stats import norm, poisson

ASYMPTOTIC_FROM = 25.0  # expected background events
NEWTON_STEPS = 2000  # at most, of one standard deviation: as far as α is pulled by the strongest signal
SMALLEST_TOTAL = 1e-9  # of signal and background, in units of the background: the yield may be negative, their sum not
CONSTRAINT_NODES = np.linspace(-20, 20, 401)  # around the true value, in its standard deviations: as far as z may be
CONFIDENCE = 0.95  # of the CLs limit
ONE_SIGMA, TWO_SIGMA = 1.0, 3.841458820694124  # of twice the log-likelihood ratio: 68.3 % and 95 %


def profiled(n: np.ndarray, s: np.ndarray, b: float, delta: float, measured: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Largest log-likelihood for a fixed yield, less n ln n - n, and the α where it is; all arrays broadcast.

    Parameters
    ----------
    n : array
        Counts.
    s : array
        Yields, above -b.
    measured : array
        Outcome of the constraint on α: 0 in the data.
    """
    n, s, measured = np.broadcast_arrays(*(np.asarray(each, dtype=np.float64) for each in (n, s, measured)))
    # δ B (n / (s + B) - 1) = α - measured with B = b e^(δα), solved for α by Newton's method with short steps.
    alpha = measured.copy()
    if delta > 0:
        negative = np.minimum(s, -SMALLEST_TOTAL * b)
        lowest = np.where(s < 0, np.log(-negative / b) / delta, -np.inf)  # below it, signal and background would be less than 0
        for _ in range(NEWTON_STEPS):
            rate = b * np.exp(delta * alpha)
            total = np.maximum(s + rate, SMALLEST_TOTAL * b)
            slope = delta * rate * (n / total - 1) - (alpha - measured)
            curvature = delta**2 * rate * (n * s / total**2 - 1) - 1
            step = np.clip(slope / np.maximum(-curvature, 1.0), -1, 1)
            before, alpha = alpha, np.maximum(alpha + step, lowest)
            if np.abs(alpha - before).max(initial=0) < 1e-12:
                break
    total = np.maximum(s + b * np.exp(delta * alpha), 0)
    return xlogy(n, total) - total - (alpha - measured) ** 2 / 2 - (xlogy(n, n) - n), alpha


@dataclass(frozen=True)
class Count:
    """A count in the signal region, and what is expected there.

    Attributes
    ----------
    n : int
        Events found.
    background, error : float
        Background events expected, and the absolute error of that.

    Examples
    --------
    An excess of 30 over 100 ± 5 events:

    >>> count = Count(130, 100.0, 5.0)
    >>> round(count.z, 2), round(count.yield_, 1)
    (2.48, 30.0)
    """

    n: int
    background: float
    error: float

    @property
    def delta(self) -> float:
        """Relative error of the background."""
        return self.error / self.background

    @property
    def is_asymptotic(self) -> bool:
        """Whether the formulas for many events are used."""
        return self.background >= ASYMPTOTIC_FROM

    @property
    def yield_(self) -> float:
        """Signal events that fit best: above 0 for an excess, below for a deficit."""
        return self.n - self.background

    @cached_property
    def signed_q0(self) -> float:
        """Twice the log-likelihood ratio of no signal, below 0 for a deficit: not capped, unlike q0."""
        return float(self._signed_q0(np.float64(self.n), np.float64(0)))

    @property
    def q0(self) -> float:
        """The test statistic of a discovery (arXiv:1007.1727, equation 12): 0 for a deficit."""
        return max(self.signed_q0, 0.0)

    @cached_property
    def z(self) -> float:
        """Local significance in standard deviations, below 0 for a deficit."""
        if self.is_asymptotic:
            return math.copysign(math.sqrt(abs(self.signed_q0)), self.signed_q0)
        if self.n >= self.background:
            return float(norm.isf(max(self.p_of_background, 1e-300)))
        return min(float(-norm.isf(1 - self._p_of_one_more)), 0.0)  # how rarely background alone gives as few

    @property
    def p0(self) -> float:
        """Local p-value of no signal, 0.5 for a deficit (equation 52)."""
        return float(min(norm.sf(self.z), 0.5))

    @cached_property
    def p_of_background(self) -> float:
        """Probability that background alone gives a signed q0 at least as large."""
        if self.is_asymptotic:
            return float(norm.sf(self.z))
        return self._exceeding(self.signed_q0)

    @cached_property
    def _p_of_one_more(self) -> float:
        """Probability that background alone gives a larger signed q0 than this count."""
        return self._exceeding(float(self._signed_q0(np.float64(self.n + 1), np.float64(0))))

    def randomised_p(self, uniform: float) -> float:
        """The same, with a share `uniform` of the count's own probability: for small counts, too, evenly distributed."""
        if self.is_asymptotic:
            return self.p_of_background
        return self._p_of_one_more + uniform * (self.p_of_background - self._p_of_one_more)

    def interval(self, level: float) -> tuple[float, float]:
        """Yields whose twice the log-likelihood ratio to the best one is below `level`; `ONE_SIGMA` and `TWO_SIGMA`.

        The yield is not bound to be positive, but the sum of signal and background is.
        """

        def excess(s: float) -> float:
            return -2 * float(profiled(np.float64(self.n), np.float64(s), self.background, self.delta, np.float64(0))[0]) - level

        width = math.sqrt(self.n + 1 + self.error**2)
        lowest = -self.background
        low, high = self.yield_ - width, self.yield_ + width
        while low > lowest and excess(low) < 0:
            low -= width
        while excess(high) < 0:
            high += width
        low = max(low, lowest)
        return (brentq(excess, low, self.yield_) if excess(low) > 0 else low), brentq(excess, self.yield_, high)

    @cached_property
    def limit(self) -> float:
        """Upper limit on the yield at 95 % by CLs, from the test statistic of equation 16 (arXiv:1007.1727)."""
        cls = self.cls if self.is_asymptotic else self._summed_cls
        high = max(self.yield_, 0) + 3 * math.sqrt(self.n + self.background + self.error**2 + 1)
        while cls(high) > 1 - CONFIDENCE:
            high *= 2
        return float(brentq(lambda s: cls(s) - (1 - CONFIDENCE), 1e-6 * high, high, rtol=1e-4))

    def cls(self, s: float) -> float:
        """CLs of a yield, by the formulas for many events (sections 3.6 and 5 of arXiv:1007.1727)."""
        n, zero = np.float64(self.n), np.float64(0)
        null = profiled(n, zero, self.background, self.delta, zero)[1]
        asimov_background = self.background * math.exp(self.delta * null)
        q = float(self._q_tilde(n, np.float64(s), zero))
        q_asimov = float(self._q_tilde(np.float64(asimov_background), np.float64(s), null))
        root, root_asimov = math.sqrt(q), math.sqrt(q_asimov)
        if root_asimov == 0:  # so small a yield that rounding hides it
            return 1.0
        if root <= root_asimov:
            with_signal, without = norm.logsf(root), norm.logcdf(root_asimov - root)
        else:
            with_signal = norm.logsf((q + q_asimov) / (2 * root_asimov))
            without = norm.logsf((q - q_asimov) / (2 * root_asimov))
        return float(np.exp(with_signal - without))

    def _signed_q0(self, n: np.ndarray, measured: np.ndarray) -> np.ndarray:
        """Signed q0 of counts, if the constraint says that α is `measured`."""
        q = -2 * profiled(n, np.float64(0), self.background, self.delta, measured)[0]
        return np.sign(n - self.background * np.exp(self.delta * measured)) * np.maximum(q, 0)

    def _q_tilde(self, n: np.ndarray, s: np.ndarray, measured: np.ndarray) -> np.ndarray:
        """The test statistic of an upper limit on yields of 0 or above (equation 16)."""
        best = np.maximum(n - self.background * np.exp(self.delta * measured), 0)
        at_best = profiled(n, best, self.background, self.delta, measured)[0]
        q = 2 * (at_best - profiled(n, s, self.background, self.delta, measured)[0])
        return np.where(best > s, 0.0, np.maximum(q, 0))

    def _exceeding(self, signed_q0: float) -> float:
        """Probability of at least this signed q0 without signal."""
        return self._probability(lambda n, measured: self._signed_q0(n, measured) >= signed_q0 - 1e-9, 0.0)

    def _summed_cls(self, s: float) -> float:
        """CLs of a yield, from sums over counts; α is for each hypothesis what fits the data best."""
        yield_, observed = np.float64(s), self._q_tilde(np.float64(self.n), np.float64(s), np.float64(0))

        def below(n: np.ndarray, measured: np.ndarray) -> np.ndarray:
            return self._q_tilde(n, yield_, measured) < observed - 1e-9

        with_signal, without = (1 - self._probability(below, each) for each in (s, 0.0))
        return with_signal / max(without, 1e-300)

    def _probability(self, holds: Callable[[np.ndarray, np.ndarray], np.ndarray], s: float) -> float:
        """Probability, for a yield, of what holds from some count on, which depends on the outcome of the constraint."""
        alpha = float(profiled(np.float64(self.n), np.float64(s), self.background, self.delta, np.float64(0))[1])
        rate = s + self.background * math.exp(self.delta * alpha)
        nodes, weights = np.array([alpha]), np.ones(1)
        if self.delta > 0:
            nodes, weights = alpha + CONSTRAINT_NODES, norm.pdf(CONSTRAINT_NODES)
        most = max(rate, self.n)
        low, high = np.full(len(nodes), -1.0), np.full(len(nodes), np.ceil(most + 20 * math.sqrt(most) + 20))
        while (high - low).max() > 1:  # the smallest count is above `low` and at most `high`
            middle = np.where(high - low > 1, np.floor((low + high) / 2), high)
            held = holds(middle, nodes)
            low, high = np.where(held, low, middle), np.where(held, middle, high)
            low = np.minimum(low, high - 1)
        return float(weights @ poisson.sf(high - 1, rate) / weights.sum())
