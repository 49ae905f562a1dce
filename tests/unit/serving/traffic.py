"""Clients that know what became of each request: answered, refused before it was sent, or lost."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

_LONG_S = 60.0


@dataclass
class Traffic:
    """Requests of several connections at once, until ``stop``."""

    port: int
    request: Callable[[int], bytes]  #: the bytes of request number n
    connections: int = 16
    keep_alive: bool = True
    statuses: Counter[int] = field(default_factory=Counter)
    refused: int = 0  #: no connection could be made
    lost: int = 0  #: sent, and never answered
    _stopped: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Traffic:
        self._thread = threading.Thread(target=lambda: asyncio.run(self._all()))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End when what was sent is answered."""
        self._stopped.set()
        self._thread.join()

    @property
    def answered(self) -> int:
        """Requests that got an answer."""
        return sum(self.statuses.values())

    async def _all(self) -> None:
        self._number = 0
        await asyncio.gather(*(self._one() for _ in range(self.connections)))

    async def _one(self) -> None:
        streams = None
        while not self._stopped.is_set():
            if streams is None or streams[0].at_eof():
                try:
                    streams = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", self.port), _LONG_S)
                except OSError:
                    self.refused += 1
                    await asyncio.sleep(0.01)
                    continue
            self._number += 1
            if not await self._ask(*streams, self.request(self._number)):
                streams[1].close()
                streams = None
        if streams is not None:
            streams[1].close()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> bool:
        """Send a request; whether another one may follow on this connection."""
        try:
            writer.write(request)
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), _LONG_S)
            lines = head.lower().split(b"\r\n")
            (length,) = (
                int(line.partition(b":")[2]) for line in lines if line.startswith(b"content-length:")
            )
            await asyncio.wait_for(reader.readexactly(length), _LONG_S)
        except (OSError, asyncio.IncompleteReadError):
            self.lost += 1
            return False
        self.statuses[int(lines[0].split()[1])] += 1
        return self.keep_alive and b"connection: close" not in lines


def post(path: str, body: bytes) -> bytes:
    """A request with a body of JSON."""
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    return head.encode() + b"\r\n\r\n" + body
