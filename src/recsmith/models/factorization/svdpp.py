"""SVD++: biased matrix factorization in which what a user rated, whatever the rating, is part of his vector.

Y. Koren, "Factorization Meets the Neighborhood: a Multifaceted Collaborative Filtering Model", KDD 2008, equation 15:
``r_ui = mu + b_u + b_i + q_i' (p_u + |N(u)|^-1/2 sum over j in N(u) of y_j)``, where N(u) is what u rated. The minimum
of the squared error plus, for each rating, ``reg (|p_u|^2 + |q_i|^2) + reg_implicit sum |y_j|^2 +
reg_bias (b_u^2 + b_i^2)``, by stochastic gradient descent over the users: the sum over N(u) is taken once, moves with
the user's ratings, and what it moved by is handed on to the ``y_j`` afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, ClassVar, Self

import numpy as np
from pydantic import Field

from recsmith import parallel
from recsmith.config import Search
from recsmith.data.dataset import Dataset
from recsmith.kernels import njit
from recsmith.models.base import generator
from recsmith.models.baselines.rating_baseline import rated, rating_scale
from recsmith.models.factorization.lanes import Lanes
from recsmith.models.factorization.sgd import BiasedMF, BiasedMFConfig
from recsmith.protocols import Monitor
from recsmith.types import Cost, FloatArray, IntArray, Queries, Shape

_ROWS = 256  # queries whose items are summed by one task


class SVDppConfig(BiasedMFConfig):
    """Parameters of SVD++."""

    embedding_size: Annotated[int, Search(8, 200, log=True)] = Field(default=100, ge=1)
    """Length of a user or item vector, >= 1."""
    epochs: Annotated[int, Search(15, 120, log=True)] = Field(default=60, ge=1)
    """Passes over the ratings, >= 1."""
    learning_rate: Annotated[float, Search(0.003, 0.03, log=True)] = Field(default=0.02, gt=0)
    """Step of the first pass, > 0; it falls to 0 in a straight line."""
    reg: Annotated[float, Search(0.02, 0.4, log=True)] = Field(default=0.1, ge=0)
    """L2 penalty on the user and item vectors, for each rating, >= 0."""
    reg_implicit: Annotated[float, Search(0.001, 0.1, log=True)] = Field(default=0.005, ge=0)
    """L2 penalty on the vectors y of what a user rated, for each of his ratings, >= 0."""


class SVDpp(BiasedMF):
    """SVD++.

    A user of the log with the history of the log answers with the trained vector. Of any other history the sum of
    the ``y_j`` is taken as it is, and the rest of the user's vector and his bias are the ridge regression that
    minimizes the same loss.
    """

    config_class = SVDppConfig
    learned: ClassVar[tuple[str, ...]] = (*BiasedMF.learned, "implicit_factors_")
    config: SVDppConfig
    implicit_factors_: FloatArray  #: (n_items, embedding_size) float32 y, 0 for an item without ratings

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
        p, q, y = self._vectors(data, rng)
        user_bias, item_bias = (np.zeros(n, dtype=np.float32) for n in (data.n_users, data.n_items))
        order = by_user(data, rng)
        events = (data.offsets, data.item[order], value[order] - np.float32(self.mean_))
        regs = np.array([c.reg, c.reg_implicit, c.reg_bias], dtype=np.float32)

        def learn(users: IntArray, shared: Sequence[FloatArray], step: np.float32) -> float:
            return float(_descend(users, *events, p, user_bias, *shared, step, regs))

        self._passes(data, learn, (q, y, item_bias), rng, monitor)
        self.implicit_factors_, self.item_factors_, self.item_bias_ = y, q, item_bias
        self.user_factors_ = p + self._implicit(data.offsets, data.item)
        self.user_bias_ = user_bias
        return self

    def cost(self, shape: Shape) -> Cost:
        """A few operations per rating, pass and dimension, and one more vector of an item."""
        d = self.config.embedding_size
        vectors = 4.0 * (d + 1) * (shape.n_users + 18 * shape.n_items)
        return Cost(
            gather=6.0 * d * self.config.epochs * shape.n_events, bytes=vectors + 40.0 * shape.n_events
        )

    def _vectors(self, data: Dataset, rng: np.random.Generator) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Random p, q and y to start from; 0 for an item without ratings."""
        d, scale = self.config.embedding_size, np.float32(self.config.init_std)
        sizes = (data.n_users, data.n_items, data.n_items)
        p, q, y = (rng.standard_normal((n, d), dtype=np.float32) * scale for n in sizes)
        unrated = data.item_counts() == 0
        q[unrated], y[unrated] = 0, 0
        return p, q, y

    def _passes(
        self,
        data: Dataset,
        learn: Callable[..., float],
        shared: Sequence[FloatArray],
        rng: np.random.Generator,
        monitor: Monitor | None,
    ) -> None:
        """All passes: ``learn(users, a lane's copies of shared, step)`` in lanes, which returns squared errors."""
        c, lanes = self.config, Lanes.of(data)
        for epoch in range(c.epochs):
            step = np.float32(c.learning_rate * (1 - epoch / c.epochs))
            squares = lanes.run(partial(learn, step=step), shared, rng)
            rmse = (squares / len(data)) ** 0.5
            if monitor is not None and monitor.progress(epoch + 1, c.epochs, rmse=rmse):
                break

    def _fold_in(self, out: FloatArray, queries: Queries, rows: IntArray) -> None:
        """Fill ``out[rows]``: what the items of the histories say, and the ridge regression of the rest."""
        if len(rows):
            chosen = queries.take(rows)
            out[rows, : self.config.embedding_size] = self._implicit(chosen.offsets, chosen.items)
            super()._fold_in(out, queries, rows)

    def _implicit(self, offsets: IntArray, items: IntArray) -> FloatArray:
        """(n, embedding_size) float32 sum of the ``y_j`` of ragged histories over the root of their number."""
        out = np.zeros((len(offsets) - 1, self.implicit_factors_.shape[1]), dtype=np.float32)

        def block(part: slice) -> None:
            _sums(out, offsets, items, self.implicit_factors_, part.start, part.stop)

        parallel.run(block, parallel.blocks(len(out), _ROWS))
        return out


