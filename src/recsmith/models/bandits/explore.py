"""A policy behind a recommender: some places of a list are given away to find out what is liked.

A place that the policy fills holds what the recommender would have put there, or a candidate that its list has no room
for. All other places stay as they are, so what is tried out is never far from what the recommender would have shown.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recsmith.errors import ParameterError
from recsmith.protocols import Policy
from recsmith.types import BoolArray, FloatArray, IntArray, Queries

PLACES = "a number >= 1, or distinct places >= 1"  #: what ``Exploration`` takes


@dataclass(frozen=True, slots=True, eq=False)
class Explored:
    """Lists of ``n`` requests in which a policy filled some places; empty places have item -1."""

    items: IntArray  #: (n, k) int32
    propensities: (
        FloatArray  #: (n, k) float32: 1 in the recommender's places, the policy's in its own; NaN where empty
    )
    explored: BoolArray  #: (n, k) the place was the policy's

    @property
    def chosen(self) -> IntArray:
        """(n, k) int32 the policy's items, -1 elsewhere: what its ``update`` may learn from."""
        return np.where(self.explored, self.items, -1).astype(np.int32)


def are_places(places: tuple[int, ...] | int) -> bool:
    """Whether they are what ``Exploration`` takes, ``PLACES``."""
    given = (places,) if isinstance(places, int) else places
    return len(given) > 0 and min(given) >= 1 and len(set(given)) == len(given)


@dataclass(frozen=True, slots=True)
class Exploration:
    """Which places of a list a policy fills."""

    policy: Policy
    places: tuple[int, ...] | int = 1  #: places from 1, or how many at the end of the list

    def __post_init__(self) -> None:
        if not are_places(self.places):
            raise ParameterError.of("Exploration", "places", PLACES, self.places)

    def own(self, k: int) -> BoolArray:
        """(k,) which places of a list of that length are the policy's."""
        mine = np.zeros(k, dtype=np.bool_)
        if isinstance(self.places, int):
            mine[max(k - self.places, 0) :] = True
        else:
            mine[[place - 1 for place in self.places if place <= k]] = True
        return mine

    def lists(self, queries: Queries, candidates: IntArray, k: int, *, rng: np.random.Generator) -> Explored:
        """Lists of ``k`` items made of the recommender's candidates.

        Parameters
        ----------
        queries
            (n,) requests, with the context that the policy wants.
        candidates
            (n, m) item indices as ``TopK.items`` has them: best first, -1 behind the last one. The policy chooses among
            those in its own places and those behind the first k, so it has a choice where m > k.
        k
            Length of the lists, >= 1.

        Raises
        ------
        ParameterError
            ``k`` < 1, or as the policy's ``act``.
        """
        if not isinstance(k, int | np.integer) or k < 1:
            raise ParameterError.of("Exploration", "k", "a whole number >= 1", k)
        given = np.asarray(candidates, dtype=np.int32)
        if given.shape[1] < k:
            given = np.pad(given, ((0, 0), (0, k - given.shape[1])), constant_values=-1)
        items, own = given[:, :k].copy(), self.own(k)
        propensities = np.where(items < 0, np.nan, 1.0).astype(np.float32)
        if own.any():
            open_to_it = np.concatenate([given[:, :k][:, own], given[:, k:]], axis=1)
            choice = self.policy.act(queries, open_to_it, int(own.sum()), rng=rng)
            items[:, own], propensities[:, own] = choice.items, choice.propensities
        return Explored(items, propensities, own & (items >= 0))
