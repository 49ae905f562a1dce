"""What is compared: a cell is one piece of work, done by recsmith and by each peer that can do it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from recsmith.evaluation.significance import Sample

Arrays = Mapping[str, Any]
#: Figure -> a number, or what each user adds to it, from which an interval is drawn.
Quality = Mapping[str, "Sample | float"]
Judge = Callable[[Arrays, Arrays], Quality]

OURS = "recsmith"
#: Figures that are better when they are smaller.
LOWER_IS_BETTER = frozenset({"rmse", "mae"})


@dataclass(frozen=True)
class Side:
    """One library's part: a job of its runner, the settings, and what a reader must know of a difference."""

    job: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True)
class Cell:
    """One comparison. All sides get the same inputs; the first figure of ``judge`` is the one that decides."""

    name: str
    what: str
    data: str  #: name of the data set, the key of the pictures
    inputs: Callable[[], Sequence[Arrays]]  #: of one run; their seconds add up
    judge: Judge  #: of (input, output), by our definitions
    sides: Mapping[str, Side]  #: ``OURS`` and the peers
    decides: str = "fit"  #: the phase whose ratio counts
    wanted: float = 1.0  #: the ratio of medians, recsmith / fastest peer, that is to be reached

    @property
    def peers(self) -> list[str]:
        """The sides that are not ours."""
        return [name for name in self.sides if name != OURS]
