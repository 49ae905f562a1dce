"""LinUCB, disjoint and hybrid: the largest upper confidence bound on a reward that is linear in the context.

L. Li, W. Chu, J. Langford, R. Schapire, "A Contextual-Bandit Approach to Personalized News Article Recommendation",
WWW 2010, algorithms 1 and 2.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from pydantic import Field

from recsmith.errors import ParameterError
from recsmith.kernels import njit
from recsmith.models.bandits.linear import NONE, LinearConfig, LinearPolicy, grown, rows_of
from recsmith.models.bandits.policy import Beliefs
from recsmith.models.bandits.triangle import diagonal, dot, less, products, times
from recsmith.types import BoolArray, FloatArray, IntArray, Queries


class LinUCBConfig(LinearConfig):
    """Parameters of LinUCB and HybridLinUCB."""

    alpha: float = Field(default=1.0, ge=0)
    """Standard deviations that are added to the mean; the paper has ``1 + sqrt(ln(2 / delta) / 2)``, >= 0."""


class LinUCB(LinearPolicy[LinUCBConfig]):
    """Algorithm 1: ``x' theta_a + alpha sqrt(x' A_a^-1 x)``, a regression for each item.

    Of equal candidates the one that stands first wins. Chance has no part: the propensity is 1.
    """

    config_class = LinUCBConfig

    def _scores(self, beliefs: Beliefs, left: BoolArray, rng: np.random.Generator) -> FloatArray:
        mean, variance = beliefs
        return np.asarray(mean + self.config.alpha * np.sqrt(variance))


class HybridLinUCB(LinUCB):
    """Algorithm 2: a regression that all items share beside one for each item.

    The shared features z are the products of context and item features, or, without item features, the context itself.
    Kept are ``M_a = A_a^-1 B_a``, ``m_a = A_a^-1 b_a`` and the inverses. With ``e = z - M_a' x`` the paper's mean is
    ``x' m_a + e' beta``, its variance ``e' A_0^-1 e + x' A_a^-1 x``, and a reward adds to its A_0 the rank-one matrix
    ``e e' / (1 + x' A_a^-1 x)``: the update of a Schur complement. So a reward costs products of vectors here, too.
    """

    by_item = (*LinUCB.by_item, "crosses_")
    learned = (*by_item, "beta_", "shared_", "features_")
    crosses_: (
        FloatArray  #: (a, d, q) float64 the M_a, perhaps with room for more rows; ``thetas_`` has the m_a
    )
    beta_: FloatArray  #: (q,) float64 the weights that all items share
    shared_: FloatArray  #: (q (q + 1) / 2,) float64 lower triangle of A_0^-1
    features_: FloatArray  #: (n_items, p) float64 item features; p is 0 where there are none

    def forget(self) -> None:
        """Go back to no rewards; item features stay."""
        super().forget()
        self.crosses_, self.beta_, self.shared_ = np.zeros((0, 0, 0)), np.zeros(0), np.zeros(0)
        if not hasattr(self, "features_"):
            self.features_ = np.zeros((0, 0))

    def describe(self, features: FloatArray) -> Self:
        """Forget, and know items by ``features`` (n_items, p) from now on; an item behind them has zeros.

        Raises
        ------
        ParameterError
            Features that are not finite or not of two dimensions.
        """
        found = np.array(features, dtype=np.float64)
        if found.ndim != 2 or not np.isfinite(found).all():
            raise ParameterError.of("HybridLinUCB", "features", "finite, of shape (n_items, p)", found)
        self.features_ = found
        self.forget()
        return self

    def _shared(self, width: int) -> tuple[FloatArray, FloatArray]:
        """Weights and triangle that all items share; what is believed before the first reward where there is none."""
        if len(self.beta_):
            return self.beta_, self.shared_
        q = width * max(self.features_.shape[1], 1)
        triangle = np.zeros(q * (q + 1) // 2)
        triangle[diagonal(q)] = 1 / self.config.reg
        return np.zeros(q), triangle

    def _beliefs(self, queries: Queries, candidates: IntArray) -> Beliefs:
        contexts = self.contexts(queries)
        mean, variance = np.zeros(candidates.shape), np.zeros(candidates.shape)
        shared = self._shared(contexts.shape[1])
        own = (self.thetas_, self.inverses_, self.crosses_)
        known = rows_of(self._row, candidates)
        _believe(contexts, candidates, known, self.features_, *own, *shared, self.config.reg, mean, variance)
        return mean, np.maximum(variance, 0.0)

    def _learn(self, queries: Queries, rows: IntArray, items: IntArray, rewards: FloatArray) -> None:
        contexts = self.contexts(queries)
        self.beta_, self.shared_ = self._shared(contexts.shape[1])
        self._make_room(items, contexts.shape[1])
        own = (self.thetas_, self.inverses_, self.crosses_)
        shared = (self.beta_, self.shared_)
        _follow(contexts, rows, items, self._row[items], rewards, self.features_, *own, *shared)

    def _widen(self, had: int, rows: int, width: int) -> None:
        super()._widen(had, rows, width)
        self.crosses_ = grown(self.crosses_, had, rows, (width, len(self.beta_)))

    def _check_state(self, arrays: dict[str, Any]) -> None:
        super()._check_state(arrays)
        (a, d), q, p = arrays["thetas_"].shape, len(arrays["beta_"]), arrays["features_"].shape[-1]
        fits = arrays["crosses_"].shape == (a, d, q) and arrays["shared_"].shape == (q * (q + 1) // 2,)
        if not fits or arrays["features_"].ndim != 2 or (a and q != d * max(p, 1)):
            raise ValueError("crosses_, beta_, shared_ and features_ of HybridLinUCB do not fit together")


@njit(cache=True, nogil=True)
def _features(x, item, features, z):  # type: ignore[no-untyped-def]
    """``z``: the products of the context and the item's features, or the context where items have none."""
    p = features.shape[1]
    if p == 0:
        z[:] = x
    elif item >= len(features):
        z[:] = 0.0
    else:
        for i in range(len(x)):
            for j in range(p):
                z[i * p + j] = x[i] * features[item, j]


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"})
def _less_cross(cross, x, e):  # type: ignore[no-untyped-def]
    """``e -= M' x``."""
    for i in range(len(x)):
        for j in range(len(e)):
            e[j] -= cross[i, j] * x[i]


