"""Kernels of Gibbs sampling for a factorization machine of blocks.

A rating joins a row of each block (its user, its item, its day). Given the rows of the other blocks, a rating is
linear in its row: with ``z = [1, A + B]`` and ``t = y - A_0 - B_0 - A B``, where A and B are the other rows and
index 0 is a row's bias, ``t = theta z + noise``. So a row is known to its block by ``G = sum z z'``,
``k = sum z t`` and ``sum t^2`` alone, and what is drawn inside a block no longer touches the ratings
(S. Rendle, "Scaling Factorization Machines to Relational Data", VLDB 2013).

Random numbers come from a stream of its own for each row or feature, begun from (key, index): who draws which rows
changes no digit. Tables are (rows, m) float32 with ``m = 1 + embedding_size``.
"""

from __future__ import annotations

import math

import numpy as np

from recsmith.kernels import njit

_CHUNK = 128  # ratings whose regressors lie in the cache together
_FAST = {"reassoc", "contract", "nsz"}


@njit(cache=True, nogil=True, inline="always")
def begin(stream, key, index):  # type: ignore[no-untyped-def]
    """Set ``stream`` (1,) uint64 to the start of stream ``index`` of ``key``."""
    stream[0] = np.uint64(key) + np.uint64(index) * np.uint64(0xD1342543DE82EF95)
    _next(stream)
    stream[0] = _next(stream)


@njit(cache=True, nogil=True, inline="always")
def _next(stream):  # type: ignore[no-untyped-def]
    """64 random bits: SplitMix64 (G. Steele, D. Lea and C. Flood, OOPSLA 2014)."""
    stream[0] += np.uint64(0x9E3779B97F4A7C15)
    x = stream[0]
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@njit(cache=True, nogil=True, inline="always")
def uniform(stream):  # type: ignore[no-untyped-def]
    """A float64 strictly between 0 and 1."""
    return (np.float64(_next(stream) >> np.uint64(11)) + 0.5) * (1.0 / 9007199254740992.0)


@njit(cache=True, nogil=True)
def normal_quantile(p):  # type: ignore[no-untyped-def]
    """The x with Phi(x) = p, 0 < p < 1, to 16 digits (M. J. Wichura, Applied Statistics 37(3), 1988, AS 241)."""
    q = p - 0.5
    if abs(q) <= 0.425:
        r = 0.180625 - q * q
        top = (((((((2509.0809287301226727 * r + 33430.575583588128105) * r + 67265.770927008700853) * r
                + 45921.953931549871457) * r + 13731.693765509461125) * r + 1971.5909503065514427) * r
                + 133.14166789178437745) * r + 3.387132872796366608)  # fmt: skip
        low = (((((((5226.495278852545925 * r + 28729.085735721942674) * r + 39307.89580009271061) * r
                + 21213.794301586595867) * r + 5394.1960214247511077) * r + 687.1870074920579083) * r
                + 42.313330701600911252) * r + 1.0)  # fmt: skip
        return q * top / low
    r = math.sqrt(-math.log(p if q < 0 else 1.0 - p))
    if r <= 5.0:
        r -= 1.6
        top = (((((((7.7454501427834140764e-4 * r + 0.0227238449892691845833) * r + 0.24178072517745061177) * r
                + 1.27045825245236838258) * r + 3.64784832476320460504) * r + 5.7694972214606914055) * r
                + 4.6303378461565452959) * r + 1.42343711074968357734)  # fmt: skip
        low = (((((((1.05075007164441684324e-9 * r + 5.475938084995344946e-4) * r + 0.0151986665636164571966) * r
                + 0.14810397642748007459) * r + 0.68976733498510000455) * r + 1.6763848301838038494) * r
                + 2.05319162663775882187) * r + 1.0)  # fmt: skip
    else:
        r -= 5.0
        top = (((((((2.01033439929228813265e-7 * r + 2.71155556874348757815e-5) * r + 0.0012426609473880784386) * r
                + 0.026532189526576123093) * r + 0.29656057182850489123) * r + 1.7848265399172913358) * r
                + 5.4637849111641143699) * r + 6.6579046435011037772)  # fmt: skip
        low = (((((((2.04426310338993978564e-15 * r + 1.4215117583164458887e-7) * r + 1.8463183175100546818e-5) * r
                + 7.868691311456132591e-4) * r + 0.0148753612908506148525) * r + 0.13692988092273580531) * r
                + 0.59983220655588793769) * r + 1.0)  # fmt: skip
    return -top / low if q < 0 else top / low


