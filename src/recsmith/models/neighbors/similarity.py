"""Which rows are most alike: the one computation under item and user neighbours.

Rows are compared through the columns they share, with an inverted index (column -> rows). Item neighbours
compare items through users; user neighbours compare a history with every user of the log through items.
Nothing of size (rows x rows) is ever held: each row needs one accumulator, and only its best are kept.

With x, y two rows, C the columns where both have an entry and n = |C|:

=================  ============================================================================
cosine             ``sum x y / (|x| |y|)`` on weights, a missing entry is 0
jaccard            ``n / (n_x + n_y - n)``
adjusted_cosine    ``sum_C x y / sqrt(sum_C x^2 sum_C y^2)``, ratings minus the column's mean
                   (B. Sarwar et al., "Item-based collaborative filtering", WWW 2001, section 3.1.3)
pearson            correlation of the ratings in C
pearson_baseline   as adjusted_cosine on ``r - b_ui`` (Y. Koren, TKDD 2010, section 2.2)
=================  ============================================================================

Shrinkage s multiplies by ``n / (n + s)`` (``(n - 1) / (n - 1 + s)`` for ratings, Koren's equation 6), so that
a likeness seen in two columns weighs less than one seen in a hundred. Amplification a then takes the power
``s^a`` (J. Breese et al., "Empirical analysis of predictive algorithms", UAI 1998, section 2.2.3).

The cosine may know order: with ``Places``, each term of its sum, and of the n of its shrinkage, counts by how close the
two entries stand in the column, and by which came first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias

import numpy as np
from pydantic import Field
from scipy import sparse

from recsmith import parallel
from recsmith.config import Config, Search
from recsmith.kernels import njit
from recsmith.models.neighbors.overlap import nearest_overlap
from recsmith.types import FloatArray, IntArray, Queries

Matrix: TypeAlias = "sparse.csr_array[Any]"

_NEGLIGIBLE = 20  # half-lives after which a pair counts nothing
_ROWS = 32  # fewest rows of a block: small, because a popular row costs a thousand times a rare one
_BLOCKS = 1024  # blocks, where there are more rows: each clears an accumulator as long as the candidates
_KINDS = {"cosine": 0, "jaccard": 1, "adjusted_cosine": 2, "pearson_baseline": 2, "pearson": 3}


class SimilarityConfig(Config):
    """What neighbour models have in common."""

    similarity: Annotated[
        Literal["cosine", "jaccard", "adjusted_cosine", "pearson", "pearson_baseline"],
        Search(choices=("cosine", "jaccard"), use="lists"),
        Search(use="ratings"),
    ] = "cosine"
    """The first two compare who touched what, the last three how it was rated."""
    shrinkage: Annotated[float, Search(0.1, 500, log=True)] = Field(default=0.0, ge=0)
    """Columns in common that count against a likeness beforehand."""
    amplification: Annotated[float, Search(0.5, 4)] = Field(default=1.0, gt=0)
    """Power of the similarity, > 0: above 1 the closest neighbours gain weight."""
    weighting: Annotated[Literal["none", "tfidf", "bm25"], Search(use="lists")] = "tfidf"
    """Weight of an entry before the cosine, which alone reads it: rare columns count more, and with bm25 repeated
    events less. On a log without repeats the two are the same, because the cosine divides by the length."""
    bm25_k1: float = Field(default=1.2, gt=0)
    """BM25: how soon a repeated event stops adding, > 0."""
    bm25_b: Annotated[float, Search(0, 1, use="lists")] = Field(default=0.75, ge=0, le=1)
    """BM25: how much a long row is scaled down, 0 to 1."""
    damping: Annotated[float, Search(0, 2, use="ratings")] = Field(default=0.1, ge=0)
    """Of a predicted rating: similarity of one more neighbour who rates at the baseline; 0 gives the plain mean."""
    reg_user: float = Field(default=4.0, gt=0)
    """Of the rating baseline: see RatingBaseline."""
    reg_item: float = Field(default=2.0, gt=0)
    """Of the rating baseline: see RatingBaseline."""

    @property
    def compares_ratings(self) -> bool:
        """Whether the similarity reads ratings."""
        return self.similarity in ("adjusted_cosine", "pearson", "pearson_baseline")

    @property
    def weighs(self) -> bool:
        """Whether entries are weighted before they are compared."""
        return self.similarity == "cosine" and self.weighting != "none"


@dataclass(frozen=True, slots=True, eq=False)
class Places:
    """Where each entry stands in its column, and what that means for a pair of entries."""

    rows: IntArray  #: (rows.nnz,) int32 place of each entry of the rows
    index: IntArray  #: (index.nnz,) int32 place of each entry of the index
    half_life: float | None  #: places after which a pair counts half; None: all count alike
    backward: float  #: what a pair counts whose candidate came after the row

    def decay(self) -> FloatArray:
        """(reach,) float64 what a pair at distance 0, 1, ... counts; further apart it counts nothing."""
        reach = int(max(self.rows.max(initial=0), self.index.max(initial=0))) + 1
        if self.half_life is None:
            return np.ones(reach)
        reach = min(reach, int(np.ceil(_NEGLIGIBLE * self.half_life)) + 1)
        return np.asarray(np.exp2(-np.arange(reach) / self.half_life))


_EVERYWHERE = Places(np.zeros(0, dtype=np.int32), np.zeros(0, dtype=np.int32), None, 1.0)


def nearest(
    rows: Matrix,
    index: Matrix,
    lengths: FloatArray,
    config: SimilarityConfig,
    k: int,
    exclude: IntArray,
    places: Places | None = None,
) -> Matrix:
    """The ``k`` candidates most like each row, with a positive similarity.

    Parameters
    ----------
    rows
        (n, n_columns) float32 CSR, what is compared.
    index
        (n_columns, n_candidates) float32 CSR: the candidates, transposed.
    lengths
        (n_candidates,) float64 ``row_lengths`` of the candidates.
    k
        Number kept; ties go to the smaller index.
    exclude
        (n,) candidate that is the row itself, -1 for none.
    places
        Of the entries, where their order counts; the cosine alone reads them.

    Returns
    -------
    scipy.sparse.csr_array
        (n, n_candidates) float32 with sorted indices.
    """
    own = row_lengths(rows, config)
    kind, n_candidates = _KINDS[config.similarity], index.shape[1]
    where = _EVERYWHERE if places is None else places
    decay = where.decay()

    def block(part: slice) -> tuple[IntArray, IntArray, FloatArray]:
        compared = (
            rows.indptr,
            rows.indices,
            rows.data,
            own,
            index.indptr,
            index.indices,
            index.data,
            lengths,
        )
        how = (config.shrinkage, config.amplification, min(k, n_candidates))
        if places is None and kind in (_KINDS["cosine"], _KINDS["jaccard"]):
            jaccard = kind == _KINDS["jaccard"]
            counts, ids, values = nearest_overlap(*compared, exclude, jaccard, *how, part.start, part.stop)
        else:
            counts, ids, values = _nearest(
                *compared,
                exclude,
                kind,
                *how,
                where.rows,
                where.index,
                decay,
                where.backward,
                part.start,
                part.stop,
            )
        taken = np.arange(ids.shape[1]) < counts[:, None]
        return counts, ids[taken], values[taken]

    size = max(_ROWS, n_candidates // _BLOCKS)
    nothing = (np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int32), np.zeros(0, dtype=np.float32))
    found = [nothing, *parallel.run(block, parallel.blocks(rows.shape[0], size))]
    counts, ids, values = (np.concatenate([f[part] for f in found]) for part in range(3))
    indptr = np.append(0, np.cumsum(counts))
    return sparse.csr_array((values, ids, indptr), shape=(rows.shape[0], n_candidates))


def strongest(neighbors: Matrix, k: int) -> Matrix:
    """The ``k`` largest entries of each row of a CSR matrix with sorted indices."""
    keep = np.zeros(len(neighbors.data), dtype=np.bool_)
    _strongest(neighbors.indptr, neighbors.data, k, keep)
    indptr = np.append(0, np.cumsum(keep))[neighbors.indptr]
    return sparse.csr_array((neighbors.data[keep], neighbors.indices[keep], indptr), shape=neighbors.shape)


def row_lengths(rows: Matrix, config: SimilarityConfig) -> FloatArray:
    """(n,) float64 what a similarity divides by: the norm of each row, or for jaccard its number of entries."""
    counts: IntArray = np.diff(rows.indptr)
    if config.similarity == "jaccard":
        return counts.astype(np.float64)
    owner = np.repeat(np.arange(rows.shape[0]), counts)
    squares = rows.data.astype(np.float64) ** 2
    return np.sqrt(np.bincount(owner, weights=squares, minlength=rows.shape[0]))


def column_weights(rows: Matrix, config: SimilarityConfig) -> FloatArray:
    """(n_columns,) float64 inverse document frequency: ``log((1 + n) / (1 + n_column))``, or ones."""
    if not config.weighs:
        return np.ones(rows.shape[1])
    return np.float64(np.log1p(rows.shape[0])) - np.log1p(np.bincount(rows.indices, minlength=rows.shape[1]))


def weighted(rows: Matrix, columns: FloatArray, mean_length: float, config: SimilarityConfig) -> Matrix:
    """``rows`` with the entries of the chosen weighting.

    tfidf is ``sqrt(w) idf``; bm25 is ``w (k1 + 1) / (w + k1 (1 - b + b length / mean_length)) idf``, where
    length is the sum of the row (S. Robertson and H. Zaragoza, "The Probabilistic Relevance Framework", 2009).
    """
    if not config.weighs:
        return rows
    data = rows.data.astype(np.float64)
    if config.weighting == "tfidf":
        data = np.sqrt(data)
    else:
        owner = np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))
        length = np.bincount(owner, weights=data, minlength=rows.shape[0])[owner] / mean_length
        k1, b = config.bm25_k1, config.bm25_b
        data = data * (k1 + 1) / (data + k1 * (1 - b + b * length))
    data = (data * columns[rows.indices]).astype(np.float32)
    return sparse.csr_array((data, rows.indices, rows.indptr), shape=rows.shape)


def histories(queries: Queries, n_items: int, values: FloatArray | None = None) -> Matrix:
    """(n, n_items) float32 CSR of the histories, sorted indices.

    An entry is the sum of the weights of the item's events or, where ``values`` (m,) are given, the latest
    that is not NaN.
    """
    row, item = queries.rows, np.asarray(queries.items)
    if values is None:
        weights = queries.event_weights()
    else:
        known = np.flatnonzero(~np.isnan(values))
        row, item, weights = row[known], item[known], values[known]
    order = np.lexsort((item, row))
    row, item, weights = row[order], item[order], weights[order]
    first = np.flatnonzero((np.diff(row, prepend=-1) != 0) | (np.diff(item, prepend=-1) != 0))
    if values is None:
        data = np.add.reduceat(weights, first) if len(first) else weights
    else:
        data = weights[np.append(first[1:], len(row)) - 1] if len(first) else weights
    indptr = np.searchsorted(row[first], np.arange(len(queries) + 1))
    return sparse.csr_array((data.astype(np.float32), item[first], indptr), shape=(len(queries), n_items))


@njit(cache=True, nogil=True)
def _nearest(  # type: ignore[no-untyped-def]
    indptr,
    columns,
    values,
    own,
    t_indptr,
    t_ids,
    t_values,
    t_lengths,
    exclude,
    kind,
    shrinkage,
    power,
    k,
    places,
    t_places,
    decay,
    backward,
    start,
    stop,
):
    """As ``nearest_overlap``, for ratings, whose moments are needed, and for a cosine that knows places."""
    n = len(t_lengths)
    sums = np.zeros((n, 2 if kind < 2 else 6))  # n, sum xy, xx, yy, x, y over the columns in common
    touched = np.empty(n, dtype=np.int32)
    likeness = np.empty(n, dtype=np.float32)
    counts = np.zeros(stop - start, dtype=np.int64)
    ids = np.zeros((stop - start, k), dtype=np.int32)
    best = np.zeros((stop - start, k), dtype=np.float32)
    for r in range(start, stop):
        m = 0
        for e in range(indptr[r], indptr[r + 1]):
            low, high = t_indptr[columns[e]], t_indptr[columns[e] + 1]
            if len(places):
                m = _ordered_overlap(
                    sums, touched, m, values[e], places[e], t_ids[low:high], t_values[low:high],
                    t_places[low:high], decay, backward,
                )  # fmt: skip
            else:
                m = _moments(sums, touched, m, values[e], t_ids[low:high], t_values[low:high])
        touched[:m].sort()
        kept = 0
        for t in range(m):
            j = touched[t]
            s = _similarity(sums[j], own[r], t_lengths[j], kind, shrinkage)
            sums[j] = 0.0
            if s > 0 and j != exclude[r]:
                touched[kept] = j
                likeness[kept] = s if power == 1.0 else s**power
                kept += 1
        counts[r - start] = largest(touched, likeness, kept, k, ids[r - start], best[r - start])
    return counts, ids, best


@njit(cache=True, nogil=True)
def _strongest(indptr, values, k, keep):  # type: ignore[no-untyped-def]
    positions = np.empty(k, dtype=np.int64)
    best = np.empty(k, dtype=values.dtype)
    for r in range(len(indptr) - 1):
        low, high = indptr[r], indptr[r + 1]
        kept = largest(np.arange(low, high), values[low:high], high - low, k, positions, best)
        keep[positions[:kept]] = True


@njit(cache=True, nogil=True, inline="always")
def _ordered_overlap(sums, touched, m, x, place, ids, values, places, decay, backward):  # type: ignore[no-untyped-def]
    for p in range(len(ids)):
        apart = place - places[p]
        if abs(apart) >= len(decay):
            continue
        counts = decay[abs(apart)] * (backward if apart < 0 else 1.0)
        if counts == 0:
            continue
        s = sums[ids[p]]
        if s[0] == 0:
            touched[m] = ids[p]
            m += 1
        s[0] += counts
        s[1] += counts * x * values[p]
    return m


@njit(cache=True, nogil=True, inline="always")
def _moments(sums, touched, m, x, ids, values):  # type: ignore[no-untyped-def]
    x = np.float64(x)
    for p in range(len(ids)):
        s = sums[ids[p]]
        y = np.float64(values[p])
        if s[0] == 0:
            touched[m] = ids[p]
            m += 1
        s[0] += 1
        s[1] += x * y
        s[2] += x * x
        s[3] += y * y
        s[4] += x
        s[5] += y
    return m


@njit(cache=True, nogil=True)
def _similarity(sums, x_length, y_length, kind, shrinkage):  # type: ignore[no-untyped-def]
    n, xy = sums[0], sums[1]
    if kind == 0:
        scale = x_length * y_length
    elif kind == 1:
        xy = n
        scale = x_length + y_length - n
    elif kind == 2:
        scale = np.sqrt(sums[2] * sums[3])
    else:
        xy = n * xy - sums[4] * sums[5]
        xx, yy = n * sums[2], n * sums[3]
        xx_centred, yy_centred = xx - sums[4] ** 2, yy - sums[5] ** 2
        flat = xx_centred <= 1e-10 * xx or yy_centred <= 1e-10 * yy
        scale = 0.0 if flat else np.sqrt(xx_centred * yy_centred)
    if scale <= 0:
        return 0.0
    support = n if kind < 2 else n - 1
    if shrinkage > 0:
        xy *= support / (support + shrinkage)
    return xy / scale


@njit(cache=True, nogil=True)
def largest(ids, values, m, k, out_ids, out_values):  # type: ignore[no-untyped-def]
    """Copy the ``k`` largest of ``values[:m]`` in the order of ``ids``; ties go to the front. Returns how many."""
    threshold = np.float32(-np.inf)
    ties = m
    if m > k:
        threshold = np.partition(values[:m], m - k)[m - k]
        ties = k
        for t in range(m):
            ties -= values[t] > threshold
    kept = 0
    for t in range(m):
        tied = values[t] == threshold
        if values[t] > threshold or (tied and ties > 0):
            out_ids[kept] = ids[t]
            out_values[kept] = values[t]
            kept += 1
            ties -= tied
    return kept
