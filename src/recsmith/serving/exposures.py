"""The log of what was shown, written behind the answers."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence

from recsmith.errors import StorageError
from recsmith.serving.events import Exposure
from recsmith.serving.store import Store

log = logging.getLogger("recsmith.serving")
_EVERY_SECONDS = 0.05  # a longer wait makes longer work, which answers then wait for
_AT_ONCE = 2000
_MOST = 200_000  # that wait while the store is out of reach; then the oldest go


class ExposureLog:
    """Collects exposures and appends them by a thread of its own."""

    def __init__(self, store: Store, dropped: Callable[[int], None]) -> None:
        """``dropped`` is told of exposures that were lost."""
        self._store, self._dropped = store, dropped
        self._waiting: deque[Exposure] = deque()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="recsmith-exposures", daemon=True)
        self._thread.start()

    def add(self, exposure: Exposure) -> None:
        """Write it soon."""
        self._waiting.append(exposure)

    def close(self) -> None:
        """Write what waits and stop."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(_EVERY_SECONDS):
            self._write()
        if not self._write():
            self._dropped(len(self._waiting))

    def _write(self) -> bool:
        """Append what waits; False where the store does not take it."""
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), _AT_ONCE))]
            try:
                self._store.log_exposures(batch)
            except StorageError as error:
                self._waiting.extendleft(reversed(batch))
                lost = max(len(self._waiting) - _MOST, 0)
                for _ in range(lost):
                    self._waiting.popleft()
                if lost:
                    self._dropped(lost)
                log.warning("%d exposures wait: %s", len(self._waiting), error)
                return False
            except Exception:  # one of them is no row: the others are kept, and so is this thread
                log.exception("an exposure could not be written")
                self._write_singly(batch)
        return True

    def _write_singly(self, batch: Sequence[Exposure]) -> None:
        """Append what can be appended, and count the rest as lost."""
        for exposure in batch:
            try:
                self._store.log_exposures([exposure])
            except StorageError:
                self._waiting.append(exposure)
            except Exception:
                self._dropped(1)
