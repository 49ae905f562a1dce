"""A user's vector from the items of his history: what models without a user table share.

The pool is ``p = (sum over j in N of w_j y_j) / (sum over j in N of w_j)^(1/2)``, with an item table ``y`` of its own
(S. Kabbur, X. Ning and G. Karypis, "FISM: Factored Item Similarity Models for Top-N Recommender Systems", KDD 2013,
equation 4 with alpha = 1/2; Y. Koren, KDD 2008, equation 15). In training the target is no part of its own pool: it
would give itself away. For a batch the sums are one sparse product over its distinct users, and examples are put in
order so that those are few.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor
from torch.nn import functional

from recsmith.data.dataset import Dataset, Matrix
from recsmith.errors import DataError
from recsmith.training.curriculum import Negatives, NegativesConfig
from recsmith.training.loop import Objective
from recsmith.types import (
    BoolArray,
    FloatArray,
    IntArray,
    Queries,
    check_range,
    ragged_rows,
    ragged_slices,
    ragged_take,
)

_TOGETHER = 16  # examples of a user that stand side by side in a batch


def pooled(table: Tensor, matrix: Matrix) -> Tensor:
    """The product of a CSR ``matrix`` (n, items) and ``table`` (items, d), with a gradient for the table.

    On the CPU it is SciPy's, which is several times as fast as PyTorch's on rows of a few hundred entries.
    """
    if not table.is_cuda:
        return _Product.apply(table, matrix)  # type: ignore[no-any-return, no-untyped-call]
    entries, columns, bounds = (torch.from_numpy(a) for a in (matrix.data, matrix.indices, matrix.indptr))
    return functional.embedding_bag(
        columns.long().to(table.device),
        table,
        bounds.long().to(table.device),
        mode="sum",
        per_sample_weights=entries.to(table.device),
        include_last_offset=True,
    )


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, table: Tensor, matrix: Matrix) -> Tensor:
        ctx.matrix = matrix
        return torch.from_numpy(matrix @ table.detach().numpy())

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return torch.from_numpy(ctx.matrix.T @ gradients[0].contiguous().numpy()), None


def histories(queries: Queries, n_items: int, entries: FloatArray | None = None) -> Matrix:
    """(n, n_items) float32 CSR of the histories: the weights of each item added up, or ``entries`` (m,).

    Raises
    ------
    ParameterError
        An item out of range.
    """
    check_range("score", "queries.items", queries.items, n_items)
    values = queries.event_weights() if entries is None else entries
    parts = np.array(values, dtype=np.float32), queries.items.astype(np.int32), queries.offsets.copy()
    matrix: Matrix = sparse.csr_array(parts, shape=(len(queries), n_items))
    matrix.sum_duplicates()
    return matrix


def root_scale(totals: FloatArray) -> FloatArray:
    """``totals ** -0.5`` as float32, 0 where nothing is left."""
    return np.where(totals > 1e-6, np.maximum(totals, 1e-6) ** -0.5, 0.0).astype(np.float32)


class Pools:
    """The pairs of a log as examples, each with the pool of its user without it."""

    def __init__(self, data: Dataset) -> None:
        self.matrix: Matrix = data.matrix("weight")
        self.items: IntArray = self.matrix.indices  #: (pairs,)
        self.users: IntArray = ragged_rows(self.matrix.indptr)  #: (pairs,)
        totals = self.matrix.sum(axis=1)
        self.scale = root_scale(totals[self.users] - self.matrix.data)  #: (pairs,) without the pair itself

    def __len__(self) -> int:
        return len(self.items)

    def thinned(self, dropped: float, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
        """(pairs,) float32 weights of which some are 0, and the scale that goes with them.

        Each user keeps a share of his events that is drawn anew: ``dropped`` is the mean of what is left out, 0 to 1.
        """
        share = rng.random(self.matrix.shape[0]) ** (dropped / (1 - dropped))
        kept = rng.random(len(self)) < share[self.users]
        entries = np.where(kept, self.matrix.data, 0).astype(np.float32)
        totals = np.bincount(self.users, entries, minlength=self.matrix.shape[0])
        return entries, root_scale(totals[self.users] - entries)

    def without_target(
        self,
        table: Tensor,
        pairs: IntArray,
        entries: FloatArray | None = None,
        scale: FloatArray | None = None,
    ) -> Tensor:
        """(len(pairs), d) pools of the pairs' users, each without the pair's item.

        ``entries`` (len(self),) float32 stand in place of the weights in the sum, and ``scale`` of ``self.scale``.
        """
        entries = self.matrix.data if entries is None else entries
        scale = self.scale if scale is None else scale
        users, place = np.unique(self.users[pairs], return_inverse=True)
        bounds, at = ragged_take(self.matrix.indptr, users)
        shape = (len(users), self.matrix.shape[1])
        sums = pooled(table, sparse.csr_array((entries[at], self.items[at], bounds), shape=shape))
        device = table.device
        own = functional.embedding(torch.from_numpy(self.items[pairs]).to(device), table)
        own = own * torch.from_numpy(entries[pairs]).to(device)[:, None]
        left = sums.index_select(0, torch.from_numpy(place).to(device)) - own
        return left * torch.from_numpy(scale[pairs]).to(device)[:, None]


class PairsAgainstDrawn(Objective):
    """Each pair of a user and an item that he took, with items drawn against it; all seen from the pool without it."""

    def __init__(
        self, data: Dataset, config: NegativesConfig, device: torch.device, usable: BoolArray | None = None
    ) -> None:
        """``usable`` (pairs,) marks the examples; None: all. A user who took every item leaves none to draw."""
        self.pools, self.negatives, self.device = Pools(data), Negatives(data, config), device
        indptr = self.pools.matrix.indptr
        kept = (np.diff(indptr) < data.n_items)[self.pools.users]
        self.pairs = np.flatnonzero(kept if usable is None else kept & usable)
        self.bounds = np.searchsorted(self.pairs, indptr)
        self.n_examples = len(self.pairs)

    def begin(self, epoch: int, rng: np.random.Generator) -> None:
        """Go on in the curriculum."""
        self.negatives.begin(epoch, rng)

    def order(self, batch_size: int, rng: np.random.Generator) -> list[IntArray]:
        """Batches in which a few examples of a user stand side by side."""
        return by_user(self.bounds, _TOGETHER, batch_size, rng)

    def offered(self, pairs: IntArray, pools: Tensor, score: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """(r, 1 + n_negatives) int64: the pairs' own items, and those drawn.

        ``score`` gives scores (s, c) of items (s, c) for pools (s, d), by the model as it is.
        """

        def scores(some: IntArray, items: IntArray) -> FloatArray:
            with torch.no_grad():
                asked = pools[torch.from_numpy(some)], torch.from_numpy(items).to(self.device)
                return np.asarray(score(*asked).float().cpu().numpy())

        drawn = self.negatives.draw(pairs, self.pools.users[pairs], scores)
        items = np.concatenate([self.pools.items[pairs, None], drawn], axis=1)
        return torch.from_numpy(items).to(self.device)


def check_negatives(data: Dataset) -> None:
    """Raise ``DataError`` where every user took every item: there is no negative to draw."""
    if not (np.diff(data.matrix("ones").indptr) < data.n_items).any():
        raise DataError(
            f"{data.name}: every user has an event with every item, so there is nothing to tell apart. "
            "Give the log a catalogue of more items."
        )


def by_user(bounds: IntArray, together: int, batch_size: int, rng: np.random.Generator) -> list[IntArray]:
    """Batches of examples in random order, but with up to ``together`` random ones of a user side by side.

    ``bounds`` (n_users + 1,) are those of each user's examples. The fewer users a batch has, the fewer pools it needs.
    """
    lengths = np.diff(bounds)
    shuffled = rng.permutation(int(bounds[-1]))
    within = shuffled[np.argsort(ragged_rows(bounds)[shuffled], kind="stable")]
    pieces = -(-lengths // together)
    first, nth = ragged_slices(np.zeros(len(lengths), dtype=np.int64), pieces)
    owner = ragged_rows(first)
    starts = bounds[owner] + nth * together
    sizes = np.minimum(bounds[owner + 1] - starts, together)
    order = rng.permutation(len(starts))
    examples = within[ragged_slices(starts[order], sizes[order])[1]]
    return [examples[start : start + batch_size] for start in range(0, len(examples), batch_size)]
