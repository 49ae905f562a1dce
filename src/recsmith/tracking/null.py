"""The tracker that keeps nothing: base of those that keep something."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


class NullTracker:
    """Takes everything and keeps nothing. A tracker overrides what it has a place for."""

    def parameters(self, values: Mapping[str, Any]) -> None:
        """What the run was asked to do."""

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """What it measured."""

    def table(self, name: str, rows: Sequence[Mapping[str, Any]], step: int | None = None) -> None:
        """Rows of JSON values."""

    def artifact(self, path: str) -> None:
        """A file that it wrote."""

    def model(self, path: str) -> None:
        """The bundle that it wrote."""

    def close(self, *, failed: bool = False) -> None:
        """Nothing more will come."""
