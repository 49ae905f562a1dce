"""UCB1: the largest upper confidence bound on the mean reward.

P. Auer, N. Cesa-Bianchi, P. Fischer, "Finite-time Analysis of the Multiarmed Bandit Problem", Machine Learning 47,
2002, figure 1.
"""

from __future__ import annotations

import numpy as np
from pydantic import Field

from recsmith.config import Config
from recsmith.models.bandits.means import ArmMeans
from recsmith.models.bandits.policy import Beliefs
from recsmith.types import BoolArray, FloatArray, IntArray, Queries


class UCB1Config(Config):
    """Parameters of UCB1."""

    width: float = Field(default=2.0, ge=0)
    """The 2 in ``sqrt(2 ln t / n)``; the paper's bound holds for it, a smaller one explores less, >= 0."""


class UCB1(ArmMeans[UCB1Config]):
    """``mean + sqrt(width * ln t / n)`` with n rewards of the item out of t in all; rewards in [0, 1].

    An item without rewards goes before all others. Of equal candidates the one that stands first wins, so behind a
    recommender its order decides. Chance has no part: the propensity is 1.
    """

    config_class = UCB1Config
    reward_range = (0.0, 1.0)

    def _beliefs(self, queries: Queries, candidates: IntArray) -> Beliefs:
        counts, sums = self.seen(candidates)
        n = np.maximum(counts, 1)
        bonus = np.sqrt(self.config.width * np.log(max(int(self.counts_.sum()), 1)) / n)
        return (np.where(counts > 0, sums / n + bonus, np.inf),)

    def _scores(self, beliefs: Beliefs, left: BoolArray, rng: np.random.Generator) -> FloatArray:
        return beliefs[0]
