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
_AGAIN_SECONDS = 1.0  # between attempts while the store takes none
_EVERY_SECONDS = 0.05  # a longer wait makes longer work, which answers then wait for
_AT_ONCE = 2000
_MOST = 200_000  # that wait while the store is out of reach; then the oldest go


class ExposureLog:
    """Collects exposures and appends them by a thread of its own."""

    def __init__(self, store: Store, dropped: Callable[[int], None]) -> None:
        """``dropped`` is told of exposures that were lost."""
        self._store, self._dropped = store, dropped
        self._waiting: deque[Exposure] = deque()
        self.failing: str | None = None  #: why exposures wait; None while they are stored
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
        while not self._stop.wait(_EVERY_SECONDS if self.failing is None else _AGAIN_SECONDS):
            self._write()
        if not self._write():
            self._dropped(len(self._waiting))

    def _write(self) -> bool:
        """Append what waits; False where the store does not take it."""
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), _AT_ONCE))]
            try:
                self._store.log_exposures(batch)
                self.failing = None
            except StorageError as error:
                self.failing = str(error)
                self._waiting.extendleft(reversed(batch))
                self._drop_oldest()
                log.warning("%d exposures wait: %s", len(self._waiting), error)
                return False
            except Exception:  # one of them is no row: the others are kept, and so is this thread
                log.exception("an exposure could not be written")
                self._write_singly(batch)
        return True

    def _drop_oldest(self) -> None:
        """Bound what waits for a store that takes nothing."""
        lost = max(len(self._waiting) - _MOST, 0)
        for _ in range(lost):
            self._waiting.popleft()
        if lost:
            self._dropped(lost)

    def _write_singly(self, batch: Sequence[Exposure]) -> None:
        """Append what can be appended, and count the rest as lost."""
        for exposure in batch:
            try:
                self._store.log_exposures([exposure])
            except StorageError:
                self._waiting.append(exposure)
            except Exception:
                self._dropped(1)
