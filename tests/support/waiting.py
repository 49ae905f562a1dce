"""How long a test waits for what must happen. Only a failure takes that long; a busy machine may need much of it."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE_S = 300.0  #: for anything that takes a few seconds on an idle machine


def wait_for(condition: Callable[[], object], what: str = "the condition", pause: float = 0.02) -> None:
    """Return once ``condition()`` is true; fail after ``PATIENCE_S``."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"expected {what} within {PATIENCE_S:g} s")
        time.sleep(pause)
