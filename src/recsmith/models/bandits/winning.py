"""How likely a candidate's draw is the largest: the propensities of Thompson sampling, by numerical integration.

For independent draws with distribution functions F the candidate a wins with probability ``integral of prod over b != a
of F_b dF_a``. Both factors rise from 0 to 1, so the trapezoid rule of Stieltjes needs no density, and halving an
interval where it changes the sum finds every step. Two sums, of an interval and of its halves, are extrapolated as
Richardson does, and an interval is halved until they differ by less than ``RELATIVE`` of the whole.
"""

from __future__ import annotations

import math

import numpy as np

from recsmith.kernels import njit
from recsmith.types import BoolArray, FloatArray, IntArray

RELATIVE = 3e-5  #: difference of an interval and its halves, as a part of the whole
_SPREAD = 0.05  # greatest error that an interval could have, as a part of the whole, before extrapolation is trusted
_FLOOR = 1e-12
_DEPTH = 48  # halvings
_PANELS = 12
_NOTHING = -40.0  # logarithm of what a tail must have to be one
_REACH = 9.0  # standard deviations of a normal distribution that are looked at


def beta_wins(alpha: FloatArray, beta: FloatArray, left: BoolArray, at: IntArray) -> FloatArray:
    """(n,) probability that the candidate ``at`` (n,) draws the most among those ``left`` (n, m).

    Draws are independent from Beta(alpha, beta), both (n, m) float64 and > 0.
    """
    out = np.empty(len(at))
    _wins(True, alpha, beta, left, at, out)
    return out


def normal_wins(mean: FloatArray, deviation: FloatArray, left: BoolArray, at: IntArray) -> FloatArray:
    """The same for independent normal draws with ``mean`` and standard ``deviation`` > 0, both (n, m) float64."""
    out = np.empty(len(at))
    _wins(False, mean, deviation, left, at, out)
    return out


@njit(cache=True, nogil=True)
def _fraction(a, b, x):  # type: ignore[no-untyped-def]
    """Lentz's continued fraction of the incomplete beta function (Numerical Recipes, 3rd edition, section 6.4)."""
    tiny = 1e-300
    c, d = 1.0, 1.0 - (a + b) * x / (a + 1.0)
    d = 1.0 / (d if abs(d) > tiny else tiny)
    h = d
    for m in range(1, 10_000):
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d, c = 1.0 + term * d, 1.0 + term / c
            d = 1.0 / (d if abs(d) > tiny else tiny)
            c = c if abs(c) > tiny else tiny
            h *= d * c
        if abs(d * c - 1.0) < 1e-13:
            break
    return h


@njit(cache=True, nogil=True)
def _beta_below(a, b, log_scale, x):  # type: ignore[no-untyped-def]
    """Regularized incomplete beta function; ``log_scale`` is ``-ln B(a, b)``."""
    if x <= 0.0:
        return 0.0
    if x >= 1.0:
        return 1.0
    front = log_scale + a * math.log(x) + b * math.log1p(-x)
    if front < _NOTHING:  # far from the mean there is nothing to be summed
        return 1.0 if x > a / (a + b) else 0.0
    front = math.exp(front)
    if x < (a + 1.0) / (a + b + 2.0):
        return front * _fraction(a, b, x) / a
    return 1.0 - front * _fraction(b, a, 1.0 - x) / b


@njit(cache=True, nogil=True)
def _below(is_beta, p, q, scale, x):  # type: ignore[no-untyped-def]
    """Distribution function of a draw."""
    if is_beta:
        return _beta_below(p, q, scale, x)
    return 0.5 * math.erfc((p - x) / (q * math.sqrt(2.0)))


@njit(cache=True, nogil=True)
def _others_below(is_beta, p, q, scales, left, own, x):  # type: ignore[no-untyped-def]
    product = 1.0
    for b in range(len(p)):
        if left[b] and b != own:
            product *= _below(is_beta, p[b], q[b], scales[b], x)
            if product < 1e-30:
                return 0.0
    return product


@njit(cache=True, nogil=True)
def _range(is_beta, p, q):  # type: ignore[no-untyped-def]
    """Where a draw of the candidate falls, but for less than any figure here can show."""
    if not is_beta:
        return p - _REACH * q, p + _REACH * q
    centre = p / (p + q)
    spread = math.sqrt(centre * (1.0 - centre) / (p + q + 1.0))
    low, high = max(centre - 2.0 * _REACH * spread, 0.0), min(centre + 2.0 * _REACH * spread, 1.0)
    return (0.0 if p < 2.0 else low), (1.0 if q < 2.0 else high)


@njit(cache=True, nogil=True)
def _integral(is_beta, p, q, scales, left, own):  # type: ignore[no-untyped-def]
    """Adaptive Stieltjes integral over the range of the candidate's own draw, from left to right."""
    low, high = _range(is_beta, p[own], q[own])
    ends = np.empty(
        (_PANELS + _DEPTH + 1, 4)
    )  # of intervals that are left: place, both functions there, halvings
    rough, f0, g0 = _FLOOR, 0.0, 0.0
    for i in range(_PANELS + 1):
        x = high - (high - low) * i / _PANELS
        f0 = _below(is_beta, p[own], q[own], scales[own], x)
        g0 = _others_below(is_beta, p, q, scales, left, own, x)
        ends[i, 0], ends[i, 1], ends[i, 2], ends[i, 3] = x, f0, g0, 0.0
        if i > 0:
            rough += 0.5 * (ends[i - 1, 1] - f0) * (ends[i - 1, 2] + g0)
    x0, top, total = low, _PANELS - 1, 0.0
    while top >= 0:
        x1, f1, g1, depth = ends[top, 0], ends[top, 1], ends[top, 2], ends[top, 3]
        x = 0.5 * (x0 + x1)
        f = _below(is_beta, p[own], q[own], scales[own], x)
        g = _others_below(is_beta, p, q, scales, left, own, x)
        whole = 0.5 * (f1 - f0) * (g0 + g1)
        halves = 0.5 * ((f - f0) * (g0 + g) + (f1 - f) * (g + g1))
        sure = abs(halves - whole) <= RELATIVE * rough and (f1 - f0) * (g1 - g0) <= _SPREAD * rough
        if sure or depth >= _DEPTH:
            total += halves + (halves - whole) / 3.0
            x0, f0, g0 = x1, f1, g1
            top -= 1
        else:
            ends[top, 3] = depth + 1.0
            top += 1
            ends[top, 0], ends[top, 1], ends[top, 2], ends[top, 3] = x, f, g, depth + 1.0
    return max(total, _FLOOR)


@njit(cache=True, nogil=True)
def _wins(is_beta, p, q, left, at, out):  # type: ignore[no-untyped-def]
    n, m = p.shape
    scales = np.zeros(m)
    for r in range(n):
        if is_beta:
            for b in range(m):
                if left[r, b]:
                    a, c = p[r, b], q[r, b]
                    scales[b] = math.lgamma(a + c) - math.lgamma(a) - math.lgamma(c)
        out[r] = _integral(is_beta, p[r], q[r], scales, left[r], at[r]) if left[r, at[r]] else 1.0
