"""The minutes given, and what must be kept of them for the end."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from recsmith.experiment.validation import Deadline
from recsmith.protocols import Monitor


@dataclass(slots=True)
class Clock:
    """Seconds since the start, and the seconds of each phase."""

    seconds: float
    start: float = field(default_factory=time.monotonic)
    phases: dict[str, float] = field(default_factory=dict)

    @property
    def gone(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.start

    @property
    def left(self) -> float:
        """Seconds that are left."""
        return self.seconds - self.gone

    def deadline(self, kept: float = 0.0) -> Deadline:
        """The end, without the seconds ``kept`` for what comes after."""
        return Deadline(self.start + self.seconds - kept)

    def ends(self, phase: str) -> None:
        """Note that a phase ends now."""
        self.phases[phase] = self.phases.get(phase, 0.0) + self.gone - sum(self.phases.values())


@dataclass(slots=True)
class Slice:
    """A monitor that passes on what it is told, and ends the work when its slice of time is over."""

    until: float  #: of ``time.monotonic``
    show: Monitor

    def progress(self, done: int, total: int, **figures: float) -> bool:
        """Whether the slice is over."""
        self.show.progress(done, max(total, done), **figures)
        return time.monotonic() > self.until
