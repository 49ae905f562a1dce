"""What BPR and WARP share: vectors learned from pairs of an item that a user took and one that he did not.

The score is ``s_ui = p_u' q_i + b_i``. A pass goes over all (user, item) pairs of the log in strata (``strata.py``):
a block of the grid owns its users and its items, and draws the other item of a pair from the same items, so that no
two threads touch one vector. Items are dealt to the parts of the grid anew before each pass: every item meets every
other, and a pair of items shares a part as often as any other pair.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Self, TypeVar

import numpy as np

from recsmith import parallel
from recsmith.config import Config
from recsmith.data.dataset import Dataset, Matrix
from recsmith.data.negatives import next_bits
from recsmith.errors import DataError
from recsmith.kernels import njit
from recsmith.models.base import BaseModel, generator
from recsmith.models.factorization import strata
from recsmith.protocols import Monitor
from recsmith.types import BoolArray, Cost, FloatArray, IntArray, Queries, Shape, check_range, ragged_rows

_ROWS = 64  # queries folded in by one task
_PART_ITEMS = 32  # items that a part of the grid holds at least, to have others to draw
_TRIES = 16  # draws of an item that the user took before the pair is passed over
_MOST_WEIGHT = 10.0  # times the mean weight that a pair counts at most
_USER_EPOCHS = 50  # passes over a history with the items fixed
_USER_SEED = np.uint64(0x5EED)  # each history has the same stream: its vector depends on nothing else


class PairwiseConfig(Config):
    """Parameters that BPR and WARP share; each says its defaults and ranges."""

    embedding_size: int
    epochs: int
    learning_rate: float
    reg: float
    item_bias: bool
    init_std: float


C = TypeVar("C", bound=PairwiseConfig)


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Events of users or queries as a kernel reads them, cut into pieces that are learned one after the other."""

    user: IntArray  #: (m,) row of ``p``
    item: IntArray  #: (m,) int32
    weight: FloatArray  #: (m,) float32, 1 on average
    bounds: IntArray  #: bounds of the pieces
    offsets: IntArray  #: bounds of each user in ``taken``
    taken: IntArray  #: what a user has taken, sorted

    @property
    def arrays(self) -> tuple[Any, ...]:
        """All of them, as kernels take them."""
        return (self.user, self.item, self.weight, self.bounds, self.offsets, self.taken)


@dataclass(frozen=True, slots=True, eq=False)
class Factors:
    """What is learned: vectors of users and items, and item biases."""

    p: FloatArray  #: (n_users, d) float32
    q: FloatArray  #: (n_items, d) float32
    bias: FloatArray  #: (n_items,) float32


