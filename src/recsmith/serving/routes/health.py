"""Whether the process lives, whether it can answer, and what it counted."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import PlainTextResponse

from recsmith.serving.routes.common import PROBLEMS, json

router = APIRouter()
_Part = Annotated[Literal["lists", "writes"], Query(alias="for")]


@router.get("/health")
async def health(request: Request) -> Response:
    """``status`` is ok, degraded (answers may be behind, or nothing can be stored) or starting."""
    return json(_state(request))


@router.get("/health/live")
async def live() -> Response:
    """The process answers. Nothing else is looked at: a restart would not bring a database back."""
    return json({"status": "ok"})


@router.get("/health/ready", responses={422: PROBLEMS[422], 503: {"description": "Not yet"}})
async def ready(
    request: Request, part: Annotated[Literal["lists", "writes"], Query(alias="for")] = "lists"
) -> Response:
    """503 until a model is loaded; with ``for=writes`` also while feedback and events cannot be stored.

    A store that cannot be used degrades the service and does not stop its lists.
    """
    state = _state(request)
    up = state["model_loaded"] and (part == "lists" or state["writes"] == "ok")
    return json(state, 200 if up else 503)


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
    reasons = []
    if service.degraded is not None:
        reasons.append("The store cannot be read; lists go on without new events.")
    if parts.store.failing is not None:
        reasons.append("Events cannot be stored; feedback gets 503.")
    if parts.exposures.failing is not None:
        reasons.append("Exposures cannot be stored; they wait.")
    if service.control.behind is not None:
        reasons.append("The bundle that was activated cannot be loaded here; the earlier one answers.")
    out: dict[str, Any] = {
        "status": "degraded" if reasons else "ok",
        "model_loaded": True,
        "model_version": service.active.main.version,
        "lists": "ok" if service.degraded is None else "degraded",
        "writes": "ok" if parts.store.failing is None else "failing",
    }
    if (behind := service.control.behind) is not None:
        out["wanted"] = {"model_version": behind.wanted, "ab_test": behind.ab_test}
    if reasons:
        out["reason"] = " ".join(reasons)
    if parts.shared is not None:
        out["redis"] = "ok" if parts.shared.there else "out of reach"
    return out
