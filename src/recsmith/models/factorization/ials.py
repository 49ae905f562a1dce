"""Implicit ALS: matrix factorization of a weighted 0/1 matrix, a least-squares step at a time.

Y. Hu, Y. Koren, C. Volinsky, "Collaborative Filtering for Implicit Feedback Datasets", ICDM 2008, equations 3-5:
minimize ``sum c_ui (p_ui - x_u y_i)^2 + reg (|x|^2 + |y|^2)`` with ``p = 1, c = 1 + alpha w`` where the log has
weight w, and ``p = 0, c = 1`` elsewhere. Each step is solved by a few conjugate-gradient iterations from the
last solution (G. Takacs et al., RecSys 2011).
"""

from __future__ import annotations

from typing import Annotated, Any, Self

import numpy as np
from pydantic import Field

from recsmith import parallel
from recsmith.config import Config, Search
from recsmith.data.dataset import Dataset, Matrix
from recsmith.kernels import njit
from recsmith.models.base import BaseModel, generator
from recsmith.protocols import Monitor
from recsmith.types import Cost, FloatArray, IntArray, Queries, Shape, check_range, ragged_take

_ROWS = 256  # rows solved together: their products with the Gram matrix are one matrix product
_GRAM_ROWS = 4096
_FOLD_IN_STEPS = 10


class ImplicitALSConfig(Config):
    """Parameters of implicit ALS."""

    embedding_size: Annotated[int, Search(16, 256, log=True)] = Field(default=64, ge=1)
    """Length of the factor vectors, >= 1."""
    epochs: int = Field(default=15, ge=1)
    """Alternations, >= 1."""
    reg: Annotated[float, Search(0.1, 300, log=True)] = Field(default=10.0, gt=0)
    """L2 penalty on the factors, > 0."""
    alpha: Annotated[float, Search(0.1, 100, log=True)] = Field(default=1.0, ge=0)
    """Confidence that an event of weight 1 adds to the 1 of every pair, >= 0. implicit's ``alpha`` is 1 + this."""
    cg_steps: int = Field(default=3, ge=1)
    """Conjugate-gradient iterations a solve, >= 1."""


class ImplicitALS(BaseModel[ImplicitALSConfig]):
    """Users and items as vectors whose product is high where the log has an event."""

    config_class = ImplicitALSConfig
    learned = ("user_factors_", "item_factors_", "gram_")
    scan_share = 0.05  #: of the items that a list looks at where they are many; 0.003 to 0.05 measured
    user_factors_: FloatArray  #: (n_users, embedding_size) float32
    item_factors_: FloatArray  #: (n_items, embedding_size) float32
    gram_: FloatArray  #: (embedding_size, embedding_size) float32 Y'Y of the item factors

    def fit(
        self, data: Dataset, *, rng: np.random.Generator | int | None = None, monitor: Monitor | None = None
    ) -> Self:
        """Alternate; the users come last, so that a trained vector is what fold-in gives."""
        config, random = self.config, generator(rng)
        by_user = data.matrix("weight")
        by_user.data *= np.float32(config.alpha)
        by_item: Matrix = by_user.T.tocsr()
        scale = np.float32(1.0 / config.embedding_size)
        self.user_factors_ = (
            random.random((data.n_users, config.embedding_size), dtype=np.float32) - np.float32(0.5)
        ) * scale
        self.item_factors_ = (
            random.random((data.n_items, config.embedding_size), dtype=np.float32) - np.float32(0.5)
        ) * scale
        self.item_factors_[np.diff(by_item.indptr) == 0] = 0
        for epoch in range(config.epochs):
            for matrix, x, y in (
                (by_item, self.item_factors_, self.user_factors_),
                (by_user, self.user_factors_, self.item_factors_),
            ):
                arrays = (matrix.indptr, matrix.indices, matrix.data)
                _solve(arrays, x, y, _gram(y), config.reg, config.cg_steps)
            if monitor is not None and monitor.progress(epoch + 1, config.epochs):
                break
        self.gram_ = _gram(self.item_factors_)
        return self

    def embed_items(self) -> FloatArray:
        """(n_items, embedding_size) float32; NaN for an item without an event in the log."""
        self.check_fitted()

        def table() -> FloatArray:
            known = np.any(self.item_factors_ != 0, axis=1)
            if np.all(known):
                return self.item_factors_
            return np.where(known[:, None], self.item_factors_, np.float32(np.nan))

        return self.once("table", self.item_factors_, table)

    def embed_queries(self, queries: Queries) -> FloatArray:
        """(n, embedding_size) float32: the trained vector where the history is the trained one, else fold-in."""
        self.check_fitted()
        out = np.full((len(queries), self.config.embedding_size), np.nan, dtype=np.float32)
        trained = np.zeros(len(queries), dtype=np.bool_) if queries.as_trained is None else queries.as_trained
        trained = trained & (queries.users >= 0) & (queries.lengths > 0)
        out[trained] = self.user_factors_[queries.users[trained]]
        new = np.flatnonzero(~trained & (queries.lengths > 0))
        if len(new):
            out[new] = self._fold_in(queries.take(new))
        return out

    def score(self, queries: Queries, items: IntArray | None = None) -> FloatArray:
        """(n, n_items) float32 products; NaN without a history."""
        table = self.embed_items() if items is None else self.embed_items()[items]
        embedded = self.embed_queries(queries)
        # a product of several rows may be summed in another order than that of one: one row at a time is exact
        out = np.empty((len(queries), len(table)), dtype=np.float32)
        _products(embedded, table, out)
        return out

    def similar(self, items: IntArray) -> FloatArray:
        """(len(items), n_items) float32 cosine of the item factors."""
        self.check_fitted()
        return self.cosines(self.item_factors_, items)

    def contributions(self, queries: Queries, rows: IntArray, items: IntArray) -> FloatArray:
        """What each event adds to the folded-in score.

        ``y_i W c_j y_j`` with ``W = (Y'CY + reg I)^-1`` (Hu et al., section 5).
        """
        self.check_fitted()
        y = self.item_factors_
        ridge = self.gram_ + self.config.reg * np.eye(y.shape[1])
        weights = self.config.alpha * queries.event_weights()
        bounds, positions = ragged_take(queries.offsets, rows)
        out = np.empty(bounds[-1], dtype=np.float32)
        for row in np.unique(rows):
            pairs = np.flatnonzero(rows == row)
            at = positions[bounds[pairs[0]] : bounds[pairs[0] + 1]]
            seen, w = y[queries.items[at]].astype(np.float64), weights[at]
            solved = np.linalg.solve(ridge + (seen.T * w) @ seen, y[items[pairs]].T.astype(np.float64))
            added = (seen @ solved).T * (1 + w)
            for pair, parts in zip(pairs, added, strict=True):
                out[bounds[pair] : bounds[pair + 1]] = parts
        return out

    def cost(self, shape: Shape) -> Cost:
        """Gram products and sparse passes of both sides, ``cg_steps + 1`` times an epoch."""
        d, passes = self.config.embedding_size, self.config.epochs * (self.config.cg_steps + 1)
        rows = shape.n_users + shape.n_items
        return Cost(
            gemm=2.0 * rows * d * d * (passes + self.config.epochs),
            gather=4.0 * shape.n_events * d * passes,
            bytes=4.0 * rows * d + 40.0 * shape.n_events,
        )

    def _fold_in(self, queries: Queries) -> FloatArray:
        """Least-squares user vectors of histories, from zero, to convergence."""
        weights = queries.event_weights() * np.float32(self.config.alpha)
        x = np.zeros((len(queries), self.config.embedding_size), dtype=np.float32)
        arrays = (queries.offsets, np.ascontiguousarray(queries.items), weights)
        check_range("score", "queries.items", queries.items, len(self.item_factors_))
        _solve(arrays, x, self.item_factors_, self.gram_, self.config.reg, _FOLD_IN_STEPS)
        return x