class Pairwise(BaseModel[C]):
    """Fit and score of a factorization by pairs; a subclass says what a piece of the pairs teaches.

    The passes learn users and items together. Then the users are learned once more with the items fixed, which is
    also how any history is folded in: on Gowalla that is more accurate than the vectors of the passes, and a new
    user with the history of a known one gets his vector.
    """

    learned: ClassVar[tuple[str, ...]] = ("user_factors_", "item_factors_", "item_bias_", "mean_weight_")
    user_factors_: FloatArray  #: (n_users, embedding_size) float32
    item_factors_: FloatArray  #: (n_items, embedding_size) float32, 0 for an item without an event
    item_bias_: FloatArray  #: (n_items,) float32, NaN for an item without an event
    mean_weight_: float  #: mean weight of a pair of the log

    @abstractmethod
    def descend(
        self,
        pairs: Pairs,
        pieces: tuple[int, int],
        members: IntArray,
        factors: Factors,
        steps: FloatArray,
        seed: np.uint64,
        *,
        teach_items: bool,
    ) -> int:
        """Learn from the pieces ``pieces[0]:pieces[1]``, each with all ``steps``; other items come from ``members``.

        Returns the number of pairs that were in order before their step.
        """

    def fit(
        self, data: Dataset, *, rng: np.random.Generator | int | None = None, monitor: Monitor | None = None
    ) -> Self:
        """Learn the vectors. ``monitor`` gets ``in_order``, the share of pairs in order, after each pass.

        Raises
        ------
        DataError
            Where the log is empty, or all its weights are 0.
        """
        c, rng = self.config, generator(rng)
        table = data.matrix("weight")
        if not table.nnz or not table.data.any():
            raise DataError(
                f"{data.name} has no event that counts. {type(self).__name__} needs at least one."
            )
        self.mean_weight_ = float(table.data.mean(dtype=np.float64))
        known = np.bincount(table.indices, minlength=data.n_items) > 0
        grid = max(1, min(strata.grid_size(table.nnz), int(known.sum()) // _PART_ITEMS))
        part, place = strata.dealt(np.diff(table.indptr), grid)
        factors = self._start(rng, data, known)
        events = _shuffled(table[np.argsort(place)], self.mean_weight_, rng)
        for epoch in range(c.epochs):
            step = np.array([c.learning_rate * (1 - epoch / c.epochs)], dtype=np.float32)
            in_order = self._pass(events, np.sort(part), np.flatnonzero(known), factors, step, grid, rng)
            if monitor is not None and monitor.progress(epoch + 1, c.epochs, in_order=in_order):
                break
        self.item_factors_ = factors.q
        self.item_bias_ = np.where(known, factors.bias, np.float32(np.nan))
        self.user_factors_ = self._users(table.indptr, table.indices, table.data)
        return self

    def score(self, queries: Queries, items: IntArray | None = None) -> FloatArray:
        """(n, n_items or len(items)) float32; NaN without a history, and for items without an event."""
        columns = self.embed_items() if items is None else self.embed_items()[items]
        return self.embed_queries(queries) @ columns.T

    def embed_queries(self, queries: Queries) -> FloatArray:
        """(n, embedding_size + 1) float32 ``[p_u, 1]``; NaN without a history."""
        self.check_fitted()
        out = np.full((len(queries), self.item_factors_.shape[1] + 1), np.nan, dtype=np.float32)
        has = queries.lengths > 0
        trained = has & (queries.users >= 0) & (False if queries.as_trained is None else queries.as_trained)
        out[trained, :-1] = self.user_factors_[queries.users[trained]]
        new = queries.take(np.flatnonzero(has & ~trained))
        check_range("score", "queries.items", new.items, len(self.item_bias_))
        order = np.lexsort((new.items, new.rows))
        out[has & ~trained, :-1] = self._users(new.offsets, new.items[order], new.event_weights()[order])
        out[has, -1] = 1
        return out

    def embed_items(self) -> FloatArray:
        """(n_items, embedding_size + 1) float32 ``[q_i, b_i]``; NaN for an item without an event in the log."""
        self.check_fitted()
        parts = [self.item_factors_, self.item_bias_]
        return self.once("table", self.item_factors_, lambda: np.column_stack(parts))

    def similar(self, items: IntArray) -> FloatArray:
        """(len(items), n_items) float32 cosine of the item factors."""
        self.check_fitted()
        return self.cosines(self.item_factors_, items)

    def cost(self, shape: Shape) -> Cost:
        """A few operations per pair, pass and dimension."""
        d = self.config.embedding_size
        vectors = 4.0 * (d + 1) * (shape.n_users + shape.n_items)
        return Cost(
            gather=5.0 * (d + 40) * self.config.epochs * shape.n_events, bytes=vectors + 60.0 * shape.n_events
        )

    def _start(self, rng: np.random.Generator, data: Dataset, known: BoolArray) -> Factors:
        """Random vectors; 0 for an item that is not known."""
        d, scale = self.config.embedding_size, np.float32(self.config.init_std)
        p = rng.standard_normal((data.n_users, d), dtype=np.float32) * scale
        q = rng.standard_normal((data.n_items, d), dtype=np.float32) * scale
        q[~known] = 0
        return Factors(p, q, np.zeros(data.n_items, dtype=np.float32))

    def _pass(
        self,
        events: Pairs,
        user_part: IntArray,
        known: IntArray,
        factors: Factors,
        step: FloatArray,
        grid: int,
        rng: np.random.Generator,
    ) -> float:
        """One pass over all pairs; the share that was in order."""
        members = rng.permutation(known).astype(np.int32)
        cuts = np.linspace(0, len(members), grid + 1).astype(np.int64)
        item_part = np.zeros(len(factors.bias), dtype=np.int64)
        item_part[members] = np.repeat(np.arange(grid), np.diff(cuts))
        user, item, weight, bounds = _by_block(
            events.user, events.item, events.weight, user_part, item_part, grid
        )
        pairs = Pairs(user, item, weight, bounds, events.offsets, events.taken)
        seeds = rng.integers(0, 2**64, size=grid * grid, dtype=np.uint64)

        def block(b: int) -> int:
            own = members[cuts[b % grid] : cuts[b % grid + 1]]
            return self.descend(pairs, (b, b + 1), own, factors, step, seeds[b], teach_items=True)

        in_order = 0
        for shift in rng.permutation(grid):
            in_order += sum(parallel.run(block, strata.stratum(shift, grid)))
        return in_order / len(user)

    def _users(self, offsets: IntArray, items: IntArray, weights: FloatArray) -> FloatArray:
        """(n, embedding_size) float32 vectors of ragged histories with sorted items, the items of the model fixed."""
        item = np.asarray(items, dtype=np.int32)
        pairs = Pairs(ragged_rows(offsets), item, _capped(weights, self.mean_weight_), offsets, offsets, item)
        x = np.zeros((len(offsets) - 1, self.item_factors_.shape[1]), dtype=np.float32)
        factors = Factors(x, self.item_factors_, self.item_bias_)
        members = np.flatnonzero(~np.isnan(self.item_bias_)).astype(np.int32)
        passes = np.arange(_USER_EPOCHS) / _USER_EPOCHS
        steps = (self.config.learning_rate * (1 - passes)).astype(np.float32)

        def block(part: slice) -> None:
            piece = (part.start, part.stop)
            self.descend(pairs, piece, members, factors, steps, _USER_SEED, teach_items=False)

        parallel.run(block, parallel.blocks(len(x), _ROWS))
        return x


def _capped(weight: FloatArray, mean: float) -> FloatArray:
    """Weights as multiples of the mean: a single heavy pair must not make the descent unstable."""
    return np.asarray(np.minimum(weight / mean, _MOST_WEIGHT), dtype=np.float32)


def _shuffled(table: Matrix, mean: float, rng: np.random.Generator) -> Pairs:
    """The pairs of a CSR table in random order."""
    order = rng.permutation(table.nnz)
    user = np.repeat(np.arange(table.shape[0], dtype=np.int32), np.diff(table.indptr))[order]
    weight = _capped(table.data[order], mean)
    bounds = np.array([0, table.nnz])
    return Pairs(user, table.indices[order], weight, bounds, table.indptr, table.indices)


@njit(cache=True, nogil=True)
def _by_block(user, item, weight, user_part, item_part, grid):  # type: ignore[no-untyped-def]
    """Events by block of the grid, their order kept within one, and the (grid^2 + 1,) bounds of the blocks."""
    bounds = np.zeros(grid * grid + 1, np.int64)
    for e in range(len(user)):
        bounds[user_part[user[e]] * grid + item_part[item[e]] + 1] += 1
    for b in range(grid * grid):
        bounds[b + 1] += bounds[b]
    place = bounds[:-1].copy()
    out = np.empty_like(user), np.empty_like(item), np.empty_like(weight)
    for e in range(len(user)):
        b = user_part[user[e]] * grid + item_part[item[e]]
        out[0][place[b]], out[1][place[b]], out[2][place[b]] = user[e], item[e], weight[e]
        place[b] += 1
    return out[0], out[1], out[2], bounds


@njit(cache=True, nogil=True)
def draw_other(state, members, taken, low, high):  # type: ignore[no-untyped-def]
    """Next state, and one of ``members`` that is not in the sorted ``taken[low:high]``; -1 where luck fails."""
    for _ in range(_TRIES):
        state, z = next_bits(state)
        j = members[((z >> np.uint64(32)) * np.uint64(len(members))) >> np.uint64(32)]
        a, b = low, high
        while a < b:
            middle = (a + b) >> 1
            if taken[middle] < j:
                a = middle + 1
            else:
                b = middle
        if a == high or taken[a] != j:
            return state, j
    return state, -1


@njit(cache=True, nogil=True, inline="always")
def teach(pu, q, bias, i, j, pull, keep, has_bias, teach_items):  # type: ignore[no-untyped-def]
    """A step of size ``pull`` that lifts item i above item j for a user, and shrinks what it touches to ``keep``."""
    qi, qj = q[i], q[j]
    if not teach_items:
        for f in range(len(pu)):
            pu[f] = keep * pu[f] + pull * (qi[f] - qj[f])
        return
    for f in range(len(pu)):
        a, b, c = pu[f], qi[f], qj[f]
        pu[f] = keep * a + pull * (b - c)
        qi[f] = keep * b + pull * a
        qj[f] = keep * c - pull * a
    if has_bias:
        bias[i] = keep * bias[i] + pull
        bias[j] = keep * bias[j] - pull
