"""The ``recsmith`` command in a process of its own, as a user starts it."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from tests.support.waiting import PATIENCE_S

COMMAND = (sys.executable, "-P", "-c", "from recsmith.cli.main import run; run()")
_ENDING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


def run(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """The ended command with what it wrote."""
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=PATIENCE_S, **options
    )


def start(
    *arguments: object, on_signals: signal.Handlers = signal.SIG_DFL, **options: Any
) -> subprocess.Popen[str]:
    """The running command, its output in pipes.

    Signals have their default effect in it: what ``nohup`` or a job in the background ignores would be inherited.
    """
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | options
    return subprocess.Popen([*COMMAND, *map(str, arguments)], preexec_fn=disposed(on_signals), **options)


def disposed(handler: signal.Handlers) -> Callable[[], None]:
    """For ``preexec_fn``: what the signals that end a command do in it."""

    def dispose() -> None:
        for number in _ENDING:
            signal.signal(number, handler)

    return dispose


def free_port() -> int:
    """A port at which nobody listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
