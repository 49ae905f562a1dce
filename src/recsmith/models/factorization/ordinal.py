"""Kernels of the ordered probit: a rating is the class that a hidden normal variable falls into.

J. H. Albert and S. Chib, "Bayesian Analysis of Binary and Polychotomous Response Data", JASA 1993, section 4: with
cut points ``g_1 < ... < g_{K-1}``, a rating has class k where ``g_k < x <= g_{k+1}`` and ``x ~ N(score, 1)``. Classes
count from 0; cut points are kept with -inf before and +inf behind them: ``edges`` (K + 1,) float64.
"""

from __future__ import annotations

import math

import numpy as np

from recsmith.kernels import njit
from recsmith.models.factorization.gibbs import begin, normal_quantile, uniform
from recsmith.types import FloatArray, IntArray

_ROOT_HALF = math.sqrt(0.5)
_DENSITY = 1.0 / math.sqrt(2.0 * math.pi)
_STEP = 1.0 / 64  # of the grid on which the likelihood of cut points is summed
_GRID = 512  # points of the table of expected ratings
_FAST = {"reassoc", "contract", "nsz"}


@njit(cache=True, nogil=True, inline="always")
def below(x):  # type: ignore[no-untyped-def]
    """Phi(x), exact in the lower tail."""
    return 0.5 * math.erfc(-x * _ROOT_HALF)


@njit(cache=True, nogil=True, inline="always")
def within(low, high):  # type: ignore[no-untyped-def]
    """Phi(high) - Phi(low), exact in both tails."""
    return below(-low) - below(-high) if low > 0 else below(high) - below(low)


@njit(cache=True, nogil=True, fastmath=_FAST)
def scores(out, start, stop, first, second, third, a, b, c, three):  # type: ignore[no-untyped-def]
    """Fill ``out[start:stop]`` with the scores of the ratings: biases plus products of all pairs of rows."""
    m = a.shape[1]
    for e in range(start, stop):
        x, y = a[first[e]], b[second[e]]
        total = x[0] + y[0]
        if three:
            z = c[third[e]]
            total += z[0]
            for f in range(1, m):
                total += x[f] * y[f] + (x[f] + y[f]) * z[f]
        else:
            for f in range(1, m):
                total += x[f] * y[f]
        out[e] = total


@njit(cache=True, nogil=True)
def draw_hidden(out, start, stop, score, classes, edges, key, index):  # type: ignore[no-untyped-def]
    """Fill ``out[start:stop]`` with the hidden variables: normal around the score, within the class's edges."""
    stream = np.empty(1, dtype=np.uint64)
    begin(stream, key, index)
    for e in range(start, stop):
        low, high = edges[classes[e]] - score[e], edges[classes[e] + 1] - score[e]
        turned = low > 0
        if turned:
            low, high = -high, -low
        p = below(low)
        p += (below(high) - p) * uniform(stream)
        x = normal_quantile(min(max(p, 1e-300), 1.0 - 1e-16))
        x = min(max(x, low), high)
        out[e] = score[e] + (-x if turned else x)


@njit(cache=True, nogil=True)
def _histogram(score, classes, n_classes):  # type: ignore[no-untyped-def]
    """Scores of each class on a grid, each shared out between its two neighbours: lowest point, (K, points)."""
    low, high = np.float64(score[0]), np.float64(score[0])
    for x in score:
        low, high = min(low, x), max(high, x)
    counts = np.zeros((n_classes, int((high - low) / _STEP) + 2))
    for e in range(len(score)):
        place = (score[e] - low) / _STEP
        j = int(place)
        counts[classes[e], j] += 1.0 - (place - j)
        counts[classes[e], j + 1] += place - j
    return low, counts


@njit(cache=True, nogil=True)
def _likelihood(edges, low, counts, slope, bend):  # type: ignore[no-untyped-def]
    """Log likelihood of the edges; fills its ``slope`` (K - 1,) and minus its second derivative ``bend``."""
    n_classes = len(edges) - 1
    slope[:] = 0.0
    bend[:] = 0.0
    total = 0.0
    for k in range(n_classes):
        for j in range(counts.shape[1]):
            n = counts[k, j]
            if n == 0.0:
                continue
            x, y = edges[k] - (low + j * _STEP), edges[k + 1] - (low + j * _STEP)
            share = max(within(x, y), 1e-300)
            total += n * math.log(share)
            p = _DENSITY * math.exp(-0.5 * x * x) / share if k > 0 else 0.0
            q = _DENSITY * math.exp(-0.5 * y * y) / share if k < n_classes - 1 else 0.0
            if k > 0:
                slope[k - 1] -= n * p
                bend[k - 1, k - 1] += n * (p * p - x * p)
            if k < n_classes - 1:
                slope[k] += n * q
                bend[k, k] += n * (q * q + y * q)
            if 0 < k < n_classes - 1:
                bend[k - 1, k] -= n * p * q
                bend[k, k - 1] -= n * p * q
    return total


