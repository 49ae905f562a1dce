"""timeSVD and timeSVD++: ratings that move with time.

Y. Koren, "Collaborative Filtering with Temporal Dynamics", KDD 2009, equations 6, 9 and 12 with the user vector held
fixed: ``r_ui(t) = mu + b_u + a_u dev_u(t) + b_u,day(t) + b_i + b_i,bin(t) + q_i' (p_u + |N(u)|^-1/2 sum y_j)``, where
``dev_u(t) = sign(t - t_u) |t - t_u|^power`` is the distance from the mean time of the user's ratings, here as a share
of the log's span, bins cut the span evenly, and the sum over what u rated is that of SVD++ (``implicit``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Self

import numpy as np
from pydantic import Field

from recsmith import parallel
from recsmith.config import Search
from recsmith.data.dataset import Dataset
from recsmith.data.weighting import SECONDS_PER_DAY
from recsmith.errors import DataError
from recsmith.kernels import njit
from recsmith.models.base import generator
from recsmith.models.baselines.rating_baseline import history_ratings, rated, rating_scale
from recsmith.models.factorization.svdpp import SVDpp, SVDppConfig, by_user, hand_on, sum_implicit
from recsmith.protocols import Monitor
from recsmith.types import BoolArray, Cost, FloatArray, IntArray, Queries, Shape, ragged_rows

_ROWS = 16  # queries answered by one task


class TimeSVDConfig(SVDppConfig):
    """Parameters of timeSVD."""

    implicit: bool = True
    """Whether what a user rated is part of his vector: timeSVD++; without, timeSVD."""
    bins: Annotated[int, Search(2, 60, log=True)] = Field(default=10, ge=1)
    """Equal spans of time, each with an item bias of its own, >= 1."""
    power: float = Field(default=0.4, gt=0, le=1)
    """Exponent of the distance in time, in (0, 1]."""
    reg_time: Annotated[float, Search(3, 1000, log=True)] = Field(default=100.0, ge=0)
    """L2 penalty on a user's drift and on an item's bias of a bin, once for each, >= 0."""
    reg_day: Annotated[float, Search(1, 100, log=True)] = Field(default=10.0, ge=0)
    """L2 penalty on a user's bias of a day, once for each, >= 0: so many ratings of no bias are added to the day's."""


class TimeSVD(SVDpp):
    """timeSVD++.

    A question is answered for its moment, ``Queries.at``, held within the span of the log, and the bias of the day
    comes from what the history has of that day. Without a moment it is answered for the end of the user's history,
    and for no day. A history that is not the trained one is folded in as in SVD++, with the drift beside the bias;
    one without times has neither.
    """

    config_class = TimeSVDConfig
    learned: ClassVar[tuple[str, ...]] = (*SVDpp.learned, "drift_", "bin_bias_", "span_")
    config: TimeSVDConfig
    drift_: FloatArray  #: (n_users,) float32 a_u
    bin_bias_: FloatArray  #: (n_items, bins) float32
    span_: list[int]  #: Unix seconds of the first and last rating

    def fit(
        self, data: Dataset, *, rng: np.random.Generator | int | None = None, monitor: Monitor | None = None
    ) -> Self:
        """Learn vectors and biases. ``monitor`` gets ``rmse``, on the training ratings, after each pass.

        Raises
        ------
        DataError
            Where the log has no ratings, or no times.
        """
        c, rng, data = self.config, generator(rng), rated(data)
        if data.time is None:
            raise DataError(f"{data.name} has no times, and timeSVD needs them. SVD++ (svdpp) does without.")
        self.scale_ = rating_scale(data)
        self.mean_ = float(data.ratings().mean(dtype=np.float64))
        self.span_ = [int(data.time.min()), int(data.time.max())]
        p, q, y = self._vectors(data, rng)
        y *= c.implicit
        item_bias, bins = (
            np.zeros(data.n_items, dtype=np.float32),
            np.zeros((data.n_items, c.bins), np.float32),
        )
        user_bias, drift = np.zeros((2, data.n_users), dtype=np.float32)
        events = self._events(data, data.time, rng)
        day_bias = np.zeros(int(events[4].max()) + 1, dtype=np.float32)
        regs = np.array([c.reg, c.reg_implicit, c.reg_bias, c.reg_time, c.reg_day], dtype=np.float32)

        def learn(users: IntArray, shared: Sequence[FloatArray], step: np.float32) -> float:
            own = (p, user_bias, drift, day_bias)
            return float(_descend(users, data.offsets, *events, *own, *shared, step, regs, c.implicit))

        self._passes(data, learn, (q, y, item_bias, bins), rng, monitor)
        self.implicit_factors_, self.item_factors_, self.item_bias_, self.bin_bias_ = y, q, item_bias, bins
        self.user_factors_ = p + self._implicit(data.offsets, data.item)
        day_means = np.bincount(data.user, day_bias[events[4]], data.n_users) / np.maximum(
            np.diff(data.offsets), 1
        )
        self.user_bias_, self.drift_ = user_bias + day_means.astype(np.float32), drift
        return self

    def embed_items(self) -> FloatArray:
        """(n_items, embedding_size + bins + 2) float32 ``[q_i, b_i,bin, b_i, 1]``."""
        self.check_fitted()
        ones = np.ones(len(self.item_bias_), dtype=np.float32)
        parts = [self.item_factors_, self.bin_bias_, self.item_bias_, ones]
        return self.once("table", self.item_factors_, lambda: np.column_stack(parts))

    def cost(self, shape: Shape) -> Cost:
        """As SVD++, with the biases by bin."""
        base = super().cost(shape)
        return Cost(
            gather=1.1 * base.gather,
            bytes=base.bytes + 4.0 * 9 * self.config.bins * shape.n_items + 40.0 * shape.n_events,
        )

    def _embed(self, queries: Queries) -> FloatArray:
        """``[p_u, which bin, 1, mu + biases]``, where a query without a history is the mean user."""
        self.check_fitted()
        d, bins = self.config.embedding_size, self.config.bins
        out = np.zeros((len(queries), d + bins + 2), dtype=np.float32)
        out[:, d + bins], out[:, d + bins + 1] = 1, self.mean_
        has = queries.lengths > 0
        trained = has & (queries.users >= 0) & (False if queries.as_trained is None else queries.as_trained)
        out[:, :d] = self._implicit(queries.offsets, queries.items)
        out[trained, :d] = self.user_factors_[queries.users[trained]]
        user_bias, drift = np.zeros((2, len(queries)))
        user_bias[trained] = self.user_bias_[queries.users[trained]]
        drift[trained] = self.drift_[queries.users[trained]]
        self._ask(out, queries, trained, user_bias, drift)
        return out

    def _ask(
        self, out: FloatArray, queries: Queries, trained: BoolArray, user_bias: FloatArray, drift: FloatArray
    ) -> None:
        """Fold in what is not trained, and fill the bins and the biases of the moment."""
        c, rows = self.config, queries.rows
        times = np.full(len(rows), self.span_[0]) if queries.times is None else queries.times
        unread = (
            queries.values is None and (trained | (queries.lengths == 0)).all()
        )  # then no rating is needed
        rest = np.full(len(rows), np.nan) if unread else history_ratings(queries)
        moment = _ends(queries.offsets, times, self.span_[0]) if queries.at is None else queries.at
        centre = _centres(queries.offsets, times, ~np.isnan(rest) | unread)
        rest = rest - self.mean_ - self.item_bias_[queries.items]
        day, today = times // SECONDS_PER_DAY, moment // SECONDS_PER_DAY
        away = self._away(times, centre[rows])
        now = self._away(moment, np.where(queries.lengths > 0, centre, moment))
        if queries.at is None:  # the last day's mood need not last
            today = np.full(len(queries), -1)
        if queries.times is None:  # nothing is known of when the history was
            now, today = np.zeros(len(queries)), np.full(len(queries), -1)
        else:
            rest -= self.bin_bias_[queries.items, self._bin(times)]
        if queries.times is not None or queries.at is not None:
            known = np.flatnonzero((queries.lengths > 0) | (queries.at is not None))
            out[known, c.embedding_size + self._bin(moment)[known]] = 1
        regs = np.array([c.reg, c.reg_bias, c.reg_time, c.reg_day])

        def block(part: slice) -> None:
            _answer(
                out, queries.offsets, queries.items, rest, away, day, now, today, trained, user_bias, drift,
                self.item_factors_, regs, part.start, part.stop,
            )  # fmt: skip

        parallel.run(block, parallel.blocks(len(queries), _ROWS))

    def _events(self, data: Dataset, time: IntArray, rng: np.random.Generator) -> tuple[Any, ...]:
        """Item, rating less the mean, ``dev``, bin and (user, day) of each event, and the sizes of days and bins."""
        rest = data.ratings() - np.float32(self.mean_)
        away, bin_of = self._away(time, _centres(data.offsets, time)[data.user]), self._bin(time)
        _, day = np.unique(data.user.astype(np.int64) << 32 | time // SECONDS_PER_DAY, return_inverse=True)
        cell = data.item.astype(np.int64) * self.config.bins + bin_of
        of_bin = np.bincount(cell, minlength=data.n_items * self.config.bins).astype(np.float32)
        order = by_user(data, rng)
        columns = (column[order] for column in (data.item, rest, away, bin_of, day))
        return (*columns, np.bincount(day).astype(np.float32), of_bin.reshape(-1, self.config.bins))

    def _away(self, times: IntArray, centre: FloatArray) -> FloatArray:
        """(m,) float32 ``dev``, in [-1, 1]; times are held within the span of the log."""
        first, last = self.span_
        distance = (np.clip(times, first, last) - np.clip(centre, first, last)) / max(last - first, 1)
        return (np.sign(distance) * np.abs(distance) ** self.config.power).astype(np.float32)

    def _bin(self, times: IntArray) -> IntArray:
        """(m,) int64 bin of each time."""
        first, last = self.span_
        share = (np.clip(times, first, last) - first) / max(last - first, 1)
        return np.minimum((share * self.config.bins).astype(np.int64), self.config.bins - 1)


def _centres(offsets: IntArray, times: IntArray, counted: BoolArray | None = None) -> FloatArray:
    """(n,) float64 mean time of each history's counted events; 0 where there is none."""
    rows = ragged_rows(offsets)
    weight = np.ones(len(rows)) if counted is None else counted.astype(np.float64)
    n = len(offsets) - 1
    total = np.bincount(rows, weights=weight * times, minlength=n)
    return np.asarray(total / np.maximum(np.bincount(rows, weights=weight, minlength=n), 1))


