"""Starts workers under uvicorn. What they need crosses to them in one variable of the environment."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import uvicorn
import uvicorn._subprocess
from fastapi import FastAPI

from recsmith.bundle_format import read_manifest
from recsmith.models.registry import MODELS
from recsmith.serving.app import create
from recsmith.serving.settings import Settings
from recsmith.serving.telemetry import set_up_logs

_TOLD = "RECSMITH_SERVE"


_OPTIONS: Mapping[str, Any] = {
    "log_config": None, "access_log": False, "server_header": False, "proxy_headers": False,
    "timeout_graceful_shutdown": 30
}  # fmt: skip


def run(settings: Settings, bundle: Path, host: str, port: int, workers: int) -> None:
    """Serve until a signal comes; requests under way are answered first.

    Raises
    ------
    RecsmithError
        What kept a single worker from its start; several log it and end.
    """
    set_up_logs()
    if workers == 1:
        alone = create(settings, bundle.resolve())
        logging.getLogger("uvicorn.error").addFilter(lambda record: alone.state.failed is None)
        try:
            uvicorn.Server(uvicorn.Config(alone, host=host, port=port, **_OPTIONS)).run()
        except SystemExit:
            raise alone.state.failed or SystemExit(1) from None
        return
    os.environ[_TOLD] = json.dumps(
        {"bundle": str(bundle.resolve()), "settings": settings.model_dump(mode="json")}
    )
    _share_modules(bundle)
    with tempfile.TemporaryDirectory(prefix="recsmith-") as counts:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = counts
        uvicorn.run(
            "recsmith.serving.worker:app", factory=True, host=host, port=port, workers=workers, **_OPTIONS
        )


def _share_modules(bundle: Path) -> None:
    """Let workers be forked from a process that has imported what they need, so that they share its memory.

    That process only imports: it computes nothing in threads, and opens no bundle and no connection.
    """
    if sys.platform != "linux":  # elsewhere a process that has loaded BLAS may not be forked
        return
    os.environ["PYTHONSAFEPATH"] = "1"  # it imports nothing from the folder that it is started in
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload([*_modules_of(bundle), "recsmith.serving.preload"])
    uvicorn._subprocess.spawn = server  # type: ignore[assignment]  # uvicorn has no setting for it


def _modules_of(bundle: Path) -> list[str]:
    """Where the models of a bundle live."""
    manifest = read_manifest(bundle)
    parts = [manifest[part]["name"] for part in ("model", "fallback") if manifest[part] is not None]
    return [MODELS[name].path.partition(":")[0] for name in parts if name in MODELS]


def app() -> FastAPI:
    """The application of a worker."""
    told = json.loads(os.environ[_TOLD])
    set_up_logs()
    return create(Settings.make("the service", **told["settings"]), Path(told["bundle"]))
