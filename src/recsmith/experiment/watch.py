"""How long work with many parts shows itself: a progress display for each part, or none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TypeAlias

from recsmith.protocols import Monitor

Watch: TypeAlias = Callable[[str], AbstractContextManager[Monitor]]
"""Opens a progress display of one piece of work."""


class _Silent:
    """A monitor that nobody watches."""

    def progress(self, done: int, total: int, **figures: float) -> bool:
        return False


@contextmanager
def silent(label: str) -> Iterator[Monitor]:
    """The watch that shows nothing."""
    yield _Silent()
