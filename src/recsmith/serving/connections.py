"""Connections of a worker: how many there may be, and how long a client may take for its part.

uvicorn waits for a request for ever, and accepts connections until there is no file descriptor for another one. Here
a request must have come whole, and the next part of an answer must be taken, in ``client_seconds``. When all
connections are taken, one that has no request under way makes room: the one that has waited longest.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from functools import partial
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from recsmith.serving.settings import Settings

log = logging.getLogger("recsmith.serving")
_OTHER_FILES = 500  # descriptors for the store, the bundle and what else is open
_LATE = (
    b"HTTP/1.1 408 Request Timeout\r\ncontent-type: application/problem+json\r\ncontent-length: %d\r\n"
    b"connection: close\r\n\r\n%s"
)
_LATE_BODY = (
    b'{"type":"about:blank","title":"Request Timeout","status":408,'
    b'"detail":"The request did not come whole in time. Send it again."}'
)


class Limits:
    """The bounds of a worker, and its connections that wait for a request, the one that waits longest first."""

    def __init__(self, most: int, seconds: float) -> None:
        self.most, self.seconds = most, seconds
        self.waiting: dict[BoundedProtocol, None] = {}


class BoundedProtocol(HttpToolsProtocol):
    """A connection that others do not suffer from."""

    def __init__(self, *, limits: Limits, **given: Any) -> None:
        super().__init__(**given)
        self._limits = limits
        self._patience: asyncio.TimerHandle | None = None  # with a client that sends
        self._stalled: asyncio.TimerHandle | None = None  # ... and one that should read

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Make room for it where all connections are taken."""
        super().connection_made(transport)
        self._limits.waiting[self] = None
        self._be_patient()
        while len(self.connections) > self._limits.most:
            oldest = next(iter(self._limits.waiting))
            self._limits.waiting.pop(oldest)
            self.connections.discard(oldest)
            oldest.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._limits.waiting.pop(self, None)
        self._lose_patience()
        _cancel(self._stalled)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take a part of a request; the time for the rest has begun with the first one."""
        super().data_received(data)
        if self._patience is None and self in self._limits.waiting:
            self._be_patient()

    def on_message_complete(self) -> None:
        """A request is there as a whole."""
        super().on_message_complete()
        self._limits.waiting.pop(self, None)
        self._lose_patience()

    def on_response_complete(self) -> None:
        """It waits for the next request, unless that is there; uvicorn closes it when none comes."""
        super().on_response_complete()
        if self.cycle.response_complete and not self.transport.is_closing():
            self._limits.waiting[self] = None

    def pause_writing(self) -> None:
        """The client does not read as fast as is written."""
        super().pause_writing()
        self._stalled = self.loop.call_later(self._limits.seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """It has read."""
        super().resume_writing()
        _cancel(self._stalled)

    def _be_patient(self) -> None:
        self._patience = self.loop.call_later(self._limits.seconds, self._give_up)

    def _lose_patience(self) -> None:
        _cancel(self._patience)
        self._patience = None

    def _give_up(self) -> None:
        """Close a connection whose request has not come; say why where it has begun."""
        unanswered = (
            self.cycle is None or self.cycle.scope is not self.scope or not self.cycle.response_started
        )
        if self.scope is not None and unanswered:
            self.transport.write(_LATE % (len(_LATE_BODY), _LATE_BODY))
        self.transport.close()


def bounded(settings: Settings) -> type[asyncio.Protocol]:
    """The ``http`` of uvicorn's configuration, which it calls as it would call a class."""
    limits = Limits(_possible(settings.max_connections), settings.client_seconds)
    return partial(BoundedProtocol, limits=limits)  # type: ignore[return-value]


def _possible(most: int) -> int:
    """``most`` connections, or as many as the system lets this process have open."""
    if sys.platform == "win32":
        return most
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = most + _OTHER_FILES
    if hard != resource.RLIM_INFINITY and needed > hard:
        log.warning("max_connections is %d here: the limit of open files is %d", max(hard // 2, 1), hard)
        most, needed = max(hard // 2, 1), hard
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
    return most


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
