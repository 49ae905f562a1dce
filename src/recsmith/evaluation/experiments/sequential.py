"""The always-valid test: it may be looked at any number of times.

Two tests, and what both of them reject is rejected; so the interval reaches over those of the two.

The randomization test. Under a null hypothesis (see ``nulls``) the values ``c_i`` of the users are given, and each is
treated with probability ``share``, whatever its value. So for each ``l``, ``exp(l S - sum_i K(l c_i))``, with ``S`` the
sum over treated users and ``K`` the cumulant generating function of a centred Bernoulli variable, has mean 1 and is a
martingale as users come in; mixed over ``l`` by a normal distribution it is above ``1 / alpha`` at any look with
probability ``alpha`` at most (J. Ville, 1939; H. Robbins, Annals of Mathematical Statistics 41, 1970). No distribution
of the values is assumed: a group without a single conversion has nothing to show, and shows nothing. Only the scale of
the mixture is estimated. For many users and small ``c_i`` it is the normal mixture with the variance pooled.

The normal mixture with Welch's variance (``Contrast.mixture_p``). It covers what the first does not, groups with one
mean and two variances, for many users.
"""

from __future__ import annotations

import math

import numpy as np

from recsmith.evaluation.experiments.contrast import Contrast, best_mixture
from recsmith.evaluation.experiments.nulls import Nulls, bound
from recsmith.evaluation.significance import Interval
from recsmith.kernels import njit
from recsmith.types import FloatArray

_NODES, _WEIGHTS = np.polynomial.hermite.hermgauss(15)
_LOG_WEIGHTS = np.log(_WEIGHTS) + _NODES**2
_MOST_STEPS = 100


def always_valid_p(nulls: Nulls, contrast: Contrast, planned: float, alpha: float) -> float:
    """P-value of "nothing differs" for any number of looks.

    Parameters
    ----------
    nulls, contrast
        Of the same two groups.
    planned
        Users at which the interval is narrowest; not chosen by the data.
    alpha
        Level for which the mixture is made.
    """
    of_mixture = float(contrast.mixture_p(planned, alpha))
    randomized = math.exp(-max(0.0, _evidence(nulls, 1.0, 0.0, planned, alpha)))
    return max(of_mixture, randomized)


def always_valid_bounds(
    nulls: Nulls, mixture: tuple[float, float], step: float, planned: float, alpha: float
) -> Interval:
    """The ``t`` that are not rejected; NaN where that is a range without an end.

    Parameters
    ----------
    nulls
        A line of hypotheses.
    mixture
        Bounds by the normal mixture.
    step
        Standard error of the estimate, about.
    planned, alpha
        As for ``always_valid_p``.
    """
    unknown = Interval(math.nan, math.nan)
    if not math.isfinite(mixture[0]) or _evidence(nulls, 0.0, 1.0, planned, alpha) <= -math.log(alpha):
        return unknown

    def log_p(t: float) -> float:
        return -_evidence(nulls, 1.0, t, planned, alpha)

    outer = [
        end if log_p(end) < math.log(alpha) else bound(log_p, alpha, end, side * step)
        for side, end in zip((-1, 1), mixture, strict=True)
    ]
    return Interval(*outer)


def _evidence(nulls: Nulls, base: float, shift: float, planned: float, alpha: float) -> float:
    """Logarithm of the mixed martingale, by Gauss and Hermite around its highest point."""
    values, n = nulls.values(base, shift), len(nulls.treated)
    share = float(nulls.treated.mean())
    drawn = n / (n - 1)  # the groups are drawn without putting back
    variance = drawn * share * (1 - share) * float(values @ values)
    if not variance > 0:
        return 0.0
    total = float(values[nulls.treated].sum())
    precision = variance * planned / (best_mixture(alpha) * n)  # of the mixture
    at, curvature = _highest(values, share, total, drawn, precision)
    width = math.sqrt(2 / curvature)
    places = at + width * _NODES
    heights = np.array([place * total - drawn * _cumulants(values, share, place)[0] for place in places])
    heights += _LOG_WEIGHTS - places**2 * precision / 2
    top = float(heights.max())
    return top + math.log(np.exp(heights - top).sum() * width) + math.log(precision / (2 * math.pi)) / 2


def _highest(
    values: FloatArray, share: float, total: float, drawn: float, precision: float
) -> tuple[float, float]:
    """Where the integrand is highest, by Newton's steps of two standard deviations at most; and its curvature."""
    at = 0.0
    for _ in range(_MOST_STEPS):
        _, slope, bend = _cumulants(values, share, at)
        rise, curvature = total - drawn * slope - at * precision, drawn * bend + precision
        spread = 1 / math.sqrt(curvature)
        if abs(rise) * spread < 1e-6:
            break
        at += min(max(rise / curvature, -2 * spread), 2 * spread)
    return at, curvature


@njit(cache=True, nogil=True)
def _cumulants(values, share, at):  # type: ignore[no-untyped-def]
    """Sum over users of K, its slope and its curvature: ``K(x) = log(1 - share + share e^x) - share x``."""
    odds, kept = np.log(share / (1 - share)), np.log1p(-share)
    height = slope = bend = 0.0
    for value in values:
        x = at * value + odds
        small = np.exp(-abs(x))
        q = (1.0 if x > 0 else small) / (1 + small)
        height += max(x, 0.0) + np.log1p(small) - share * at * value + kept
        slope += value * (q - share)
        bend += value * value * q * (1 - q)
    return height, slope, bend