@njit(cache=True, nogil=True, fastmath=_FAST)
def add_ratings(gram, right, start, stop, first, second, a, b, two, target):  # type: ignore[no-untyped-def]
    """Add the ratings ``start:stop`` to the lower half of ``gram`` (m, m) and to ``right`` (m,); returns sum t^2.

    ``first`` and ``second`` are the rows of the tables ``a`` and ``b`` that each rating joins; ``two`` says whether
    there is a second table.
    """
    m = a.shape[1]
    z = np.ones((m, _CHUNK), dtype=np.float32)
    t = np.empty(_CHUNK, dtype=np.float32)
    squares = 0.0
    for low in range(start, stop, _CHUNK):
        n = min(_CHUNK, stop - low)
        for e in range(n):
            x = a[first[low + e]]
            rest = target[low + e] - x[0]
            if two:
                y = b[second[low + e]]
                rest -= y[0]
                for f in range(1, m):
                    rest -= x[f] * y[f]
                    z[f, e] = x[f] + y[f]
            else:
                for f in range(1, m):
                    z[f, e] = x[f]
            t[e] = rest
            squares += rest * rest
        for f in range(m):
            left = z[f]
            total = np.float32(0)
            for e in range(n):
                total += left[e] * t[e]
            right[f] += total
            for g in range(f + 1):
                other = z[g]
                total = np.float32(0)
                for e in range(n):
                    total += left[e] * other[e]
                gram[f, g] += total
    return squares


@njit(cache=True, nogil=True)
def draw(out, a, right, stream):  # type: ignore[no-untyped-def]
    """Fill ``out`` (m,) from N(A^-1 right, A^-1), with ``stream`` None its mean. ``a`` (lower half) is overwritten."""
    m = len(right)
    for i in range(m):
        for j in range(i + 1):
            total = a[i, j]
            for k in range(j):
                total -= a[i, k] * a[j, k]
            a[i, j] = math.sqrt(max(total, 1e-12)) if i == j else total / a[j, j]
    for i in range(m):
        total = right[i]
        for k in range(i):
            total -= a[i, k] * right[k]
        right[i] = total / a[i, i]
    if stream is not None:
        for i in range(m):
            right[i] += normal_quantile(uniform(stream))
    for i in range(m - 1, -1, -1):
        total = right[i]
        for k in range(i + 1, m):
            total -= a[k, i] * right[k]
        right[i] = total / a[i, i]
        out[i] = right[i]


@njit(cache=True, nogil=True)
def draw_rows(table, start, stop, bounds, first, second, a, b, two, target, noise, mean, precision, key):  # type: ignore[no-untyped-def]
    """Draw the rows ``start:stop`` of a block that has ids only; returns the sum of squared errors that is left.

    ``noise`` is the precision of a rating; ``mean`` (m,) and ``precision`` (m, m) are the prior of a row.
    """
    m = table.shape[1]
    stream = np.empty(1, dtype=np.uint64)
    gram, right = np.empty((m, m), dtype=np.float32), np.empty(m, dtype=np.float32)
    posterior, linear = np.empty((m, m)), np.empty(m)
    pull = precision @ mean
    squares = 0.0
    for r in range(start, stop):
        begin(stream, key, r)
        gram[:] = 0
        right[:] = 0
        squares += add_ratings(gram, right, bounds[r], bounds[r + 1], first, second, a, b, two, target)
        for i in range(m):
            linear[i] = pull[i] + noise * right[i]
            for j in range(i + 1):
                posterior[i, j] = precision[i, j] + noise * gram[i, j]
        draw(table[r], posterior, linear, stream)
        squares += _change(gram, right, table[r])
    return squares


@njit(cache=True, nogil=True)
def _change(gram, right, row):  # type: ignore[no-untyped-def]
    """What ``row`` adds to the squares: ``row' G row - 2 row' k``, from the lower half of G."""
    total = 0.0
    for i in range(len(row)):
        inner = 0.0
        for j in range(i):
            inner += gram[i, j] * row[j]
        total += row[i] * (2.0 * inner + gram[i, i] * row[i] - 2.0 * right[i])
    return total


