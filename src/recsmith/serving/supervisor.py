"""Workers that share a listening socket: they are started, watched, replaced and stopped."""

from __future__ import annotations

import logging
import signal
import socket
import threading
import time
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from typing import Any

from recsmith.errors import RecsmithError
from recsmith.serving.drain import refuse_new

log = logging.getLogger("recsmith.serving")
_LOOK_S = 0.2
_SILENT_S = 15.0  # after which a worker that does not answer is taken for stuck
_AGAIN_S = 5.0  # before a worker that could not start is started again
_STARTED, _ALIVE = "started", "alive"  # what a worker says; anything else is why it could not start

Work = Callable[["Line", socket.socket], None]


class Line:
    """A worker's end of the talk with its supervisor."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self._saying = connection, threading.Lock()

    def attend(self) -> None:
        """Answer whether this process lives, in a thread of its own."""
        threading.Thread(target=self._answer, name="recsmith-alive", daemon=True).start()

    def started(self) -> None:
        """Say that requests are answered."""
        self._say(_STARTED)

    def failed(self, reason: str) -> None:
        """Say why this worker cannot start."""
        self._say(reason)

    def _answer(self) -> None:
        while True:
            try:
                self._connection.recv()
                self._say(_ALIVE)
            except (EOFError, OSError):  # the supervisor has ended
                return

    def _say(self, word: str) -> None:
        with self._saying:
            self._connection.send(word)


class _Worker:
    """A process, and what it said."""

    def __init__(self, context: BaseContext, work: Work, listener: socket.socket) -> None:
        self._connection, theirs = context.Pipe()
        process: Any = context.Process  # type: ignore[attr-defined]
        self.process = process(target=_run, args=(work, theirs, listener), name="recsmith-worker")
        self.process.start()
        theirs.close()
        self.started, self.reason = False, "it ended before it had started"
        self._heard = self._asked = time.monotonic()

    def listen(self) -> bool:
        """Take in what it said; whether it lives and answers."""
        now, alive = (
            time.monotonic(),
            bool(self.process.is_alive()),
        )  # before it is heard: nothing comes after
        try:
            while self._connection.poll():
                word = self._connection.recv()
                self._heard = now
                if word == _STARTED:
                    self.started = True
                elif word != _ALIVE:
                    self.reason = word
            if now - self._asked > 1:
                self._connection.send(_ALIVE)
                self._asked = now
        except (EOFError, OSError):
            pass  # it has ended, and its process says so
        return alive and now - self._heard < _SILENT_S

    def end(self) -> None:
        """Let it answer what reached it and end."""
        if self.process.is_alive():
            self.process.terminate()

    def discard(self) -> None:
        """End it at once if it has not ended."""
        self.process.kill()
        self.process.join()
        self._connection.close()


class Supervisor:
    """Keeps a number of workers at work until a signal comes."""

    def __init__(self, context: BaseContext, work: Work, listener: socket.socket, workers: int) -> None:
        """``work`` is what a worker does with its line and the socket: an importable function, or a partial of one."""
        self._start: Callable[[], _Worker] = partial(_Worker, context, work, listener)
        self._listener, self._number = listener, workers
        self._workers: list[_Worker] = []
        self._leaving: list[_Worker] = []
        self._stop, self._replace = threading.Event(), threading.Event()
        self._again = 0.0  # when a worker that could not start is started again

    def run(self) -> None:
        """Start the workers, and replace those that end.

        SIGTERM and SIGINT end it; SIGHUP replaces one worker after the other.

        Raises
        ------
        RecsmithError
            No worker could start; the message is the reason of the first.
        """
        wishes = {signal.SIGTERM: self._stop, signal.SIGINT: self._stop, signal.SIGHUP: self._replace}
        for number, wish in wishes.items():
            if signal.getsignal(number) != signal.SIG_IGN:  # nohup's wish is kept
                signal.signal(number, partial(_set, wish))
        self._workers = [self._start() for _ in range(self._number)]
        try:
            while not self._stop.wait(_LOOK_S):
                self._look()
                if self._replace.is_set():
                    self._replace.clear()
                    self._roll()
        finally:
            self._end()

    def _look(self) -> None:
        """Replace workers that ended or do not answer."""
        self._leaving = [worker for worker in self._leaving if worker.process.is_alive()]
        served = any(worker.started for worker in self._workers)
        for place, worker in enumerate(self._workers):
            if worker.listen() or time.monotonic() < self._again:
                continue
            if not worker.started and not worker.process.is_alive():
                if not served:
                    raise RecsmithError(f"The service cannot start: {worker.reason}")
                log.error("a worker cannot start; the others go on: %s", worker.reason)
                self._again = time.monotonic() + _AGAIN_S
            else:
                log.error("the worker %d %s; another one starts", worker.process.pid, self._fate(worker))
            worker.discard()
            self._workers[place] = self._start()

    def _fate(self, worker: _Worker) -> str:
        return "does not answer" if worker.process.is_alive() else f"ended with {worker.process.exitcode}"

    def _roll(self) -> None:
        """Replace every worker by a new one, which serves before the old one ends."""
        for place, old in enumerate(self._workers):
            new = self._start()
            while new.listen() and not new.started and not self._stop.is_set():
                time.sleep(_LOOK_S)
            if not new.started:
                new.discard()
                log.error("a new worker cannot start, and the old ones stay: %s", new.reason)
                return
            self._workers[place] = new
            self._leaving.append(old)
            old.end()

    def _end(self) -> None:
        """Refuse new connections, and let the workers answer those that there are."""
        refuse_new(self._listener)
        for worker in self._workers:
            worker.end()
        for worker in (*self._workers, *self._leaving):
            worker.process.join()


def _set(wish: threading.Event, _number: int, _frame: object) -> None:
    wish.set()


def _run(work: Work, connection: Connection, listener: socket.socket) -> None:
    """What a worker's process does."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # it is for the supervisor
    line = Line(connection)
    line.attend()
    work(line, listener)
