"""Maximal marginal relevance: lists whose items are not all alike (Carbonell and Goldstein, SIGIR 1998)."""

from __future__ import annotations

import numpy as np

from recsmith.errors import ParameterError
from recsmith.types import FloatArray, IntArray


class MarginalRelevance:
    """Candidates that are taken one after the other, each for its score and its difference from those taken.

    The value of candidate i is ``weight * score_i - (1 - weight) * max over taken j of similarity_ij``. Scores and
    similarities are scaled to 0 .. 1 first (min-max): the cosines of one model and the weights of another have
    different ranges. The cost is O(c) for each item taken.

    Parameters
    ----------
    scores
        (c,) larger is better.
    similarity
        (c, c) larger is more alike, NaN where nothing is known, which counts as the least; the diagonal is not
        looked at. None where ``weight`` is 1.
    weight
        Of the score, 0 .. 1: the paper's lambda. 1 is the order of the scores.
    """

    def __init__(self, scores: FloatArray, similarity: FloatArray | None = None, weight: float = 1.0) -> None:
        if not 0 <= weight <= 1 or (similarity is None and weight < 1):
            raise ParameterError.of(
                "MarginalRelevance", "weight", "in 0 .. 1, and 1 without similarity", weight
            )
        self._scores = weight * _scaled(np.asarray(scores, dtype=np.float64))
        self._value = self._scores.copy()  # -inf for those that are gone
        self._nearest = np.zeros(len(scores))
        self._penalty = (
            None if similarity is None or weight == 1 else (1 - weight) * _off_diagonal(similarity)
        )

    def best(self) -> int:
        """The best candidate that is left, the first of equal ones; -1 where none is."""
        at = int(self._value.argmax()) if len(self._value) else -1
        return at if at >= 0 and self._value[at] > -np.inf else -1

    def drop(self, candidate: int) -> None:
        """Pass a candidate over."""
        self._value[candidate] = -np.inf

    def take(self, candidate: int) -> None:
        """Choose a candidate: from now on those left are compared with it, too."""
        self.drop(candidate)
        if self._penalty is not None:
            np.maximum(self._nearest, self._penalty[:, candidate], out=self._nearest)
            self._value = np.where(self._value == -np.inf, -np.inf, self._scores - self._nearest)


def mmr(scores: FloatArray, similarity: FloatArray, k: int, weight: float) -> IntArray:
    """(min(k, c),) int64 positions of candidates in the order of their maximal marginal relevance.

    The parameters and errors are those of ``MarginalRelevance``.
    """
    ranking = MarginalRelevance(scores, similarity, weight)
    order = np.zeros(min(k, len(scores)), dtype=np.int64)
    for slot in range(len(order)):
        order[slot] = ranking.best()
        ranking.take(order[slot])
    return order


def _off_diagonal(similarity: FloatArray) -> FloatArray:
    """(c, c) float64 in 0 .. 1 off the diagonal."""
    out = np.array(similarity, dtype=np.float64)
    np.fill_diagonal(out, np.nan)
    return np.nan_to_num(_scaled(out), nan=0.0)


def _scaled(values: FloatArray) -> FloatArray:
    """Values with the least at 0 and the greatest at 1; all 0 where they are equal. NaN stays."""
    finite = values[~np.isnan(values)]
    if not len(finite) or (low := finite.min()) == (high := finite.max()):
        return values * 0
    out: FloatArray = (values - low) / (high - low)
    return out
