"""Kernels that answer from the draws of a fitted chain: users from histories, ratings and their spread.

S draws, vectors with ``m = 1 + embedding_size`` entries of which entry 0 is the bias. A request is a vector for each
draw, (S, m): entry 0 is all that does not depend on the item, the rest multiplies the item's vector.
"""

from __future__ import annotations

import math

import numpy as np

from recsmith.kernels import njit
from recsmith.models.factorization.gibbs import add_ratings, draw
from recsmith.models.factorization.ordinal import interpolated, pull, within

_NEWTON = 6  # steps to the most probable vector of an ordinal history
_FAST = {"reassoc", "contract", "nsz"}


@njit(cache=True, nogil=True)
def fold_in(  # type: ignore[no-untyped-def]
    mean, drawn, rows, offsets, items, days, targets, item_draws, day_draws, precision, noise, noises
):
    """Users from histories of numbers, the posterior given the draws of everything else.

    ``mean`` and ``drawn`` (len(rows), S, m) hold the prior mean and take the posterior mean, and the mean plus
    ``noises`` (S, m) standard normals scaled by the posterior. Events without a target (NaN) are passed over.
    """
    size, m = mean.shape[1], mean.shape[2]
    a, linear = np.empty((m, m)), np.empty(m)
    gram, right = np.empty((m, m), dtype=np.float32), np.empty(m, dtype=np.float32)
    for n in range(len(rows)):
        kept = _kept(targets, offsets[rows[n]], offsets[rows[n] + 1])
        own, place = items[kept], np.arange(len(kept))
        first, second = np.empty((len(kept), m), dtype=np.float32), np.zeros((len(kept), m), dtype=np.float32)
        target = targets[kept]
        two = day_draws.shape[0] > 0
        for s in range(size):
            _gather(first, second, own, days, kept, item_draws, day_draws, s)
            gram[:] = 0
            right[:] = 0
            add_ratings(gram, right, 0, len(kept), place, place, first, second, two, target)
            prior = mean[n, s].astype(np.float64)
            start = precision[s] @ prior
            for i in range(m):
                linear[i] = start[i] + noise[s] * right[i]
                for j in range(i + 1):
                    a[i, j] = precision[s, i, j] + noise[s] * gram[i, j]
            draw(mean[n, s], a, linear, None)
            _scatter(drawn[n, s], mean[n, s], a, noises[s])


@njit(cache=True, nogil=True)
def fold_in_ordinal(  # type: ignore[no-untyped-def]
    mean, drawn, rows, offsets, items, days, classes, item_draws, day_draws, precision, edges, noises
):
    """As ``fold_in`` for classes (-1: none): the most probable vector by Newton steps, and a normal around it."""
    size, m = mean.shape[1], mean.shape[2]
    a, linear = np.empty((m, m)), np.empty(m)
    z, step = np.ones(m), np.empty(m)
    for n in range(len(rows)):
        kept = _known(classes, offsets[rows[n]], offsets[rows[n] + 1])
        own = items[kept]
        first, second = np.empty((len(kept), m), dtype=np.float32), np.zeros((len(kept), m), dtype=np.float32)
        for s in range(size):
            _gather(first, second, own, days, kept, item_draws, day_draws, s)
            prior, now = mean[n, s].astype(np.float64), mean[n, s].astype(np.float64)
            for _ in range(_NEWTON):
                linear[:] = precision[s] @ (prior - now)
                a[:] = precision[s]
                for e in range(len(kept)):
                    score = now[0] + first[e, 0] + second[e, 0]
                    for f in range(1, m):
                        z[f] = first[e, f] + second[e, f]
                        score += now[f] * z[f] + first[e, f] * second[e, f]
                    k = classes[kept[e]]
                    slope, bend = pull(edges[s, k] - score, edges[s, k + 1] - score)
                    for i in range(m):
                        linear[i] += slope * z[i]
                        weighted = bend * z[i]
                        for j in range(i + 1):
                            a[i, j] += weighted * z[j]
                draw(step, a, linear, None)
                now += step
                if np.abs(step).max() < 1e-3:
                    break
            mean[n, s] = now
            _scatter(drawn[n, s], mean[n, s], a, noises[s])


