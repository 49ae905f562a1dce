"""Lists for users of whom nothing is known: the fallback's ranking is made once, and each request takes its part.

A list without some items is what is left of the ranking without them. That holds where the fallback gives all of the
list, as its scores are exact; what a model gives to such users is asked for anew each time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from recsmith.recommend import TopK
from recsmith.serving.histories import History
from recsmith.types import BoolArray, FloatArray, IntArray

LONGEST = 4096  #: of a ranking that is held
_SHORTEST, _RANKINGS = 256, 32


def is_new(history: History) -> bool:
    """Whether the bundle knows no user and no event; what is hidden from them may differ."""
    return history.user < 0 and not len(history.items)


@dataclass(frozen=True, slots=True, eq=False)
class _Ranking:
    items: IntArray  #: (depth,) best first, -1 where there are no more
    scores: FloatArray  #: (depth,)
    hidden: BoolArray | None  #: what it was made without; held, as its place in memory is the key
    fallback: bool  #: all of it is the fallback's

    def cut(self, outside: IntArray, k: int) -> tuple[IntArray, FloatArray]:
        """The first ``k`` that are not ``outside``."""
        left = self.items >= 0
        if len(outside):
            left &= ~np.isin(self.items, outside)
        at = np.flatnonzero(left)[:k]
        return self.items[at], self.scores[at]


class Rankings:
    """The rankings of a bundle beside a catalogue, by what rules hide."""

    def __init__(self) -> None:
        self._held: dict[int, _Ranking] = {}

    def fill(
        self, lists: TopK, row: int, outside: IntArray, hidden: BoolArray | None, make: Callable[[int], TopK]
    ) -> bool:
        """Put a new user's list without the items ``outside`` into a row; False where the fallback gives not all.

        Parameters
        ----------
        lists
            (n, k) lists.
        row
            Of the user.
        outside
            Item indices that the list must not hold.
        hidden
            (n_known,) what no list may hold, the same array for the same rules.
        make
            Gives the list of a new user of a length, without what is hidden.
        """
        k = lists.items.shape[1]
        needed = k + len(outside)
        if needed > LONGEST:
            return False
        ranking = self._held.get(id(hidden))
        if ranking is None or len(ranking.items) < needed:
            made = make(min(max(_SHORTEST, 2 * needed), LONGEST))
            ranking = _Ranking(made.items[0], made.scores[0], hidden, not (made.sources[0] == 0).any())
            if len(self._held) >= _RANKINGS:
                self._held = {}
            self._held[id(hidden)] = ranking
        if not ranking.fallback:
            return False
        items, scores = ranking.cut(outside, k)
        lists.items[row, : len(items)], lists.scores[row, : len(items)] = items, scores
        lists.sources[row, : len(items)] = 1
        return True
