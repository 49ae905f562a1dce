"""One Markov chain over blocks: who joins whom, the current draw, and a step to the next one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from recsmith import parallel
from recsmith.models.factorization import gibbs, ordinal
from recsmith.types import FloatArray, IntArray, ragged_rows

_EVENTS = 16_384  # hidden variables drawn by one task
_ROWS = 512  # rows drawn by one task where a chain has cores to itself


@dataclass(frozen=True, slots=True, eq=False)
class Design:
    """Features that the rows of a block share, by feature. Only features that occur."""

    indptr: IntArray  #: (p + 1,) int64 bounds of each feature
    rows: IntArray  #: (nnz,) int32 rows of the block that have it
    values: FloatArray  #: (nnz,) float32

    @classmethod
    def of(cls, matrix: Any) -> Design:
        """From a sparse (rows, p) matrix."""
        csc = matrix.tocsc()
        csc.sort_indices()
        return cls(csc.indptr.astype(np.int64), csc.indices.astype(np.int32), csc.data.astype(np.float32))

    def __len__(self) -> int:
        return len(self.indptr) - 1


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """The ratings by row of one block (user, item or day), and the rows of the other blocks that they join."""

    order: IntArray | None  #: (n,) ratings sorted by row; None: they are
    bounds: IntArray  #: (rows + 1,) int64
    others: tuple[IntArray, ...]  #: (n,) int32 rows of the other blocks, one or two, in this order
    designs: tuple[Design, ...] = ()  #: a group of features each
    occupied: IntArray | None = None  #: rows that have ratings; None: all

    @classmethod
    def of(
        cls, row: IntArray, n_rows: int, others: Sequence[IntArray], designs: Sequence[Design] = ()
    ) -> Block:
        """The block of ``row`` (n,), the row of each rating."""
        counts = np.bincount(row, minlength=n_rows)
        bounds = np.concatenate([[0], np.cumsum(counts)])
        order = None if (np.diff(row) >= 0).all() else np.argsort(row, kind="stable")
        sorted_others = tuple(other if order is None else other[order] for other in others)
        occupied = np.flatnonzero(counts) if (counts == 0).any() else None
        return cls(order, bounds, sorted_others, tuple(designs), occupied)

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.bounds) - 1


@dataclass(slots=True, eq=False)
class Prior:
    """Mean (m,) and precision (m, m), float64, of the vectors of a group."""

    mean: FloatArray
    precision: FloatArray

    @classmethod
    def wide(cls, m: int) -> Prior:
        """Where a chain starts."""
        return cls(np.zeros(m), np.eye(m))

    def vector(self, rng: np.random.Generator) -> FloatArray:
        """(m,) a vector that nothing is known of."""
        root = np.linalg.cholesky(self.precision)
        return self.mean + np.linalg.solve(root.T, rng.standard_normal(len(self.mean)))

    def redraw(self, vectors: FloatArray, rng: np.random.Generator) -> None:
        """Draw mean and precision given the (n, m) vectors, under a normal-Wishart prior.

        R. Salakhutdinov and A. Mnih, "Bayesian Probabilistic Matrix Factorization using MCMC", ICML 2008, equation
        14, with ``mu_0 = 0, beta_0 = 1, nu_0 = m, W_0 = I``.
        """
        n, m = vectors.shape
        x = vectors.astype(np.float64)
        average = x.sum(axis=0) / max(n, 1)
        away = x - average
        scatter = np.eye(m) + away.T @ away + n / (1.0 + n) * np.outer(average, average)
        root = np.linalg.cholesky(np.linalg.inv(scatter))
        lower = np.tril(rng.standard_normal((m, m)), -1)
        lower[np.diag_indices(m)] = np.sqrt(2.0 * rng.standard_gamma((m + n - np.arange(m)) / 2.0))
        half = root @ lower
        self.precision = half @ half.T
        spread = np.linalg.solve(half.T, rng.standard_normal(m)) / np.sqrt(n + 1.0)
        self.mean = n / (n + 1.0) * average + spread


@dataclass(slots=True, eq=False)
class Draw:
    """The current draw of one block."""

    table: FloatArray  #: (rows, m) float32 bias and vector of each row, features included
    ids: FloatArray  #: (rows, m) float32 the row's own part; the table itself where there are no features
    features: list[FloatArray]  #: for each design (p, m) float32
    prior: Prior  #: of ``ids``
    priors: list[Prior]  #: of each design's features


def start(block: Block, m: int, rng: np.random.Generator) -> Draw:
    """Small random vectors, biases and features 0."""
    ids = np.zeros((block.n_rows, m), dtype=np.float32)
    ids[:, 1:] = 0.1 * rng.standard_normal((block.n_rows, m - 1), dtype=np.float32)
    features = [np.zeros((len(design), m), dtype=np.float32) for design in block.designs]
    table = ids.copy() if features else ids
    return Draw(table, ids, features, Prior.wide(m), [Prior.wide(m) for _ in features])


def redraw(
    block: Block,
    draw: Draw,
    others: Sequence[FloatArray],
    target: FloatArray,
    noise: float,
    rng: np.random.Generator,
) -> float:
    """Draw a block given the tables of the others; returns the sum of squared errors that is left.

    ``target`` (n,) is in the block's own order.
    """
    two = len(others) == 2
    joined = (block.bounds, block.others[0], block.others[-1], others[0], others[-1], two, target)
    left = (_redraw_shared if block.designs else _redraw_rows)(block, draw, joined, noise, rng)
    draw.prior.redraw(draw.ids if block.occupied is None else draw.ids[block.occupied], rng)
    return left


def _redraw_rows(
    block: Block, draw: Draw, joined: tuple[Any, ...], noise: float, rng: np.random.Generator
) -> float:
    """Rows that share nothing, one by one."""
    prior = (draw.prior.mean, draw.prior.precision, _key(rng))

    def rows(part: slice) -> Any:
        return gibbs.draw_rows(draw.table, part.start, part.stop, *joined, noise, *prior)

    return float(sum(parallel.run(rows, parallel.blocks(block.n_rows, _ROWS))))


def _redraw_shared(
    block: Block, draw: Draw, joined: tuple[Any, ...], noise: float, rng: np.random.Generator
) -> float:
    """What rows share, a feature at a time, then their own parts."""
    m = draw.table.shape[1]
    grams = np.empty((block.n_rows, m, m), dtype=np.float32)
    rights = np.empty((block.n_rows, m), dtype=np.float32)
    parts = parallel.blocks(block.n_rows, _ROWS)

    def statistics(part: slice) -> Any:
        return gibbs.row_statistics(grams, rights, part.start, part.stop, *joined)

    squares = float(sum(parallel.run(statistics, parts)))
    rests = rights.copy()
    gibbs.subtract(rests, grams, draw.table)
    for design, features, prior in zip(block.designs, draw.features, draw.priors, strict=True):
        entries = (design.indptr, design.rows, design.values)
        given = (grams, rests, noise, prior.mean, prior.precision, _key(rng))
        gibbs.draw_features(draw.table, features, 0, len(design), *entries, *given)
        prior.redraw(features, rng)
    own = (grams, rests, noise, draw.prior.mean, draw.prior.precision, _key(rng))
    parallel.run(lambda part: gibbs.draw_ids(draw.table, draw.ids, part.start, part.stop, *own), parts)
    return squares + float(gibbs.changes(grams, rights, draw.table))


def _key(rng: np.random.Generator) -> np.uint64:
    """The key of the streams of one pass."""
    return rng.integers(2**63, dtype=np.uint64)


class Chain:
    """A chain: blocks of users, items and perhaps days, in this order, and what was drawn last."""

    def __init__(
        self,
        blocks: Sequence[Block],
        given: FloatArray | IntArray,
        n_classes: int,
        size: int,
        rng: np.random.Generator,
    ) -> None:
        """``given`` (n,), by the first block: targets (float32), or classes (int8) where ``n_classes`` > 0."""
        self.blocks, self.rng = blocks, rng
        self.draws = [start(block, size + 1, rng) for block in blocks]
        self.noise = 1.0  #: precision of a rating
        self.edges: FloatArray = np.zeros(0)  #: cut points of classes, between infinities
        if n_classes:
            self._classes: IntArray = np.asarray(given, dtype=np.int8)
            self.edges = ordinal.start_edges(np.bincount(self._classes, minlength=n_classes))
            self.rows = (ragged_rows(blocks[0].bounds).astype(np.int32), *blocks[0].others)
            self._score, self._hidden = np.empty((2, len(given)), dtype=np.float32)
        else:
            self._targets = [_ordered(np.asarray(given, dtype=np.float32), block) for block in blocks]

    def step(self) -> None:
        """The next draw of everything."""
        targets = self._targets if not len(self.edges) else self._draw_hidden()
        left = 0.0
        for n, (block, draw, target) in enumerate(zip(self.blocks, self.draws, targets, strict=True)):
            others = [other.table for o, other in enumerate(self.draws) if o != n]
            left = redraw(block, draw, others, target, self.noise, self.rng)
        if not len(self.edges):
            self.noise = float(
                self.rng.standard_gamma((1.0 + len(self._targets[0])) / 2) * 2 / (1.0 + max(left, 0.0))
            )

    def _draw_hidden(self) -> list[FloatArray]:
        """Draw cut points and hidden variables; the latter in the order of each block."""
        tables = [draw.table for draw in self.draws]
        three = len(tables) == 3
        parts = parallel.blocks(len(self._classes), _EVENTS)
        joined = (self.rows[0], self.rows[1], self.rows[-1], tables[0], tables[1], tables[-1], three)
        parallel.run(lambda part: ordinal.scores(self._score, part.start, part.stop, *joined), parts)
        self.edges = ordinal.draw_edges(self.edges, self._score, self._classes, self.rng)
        common = (self._score, self._classes, self.edges, _key(self.rng))
        parallel.run(
            lambda part: ordinal.draw_hidden(self._hidden, part.start, part.stop, *common, part.start), parts
        )
        return [_ordered(self._hidden, block) for block in self.blocks]


def _ordered(values: FloatArray, block: Block) -> FloatArray:
    return values if block.order is None else values[block.order]


class Keeper:
    """The draws that are kept of some chains, evenly spaced behind the burn-in.

    Tables lie by row, then draw: an answer about a row reads all its draws.
    """

    def __init__(
        self,
        chains: Sequence[Chain],
        samples: int,
        turns: Sequence[int],
        rng: np.random.Generator,
        *,
        users: bool,
    ) -> None:
        """Room for ``samples`` draws, at the iterations ``turns``; of the users' vectors only where ``users``."""
        self.chains, self.turns, self.rng, self.taken = chains, frozenset(turns), rng, 0
        first = chains[0]
        m = first.draws[0].table.shape[1]

        def room(n_rows: int) -> FloatArray:
            return np.empty((n_rows, samples, m), dtype=np.float32)

        kept = [draw.table if n or users else draw.table[:0] for n, draw in enumerate(first.draws)]
        self.tables = [room(len(table)) for table in kept]
        self.features = [room(len(features)) for features in first.draws[0].features]
        self.new_item = np.empty((samples, m), dtype=np.float32)
        self.prior_mean = np.empty((samples, m), dtype=np.float32)
        self.prior_precision = np.empty((samples, m, m))
        self.noise = np.empty(samples)
        self.edges = np.empty((samples, len(first.edges)))

    def offer(self, epoch: int) -> None:
        """Keep what the chains hold after iteration ``epoch``, if it is its turn."""
        if epoch in self.turns:
            self.keep()

    def keep(self) -> None:
        """Keep what the chains hold, as long as there is room."""
        for chain in self.chains[: len(self.noise) - self.taken]:
            s, users = self.taken, chain.draws[0]
            for room, draw in zip(self.tables, chain.draws, strict=True):
                if len(room):
                    room[:, s] = draw.table
            for room, features in zip(self.features, users.features, strict=True):
                room[:, s] = features
            self.new_item[s] = chain.draws[1].prior.vector(self.rng)
            self.prior_mean[s], self.prior_precision[s] = users.prior.mean, users.prior.precision
            self.noise[s], self.edges[s] = chain.noise, chain.edges
            self.taken += 1
