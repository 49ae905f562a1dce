"""What all policies share: parameters, checks, state, and how the places of a slate are filled.

A policy fills the ``k`` places of a slate one after the other, from the top. For each place it looks at the candidates
that are left. The **propensity of a place** is the probability of its item given the context, what the policy knows and
the items of the places above, so the product over the places is the probability of the whole ordered slate, and that of
the first place alone is the probability of an action as off-policy estimates want it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Self, TypeAlias, TypeVar

import numpy as np

from recsmith.config import Config
from recsmith.errors import ParameterError
from recsmith.protocols import Evidence
from recsmith.types import BoolArray, FloatArray, IntArray, Queries, State

C = TypeVar("C", bound=Config)
Beliefs: TypeAlias = tuple[FloatArray, ...]
"""What a policy believes of each candidate: arrays (n, m) float64, of anything where there is no candidate."""


@dataclass(frozen=True, slots=True, eq=False)
class Slate:
    """What a policy chose for ``n`` requests; a place for which no candidate was left has item -1."""

    items: IntArray  #: (n, k) int32
    propensities: FloatArray  #: (n, k) float32 in (0, 1], given the places above; NaN in empty places


class BasePolicy(ABC, Generic[C]):
    """Constructor, checks, state and the filling of places.

    A subclass says what it believes of each candidate (``_beliefs``), how these beliefs become scores of which the
    largest wins a place (``_scores``), and how likely a winner was (``_probability``).
    """

    config_class: ClassVar[type[Config]]
    learned: ClassVar[tuple[str, ...]]  #: attributes that are arrays, learned from rewards
    needs: ClassVar[Evidence] = Evidence.NOTHING
    reward_range: ClassVar[tuple[float, float]] = (-np.inf, np.inf)

    config: C

    def __init__(self, config: C | None = None, **overrides: Any) -> None:
        self.config = self.config_class.make(type(self).__name__, config, **overrides)  # type: ignore[assignment]
        self.forget()

    def __repr__(self) -> str:
        shown = ", ".join(f"{k}={v!r}" for k, v in self.config.model_dump(exclude_defaults=True).items())
        return f"{type(self).__name__}({shown})"

    @abstractmethod
    def forget(self) -> None:
        """Go back to what is believed before the first reward."""

    # --- choosing -------------------------------------------------------------------------------------------

    def act(self, queries: Queries, candidates: IntArray, k: int, *, rng: np.random.Generator) -> Slate:
        """Fill ``k`` places for each request. Nothing is learned by it.

        Parameters
        ----------
        queries
            (n,) requests; linear policies read ``context`` (n, d).
        candidates
            (n, m) item indices, distinct in each row; -1 is none.
        k
            Places, >= 1. Where a row has fewer candidates the last places stay empty.
        rng
            Where chance comes from; the same one gives the same slate.

        Raises
        ------
        ParameterError
            ``k`` < 1, candidates of another shape, that repeat or are < -1, or a context that is missing, of another
            width than before, or not finite.
        """
        items, propensities = self._fill(queries, candidates, k, rng, likely=True)
        return Slate(items, propensities)

    def choose(self, queries: Queries, candidates: IntArray, k: int, *, rng: np.random.Generator) -> IntArray:
        """The items of ``act`` alone, (n, k) int32, for when nobody asks how likely they were."""
        return self._fill(queries, candidates, k, rng, likely=False)[0]

    def _fill(
        self, queries: Queries, candidates: IntArray, k: int, rng: np.random.Generator, *, likely: bool
    ) -> tuple[IntArray, FloatArray]:
        candidates = self._candidates(queries, candidates, k)
        n, m = candidates.shape
        items = np.full((n, k), -1, dtype=np.int32)
        propensities = np.full((n, k), np.nan, dtype=np.float32)
        left, rows = candidates >= 0, np.arange(n)
        if not left.any():
            return items, propensities
        beliefs = self._beliefs(queries, candidates)
        for place in range(min(k, m)):
            at = np.where(left, self._scores(beliefs, left, rng), -np.inf).argmax(axis=1)
            filled = left[rows, at]
            if likely:
                chance = self._probability(beliefs, left, at)
                propensities[filled, place] = np.minimum(chance, 1.0)[filled]
            items[filled, place] = candidates[rows, at][filled]
            left[rows, at] = False
        return items, propensities

    @abstractmethod
    def _beliefs(self, queries: Queries, candidates: IntArray) -> Beliefs:
        """What is believed of each of ``candidates`` (n, m)."""

    @abstractmethod
    def _scores(self, beliefs: Beliefs, left: BoolArray, rng: np.random.Generator) -> FloatArray:
        """(n, m) scores for the next place; the largest among those ``left`` (n, m) wins, the first of equal ones."""

    def _probability(self, beliefs: Beliefs, left: BoolArray, at: IntArray) -> FloatArray:
        """(n,) probability that the candidate ``at`` (n,) wins among those ``left``; 1 where chance has no part."""
        return np.ones(len(at))

    # --- learning -------------------------------------------------------------------------------------------

    def update(self, queries: Queries, items: IntArray, rewards: FloatArray) -> None:
        """Learn what items brought, one after the other; a batch is the same as single updates in its order.

        Parameters
        ----------
        queries
            (n,) requests as ``act`` was asked.
        items
            (n,) or (n, k) item indices that were shown; -1 is none. Items that are new get room.
        rewards
            Of the shape of ``items``, finite and in ``reward_range``.

        Raises
        ------
        ParameterError
            Shapes that do not fit, an index < -1, or a reward that is out of range. Nothing is learned then.
        """
        items, rewards, owner = np.asarray(items), np.asarray(rewards, dtype=np.float64), type(self).__name__
        if not (items.ndim in (1, 2) and len(items) == len(queries) and items.shape == rewards.shape):
            got = f"items {items.shape} and rewards {rewards.shape} for {len(queries)} requests"
            raise ParameterError.of(owner, "items", "(n,) or (n, k), with a reward each", got)
        if not np.issubdtype(items.dtype, np.integer) or (items.size and items.min() < -1):
            raise ParameterError.of(owner, "items", "item indices >= -1", items)
        rows = np.broadcast_to(np.arange(len(items)).reshape(-1, *[1] * (items.ndim - 1)), items.shape)
        shown = items >= 0
        self._check_rewards(rewards[shown])
        if shown.any():
            self._learn(queries, rows[shown], items[shown].astype(np.int64), rewards[shown])

    @abstractmethod
    def _learn(self, queries: Queries, rows: IntArray, items: IntArray, rewards: FloatArray) -> None:
        """Take in (e,) rewards of ``items`` shown to the requests ``rows``, in order."""

    # --- state ----------------------------------------------------------------------------------------------

    def state(self) -> State:
        """Everything learned, as named arrays."""
        return State({name: getattr(self, name).copy() for name in self.learned})

    def restore(self, state: State) -> Self:
        """Take back what ``state`` gave.

        Raises
        ------
        LookupError, ValueError
            An array is missing, or the arrays do not fit together.
        """
        arrays = {name: np.array(state.arrays[name]) for name in self.learned}
        self._check_state(arrays)
        for name, array in arrays.items():
            setattr(self, name, array)
        return self

    @abstractmethod
    def _check_state(self, arrays: dict[str, Any]) -> None:
        """Raise ``ValueError`` where arrays do not fit together: compiled loops trust them."""

    # --- checks ---------------------------------------------------------------------------------------------

    def _candidates(self, queries: Queries, candidates: IntArray, k: int) -> IntArray:
        owner, given = type(self).__name__, np.asarray(candidates)
        if not isinstance(k, int | np.integer) or k < 1:
            raise ParameterError.of(owner, "k", "a whole number >= 1", k)
        if given.ndim != 2 or len(given) != len(queries) or not np.issubdtype(given.dtype, np.integer):
            got = f"{given.dtype} of shape {given.shape}"
            raise ParameterError.of(owner, "candidates", f"item indices of shape ({len(queries)}, m)", got)
        found = np.ascontiguousarray(given, dtype=np.int32)
        ordered = np.sort(found, axis=1)
        if found.size and ordered[:, 0].min() < -1:
            raise ParameterError.of(owner, "candidates", "item indices >= -1", int(ordered[:, 0].min()))
        twice = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)
        if twice.any():
            raise ParameterError.of(
                owner, "candidates", "distinct in each row", int(ordered[:, 1:][twice][0])
            )
        return found

    def _check_rewards(self, rewards: FloatArray) -> None:
        low, high = self.reward_range
        wrong = ~(np.isfinite(rewards) & (rewards >= low) & (rewards <= high))
        if wrong.any():
            wanted = "finite" if low == -np.inf else f"in [{low:g}, {high:g}]"
            raise ParameterError.of(type(self).__name__, "rewards", wanted, float(rewards[wrong][0]))
