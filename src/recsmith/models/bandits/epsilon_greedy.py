"""Epsilon-greedy: mostly the best item so far, now and then any.

C. Watkins, "Learning from Delayed Rewards", thesis, 1989; R. Sutton, A. Barto, "Reinforcement Learning", 2nd edition,
2018, section 2.2.
"""

from __future__ import annotations

import numpy as np
from pydantic import Field

from recsmith.config import Config
from recsmith.models.bandits.linear import LinearConfig, LinearPolicy
from recsmith.models.bandits.means import ArmMeans
from recsmith.models.bandits.policy import Beliefs
from recsmith.types import BoolArray, FloatArray, IntArray, Queries


class EpsilonGreedyConfig(Config):
    """Parameters of EpsilonGreedy."""

    epsilon: float = Field(default=0.1, ge=0, le=1)
    """Chance that a place goes to a candidate drawn evenly, 0 to 1."""
    initial: float = 0.0
    """Mean reward that is believed of an item that never had one."""


class EpsilonGreedy(ArmMeans[EpsilonGreedyConfig]):
    """The candidate with the largest mean reward, and with probability ``epsilon`` any of those left.

    Equal means are drawn evenly. The propensity is exact: with m candidates left of which b are best,
    ``epsilon / m + (1 - epsilon) / b`` for a best one and ``epsilon / m`` for the others.
    """

    config_class = EpsilonGreedyConfig

    def _beliefs(self, queries: Queries, candidates: IntArray) -> Beliefs:
        counts, sums = self.seen(candidates)
        return (np.where(counts > 0, sums / np.maximum(counts, 1), self.config.initial),)

    def _scores(self, beliefs: Beliefs, left: BoolArray, rng: np.random.Generator) -> FloatArray:
        return _greedy_scores(beliefs[0], left, self.config.epsilon, rng)

    def _probability(self, beliefs: Beliefs, left: BoolArray, at: IntArray) -> FloatArray:
        return _greedy_probability(beliefs[0], left, at, self.config.epsilon)


class LinearEpsilonGreedyConfig(LinearConfig):
    """Parameters of LinearEpsilonGreedy."""

    epsilon: float = Field(default=0.1, ge=0, le=1)
    """Chance that a place goes to a candidate drawn evenly, 0 to 1."""


class LinearEpsilonGreedy(LinearPolicy[LinearEpsilonGreedyConfig]):
    """The same with a ridge regression of each item's rewards on the context in place of its mean reward."""

    config_class = LinearEpsilonGreedyConfig

    def _scores(self, beliefs: Beliefs, left: BoolArray, rng: np.random.Generator) -> FloatArray:
        return _greedy_scores(beliefs[0], left, self.config.epsilon, rng)

    def _probability(self, beliefs: Beliefs, left: BoolArray, at: IntArray) -> FloatArray:
        return _greedy_probability(beliefs[0], left, at, self.config.epsilon)


def _best(values: FloatArray, left: BoolArray) -> BoolArray:
    """(n, m) whether a candidate that is left has the largest value of them."""
    open_values = np.where(left, values, -np.inf)
    return np.asarray(left & (open_values == open_values.max(axis=1, keepdims=True)))


def _greedy_scores(
    values: FloatArray, left: BoolArray, epsilon: float, rng: np.random.Generator
) -> FloatArray:
    lots = rng.random(values.shape)
    greedy = rng.random(len(values)) >= epsilon
    return lots + (_best(values, left) & greedy[:, None])


def _greedy_probability(values: FloatArray, left: BoolArray, at: IntArray, epsilon: float) -> FloatArray:
    best = _best(values, left)
    share = best[np.arange(len(at)), at] / np.maximum(best.sum(axis=1), 1)
    return np.asarray(epsilon / np.maximum(left.sum(axis=1), 1) + (1 - epsilon) * share)
