"""The end of a server: every request that reached it is answered.

A listening socket that is closed resets the connections that wait in it, and an idle connection that is closed may
cross a request on its way. So, first, every answer says that its connection ends: a client opens another one, which
another worker takes. Connections that wait are accepted and answered. New ones are refused before they are made: a
filter on the socket lets no first packet (SYN) through, so that between the last one accepted and the end none comes.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import socket
import struct
import sys
import time
from collections.abc import Callable
from typing import Any

import uvicorn

log = logging.getLogger("recsmith.serving")
ACCEPTING_S = 1.0  #: for which a server that is told to end still accepts; longer than a handshake takes
_IDLE_S = 1.0  # after which a connection that says nothing is closed
_TICK_S = 0.05

_SO_ATTACH_FILTER = 26
#: Classic BPF over the TCP header: byte 13 holds the flags; SYN (2) without ACK (16) is dropped, all else passes.
_NO_SYN = (
    (0x30, 0, 0, 13),  # load the byte
    (0x54, 0, 0, 0x12),  # and SYN | ACK
    (0x15, 0, 1, 0x02),  # equal to SYN?
    (0x06, 0, 0, 0),  # drop
    (0x06, 0, 0, 0xFFFFFFFF),  # pass
)


def refuse_new(listener: Any) -> None:
    """Let no new connection reach a listening socket, whichever process holds it; those that there are stay.

    Elsewhere than on Linux nothing is done: a connection that comes in the moment of the end may be reset there.
    """
    if sys.platform != "linux" or listener.family not in (socket.AF_INET, socket.AF_INET6):
        return
    program = b"".join(struct.pack("HBBI", *instruction) for instruction in _NO_SYN)
    buffer = ctypes.create_string_buffer(program)
    try:
        listener.setsockopt(
            socket.SOL_SOCKET,
            _SO_ATTACH_FILTER,
            struct.pack("HL", len(_NO_SYN), ctypes.addressof(buffer)),
        )
    except OSError as error:
        log.warning("new connections may be reset while the service ends: %s", error)


class DrainingServer(uvicorn.Server):
    """A server that answers what reached it before it ends."""

    def __init__(self, config: uvicorn.Config, started: Callable[[], None] = lambda: None) -> None:
        """``started`` is called when requests are accepted."""
        super().__init__(config)
        self._on_start = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to accept."""
        await super().startup(sockets)
        if self.started:
            self._on_start()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer what reached the server; close what is idle; then end as any server does.

        ``sockets`` are shared with other workers, who take new connections; whoever made them refuses these.
        """
        self.server_state.default_headers = [*self.server_state.default_headers, (b"connection", b"close")]
        if sockets is None:
            for server in self.servers:
                for listener in server.sockets:
                    refuse_new(listener)
        await asyncio.sleep(ACCEPTING_S)
        for server in self.servers:
            server.close()  # what waited was accepted; a shared socket stays open in other processes
        end = time.monotonic() + _IDLE_S
        while time.monotonic() < end:
            await asyncio.sleep(_TICK_S)  # at least once: what was accepted last becomes a connection
            if not self.server_state.connections:
                break
        await super().shutdown(sockets)
