"""Several trackers told as one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from recsmith.protocols import Tracker


class Several:
    """Tells each of them, in order."""

    def __init__(self, trackers: Sequence[Tracker]) -> None:
        self.trackers = list(trackers)

    def parameters(self, values: Mapping[str, Any]) -> None:
        """Tell all."""
        for tracker in self.trackers:
            tracker.parameters(values)

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Tell all."""
        for tracker in self.trackers:
            tracker.metrics(values, step)

    def table(self, name: str, rows: Sequence[Mapping[str, Any]], step: int | None = None) -> None:
        """Tell all."""
        for tracker in self.trackers:
            tracker.table(name, rows, step)

    def artifact(self, path: str) -> None:
        """Tell all."""
        for tracker in self.trackers:
            tracker.artifact(path)

    def model(self, path: str) -> None:
        """Tell all."""
        for tracker in self.trackers:
            tracker.model(path)

    def close(self, *, failed: bool = False) -> None:
        """Tell all."""
        for tracker in self.trackers:
            tracker.close(failed=failed)
