"""The likenesses that add up over common columns, cosine and jaccard, faster than the moments of ratings.

One accumulator for each candidate is all they need, and a second where shrinkage counts the common columns of a
cosine. Weights are never negative, so a likeness is positive exactly where a product is.
"""

from __future__ import annotations

import numpy as np

from recsmith.kernels import njit

_DENSE = 8  # a row that meets more than an eighth of the candidates is read from end to end, not by a list of those met


@njit(cache=True, nogil=True)
def nearest_overlap(  # type: ignore[no-untyped-def]
    indptr, columns, values, own, t_indptr, t_ids, t_values, t_lengths, exclude, jaccard, shrinkage, power, k,
    start, stop,
):  # fmt: skip
    """The block ``start:stop`` of ``nearest``: (counts (b,), ids (b, k), likenesses (b, k)), sorted by id."""
    n = len(t_lengths)
    products = np.zeros(n)
    common = np.zeros(n if shrinkage > 0 and not jaccard else 0)
    met = np.empty(n, dtype=np.int32)
    likeness = np.empty(n, dtype=np.float32)
    pool = np.empty(2 * k, dtype=np.int32)
    counts = np.zeros(stop - start, dtype=np.int64)
    ids = np.zeros((stop - start, k), dtype=np.int32)
    best = np.zeros((stop - start, k), dtype=np.float32)
    for r in range(start, stop):
        work = 0
        for e in range(indptr[r], indptr[r + 1]):
            work += t_indptr[columns[e] + 1] - t_indptr[columns[e]]
        m = n if work * _DENSE > n else 0
        for e in range(indptr[r], indptr[r + 1]):
            low, high = t_indptr[columns[e]], t_indptr[columns[e] + 1]
            x = np.float64(1.0 if jaccard else values[e])
            if m == n:
                _pour(products, common, x, t_ids[low:high], t_values[low:high], jaccard)
            else:
                m = _meet(products, common, met, m, x, t_ids[low:high], t_values[low:high], jaccard)
        if m == n:
            _like_all(likeness, products, common, own[r], t_lengths, jaccard, shrinkage, power)
            if exclude[r] >= 0:
                likeness[exclude[r]] = 0
            kept = _positive_best(likeness, k, pool)
            products[:] = 0
            common[:] = 0
        else:
            for t in range(m):
                j = met[t]
                n_common = common[j] if len(common) else products[j]
                likeness[j] = _like(products[j], n_common, own[r], t_lengths[j], jaccard, shrinkage, power)
                if j == exclude[r]:
                    likeness[j] = 0
                products[j] = 0
                if len(common):
                    common[j] = 0
            kept = _met_best(likeness, met, m, k, pool)
        counts[r - start] = kept
        for t in range(kept):
            ids[r - start, t] = pool[t]
            best[r - start, t] = likeness[pool[t]]
    return counts, ids, best


@njit(cache=True, nogil=True, inline="always")
def _pour(products, common, x, ids, values, jaccard):  # type: ignore[no-untyped-def]
    for p in range(len(ids)):
        products[ids[p]] += 1.0 if jaccard else x * values[p]
    if len(common):
        for p in range(len(ids)):
            common[ids[p]] += 1


@njit(cache=True, nogil=True, inline="always")
def _meet(products, common, met, m, x, ids, values, jaccard):  # type: ignore[no-untyped-def]
    """Add, and list the candidates that are met for the first time. Returns the length of the list."""
    for p in range(len(ids)):
        j = ids[p]
        product = 1.0 if jaccard else x * values[p]
        if len(common):
            if common[j] == 0:
                met[m] = j
                m += 1
            common[j] += 1
        elif products[j] == 0 and product > 0:
            met[m] = j
            m += 1
        products[j] += product
    return m


@njit(cache=True, nogil=True, inline="always")
def _like(product, n_common, own, length, jaccard, shrinkage, power):  # type: ignore[no-untyped-def]
    scale = own + length - product if jaccard else own * length
    if product <= 0 or scale <= 0:
        return 0.0
    if shrinkage > 0:
        product *= n_common / (n_common + shrinkage)
    return product / scale if power == 1.0 else (product / scale) ** power


@njit(cache=True, nogil=True)
def _like_all(likeness, products, common, own, lengths, jaccard, shrinkage, power):  # type: ignore[no-untyped-def]
    counted = common if len(common) else products
    for j in range(len(products)):
        likeness[j] = 0
        if products[j] > 0:
            likeness[j] = _like(products[j], counted[j], own, lengths[j], jaccard, shrinkage, power)


@njit(cache=True, nogil=True)
def _positive_best(likeness, k, pool):  # type: ignore[no-untyped-def]
    """The ids of the ``k`` largest positive likenesses, in the order of ids; ties go to the smaller id.

    What is not above the k-th best so far is passed over by one comparison. ``pool`` has room for 2 k.
    """
    kept = 0
    floor = np.float32(0)
    for j in range(len(likeness)):
        if likeness[j] > floor:
            pool[kept] = j
            kept += 1
            if kept == 2 * k:
                kept, floor = _prune(likeness, pool, kept, k)
    if kept > k:
        kept, floor = _prune(likeness, pool, kept, k)
    return kept


@njit(cache=True, nogil=True)
def _met_best(likeness, met, m, k, pool):  # type: ignore[no-untyped-def]
    """As ``_positive_best``, of the candidates ``met[:m]`` in any order."""
    kept = 0
    for t in range(m):
        if likeness[met[t]] > 0:
            met[kept] = met[t]
            kept += 1
    if kept > k:
        threshold = np.partition(likeness[met[:kept]], kept - k)[kept - k]
        above = 0
        for t in range(kept):
            if likeness[met[t]] >= threshold:
                met[above] = met[t]
                above += 1
        met[:above].sort()
        kept, _ = _prune(likeness, met, above, k) if above > k else (above, threshold)
    else:
        met[:kept].sort()
    pool[:kept] = met[:kept]
    return kept


@njit(cache=True, nogil=True)
def _prune(likeness, pool, kept, k):  # type: ignore[no-untyped-def]
    """Keep the ``k`` best of ``pool[:kept]`` in their order, the first of equals. Returns k and the least of them."""
    threshold = np.partition(likeness[pool[:kept]], kept - k)[kept - k]
    ties = k
    for t in range(kept):
        ties -= likeness[pool[t]] > threshold
    left = 0
    for t in range(kept):
        tied = likeness[pool[t]] == threshold
        if likeness[pool[t]] > threshold or (tied and ties > 0):
            pool[left] = pool[t]
            left += 1
            ties -= tied
    return left, threshold
