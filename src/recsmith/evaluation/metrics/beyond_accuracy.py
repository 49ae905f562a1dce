"""What lists are like beyond being right: reach, variety, novelty, concentration, surprise.

Array code on (n, k) lists of item indices, -1 = empty slot. Formulas and sources: docs/notation.md.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import polars as pl
from scipy import sparse

from recsmith import parallel
from recsmith.data.dataset import Dataset
from recsmith.evaluation.metrics.ranking import hits
from recsmith.kernels import njit
from recsmith.types import BoolArray, FloatArray, IntArray, Queries

Vectors: TypeAlias = "sparse.csr_array[Any]"
_ROWS = 256  # lists per task


def coverage(items: IntArray, n_items: int) -> float:
    """Share of the ``n_items`` items that stand in at least one list, in [0, 1]."""
    return float(np.count_nonzero(_counts(items, n_items)) / n_items)


def gini(items: IntArray, n_items: int) -> float:
    """Gini coefficient of how often each of the ``n_items`` items is recommended.

    0 where all are recommended equally often, ``1 - 1 / n_items`` where it is always the same one; NaN where
    nothing is recommended. ``sum (2 i - n - 1) c_(i) / (n sum c)`` with counts c in ascending order.
    """
    counts = np.sort(_counts(items, n_items))
    total = counts.sum()
    if total == 0:
        return float("nan")
    rank = np.arange(1, n_items + 1)
    return float(((2 * rank - n_items - 1) * counts).sum() / (n_items * total))


def user_shares(train: Dataset) -> FloatArray:
    """(n_items,) float64 share p(i) of the users of ``train`` (those with events) that have the item."""
    users = max(int(np.count_nonzero(np.diff(train.offsets))), 1)
    pairs = np.sort(train.user.astype(np.int64) * train.n_items + train.item)
    first = pairs[np.diff(pairs, prepend=-1) != 0]
    return np.asarray(np.bincount(first % train.n_items, minlength=train.n_items) / users)


def popularity(items: IntArray, shares: FloatArray) -> FloatArray:
    """(n,) float64 mean of ``shares`` (see ``user_shares``) over the filled slots; NaN for an empty list."""
    return _slot_mean(items, shares)


def novelty(items: IntArray, shares: FloatArray) -> FloatArray:
    """(n,) float64 mean self-information ``-log2 p(i)`` in bits over the filled slots; NaN for an empty list.

    An item that no train user has is taken to have one user. T. Zhou et al., "Solving the apparent
    diversity-accuracy dilemma of recommender systems", PNAS 107(10), 2010.
    """
    seen = shares[shares > 0]
    floor = seen.min() if len(seen) else 1.0
    return _slot_mean(items, -np.log2(np.maximum(shares, floor)))


def diversity(items: IntArray, vectors: Vectors) -> FloatArray:
    """(n,) float64 one minus the mean cosine of all pairs of a list; NaN with fewer than two vectors.

    An item without a vector (a row of zeros) is left out. C.-N. Ziegler et al., "Improving recommendation
    lists through topic diversification", WWW 2005, has the sum; ours is the mean over pairs. It needs no
    pairs: ``sum over i != j of cos = |sum of unit vectors| ** 2 - number of vectors``.

    Parameters
    ----------
    items
        (n, k) int32 lists.
    vectors
        (n_items, d) CSR, see ``audience_vectors`` and ``category_vectors``.
    """
    out = np.full(len(items), np.nan)
    square = sparse.csr_array(
        (vectors.data.astype(np.float64) ** 2, vectors.indices, vectors.indptr), vectors.shape
    )
    lengths = np.sqrt(square.sum(axis=1))
    data = vectors.data / np.repeat(np.where(lengths > 0, lengths, 1.0), np.diff(vectors.indptr))

    def block(rows: slice) -> None:
        _diversity(items, vectors.indptr, vectors.indices, data, vectors.shape[1], out, rows.start, rows.stop)

    parallel.run(block, parallel.blocks(len(items), _ROWS))
    return out


def audience_vectors(train: Dataset) -> Vectors:
    """(n_items, n_users) CSR, 1 where the user has the item: the cosine is that of item kNN.

    ``cos(i, j) = |users of both| / sqrt(|users of i| |users of j|)``.
    """
    return sparse.csr_array(train.matrix("ones").T.tocsr())


def category_vectors(column: pl.Series) -> Vectors:
    """(n_items, categories) CSR, 1 where the item has the category.

    Parameters
    ----------
    column
        n_items values: one category each, or a list of them (genres); null where none is known.
    """
    lists = column if isinstance(column.dtype, pl.List) else column.reshape((-1, 1)).arr.to_list()
    pairs = (
        pl.DataFrame({"category": lists})
        .with_row_index("item")
        .explode("category")
        .drop_nulls("category")
        .unique(maintain_order=True)
    )
    code = pairs["category"].rank("dense").cast(pl.Int64).to_numpy() - 1
    shape = (len(column), int(code.max()) + 1 if len(code) else 1)
    return sparse.csr_array((np.ones(len(code)), (pairs["item"].to_numpy(), code)), shape=shape)


def popular_lists(queries: Queries, shares: FloatArray, k: int, *, filter_seen: bool = True) -> IntArray:
    """(n, k) int32 what a most-popular recommender would answer: the expected lists.

    Larger share first, equal ones by smaller index, without the items of the history where ``filter_seen``.
    """
    order = np.argsort(-shares, kind="stable").astype(np.int32)
    out = np.full((len(queries), k), -1, dtype=np.int32)
    history = queries.items if filter_seen else queries.items[:0]
    offsets = queries.offsets if filter_seen else np.zeros_like(queries.offsets)
    _popular(order, np.asarray(offsets), np.asarray(history), out)
    return out


def serendipity(items: IntArray, hit: BoolArray, expected: IntArray) -> FloatArray:
    """(n,) float64 share of the k slots that are right and that the expected list does not hold.

    M. Ge, C. Delgado-Battenfeld, D. Jannach, "Beyond accuracy: evaluating recommender systems by coverage and
    serendipity", RecSys 2010, equation 3, with the most popular unseen items as the primitive model and what
    really happened as usefulness.

    Parameters
    ----------
    items
        (n, k) int32 lists.
    hit
        (n, k) bool, from ``ranking.hits``.
    expected
        (n, k) int32, from ``popular_lists``.
    """
    offsets = np.arange(len(items) + 1) * expected.shape[1]
    obvious, _ = hits(items, offsets, expected.ravel())
    return np.asarray(np.count_nonzero(hit & ~obvious, axis=1) / items.shape[1])


def _counts(items: IntArray, n_items: int) -> IntArray:
    """(n_items,) number of lists that hold each item."""
    return np.bincount(items[items >= 0], minlength=n_items)


def _slot_mean(items: IntArray, values: FloatArray) -> FloatArray:
    filled = items >= 0
    total = np.where(filled, values[np.where(filled, items, 0)], 0.0).sum(axis=1)
    number = filled.sum(axis=1)
    mean: FloatArray = np.full(len(items), np.nan)
    np.divide(total, number, out=mean, where=number > 0)
    return mean


@njit(cache=True, nogil=True)
def _diversity(items, indptr, indices, data, width, out, start, stop):  # type: ignore[no-untyped-def]
    total = np.zeros(width)
    for r in range(start, stop):
        number = 0
        for s in range(items.shape[1]):
            item = items[r, s]
            if item >= 0 and indptr[item] < indptr[item + 1]:
                number += 1
                for p in range(indptr[item], indptr[item + 1]):
                    total[indices[p]] += data[p]
        square = 0.0
        for s in range(items.shape[1]):  # |total| ** 2 over the touched places, which are set back to zero
            item = items[r, s]
            if item >= 0:
                for p in range(indptr[item], indptr[item + 1]):
                    square += total[indices[p]] ** 2
                    total[indices[p]] = 0.0
        if number > 1:
            out[r] = 1.0 - (square - number) / (number * (number - 1))


@njit(cache=True, nogil=True)
def _popular(order, offsets, history, out):  # type: ignore[no-untyped-def]
    seen_by = np.full(len(order), -1, dtype=np.int64)
    for r in range(out.shape[0]):
        for e in range(offsets[r], offsets[r + 1]):
            seen_by[history[e]] = r
        filled = 0
        for at in range(len(order)):
            if filled == out.shape[1]:
                break
            if seen_by[order[at]] != r:
                out[r, filled] = order[at]
                filled += 1
