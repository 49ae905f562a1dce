"""WARP: items are drawn until one stands too high, and how long that took says how far up it stands.

J. Weston, S. Bengio and N. Usunier, "WSABIE: Scaling Up to Large Vocabulary Image Annotation", IJCAI 2011, section 3:
for an item i that the user took, draw others until ``s_uj > s_ui - 1``. With N draws the rank of i is about
``(n_items - 1) / N``, and the step on ``s_uj - s_ui`` counts ``L(rank) = 1 + 1/2 + ... + 1/rank``, here over its
largest value.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from recsmith.config import Search
from recsmith.kernels import njit
from recsmith.models.factorization.pairwise import Factors, Pairs, Pairwise, PairwiseConfig, draw_other, teach
from recsmith.types import Cost, FloatArray, IntArray, Shape


class WARPConfig(PairwiseConfig):
    """Parameters of WARP."""

    embedding_size: Annotated[int, Search(16, 256, log=True)] = Field(default=128, ge=1)
    """Length of a user or item vector, >= 1."""
    epochs: Annotated[int, Search(10, 100, log=True)] = Field(default=50, ge=1)
    """Passes over the pairs, >= 1."""
    learning_rate: Annotated[float, Search(0.01, 0.2, log=True)] = Field(default=0.04, gt=0)
    """Step of the first pass, > 0; it falls to 0 in a straight line."""
    reg: Annotated[float, Search(0.005, 0.3, log=True)] = Field(default=0.1, ge=0)
    """L2 penalty on the vectors and the item bias, for each pair that is taught, >= 0."""
    item_bias: Annotated[bool, Search()] = False
    """Whether an item has a bias beside its vector."""
    init_std: float = Field(default=0.1, ge=0)
    """Standard deviation of the vectors at the start, >= 0."""
    max_trials: Annotated[int, Search(10, 200, log=True)] = Field(default=50, ge=1)
    """Draws after which a pair is good enough, >= 1."""


class WARP(Pairwise[WARPConfig]):
    """Weighted approximate-rank pairwise loss by matrix factorization."""

    config_class = WARPConfig

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
        """A step for each pair of which a violation is found, on the hinge loss weighted by the rank."""
        c = self.config
        bias = factors.bias
        loss = self.once("losses", bias, lambda: rank_losses(len(bias), c.max_trials))
        return int(
            _descend(
                *pairs.arrays, *pieces, members, factors.p, factors.q, factors.bias, steps, np.float32(c.reg),
                c.item_bias, seed, teach_items, loss,
            )
        )  # fmt: skip

    def cost(self, shape: Shape) -> Cost:
        """As the other pairwise models, with more draws a pair."""
        base = super().cost(shape)
        return Cost(gather=3 * base.gather, bytes=base.bytes)


def rank_losses(n_items: int, max_trials: int) -> FloatArray:
    """(max_trials,) float32 ``L(rank)`` over its largest value, by the number of draws less 1.

    It is at least ``L(1)``: of a small catalogue's items more may be drawn than there are.
    """
    harmonic = np.cumsum(1.0 / np.arange(1, max(n_items, 2)))
    rank = np.maximum((n_items - 1) // np.arange(1, max_trials + 1), 1)
    return np.asarray(harmonic[rank - 1] / harmonic[-1], dtype=np.float32)


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"}, error_model="numpy")
def _descend(  # type: ignore[no-untyped-def]
    user, item, weight, bounds, offsets, taken, first, last, members, p, q, bias, steps, reg, has_bias, seed,
    teach_items, loss,
):  # fmt: skip
    in_order = 0
    for piece in range(first, last):
        state = seed
        for step in steps:
            keep = np.float32(1) - step * reg
            for e in range(bounds[piece], bounds[piece + 1]):
                u, i = user[e], item[e]
                pu, qi = p[u], q[i]
                wanted = bias[i] - np.float32(1)
                for f in range(len(pu)):
                    wanted += pu[f] * qi[f]
                j, draws = -1, 0
                while draws < len(loss):
                    state, j = draw_other(state, members, taken, offsets[u], offsets[u + 1])
                    if j < 0:
                        break
                    x = bias[j]
                    for f in range(len(pu)):
                        x += pu[f] * q[j, f]
                    if x > wanted:
                        break
                    draws += 1
                in_order += draws > 0
                if j < 0 or draws == len(loss):
                    continue
                pull = step * weight[e] * loss[draws]
                teach(p[u], q, bias, i, j, pull, keep, has_bias, teach_items)
    return in_order