@njit(cache=True, nogil=True)
def _kept(targets, start, stop):  # type: ignore[no-untyped-def]
    return start + np.flatnonzero(~np.isnan(targets[start:stop]))


@njit(cache=True, nogil=True)
def _known(classes, start, stop):  # type: ignore[no-untyped-def]
    return start + np.flatnonzero(classes[start:stop] >= 0)


@njit(cache=True, nogil=True)
def _gather(first, second, items, days, kept, item_draws, day_draws, s):  # type: ignore[no-untyped-def]
    """Vectors of the items and days of a history under draw ``s``; an unknown day is zeros."""
    for e in range(len(items)):
        first[e] = item_draws[items[e], s]
        if day_draws.shape[0] > 0:
            d = days[kept[e]]
            if d >= 0:
                second[e] = day_draws[d, s]
            else:
                second[e] = 0


@njit(cache=True, nogil=True)
def _scatter(out, mean, root, noise):  # type: ignore[no-untyped-def]
    """``mean + L^-T noise`` with the Cholesky factor ``root`` of a precision."""
    m = len(mean)
    x = np.empty(m)
    for i in range(m - 1, -1, -1):
        total = noise[i]
        for k in range(i + 1, m):
            total -= root[k, i] * x[k]
        x[i] = total / root[i, i]
        out[i] = mean[i] + x[i]


@njit(cache=True, nogil=True, fastmath=_FAST)
def meet(asked, day):  # type: ignore[no-untyped-def]
    """Turn user vectors (n, S, m) into requests, at days with vectors ``day`` (n, S, m)."""
    m = asked.shape[2]
    for n in range(asked.shape[0]):
        for s in range(asked.shape[1]):
            user, own = asked[n, s], day[n, s]
            total = user[0] + own[0]
            for f in range(1, m):
                total += user[f] * own[f]
                user[f] += own[f]
            user[0] = total


@njit(cache=True, nogil=True, inline="always")
def _score(asked, item):  # type: ignore[no-untyped-def]
    total = asked[0] + item[0]
    for f in range(1, len(item)):
        total += asked[f] * item[f]
    return total


@njit(cache=True, nogil=True, fastmath=_FAST)
def moments(mean, std, start, stop, rows, items, asked, drawn, item_draws, unknown, noise):  # type: ignore[no-untyped-def]
    """Mean and standard deviation of the ratings of pairs ``start:stop``; item -1 is ``unknown`` (S, m)."""
    size = asked.shape[1]
    scatter = 0.0
    for s in range(size):
        scatter += 1.0 / noise[s] / size
    for p in range(start, stop):
        vectors = unknown if items[p] < 0 else item_draws[items[p]]
        total, spread, squares = 0.0, 0.0, 0.0
        for s in range(size):
            total += _score(asked[rows[p], s], vectors[s])
            x = _score(drawn[rows[p], s], vectors[s])
            spread += x
            squares += x * x
        mean[p] = total / size
        spread /= size
        std[p] = math.sqrt(max(squares / size - spread * spread, 0.0) + scatter)


@njit(cache=True, nogil=True)
def shares(out, start, stop, rows, items, asked, item_draws, unknown, edges):  # type: ignore[no-untyped-def]
    """Probability of each class (p, K) of the pairs ``start:stop``."""
    size, n_classes = asked.shape[1], out.shape[1]
    for p in range(start, stop):
        vectors = unknown if items[p] < 0 else item_draws[items[p]]
        out[p] = 0
        for s in range(size):
            score = _score(asked[rows[p], s], vectors[s])
            for k in range(n_classes):
                out[p, k] += within(edges[s, k] - score, edges[s, k + 1] - score) / size


@njit(cache=True, nogil=True, fastmath=_FAST)
def expected(out, start, stop, asked, items, item_draws, table, ranges):  # type: ignore[no-untyped-def]
    """Fill rows ``start:stop`` of ``out`` (n, len(items)) with expected ratings of an ordinal model."""
    size = asked.shape[1]
    for j in range(len(items)):
        vectors = item_draws[items[j]]
        for n in range(start, stop):
            total = 0.0
            for s in range(size):
                total += interpolated(table, ranges, s, _score(asked[n, s], vectors[s]))
            out[n, j] = total / size
