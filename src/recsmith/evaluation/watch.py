"""How work with many fits tells of each: a context that gives the fit its monitor."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TypeAlias

from recsmith.protocols import Monitor

Watch: TypeAlias = Callable[[str], AbstractContextManager[Monitor | None]]
"""Called with a description such as ``"ease: cold start"``."""


def unwatched(_: str) -> AbstractContextManager[Monitor | None]:
    """Nobody is told."""
    return nullcontext()