def _solve(
    rows: tuple[Any, Any, Any], x: FloatArray, y: FloatArray, gram: FloatArray, reg: float, steps: int
) -> None:
    """Improve all rows of ``x`` in place with ``y``, whose Gram matrix is ``gram``, fixed."""
    ridge = gram + np.float32(reg) * np.eye(len(gram), dtype=np.float32)

    def block(part: slice) -> None:
        _conjugate_gradient(*rows, x, y, ridge, steps, part.start, part.stop)

    parallel.run(block, parallel.blocks(len(x), _ROWS))


def _gram(y: FloatArray) -> FloatArray:
    """Y'Y summed over fixed blocks in order: the same digits for any number of threads."""
    parts = parallel.run(lambda rows: y[rows].T @ y[rows], parallel.blocks(len(y), _GRAM_ROWS))
    return np.asarray(np.sum(parts, axis=0, dtype=np.float32))


@njit(cache=True, nogil=True, fastmath={"contract", "reassoc", "nsz"}, error_model="numpy")
def _conjugate_gradient(indptr, indices, confidence, x, y, gram, steps, start, stop):  # type: ignore[no-untyped-def]
    """CG on ``(G + sum c y y') x = sum (1 + c) y`` for the rows ``start:stop`` at once."""
    n, d = stop - start, x.shape[1]
    p = np.dot(x[start:stop], gram)
    r = np.empty((n, d), np.float32)
    norms = np.empty(n, np.float32)
    for i in range(n):
        u = start + i
        ri, xu = r[i], x[u]
        for f in range(d):
            ri[f] = -p[i, f]
        for e in range(indptr[u], indptr[u + 1]):
            yi, c = y[indices[e]], confidence[e]
            s = np.float32(0)
            for f in range(d):
                s += xu[f] * yi[f]
            s = np.float32(1) + c - c * s
            for f in range(d):
                ri[f] += s * yi[f]
        s = np.float32(0)
        for f in range(d):
            s += ri[f] * ri[f]
        norms[i] = s
    p[:] = r
    for _ in range(steps):
        q = np.dot(p, gram)
        for i in range(n):
            if norms[i] < np.float32(1e-20):
                continue
            u = start + i
            pi, qi, ri, xu = p[i], q[i], r[i], x[u]
            for e in range(indptr[u], indptr[u + 1]):
                yi = y[indices[e]]
                s = np.float32(0)
                for f in range(d):
                    s += pi[f] * yi[f]
                s *= confidence[e]
                for f in range(d):
                    qi[f] += s * yi[f]
            s = np.float32(0)
            for f in range(d):
                s += pi[f] * qi[f]
            step = norms[i] / s
            new = np.float32(0)
            for f in range(d):
                xu[f] += step * pi[f]
                ri[f] -= step * qi[f]
                new += ri[f] * ri[f]
            ratio = new / norms[i]
            for f in range(d):
                pi[f] = ri[f] + ratio * pi[f]
            norms[i] = new


@njit(cache=True, nogil=True, fastmath={"contract", "reassoc", "nsz"})
def _products(a, b, out):  # type: ignore[no-untyped-def]
    """``out = a b'`` with each element summed in the same order, whatever the shapes."""
    for i in range(a.shape[0]):
        for j in range(b.shape[0]):
            s = np.float32(0)
            for f in range(a.shape[1]):
                s += a[i, f] * b[j, f]
            out[i, j] = s
