"""What the service knows of a user, and how it forgets him."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from recsmith.serving.routes.common import PROBLEMS, PathId, StrictRoute, in_thread, json, runtime
from recsmith.serving.service import Service

router = APIRouter(responses=PROBLEMS, route_class=StrictRoute)


@router.get("/users/{user_id}/history")
async def history(request: Request, user_id: PathId) -> Response:
    """What counts as the user's history now, oldest first, and the events that came after the training."""
    return json(await in_thread(_history, runtime(request).service, user_id))


@router.delete("/users/{user_id}")
async def erase(request: Request, user_id: PathId) -> Response:
    """Delete the user's events, exposures and quarantined events, and hide what the bundles hold of him, at once.

    The next training leaves him out. Events that come later begin a new history.
    """
    parts = runtime(request)
    deleted = await in_thread(parts.store.erase, user_id)
    return json({"status": "erased", "user_id": user_id, "deleted": deleted})


def _history(service: Service, user: str) -> dict[str, Any]:
    deployment = service.active.choose(user)[0]
    found, seen = service.history(user, deployment)
    ids = deployment.catalogue.raw(found.items)
    items = [
        {"item_id": raw, "metadata": deployment.metadata(item)}
        for raw, item in zip(ids, found.items.tolist(), strict=True)
    ]
    for name in ("values", "times"):
        column = getattr(found, name)
        if column is not None:
            for entry, value in zip(items, column.tolist(), strict=True):
                entry[{"values": "rating", "times": "timestamp"}[name]] = value
    events = [
        {
            "event_id": e.event_id,
            "item_id": e.item_id,
            "event_type": e.event_type,
            "value": e.value,
            "timestamp": e.timestamp,
        }
        for e in seen.events
    ]
    return {"user_id": user, "known_to_the_model": found.user >= 0, "history": items, "events": events}