def _ends(offsets: IntArray, times: IntArray, default: int) -> IntArray:
    """(n,) int64 latest time of each history; ``default`` where it is empty."""
    out = np.full(len(offsets) - 1, default, dtype=np.int64)
    np.maximum.at(out, ragged_rows(offsets), times)
    return out


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"}, error_model="numpy")
def _descend(  # type: ignore[no-untyped-def]
    users, offsets, item, rest, away, bin_of, day, of_day, of_bin, p, user_bias, drift, day_bias, q, y, item_bias,
    bins, step, regs, implicit,
):  # fmt: skip
    """One pass over the ratings of ``users``; returns the sum of squared errors met."""
    d = p.shape[1]
    z, began = np.zeros(d, np.float32), np.zeros(d, np.float32)
    one = np.float32(1)
    keep, keep_bias = one - step * regs[0], one - step * regs[2]
    squares = 0.0
    for u in users:
        start, stop = offsets[u], offsets[u + 1]
        root = np.float32(1) / np.sqrt(np.float32(stop - start))
        if implicit:
            sum_implicit(z, item, y, start, stop, root)
            began[:] = z
        pu = p[u]
        for e in range(start, stop):
            i, k, t = item[e], bin_of[e], day[e]
            qi = q[i]
            dot = np.float32(0)
            for f in range(d):
                dot += qi[f] * (pu[f] + z[f])
            error = rest[e] - user_bias[u] - item_bias[i] - dot
            error -= drift[u] * away[e] + day_bias[t] + bins[i, k]
            squares += error * error
            pull = step * error
            user_bias[u] = keep_bias * user_bias[u] + pull
            item_bias[i] = keep_bias * item_bias[i] + pull
            # the penalties of these come once, and may be large beside few ratings: an implicit step is stable
            drift[u] = (drift[u] + pull * away[e]) / (one + step * regs[3] / np.float32(stop - start))
            bins[i, k] = (bins[i, k] + pull) / (one + step * regs[3] / of_bin[i, k])
            day_bias[t] = (day_bias[t] + pull) / (one + step * regs[4] / of_day[t])
            for f in range(d):
                a, b, c = pu[f], qi[f], z[f]
                pu[f] = keep * a + pull * b
                qi[f] = keep * b + pull * (a + c)
                if implicit:
                    z[f] = c + pull * b
        if implicit:
            hand_on(z, began, item, y, start, stop, root, step * regs[1])
    return squares


