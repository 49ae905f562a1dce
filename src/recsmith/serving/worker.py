"""Starts workers under uvicorn. What they need crosses to them in one variable of the environment."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from recsmith.serving.app import create
from recsmith.serving.settings import Settings
from recsmith.serving.telemetry import set_up_logs

_TOLD = "RECSMITH_SERVE"
_DRAIN_SECONDS = 30


def run(settings: Settings, bundle: Path, host: str, port: int, workers: int) -> None:
    """Serve until a signal comes; requests under way are answered first."""
    os.environ[_TOLD] = json.dumps(
        {"bundle": str(bundle.resolve()), "settings": settings.model_dump(mode="json")}
    )
    with tempfile.TemporaryDirectory(prefix="recsmith-") as counts:
        if workers > 1:
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = counts
        set_up_logs()
        uvicorn.run(
            "recsmith.serving.worker:app",
            factory=True,
            host=host,
            port=port,
            workers=workers,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=_DRAIN_SECONDS,
        )


def app() -> FastAPI:
    """The application of a worker."""
    told = json.loads(os.environ[_TOLD])
    set_up_logs()
    return create(Settings.make("the service", **told["settings"]), Path(told["bundle"]))