@njit(cache=True, nogil=True)
def row_statistics(grams, rights, start, stop, bounds, first, second, a, b, two, target):  # type: ignore[no-untyped-def]
    """Fill ``grams`` (rows, m, m), symmetric, and ``rights`` (rows, m) for ``start:stop``; returns sum t^2."""
    m = a.shape[1]
    squares = 0.0
    for r in range(start, stop):
        gram, right = grams[r], rights[r]
        gram[:] = 0
        right[:] = 0
        squares += add_ratings(gram, right, bounds[r], bounds[r + 1], first, second, a, b, two, target)
        for i in range(m):
            for j in range(i):
                gram[j, i] = gram[i, j]
    return squares


@njit(cache=True, nogil=True, fastmath=_FAST)
def subtract(rights, grams, table):  # type: ignore[no-untyped-def]
    """``k_r -= G_r theta_r`` for all rows: what a change of the rows can still explain."""
    m = table.shape[1]
    for r in range(len(table)):
        for i in range(m):
            total = np.float32(0)
            for j in range(m):
                total += grams[r, i, j] * table[r, j]
            rights[r, i] -= total


@njit(cache=True, nogil=True, fastmath=_FAST)
def draw_features(  # type: ignore[no-untyped-def]
    table, features, start, stop, indptr, rows, values, grams, rests, noise, mean, precision, key
):
    """Draw the vectors of the features ``start:stop`` one after the other and keep ``table`` and ``rests`` in step.

    Feature j is in ``rows[indptr[j]:indptr[j + 1]]`` with ``values``; a row of ``table`` is its own vector plus
    value times vector of each feature it has. ``rests`` are ``k_r - G_r theta_r``.
    """
    m = table.shape[1]
    stream = np.empty(1, dtype=np.uint64)
    total, rest = np.empty((m, m), dtype=np.float32), np.empty(m, dtype=np.float32)
    posterior, linear = np.empty((m, m)), np.empty(m)
    step = np.empty(m, dtype=np.float32)
    pull = precision @ mean
    for j in range(start, stop):
        total[:] = 0
        rest[:] = 0
        for e in range(indptr[j], indptr[j + 1]):
            x, gram, own = values[e], grams[rows[e]], rests[rows[e]]
            for i in range(m):
                rest[i] += x * own[i]
                for k in range(m):
                    total[i, k] += x * x * gram[i, k]
        feature = features[j]
        for i in range(m):
            inner = np.float32(0)
            for k in range(m):
                inner += total[i, k] * feature[k]
            linear[i] = pull[i] + noise * (rest[i] + inner)
            for k in range(i + 1):
                posterior[i, k] = precision[i, k] + noise * total[i, k]
        step[:] = feature
        begin(stream, key, j)
        draw(feature, posterior, linear, stream)
        for i in range(m):
            step[i] = feature[i] - step[i]
        for e in range(indptr[j], indptr[j + 1]):
            x, gram, own, row = values[e], grams[rows[e]], rests[rows[e]], table[rows[e]]
            for i in range(m):
                row[i] += x * step[i]
            for i in range(m):
                inner = np.float32(0)
                for k in range(m):
                    inner += gram[i, k] * step[k]
                own[i] -= x * inner


@njit(cache=True, nogil=True)
def draw_ids(table, ids, start, stop, grams, rests, noise, mean, precision, key):  # type: ignore[no-untyped-def]
    """Draw each row's own vector in ``ids`` and keep ``table`` in step."""
    m = table.shape[1]
    stream = np.empty(1, dtype=np.uint64)
    posterior, linear = np.empty((m, m)), np.empty(m)
    pull = precision @ mean
    for r in range(start, stop):
        own = ids[r]
        for i in range(m):
            inner = 0.0
            for k in range(m):
                inner += grams[r, i, k] * own[k]
            linear[i] = pull[i] + noise * (rests[r, i] + inner)
            for k in range(i + 1):
                posterior[i, k] = precision[i, k] + noise * grams[r, i, k]
        for i in range(m):
            table[r, i] -= own[i]
        begin(stream, key, r)
        draw(own, posterior, linear, stream)
        for i in range(m):
            table[r, i] += own[i]


@njit(cache=True, nogil=True)
def changes(grams, rights, table):  # type: ignore[no-untyped-def]
    """Sum over rows of ``theta' G theta - 2 theta' k``: with sum t^2, the squared errors of the block."""
    total = 0.0
    for r in range(len(table)):
        total += _change(grams[r], rights[r], table[r])
    return total