@njit(cache=True, nogil=True)
def _answer(  # type: ignore[no-untyped-def]
    out, offsets, items, rest, away, day, now, today, trained, user_bias, drift, q, regs, start, stop
):
    """Biases of the moment of the rows ``start:stop``; vector, bias and drift too where they are not trained."""
    d = q.shape[1]
    for r in range(start, stop):
        first, last = offsets[r], offsets[r + 1]
        if first < last and not trained[r]:
            x = _ridge(out[r], items[first:last], rest[first:last], away[first:last], q, regs)
            for f in range(d):
                out[r, f] += x[f]
            drift[r], user_bias[r] = x[d], x[d + 1]
        n, left = 0, 0.0
        for e in range(first, last):
            if day[e] == today[r] and not np.isnan(rest[e]):
                n += 1
                left += rest[e] - user_bias[r] - drift[r] * away[e]
                for f in range(d):
                    left -= q[items[e], f] * out[r, f]
        if n:
            left /= n + regs[3]
        out[r, -1] += user_bias[r] + drift[r] * now[r] + left


@njit(cache=True, nogil=True)
def _ridge(known, items, rest, away, q, regs):  # type: ignore[no-untyped-def]
    """Vector, drift and bias: ``(A'A + diag(n reg, reg_time, n reg_bias)) x = A' left`` with ``A = [q_i, dev, 1]``."""
    d = q.shape[1]
    a = np.ones(d + 2)
    gram, right = np.zeros((d + 2, d + 2)), np.zeros(d + 2)
    n = 0
    for e in range(len(items)):
        if np.isnan(rest[e]):
            continue
        n += 1
        a[:d], a[d] = q[items[e]], away[e]
        left = rest[e]
        for f in range(d):
            left -= a[f] * known[f]
        for f in range(d + 2):
            right[f] += a[f] * left
            for g in range(f, d + 2):
                gram[f, g] += a[f] * a[g]
    for f in range(d + 2):
        for g in range(f):
            gram[f, g] = gram[g, f]
        gram[f, f] += 1e-6 + (regs[2] if f == d else n * regs[0 if f < d else 1])
    return np.linalg.solve(gram, right)
