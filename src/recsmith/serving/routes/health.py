"""Whether the process lives, whether it can answer, and what it counted."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse

from recsmith.serving.routes.common import PROBLEMS, json

router = APIRouter()


@router.get("/health")
async def health(request: Request) -> Response:
    """``status`` is ok, degraded (answers may be behind) or starting."""
    return json(_state(request))


@router.get("/health/live")
async def live() -> Response:
    """The process answers. Nothing else is looked at: a restart would not bring a database back."""
    return json({"status": "ok"})


@router.get("/health/ready")
async def ready(request: Request) -> Response:
    """503 until a model is loaded. A store that is out of reach degrades the service and does not stop it."""
    state = _state(request)
    return json(state, 200 if state["model_loaded"] else 503)


@router.get(
    "/metrics",
    response_class=PlainTextResponse,
    responses={status: PROBLEMS[status] for status in (401, 403, 429)},
)
async def metrics(request: Request) -> Response:
    """Metrics of all workers as Prometheus reads them."""
    return Response(request.app.state.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _state(request: Request) -> dict[str, Any]:
    parts = getattr(request.app.state, "runtime", None)
    if parts is None:
        return {"status": "starting", "model_loaded": False}
    service = parts.service
    out: dict[str, Any] = {
        "status": "ok" if service.degraded is None else "degraded",
        "model_loaded": True,
        "model_version": service.active.main.version,
    }
    if service.degraded is not None:
        out["reason"] = "The store is out of reach; answers go on without new events."
    if parts.shared is not None:
        out["redis"] = "ok" if parts.shared.there else "out of reach"
    return out
