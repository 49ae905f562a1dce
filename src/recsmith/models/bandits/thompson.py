"""Thompson sampling: a place goes to the candidate whose reward is largest in a draw from what is believed.

W. Thompson, "On the Likelihood that One Unknown Probability Exceeds Another", Biometrika 25, 1933; O. Chapelle, L. Li,
"An Empirical Evaluation of Thompson Sampling", NIPS 2011; S. Agrawal, N. Goyal, "Thompson Sampling for Contextual
Bandits with Linear Payoffs", ICML 2013.

Each place is a draw of its own among the candidates that are left, so that its propensity is the probability that a
candidate's draw is the largest of independent ones: ``winning.py`` integrates it, with a relative error below 2e-4.
"""

from __future__ import annotations

import numpy as np
from pydantic import Field

from recsmith.config import Config
from recsmith.models.bandits.linear import LinearConfig, LinearPolicy
from recsmith.models.bandits.means import ArmMeans
from recsmith.models.bandits.policy import Beliefs
from recsmith.models.bandits.winning import beta_wins, normal_wins
from recsmith.types import BoolArray, FloatArray, IntArray, Queries

_LEAST = 1e-12  # a standard deviation of 0 would make equal candidates unequal


class ThompsonConfig(Config):
    """Parameters of Thompson."""

    successes: float = Field(default=1.0, gt=0)
    """The first parameter of the Beta prior of an item's mean reward, > 0."""
    failures: float = Field(default=1.0, gt=0)
    """The second one, > 0; both 1 say that every mean is as likely."""


class Thompson(ArmMeans[ThompsonConfig]):
    """Beta-Bernoulli: an item's mean reward is believed to be Beta(successes + sum r, failures + sum (1 - r)).

    Rewards lie in [0, 1]; one between counts in parts on both sides.
    """

    config_class = ThompsonConfig
    reward_range = (0.0, 1.0)

    def _beliefs(self, queries: Queries, candidates: IntArray) -> Beliefs:
        counts, sums = self.seen(candidates)
        return self.config.successes + sums, self.config.failures + np.maximum(counts - sums, 0.0)

    def _scores(self, beliefs: Beliefs, left: BoolArray, rng: np.random.Generator) -> FloatArray:
        return rng.beta(*beliefs)

    def _probability(self, beliefs: Beliefs, left: BoolArray, at: IntArray) -> FloatArray:
        alpha, beta = beliefs
        return beta_wins(alpha, beta, left, at)


class LinearThompsonConfig(LinearConfig):
    """Parameters of LinearThompson."""

    noise: float = Field(default=0.5, gt=0)
    """Standard deviation of a reward around its mean, > 0; of rewards in [0, 1] it is 0.5 at most."""


class LinearThompson(LinearPolicy[LinearThompsonConfig]):
    """Linear-Gaussian: an item's weights are believed to be N(theta_a, noise^2 A_a^-1).

    Items have weights of their own, so it is enough to draw the mean reward in this context, from
    N(x' theta_a, noise^2 x' A_a^-1 x).
    """

    config_class = LinearThompsonConfig

    def _beliefs(self, queries: Queries, candidates: IntArray) -> Beliefs:
        mean, variance = super()._beliefs(queries, candidates)
        return mean, np.maximum(self.config.noise * np.sqrt(variance), _LEAST)

    def _scores(self, beliefs: Beliefs, left: BoolArray, rng: np.random.Generator) -> FloatArray:
        mean, deviation = beliefs
        return np.asarray(mean + deviation * rng.standard_normal(mean.shape))

    def _probability(self, beliefs: Beliefs, left: BoolArray, at: IntArray) -> FloatArray:
        mean, deviation = beliefs
        return normal_wins(mean, deviation, left, at)
