"""The catalogue: items to add, change, take out of the lists, or look up."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import TypeAdapter

from recsmith.serving.events import Item
from recsmith.serving.routes.common import PROBLEMS, PathId, body_of, checked, in_thread, json, runtime
from recsmith.serving.schemas import ItemBatch
from recsmith.serving.service import Service

router = APIRouter(responses=PROBLEMS)
_BATCH: TypeAdapter[ItemBatch] = TypeAdapter(ItemBatch)
_MOST_FOUND = 50


@router.post("/items", openapi_extra=body_of(ItemBatch))
async def upsert(request: Request) -> Response:
    """Add items, or replace what is known of them; rules and filters see them from the next answer on."""
    parts = runtime(request)
    batch = await checked(request, _BATCH)
    items = [Item(i.item_id, i.metadata, i.available) for i in batch.items]
    await in_thread(parts.store.upsert_items, items)
    return json({"status": "stored", "items": len(items)})


@router.get("/items")
async def search(
    request: Request,
    text: Annotated[str, Query(max_length=100)] = "",
    limit: Annotated[int, Query(ge=1, le=_MOST_FOUND)] = 20,
) -> Response:
    """Items whose title holds a text, the most often taken first."""
    return json(await in_thread(_search, runtime(request).service, text, limit))


@router.get("/items/{item_id}")
async def item(request: Request, item_id: PathId) -> Response:
    """What is known of an item."""
    service = runtime(request).service
    await in_thread(service.refresh)
    deployment = service.active.main
    index = deployment.require_item(item_id)
    found: dict[str, Any] = {
        "item_id": deployment.ids([index])[0],
        "metadata": deployment.metadata(index),
        "available": bool(deployment.catalogue.available[index]),
        "known_to_the_model": index < deployment.catalogue.n_known,
    }
    return json(found)


def _search(service: Service, text: str, limit: int) -> dict[str, Any]:
    deployment = service.active.main
    found = deployment.search(text, limit)
    ids = deployment.ids(found)
    return {
        "items": [
            {"item_id": raw, "metadata": deployment.metadata(index)}
            for raw, index in zip(ids, found, strict=True)
        ]
    }