def by_user(data: Dataset, rng: np.random.Generator) -> IntArray:
    """(m,) the events user by user, those of a user in random order."""
    order = rng.permutation(len(data))
    return order[np.argsort(data.user[order], kind="stable")]


@njit(cache=True, nogil=True)
def _sums(out, offsets, items, y, start, stop):  # type: ignore[no-untyped-def]
    for r in range(start, stop):
        n = offsets[r + 1] - offsets[r]
        for e in range(offsets[r], offsets[r + 1]):
            for f in range(out.shape[1]):
                out[r, f] += y[items[e], f]
        if n:
            out[r] /= np.sqrt(np.float32(n))


@njit(cache=True, nogil=True)
def sum_implicit(z, item, y, start, stop, root):  # type: ignore[no-untyped-def]
    """``z`` is ``root`` times the sum of the ``y`` of the items ``start:stop``."""
    z[:] = 0
    for e in range(start, stop):
        yj = y[item[e]]
        for f in range(len(z)):
            z[f] += yj[f]
    for f in range(len(z)):
        z[f] *= root


@njit(cache=True, nogil=True)
def hand_on(z, began, item, y, start, stop, root, decay):  # type: ignore[no-untyped-def]
    """Move each ``y`` so that their sum moves as ``z`` has since ``began``, and shrink it once for each rating."""
    shrink = (np.float32(1) - decay) ** np.float32(stop - start)
    for e in range(start, stop):
        yj = y[item[e]]
        for f in range(len(z)):
            yj[f] = shrink * yj[f] + root * (z[f] - began[f])


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"}, error_model="numpy")
def _descend(users, offsets, item, rest, p, user_bias, q, y, item_bias, step, regs):  # type: ignore[no-untyped-def]
    """One pass over the ratings of ``users``; returns the sum of squared errors met."""
    d = p.shape[1]
    z, began = np.empty(d, np.float32), np.empty(d, np.float32)
    keep, keep_bias = np.float32(1) - step * regs[0], np.float32(1) - step * regs[2]
    squares = 0.0
    for u in users:
        start, stop = offsets[u], offsets[u + 1]
        root = np.float32(1) / np.sqrt(np.float32(stop - start))
        sum_implicit(z, item, y, start, stop, root)
        began[:] = z
        pu = p[u]
        for e in range(start, stop):
            i = item[e]
            qi = q[i]
            dot = np.float32(0)
            for f in range(d):
                dot += qi[f] * (pu[f] + z[f])
            error = rest[e] - user_bias[u] - item_bias[i] - dot
            squares += error * error
            pull = step * error
            user_bias[u] = keep_bias * user_bias[u] + pull
            item_bias[i] = keep_bias * item_bias[i] + pull
            for f in range(d):
                a, b, c = pu[f], qi[f], z[f]
                pu[f] = keep * a + pull * b
                qi[f] = keep * b + pull * (a + c)
                z[f] = c + pull * b
        hand_on(z, began, item, y, start, stop, root, step * regs[1])
    return squares
