"""Starts the service: one process, or several workers that share a socket."""

from __future__ import annotations

import logging
import multiprocessing
import os
import socket
import sys
import tempfile
from collections.abc import Mapping
from functools import partial
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI

from recsmith.bundle_format import read_manifest
from recsmith.errors import RecsmithError
from recsmith.models.registry import MODELS
from recsmith.serving.app import create
from recsmith.serving.connections import bounded
from recsmith.serving.drain import DrainingServer
from recsmith.serving.settings import Settings
from recsmith.serving.supervisor import Line, Supervisor
from recsmith.serving.telemetry import set_up_logs

_OPTIONS: Mapping[str, Any] = {
    "log_config": None, "access_log": False, "server_header": False, "proxy_headers": False,
    "timeout_graceful_shutdown": 30
}  # fmt: skip


def run(settings: Settings, bundle: Path, host: str, port: int, workers: int) -> None:
    """Serve until a signal comes; requests that reached the service are answered first.

    Raises
    ------
    RecsmithError
        What kept the service from its start.
    """
    set_up_logs()
    if workers == 1:
        alone = _application(settings, bundle.resolve())
        try:
            config = uvicorn.Config(alone, host=host, port=port, http=bounded(settings), **_OPTIONS)
            DrainingServer(config).run()
        except SystemExit:
            raise alone.state.failed or SystemExit(1) from None
        return
    work = partial(_work, settings.model_dump(mode="json"), bundle.resolve())
    with tempfile.TemporaryDirectory(prefix="recsmith-") as counts:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = counts
        with uvicorn.Config(_work, host=host, port=port, **_OPTIONS).bind_socket() as listener:
            Supervisor(_context(bundle), work, listener, workers).run()


def _work(settings: Mapping[str, Any], bundle: Path, line: Line, listener: socket.socket) -> None:
    """What a worker does."""
    set_up_logs()
    try:
        made = Settings.make("the service", **settings)
        app = _application(made, bundle)
    except RecsmithError as error:
        line.failed(str(error))
        raise SystemExit(1) from None
    try:
        DrainingServer(uvicorn.Config(app, http=bounded(made), **_OPTIONS), line.started).run(
            sockets=[listener]
        )
    except SystemExit:
        line.failed(str(app.state.failed))
        raise


def _application(settings: Settings, bundle: Path) -> FastAPI:
    """The application. What keeps it from its start is said once, without uvicorn's traceback."""
    app = create(settings, bundle)
    logging.getLogger("uvicorn.error").addFilter(lambda record: app.state.failed is None)
    return app


def _context(bundle: Path) -> BaseContext:
    """How workers are started: from a process that has imported what they need, so that they share its memory.

    That process only imports: it computes nothing in threads, and opens no bundle and no connection.
    """
    if sys.platform != "linux":  # elsewhere a process that has loaded BLAS may not be forked
        return multiprocessing.get_context("spawn")
    os.environ["PYTHONSAFEPATH"] = "1"  # it imports nothing from the folder that it is started in
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload([*_modules_of(bundle), "recsmith.serving.preload"])
    return server


def _modules_of(bundle: Path) -> list[str]:
    """Where the models of a bundle live."""
    manifest = read_manifest(bundle)
    parts = [manifest[part]["name"] for part in ("model", "fallback") if manifest[part] is not None]
    return [MODELS[name].path.partition(":")[0] for name in parts if name in MODELS]
