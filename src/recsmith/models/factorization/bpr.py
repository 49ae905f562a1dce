"""BPR: an item that a user took should score above one that he did not.

S. Rendle, C. Freudenthaler, Z. Gantner and L. Schmidt-Thieme, "BPR: Bayesian Personalized Ranking from Implicit
Feedback", UAI 2009, section 4 (the criterion) and figure 4 (LearnBPR): with ``x = s_ui - s_uj`` for an item i that the
user took and a random j that he did not, minimize ``-ln sigmoid(x) + reg / 2 (|p_u|^2 + |q_i|^2 + |q_j|^2)``.

Where most random pairs are in order already, they teach nothing. With ``candidates`` > 1 the j that scores highest of
several random ones is taken: W. Zhang et al., "Optimizing Top-N Collaborative Filtering via Dynamic
Negative Item Sampling", SIGIR 2013.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from recsmith.config import Search
from recsmith.kernels import njit
from recsmith.models.factorization.pairwise import Factors, Pairs, Pairwise, PairwiseConfig, draw_other, teach
from recsmith.types import FloatArray, IntArray


class BPRConfig(PairwiseConfig):
    """Parameters of BPR."""

    embedding_size: Annotated[int, Search(16, 256, log=True)] = Field(default=64, ge=1)
    """Length of a user or item vector, >= 1."""
    epochs: Annotated[int, Search(20, 200, log=True)] = Field(default=100, ge=1)
    """Passes over the pairs, >= 1."""
    learning_rate: Annotated[float, Search(0.02, 0.5, log=True)] = Field(default=0.2, gt=0)
    """Step of the first pass, > 0; it falls to 0 in a straight line."""
    reg: Annotated[float, Search(0.001, 0.05, log=True)] = Field(default=0.01, ge=0)
    """L2 penalty on the vectors and the item bias, for each pair, >= 0."""
    candidates: Annotated[int, Search(1, 16, log=True)] = Field(default=1, ge=1, le=1000)
    """Items drawn for each pair, 1 to 1000; the one that scores highest is the other item of the pair."""
    item_bias: Annotated[bool, Search()] = False
    """Whether an item has a bias beside its vector."""
    init_std: float = Field(default=0.1, ge=0)
    """Standard deviation of the vectors at the start, >= 0."""


class BPR(Pairwise[BPRConfig]):
    """Bayesian personalized ranking by matrix factorization."""

    config_class = BPRConfig

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
        """A step for each pair, on the logistic loss."""
        c = self.config
        return int(
            _descend(
                *pairs.arrays, *pieces, members, factors.p, factors.q, factors.bias, steps, np.float32(c.reg),
                c.item_bias, c.candidates, seed, teach_items,
            )
        )  # fmt: skip


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"}, error_model="numpy")
def _descend(  # type: ignore[no-untyped-def]
    user, item, weight, bounds, offsets, taken, first, last, members, p, q, bias, steps, reg, has_bias, candidates,
    seed, teach_items,
):  # fmt: skip
    in_order = 0
    for piece in range(first, last):
        state = seed
        for step in steps:
            keep = np.float32(1) - step * reg
            for e in range(bounds[piece], bounds[piece + 1]):
                u, i = user[e], item[e]
                state, j = draw_other(state, members, taken, offsets[u], offsets[u + 1])
                if j < 0:
                    continue
                if candidates > 1:
                    state, j = _hardest(
                        state, j, candidates, members, taken, offsets[u], offsets[u + 1], p[u], q, bias
                    )
                pu, qi, qj = p[u], q[i], q[j]
                x = bias[i] - bias[j]
                for f in range(len(pu)):
                    x += pu[f] * (qi[f] - qj[f])
                in_order += x > 0
                pull = step * weight[e] / (np.float32(1) + np.exp(x))
                teach(p[u], q, bias, i, j, pull, keep, has_bias, teach_items)
    return in_order


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"}, error_model="numpy")
def _hardest(state, j, candidates, members, taken, low, high, pu, q, bias):  # type: ignore[no-untyped-def]
    """Next state, and the item that scores highest of j and ``candidates - 1`` others."""
    best, chosen = np.float32(-np.inf), j
    for n in range(candidates):
        if n:
            state, j = draw_other(state, members, taken, low, high)
            if j < 0:
                continue
        score = bias[j]
        for f in range(len(pu)):
            score += pu[f] * q[j, f]
        if score > best:
            best, chosen = score, j
    return state, chosen