def start_edges(counts: IntArray) -> FloatArray:
    """(K + 1,) edges at which standard normal scores give classes as often as they occur."""
    shares = np.cumsum(counts)[:-1] / counts.sum()
    return np.array([-np.inf, *(1.1 * normal_quantile(float(p)) for p in shares), np.inf])


def draw_edges(
    edges: FloatArray, score: FloatArray, classes: IntArray, rng: np.random.Generator
) -> FloatArray:
    """New edges given the scores, the hidden variables left out of account.

    M. K. Cowles, "Accelerating Monte Carlo Markov Chain Convergence for Cumulative-link Generalized Linear Models",
    Statistics and Computing 1996. The proposal is the normal distribution at a Newton step, accepted or not by
    Metropolis and Hastings. The prior is flat.
    """
    k = len(edges) - 2
    low, counts = _histogram(score, classes, k + 1)
    was = _proposal(edges, low, counts)
    noise, chance = rng.standard_normal(k), np.log(rng.random())
    if was is None:
        return edges
    new = np.concatenate([[-np.inf], was[1] + np.linalg.solve(was[2].T, noise), [np.inf]])
    if (np.diff(new) <= 0).any():
        return edges
    now = _proposal(new, low, counts)
    if now is None:
        return edges
    gain = now[0] - was[0] + _log_density(edges, now) - _log_density(new, was)
    return new if chance < gain else edges


def _proposal(
    edges: FloatArray, low: float, counts: FloatArray
) -> tuple[float, FloatArray, FloatArray] | None:
    """Log likelihood, and mean and Cholesky factor of the precision of what is proposed from ``edges``."""
    k = len(edges) - 2
    slope, bend = np.empty(k), np.empty((k, k))
    total = _likelihood(edges, low, counts, slope, bend)
    try:
        root = np.linalg.cholesky(bend)
    except np.linalg.LinAlgError:
        return None
    return total, edges[1:-1] + np.linalg.solve(bend, slope), root


def _log_density(edges: FloatArray, proposal: tuple[float, FloatArray, FloatArray]) -> float:
    away = proposal[2].T @ (edges[1:-1] - proposal[1])
    return float(np.log(np.diag(proposal[2])).sum() - 0.5 * away @ away)


def expectations(edges: FloatArray, levels: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Expected rating on a grid of scores, for each sample, to be interpolated.

    Parameters
    ----------
    edges
        (S, K + 1) float64.
    levels
        (K,) rating of each class.

    Returns
    -------
    ranges
        (S, 2) float64 lowest score, and points per unit of score.
    table
        (S, points) float32.
    """
    low, high = edges[:, 1] - 6.0, edges[:, -2] + 6.0
    ranges = np.stack([low, (_GRID - 1) / (high - low)], axis=1)
    table = np.empty((len(edges), _GRID), dtype=np.float32)
    _fill(table, ranges, edges, levels.astype(np.float64))
    return ranges, table


@njit(cache=True, nogil=True)
def _fill(table, ranges, edges, levels):  # type: ignore[no-untyped-def]
    for s in range(table.shape[0]):
        for j in range(table.shape[1]):
            x = ranges[s, 0] + j / ranges[s, 1]
            total = 0.0
            for k in range(len(levels)):
                total += levels[k] * within(edges[s, k] - x, edges[s, k + 1] - x)
            table[s, j] = total


@njit(cache=True, nogil=True, inline="always")
def interpolated(table, ranges, s, score):  # type: ignore[no-untyped-def]
    """Expected rating of a score under sample ``s``."""
    last = table.shape[1] - 1
    place = min(max((score - ranges[s, 0]) * ranges[s, 1], 0.0), last - 1e-6)
    j = int(place)
    part = place - j
    return table[s, j] * (1.0 - part) + table[s, j + 1] * part


@njit(cache=True, nogil=True, inline="always")
def pull(low, high):  # type: ignore[no-untyped-def]
    """Slope, and minus the bend, of the log probability of a class with these edges, relative to the score."""
    share = within(low, high)
    if share < 1e-280:  # far away: the near edge pulls
        return (low if low > 0 else high), 1.0
    p = _DENSITY * math.exp(-0.5 * low * low) / share if low > -40.0 else 0.0
    q = _DENSITY * math.exp(-0.5 * high * high) / share if high < 40.0 else 0.0
    slope = p - q
    bend = slope * slope
    if p > 0.0:
        bend -= low * p
    if q > 0.0:
        bend += high * q
    return slope, bend
