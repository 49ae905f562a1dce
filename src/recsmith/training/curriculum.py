"""Which negatives to learn from, and how that changes over the epochs: from easy through popular to hard.

``uniform`` draws evenly from what the user did not take, ``popular`` in proportion to ``count ** 0.75`` (T. Mikolov
et al., NeurIPS 2013), ``hard`` takes of some drawn evenly the one that the model scores highest (W. Zhang et al.,
"Optimizing Top-N Collaborative Filtering via Dynamic Negative Item Sampling", SIGIR 2013). ``curriculum`` begins with
the first and ends with the last, as Y. Bengio et al., "Curriculum Learning", ICML 2009, propose: what is easy first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from recsmith.config import Search
from recsmith.data.dataset import Dataset
from recsmith.data.negatives import NegativeSampler
from recsmith.training.config import TrainingConfig
from recsmith.types import FloatArray, IntArray

_POPULAR_POWER = 0.75


class NegativesConfig(TrainingConfig):
    """Parameters of a training against drawn items."""

    negatives: Literal["uniform", "popular", "hard", "curriculum"] = "uniform"
    """What is drawn for each positive: evenly, by popularity, the hardest of several, or from the first to the last."""
    n_negatives: Annotated[int, Search(1, 16, log=True)] = Field(default=4, ge=1)
    """Items drawn for each positive, >= 1."""
    candidates: Annotated[int, Search(2, 32, log=True)] = Field(default=4, ge=1)
    """Items drawn for each hard negative, of which the model scores one highest, >= 1."""
    curriculum_epochs: Annotated[int, Search(2, 50, log=True)] = Field(default=10, ge=1)
    """Epochs that ``curriculum`` takes from the easiest to the hardest; it stays there, >= 1."""


def shares(config: NegativesConfig, epoch: int) -> tuple[float, float, float]:
    """Shares of uniform, popular and hard negatives in epoch number ``epoch`` (from 0); their sum is 1.

    In the first half of a curriculum popular negatives take the place of uniform ones, in the second hard ones that
    of popular ones, each in a straight line.
    """
    if config.negatives != "curriculum":
        return tuple(float(config.negatives == kind) for kind in ("uniform", "popular", "hard"))  # type: ignore[return-value]
    t = min(epoch / config.curriculum_epochs, 1.0)
    return max(1 - 2 * t, 0.0), 1 - abs(1 - 2 * t), max(2 * t - 1, 0.0)


class Negatives:
    """Draws negatives for examples; a draw depends on seed, epoch and the example's number alone.

    So a batch draws what it would in another order, and each of several processes what one alone would.
    """

    def __init__(self, data: Dataset, config: NegativesConfig) -> None:
        self.config = config
        self.uniform = NegativeSampler.of(data)
        drawn = {"popular", "curriculum"}
        self.popular = NegativeSampler.of(data, _POPULAR_POWER) if config.negatives in drawn else self.uniform
        self.begin(0, np.random.default_rng(0))

    def begin(self, epoch: int, rng: np.random.Generator) -> None:
        """Go on to epoch number ``epoch``."""
        self.shares = shares(self.config, epoch)
        self.seed = int(rng.integers(2**62))

    def draw(
        self, examples: IntArray, users: IntArray, score: Callable[[IntArray, IntArray], FloatArray]
    ) -> IntArray:
        """(r, n_negatives) int32 items that the user of each example did not take.

        Parameters
        ----------
        examples
            (r,) numbers of the examples.
        users
            (r,) their users.
        score
            Scores, (s, c), of the items (s, c) for the rows (s,) of this batch, by the model as it is.
        """
        n = self.config.n_negatives
        if self.shares[0] == 1:
            return self.uniform.draw(n, self.seed, users, examples)
        kind = self._kinds(examples)
        out = np.empty((len(examples), n), dtype=np.int32)
        for number, sampler in ((0, self.uniform), (1, self.popular)):
            rows = np.flatnonzero(kind == number)
            out[rows] = sampler.draw(n, self.seed, users[rows], examples[rows])
        rows = np.flatnonzero(kind == 2)
        if len(rows):
            c = self.config.candidates
            drawn = self.uniform.draw(n * c, self.seed, users[rows], examples[rows])
            best = score(rows, drawn).reshape(len(rows), n, c).argmax(axis=2)
            out[rows] = np.take_along_axis(drawn.reshape(len(rows), n, c), best[:, :, None], axis=2)[:, :, 0]
        return out

    def _kinds(self, examples: IntArray) -> IntArray:
        """0, 1 or 2 for each example, by the shares and a hash of its number."""
        mixed = (examples.astype(np.uint64) + np.uint64(self.seed)) * np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
        unit = (mixed >> np.uint64(11)).astype(np.float64) / 2.0**53
        return np.searchsorted(np.cumsum(self.shares)[:2], unit, side="right")
