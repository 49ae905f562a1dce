"""Connections to PostgreSQL that are given up in time.

A server that is stopped, or beyond a network that is cut, answers nothing: its own timeouts do not run, and the kernel
of its machine still acknowledges what is sent. So the client counts the time as well. Where a statement waits for a
lock or takes too long, the server ends it first, and the connection is used again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.waiting import READY_NONE
from sqlalchemy import URL, Engine, create_engine, event

_GRACE_S = 0.25  # for the server to say that it ended a statement
#: Of libpq, in seconds but for the last, in ms; what the URL says wins.
_REACH = {
    "connect_timeout": 2,  # the least that there is
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}


class _Deadline(threading.local):
    """Until when this thread waits; ``time.monotonic()`` or None."""

    end: float | None = None
    seconds: float = 0.0


_deadline = _Deadline()


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Give up connections that this thread opens or waits for beyond some seconds."""
    before = _deadline.end, _deadline.seconds
    _deadline.end, _deadline.seconds = time.monotonic() + seconds + _GRACE_S, seconds
    try:
        yield
    finally:
        _deadline.end, _deadline.seconds = before


class _Connection(psycopg.Connection[Any]):
    """A connection that is closed when the time is over."""

    def wait(self, gen: Generator[Any, Any, Any], *args: Any, **kwargs: Any) -> Any:
        """Wait for the server; psycopg calls it for whatever it sends."""
        try:
            return super().wait(_until(gen, _deadline.end), *args, **kwargs)
        except _LateError as error:
            self.close()  # what the server does with the statement is not known, so nobody uses it again
            raise psycopg.OperationalError(str(error)) from None


class _LateError(Exception):
    """The server did not answer in time."""


def _until(gen: Generator[Any, Any, Any], end: float | None) -> Generator[Any, Any, Any]:
    """``gen``, ended where nothing came until ``end``; psycopg wakes it ten times a second."""
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            if ready == READY_NONE and end is not None and time.monotonic() > end:
                raise _LateError(f"the server does not answer within {_deadline.seconds:g} s")
            wanted = gen.send(ready)
    except StopIteration as stop:
        return stop.value


def engine(url: URL, *, read_s: float, write_s: float) -> Engine:
    """An engine that notices before use that the server was restarted, and in time that it does not answer.

    Parameters
    ----------
    read_s
        Seconds, > 0, that a statement may take and that a connection of the pool is waited for.
    write_s
        Seconds, > 0, of which twice as many may pass before the server ends a transaction whose client is silent; it
        holds locks.
    """
    given = {name: value for name, value in _REACH.items() if name not in url.query}
    made = create_engine(
        url, hide_parameters=True, pool_pre_ping=True, pool_timeout=read_s, connect_args=given
    )

    @event.listens_for(made, "do_connect")
    def connect(_dialect: object, _record: object, args: Any, values: Any) -> _Connection:
        if _deadline.end is not None and time.monotonic() >= _deadline.end:
            raise psycopg.OperationalError(f"the server does not answer within {_deadline.seconds:g} s")
        return _Connection.connect(*args, **values)

    @event.listens_for(made, "connect")
    def configure(connection: _Connection, _record: object) -> None:
        connection.execute(_limits("SET", read_s, write_s))
        connection.commit()

    return made


def set_limit(seconds: float) -> str:
    """The statements that let those after them in a transaction take so long."""
    return _limits("SET LOCAL", seconds, seconds)


def _limits(verb: str, statement_s: float, silent_s: float) -> str:
    silent = f"{verb} idle_in_transaction_session_timeout = {_ms(2 * silent_s)}"
    return f"{verb} statement_timeout = {_ms(statement_s)}; {silent}"


def _ms(seconds: float) -> int:
    return max(int(1000 * seconds), 1)
