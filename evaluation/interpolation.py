"""How much background a cut selects in the signal region, interpolated from the sideband on either side.

What stands for the background is a little different from it: a flow is one that was learned from finitely many events, at other masses.
Classifiers find just these differences, so that more background passes a cut than samples say. The sideband has nothing but background,
and the share of it that passes changes smoothly with the mass.
"""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from events.window import Window

REACH = 2.0  # widths of the window, of sideband on either side
DEGREE = 3  # of the polynomial in the mass that the logit of the share is
FEWEST_PASSING = 5  # events on either side
TOLERANCE = 1e-8


def interpolated_share(m: np.ndarray, passes: np.ndarray, at: np.ndarray, window: Window) -> tuple[float, float] | None:
    """The share of the background that passes a cut, averaged over masses inside the window, and its statistical error.

    The logit of the share is a polynomial of third degree in the mass, fitted to the sideband within two widths of the window on
    either side by maximum likelihood; the error is that of the fit, from the Fisher information.

    Parameters
    ----------
    m : array [n]
        The resonant variable, of events of the sideband; others are left out.
    passes : array [n]
        Which of them pass.
    at : array [k]
        Masses inside the window.

    Returns
    -------
    (float, float) or None
        None where too few events pass on a side to say anything, where the fit does not converge, or where there are no masses.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> m = rng.uniform(2, 6, 100_000)
    >>> share, error = interpolated_share(m, rng.random(100_000) < 0.02 * m, np.full(10, 3.5), Window(3.3, 3.7))
    >>> bool(abs(share - 0.07) < 3 * error < 0.01)
    True
    """
    reach = REACH * window.width
    lower, upper = (m > window.low - reach) & (m <= window.low), (m >= window.high) & (m < window.high + reach)
    if min((passes & side).sum() for side in (lower, upper)) < FEWEST_PASSING:
        return None
    if len(at) == 0:
        return None
    near = lower | upper
    if passes[near].all():
        return 1.0, 0.0

    def powers(masses: np.ndarray) -> np.ndarray:
        return np.vander((masses - window.center) / reach, DEGREE + 1, increasing=True)[:, 1:]

    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        try:
            fit = LogisticRegression(C=np.inf, tol=TOLERANCE, solver="newton-cholesky").fit(powers(m[near]), passes[near])
        except ConvergenceWarning:  # a step in the mass, say
            return None

    def share_and_slopes(masses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The share at masses [n], and its derivatives by the polynomial's coefficients [n, degree + 1]."""
        share, terms = fit.predict_proba(powers(masses))[:, 1], np.column_stack([np.ones(len(masses)), powers(masses)])
        return share, terms * (share * (1 - share))[:, None]

    share, slopes = share_and_slopes(m[near])
    information = np.column_stack([np.ones(len(share)), powers(m[near])]).T @ slopes
    share, slopes = share_and_slopes(at)
    mean_slope = slopes.mean(axis=0)
    return float(share.mean()), float(np.sqrt(mean_slope @ np.linalg.solve(information, mean_slope)))
