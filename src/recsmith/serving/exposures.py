"""The log of what was shown, written behind the answers."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from recsmith.errors import StorageError
from recsmith.serving.events import Exposure
from recsmith.serving.store import Store

log = logging.getLogger("recsmith.serving")
_AGAIN_SECONDS = 1.0  # between attempts while the store takes none
_EVERY_SECONDS = 0.05  # a longer wait makes longer work, which answers then wait for
_BYTES_AT_ONCE = 1 << 18  # of lists in one transaction: feedback waits for it
_MAX_BYTES = 256 << 20  # of lists that wait while the store is out of reach; then the oldest go
_OVERHEAD = 512  # bytes of an exposure besides its list


class ExposureLog:
    """Collects exposures and appends them by a thread of its own, or with what else is written meanwhile."""

    def __init__(self, store: Store, dropped: Callable[[int], None], max_bytes: int = _MAX_BYTES) -> None:
        """``dropped`` is called with the number of exposures that were lost; ``max_bytes`` of lists may wait."""
        self._store, self._dropped, self._max_bytes = store, dropped, max_bytes
        self._waiting: deque[Exposure] = deque()
        self._bytes = 0
        self._lock, self._writing = threading.Lock(), threading.Lock()
        self.failing: str | None = None  #: why exposures wait; None while they are stored
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="recsmith-exposures", daemon=True)
        self._thread.start()

    def add(self, exposure: Exposure) -> None:
        """Write it soon. Where too much waits, the oldest are lost."""
        with self._lock:
            self._waiting.append(exposure)
            self._bytes += _size(exposure)
        self._shorten()

    @contextmanager
    def next(self) -> Iterator[Sequence[Exposure]]:
        """Some that wait, to be written inside by nobody else; after an error they wait again."""
        with self._writing:
            batch = self._take()
            try:
                yield batch
            except BaseException:
                with self._lock:
                    self._waiting.extendleft(reversed(batch))
                    self._bytes += sum(map(_size, batch))
                self._shorten()
                raise
            if batch:
                self.failing = None

    def close(self) -> None:
        """Write what waits and stop."""
        self._stop.set()
        self._thread.join()

    def _take(self) -> list[Exposure]:
        batch: list[Exposure] = []
        size = 0
        with self._lock:
            while self._waiting and size < _BYTES_AT_ONCE:
                batch.append(self._waiting.popleft())
                size += _size(batch[-1])
            self._bytes -= size
        return batch

    def _shorten(self) -> None:
        lost = 0
        with self._lock:
            while self._bytes > self._max_bytes:
                self._bytes -= _size(self._waiting.popleft())
                lost += 1
        if lost:
            self._dropped(lost)

    def _run(self) -> None:
        while not self._stop.wait(_EVERY_SECONDS if self.failing is None else _AGAIN_SECONDS):
            self._write()
        if not self._write():
            self._dropped(len(self._waiting))

    def _write(self) -> bool:
        """Append what waits; False where the store does not take it."""
        while self._waiting:
            try:
                with self.next() as batch:
                    self._store.log_exposures(batch)
            except StorageError as error:
                self.failing = str(error)
                log.warning("%d exposures wait: %s", len(self._waiting), error)
                return False
            except Exception:  # one of them is no row: the others are kept, and so is this thread
                log.exception("an exposure could not be written")
                self._write_singly(self._take())
        return True

    def _write_singly(self, batch: Sequence[Exposure]) -> None:
        """Append what can be appended, and count the rest as lost."""
        for exposure in batch:
            try:
                self._store.log_exposures([exposure])
            except StorageError:
                self.add(exposure)
            except Exception:
                self._dropped(1)


def _size(exposure: Exposure) -> int:
    return len(exposure.items) + _OVERHEAD