@njit(cache=True, nogil=True)
def _believe(contexts, items, rows, features, thetas, inverses, crosses, beta, shared, reg, mean, variance):  # type: ignore[no-untyped-def]  # fmt: skip
    width, q = contexts.shape[1], len(beta)
    pairs, e, both = np.empty(width * (width + 1) // 2), np.empty(q), np.empty(len(shared))
    for r in range(len(contexts)):
        x = contexts[r]
        products(x, pairs)
        alone = dot(x, x) / reg
        for c in range(rows.shape[1]):
            row = rows[r, c]
            if row == NONE:
                continue
            _features(x, items[r, c], features, e)
            own, spread = 0.0, alone
            if row >= 0:
                _less_cross(crosses[row], x, e)
                own, spread = dot(thetas[row], x), dot(inverses[row], pairs)
            products(e, both)
            mean[r, c] = own + dot(e, beta)
            variance[r, c] = spread + dot(shared, both)


@njit(cache=True, nogil=True)
def _follow(contexts, asked, items, rows, rewards, features, thetas, inverses, crosses, beta, shared):  # type: ignore[no-untyped-def]  # fmt: skip
    v, e, w = np.empty(contexts.shape[1]), np.empty(len(beta)), np.empty(len(beta))
    for n in range(len(rows)):
        x, row = contexts[asked[n]], rows[n]
        _features(x, items[n], features, e)
        _less_cross(crosses[row], x, e)
        times(inverses[row], x, v)
        times(shared, e, w)
        s = 1.0 + dot(x, v)
        t = s + dot(e, w)
        own = rewards[n] - dot(thetas[row], x)
        step = (own - dot(e, beta)) / t
        for j in range(len(e)):
            beta[j] += step * w[j]
        for i in range(len(v)):
            thetas[row, i] += own / s * v[i]
            for j in range(len(e)):
                crosses[row, i, j] += v[i] / s * e[j]
        less(shared, w, t)
        less(inverses[row], v, s)
