"""Ratings from neighbours: the baseline plus the weighted mean of how far the neighbours lie from theirs.

Y. Koren, "Factor in the Neighbors", TKDD 2010, equation 5:
``r_ui = b_ui + sum_j s_ij (r_uj - b_uj) / (damping + sum_j s_ij)`` over the k most similar j that u has rated.
With users and items exchanged it is the user-based form. The damping is ours: few or distant neighbours move a
rating less than many close ones.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Self, TypeVar

import numpy as np

from recsmith import parallel
from recsmith.data.dataset import Dataset
from recsmith.errors import DataError
from recsmith.kernels import njit
from recsmith.models.base import BaseModel
from recsmith.models.baselines.rating_baseline import RatingBaseline
from recsmith.models.neighbors.similarity import Matrix, SimilarityConfig, largest
from recsmith.types import FloatArray, IntArray, State

_PAIRS = 1024

S = TypeVar("S", bound=SimilarityConfig)


class NeighborModel(BaseModel[S]):
    """A neighbour model holds a rating baseline where its log has ratings."""

    baseline_: RatingBaseline | None

    def baseline(self) -> RatingBaseline:
        """The fitted baseline.

        Raises
        ------
        DataError
            Where the log that the model was fitted on has no ratings.
        """
        if not hasattr(self, "baseline_"):
            self.check_fitted()
        if self.baseline_ is None:
            raise DataError(
                f"{type(self).__name__} was fitted on a log without ratings, so it predicts none. "
                "Fit it on a log with a 'rating' column, or ask for recommendations instead."
            )
        return self.baseline_

    def state(self) -> State:
        """What was learned, with the baseline as a part."""
        state = super().state()
        return state if self.baseline_ is None else replace(state, parts={"baseline": self.baseline_.state()})

    def restore(self, state: State) -> Self:
        """Take back what ``state`` gave."""
        part = state.parts.get("baseline")
        self.baseline_ = None if part is None else self._new_baseline().restore(part)
        return super().restore(state)

    def _new_baseline(self) -> RatingBaseline:
        return RatingBaseline(reg_user=self.config.reg_user, reg_item=self.config.reg_item)

    def _learn_baseline(self, data: Dataset) -> None:
        """Fit the baseline, or none where the log is implicit and the similarity can do without."""
        self.baseline_ = None
        if data.value is not None or self.config.compares_ratings:
            self.baseline_ = self._new_baseline().fit(data)


def mean_deviation(
    neighbors: Matrix, keys: IntArray, deviations: Matrix, lists: IntArray, k: int, damping: float
) -> FloatArray:
    """The correction of the baseline for each pair.

    Parameters
    ----------
    neighbors
        (n_keys, n) CSR of positive similarities.
    keys
        (p,) row of ``neighbors`` of each pair, -1 = not known.
    deviations
        (n_lists, n) CSR of rating minus baseline, sorted indices.
    lists
        (p,) row of ``deviations`` of each pair, -1 = not known.
    k
        Most similar entries of the list that count; ties go to the smaller index.
    damping
        Similarity of one more neighbour who rates at the baseline.

    Returns
    -------
    numpy.ndarray
        (p,) float64, 0 where no neighbour is in the list.
    """
    out = np.zeros(len(keys))
    order = np.argsort(keys, kind="stable")
    order = order[(keys[order] >= 0) & (lists[order] >= 0)]
    longest = int(np.diff(deviations.indptr).max(initial=0))

    def block(part: slice) -> None:
        _mean_deviation(
            out, order[part], keys, lists, neighbors.indptr, neighbors.indices, neighbors.data,
            deviations.indptr, deviations.indices, deviations.data, k, damping, neighbors.shape[1], longest,
        )  # fmt: skip

    parallel.run(block, parallel.blocks(len(order), _PAIRS))
    return out


@njit(cache=True, nogil=True)
def _mean_deviation(  # type: ignore[no-untyped-def]
    out, order, keys, lists, n_indptr, n_ids, n_values, d_indptr, d_ids, d_values, k, damping, n, longest
):
    similarity = np.zeros(n, dtype=np.float32)  # of the present key to everything
    entry = np.empty(longest, dtype=np.int64)
    value = np.empty(longest, dtype=np.float32)
    best_entry = np.empty(k, dtype=np.int64)
    best_value = np.empty(k, dtype=np.float32)
    present = -1
    for p in order:
        if keys[p] != present:
            if present >= 0:
                for e in range(n_indptr[present], n_indptr[present + 1]):
                    similarity[n_ids[e]] = 0
            present = keys[p]
            for e in range(n_indptr[present], n_indptr[present + 1]):
                similarity[n_ids[e]] = n_values[e]
        m = 0
        for e in range(d_indptr[lists[p]], d_indptr[lists[p] + 1]):
            entry[m] = e
            value[m] = similarity[d_ids[e]]
            m += similarity[d_ids[e]] > 0
        m = largest(entry, value, m, k, best_entry, best_value)
        total = 0.0
        weight = 0.0
        for t in range(m):
            total += best_value[t] * d_values[best_entry[t]]
            weight += best_value[t]
        if weight > 0:
            out[p] = total / (weight + damping)
