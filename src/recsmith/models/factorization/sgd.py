"""BiasedMF: ratings as biases plus the product of a user and an item vector, by stochastic gradient descent.

Y. Koren, R. Bell and C. Volinsky, "Matrix Factorization Techniques for Recommender Systems", IEEE Computer 2009,
equation 4: ``r_ui = mu + b_u + b_i + q_i' p_u``, the minimum of the squared error plus, for each rating,
``reg (|p_u|^2 + |q_i|^2) + reg_bias (b_u^2 + b_i^2)``.

Parallel in strata (``strata.py``): the result is the same for any number of threads.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Self

import numpy as np
from pydantic import Field

from recsmith import parallel
from recsmith.config import Config, Search
from recsmith.data.dataset import Dataset
from recsmith.kernels import njit
from recsmith.models.base import BaseModel, generator
from recsmith.models.baselines.rating_baseline import clipped, history_ratings, rated, rating_scale
from recsmith.models.factorization import strata
from recsmith.protocols import Monitor
from recsmith.types import Cost, FloatArray, IntArray, Prediction, Queries, Shape

_ROWS = 16  # queries folded in by one task
_PAIRS = 1 << 15  # predictions of one task


class BiasedMFConfig(Config):
    """Parameters of BiasedMF."""

    embedding_size: Annotated[int, Search(8, 200, log=True)] = Field(default=100, ge=1)
    """Length of a user or item vector."""
    epochs: Annotated[int, Search(15, 120, log=True)] = Field(default=60, ge=1)
    """Passes over the ratings."""
    learning_rate: Annotated[float, Search(0.003, 0.03, log=True)] = Field(default=0.01, gt=0)
    """Step, > 0."""
    reg: Annotated[float, Search(0.02, 0.4, log=True)] = Field(default=0.12, ge=0)
    """L2 penalty on the vectors, for each rating."""
    reg_bias: float = Field(default=0.05, ge=0)
    """L2 penalty on the biases, for each rating."""
    init_std: float = Field(default=0.03, ge=0)
    """Standard deviation of the vectors at the start."""


class BiasedMF(BaseModel[BiasedMFConfig]):
    """Biased matrix factorization.

    A user of the log with the history of the log answers with the trained vector. Any other history is folded in:
    with the items fixed, the user's vector and bias that minimize the same loss are a ridge regression.
    """

    config_class = BiasedMFConfig
    learned: ClassVar[tuple[str, ...]] = (
        "mean_",
        "user_bias_",
        "item_bias_",
        "user_factors_",
        "item_factors_",
        "scale_",
    )
    mean_: float  #: mean rating of the log
    user_bias_: FloatArray  #: (n_users,) float32
    item_bias_: FloatArray  #: (n_items,) float32, 0 for an item without ratings
    user_factors_: FloatArray  #: (n_users, embedding_size) float32
    item_factors_: FloatArray  #: (n_items, embedding_size) float32, 0 for an item without ratings
    scale_: list[float]  #: lowest and highest rating that is predicted

    def fit(
        self, data: Dataset, *, rng: np.random.Generator | int | None = None, monitor: Monitor | None = None
    ) -> Self:
        """Learn vectors and biases. ``monitor`` gets ``rmse``, on the training ratings, after each pass.

        Raises
        ------
        DataError
            Where the log has no ratings.
        """
        c, rng, data = self.config, generator(rng), rated(data)
        value = data.ratings()
        self.scale_ = rating_scale(data)
        self.mean_ = float(value.mean(dtype=np.float64))
        grid = strata.grid_size(len(data))
        user_part, user_place = strata.dealt(np.diff(data.offsets), grid)
        item_part, item_place = strata.dealt(data.item_counts(), grid)
        p = _start(rng, np.diff(data.offsets), c)[np.argsort(user_place)]
        q = _start(rng, data.item_counts(), c)[np.argsort(item_place)]
        user_bias = np.zeros(data.n_users, dtype=np.float32)
        item_bias = np.zeros(data.n_items, dtype=np.float32)
        order, bounds = strata.blocks(user_part[data.user] * grid + item_part[data.item], grid, rng)
        user, item = user_place[data.user[order]], item_place[data.item[order]]
        rest = value[order] - np.float32(self.mean_)
        step, reg, reg_bias = np.float32(c.learning_rate), np.float32(c.reg), np.float32(c.reg_bias)

        def block(b: int) -> Any:
            return _descend(
                user, item, rest, bounds[b], bounds[b + 1], p, q, user_bias, item_bias, step, reg, reg_bias
            )

        for epoch in range(c.epochs):
            squares = 0.0
            for shift in rng.permutation(grid):
                squares += sum(parallel.run(block, strata.stratum(shift, grid)))
            if monitor is not None and monitor.progress(
                epoch + 1, c.epochs, rmse=(squares / len(data)) ** 0.5
            ):
                break
        self.user_factors_, self.user_bias_ = p[user_place], user_bias[user_place]
        self.item_factors_, self.item_bias_ = q[item_place], item_bias[item_place]
        return self

    def score(self, queries: Queries, items: IntArray | None = None) -> FloatArray:
        """(n, n_items) float32: the expected rating, not clipped, so that order is kept; NaN without a history.

        Raises
        ------
        DataError
            Where a history must be folded in and has no ratings.
        """
        columns = self.embed_items() if items is None else self.embed_items()[items]
        return self.embed_queries(queries) @ columns.T

    def predict(self, queries: Queries, rows: IntArray, items: IntArray) -> Prediction:
        """Ratings of the pairs, within the rating scale; what is not known counts 0.

        Raises
        ------
        DataError
            Where a history must be folded in and has no ratings.
        """
        users, columns = self._embed(queries), self.embed_items()
        columns = np.vstack([columns, [0] * (columns.shape[1] - 1) + [1]]).astype(
            np.float32
        )  # row -1: unknown
        out = np.empty(len(rows), dtype=np.float32)

        def block(part: slice) -> None:
            np.einsum("pd,pd->p", users[rows[part]], columns[items[part]], out=out[part])

        parallel.run(block, parallel.blocks(len(rows), _PAIRS))
        return clipped(out, self.scale_)

    def embed_queries(self, queries: Queries) -> FloatArray:
        """(n, embedding_size + 2) float32 ``[p_u, 1, mu + b_u]``; NaN without a history."""
        out = self._embed(queries)
        out[queries.lengths == 0] = np.nan
        return out

    def embed_items(self) -> FloatArray:
        """(n_items, embedding_size + 2) float32 ``[q_i, b_i, 1]``."""
        self.check_fitted()
        ones = np.ones(len(self.item_bias_), dtype=np.float32)
        parts = [self.item_factors_, self.item_bias_, ones]
        return self.once("table", self.item_factors_, lambda: np.column_stack(parts))

    def cost(self, shape: Shape) -> Cost:
        """A few operations per rating, pass and dimension."""
        d = self.config.embedding_size
        vectors = 4.0 * (d + 1) * (shape.n_users + shape.n_items)
        return Cost(
            gather=3.5 * d * self.config.epochs * shape.n_events, bytes=vectors + 40.0 * shape.n_events
        )

    def _embed(self, queries: Queries) -> FloatArray:
        """As ``embed_queries``, but a query without a history is the mean user."""
        self.check_fitted()
        d = self.item_factors_.shape[1]
        out = np.zeros((len(queries), d + 2), dtype=np.float32)
        out[:, d] = 1
        out[:, d + 1] = self.mean_
        has = queries.lengths > 0
        trained = has & (queries.users >= 0) & (False if queries.as_trained is None else queries.as_trained)
        out[trained, :d] = self.user_factors_[queries.users[trained]]
        out[trained, d + 1] += self.user_bias_[queries.users[trained]]
        self._fold_in(out, queries, np.flatnonzero(has & ~trained))
        return out

    def _fold_in(self, out: FloatArray, queries: Queries, rows: IntArray) -> None:
        """Add vectors and biases of histories to ``out[rows]``: what their ratings say beyond what it holds."""
        if len(rows) == 0:
            return
        rest = history_ratings(queries) - self.mean_ - self.item_bias_[queries.items]

        def block(part: slice) -> None:
            _ridge(
                out, rows[part], queries.offsets, queries.items, rest, self.item_factors_, self.config.reg,
                self.config.reg_bias,
            )  # fmt: skip

        parallel.run(block, parallel.blocks(len(rows), _ROWS))


def _start(rng: np.random.Generator, counts: IntArray, config: BiasedMFConfig) -> FloatArray:
    """(len(counts), embedding_size) random vectors; 0 for what has no rating."""
    out = rng.standard_normal((len(counts), config.embedding_size), dtype=np.float32) * np.float32(
        config.init_std
    )
    out[counts == 0] = 0
    return out


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"}, error_model="numpy")
def _descend(user, item, rest, start, stop, p, q, user_bias, item_bias, step, reg, reg_bias):  # type: ignore[no-untyped-def]
    """One pass over the ratings ``start:stop``; returns the sum of squared errors met."""
    squares = 0.0
    for e in range(start, stop):
        u, i = user[e], item[e]
        pu, qi = p[u], q[i]
        bu, bi = user_bias[u], item_bias[i]
        dot = np.float32(0)
        for f in range(len(pu)):
            dot += pu[f] * qi[f]
        error = rest[e] - bu - bi - dot
        squares += error * error
        user_bias[u] = bu + step * (error - reg_bias * bu)
        item_bias[i] = bi + step * (error - reg_bias * bi)
        pull, keep = step * error, np.float32(1) - step * reg
        for f in range(len(pu)):
            x, y = pu[f], qi[f]
            pu[f] = keep * x + pull * y
            qi[f] = keep * y + pull * x
    return squares


@njit(cache=True, nogil=True)
def _ridge(out, rows, offsets, items, rest, q, reg, reg_bias):  # type: ignore[no-untyped-def]
    """Add vector and bias of each row: ``(A'A + n diag(reg, reg_bias)) x = A' rest`` with ``A = [q_i, 1]``.

    ``rest`` is what is left of the ratings beside the vectors that ``out`` holds already.
    """
    d = q.shape[1]
    a = np.ones(d + 1)
    for r in rows:
        gram = np.zeros((d + 1, d + 1))
        right = np.zeros(d + 1)
        n = 0
        for e in range(offsets[r], offsets[r + 1]):
            if np.isnan(rest[e]):
                continue
            n += 1
            a[:d] = q[items[e]]
            left = rest[e]
            for f in range(d):
                left -= a[f] * out[r, f]
            for f in range(d + 1):
                right[f] += a[f] * left
                for g in range(f, d + 1):
                    gram[f, g] += a[f] * a[g]
        for f in range(d + 1):
            for g in range(f):
                gram[f, g] = gram[g, f]
            gram[f, f] += 1e-6 + n * (reg if f < d else reg_bias)
        x = np.linalg.solve(gram, right)
        for f in range(d):
            out[r, f] += x[f]
        out[r, d + 1] += x[d]
