"""The catalogue: items to add, change, take out of the lists, or look up."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import TypeAdapter

from recsmith.serving.events import Item, ItemChange
from recsmith.serving.routes.common import (
    PROBLEMS,
    PathId,
    StrictRoute,
    body_of,
    caller,
    checked,
    in_thread,
    json,
    runtime,
)
from recsmith.serving.schemas import ItemBatch, ItemPatch, ItemPut
from recsmith.serving.service import Service

router = APIRouter(responses=PROBLEMS, route_class=StrictRoute)
_BATCH: TypeAdapter[ItemBatch] = TypeAdapter(ItemBatch)
_PATCH: TypeAdapter[ItemPatch] = TypeAdapter(ItemPatch)
_PUT: TypeAdapter[ItemPut] = TypeAdapter(ItemPut)
_MOST_FOUND = 50


@router.post("/items", openapi_extra=body_of(ItemBatch))
async def merge(request: Request) -> Response:
    """Add items, or change what is given of them; rules and filters see it from the next answer on."""
    batch = await checked(request, _BATCH)
    changes = [ItemChange(i.item_id, i.metadata, i.available) for i in batch.items]
    await in_thread(runtime(request).store.merge_items, changes)
    return json({"status": "stored", "items": len(changes)})


@router.get("/items")
async def search(
    request: Request,
    text: Annotated[str, Query(max_length=100)] = "",
    limit: Annotated[int, Query(ge=1, le=_MOST_FOUND)] = 20,
) -> Response:
    """Items whose title holds a text, the most often taken first."""
    return json(await runtime(request).aside(caller(request), limit, _search, text, limit))


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


@router.put("/items/{item_id}", openapi_extra=body_of(ItemPut))
async def replace(request: Request, item_id: PathId) -> Response:
    """Add an item, or replace all that is known of it, also what the bundle knows."""
    given = await checked(request, _PUT)
    item = Item(item_id, given.metadata, given.available, "replaced")
    await in_thread(runtime(request).store.upsert_items, [item])
    return json({"status": "stored", "item_id": item_id})


@router.patch("/items/{item_id}", openapi_extra=body_of(ItemPatch))
async def change(request: Request, item_id: PathId) -> Response:
    """Change what is given of an item that the catalogue holds."""
    parts = runtime(request)
    given = await checked(request, _PATCH)
    await in_thread(_require, parts.service, item_id)
    changes = [ItemChange(item_id, given.metadata, given.available)]
    await in_thread(parts.store.merge_items, changes, create=False)
    return json({"status": "stored", "item_id": item_id})


@router.delete("/items/{item_id}")
async def delete(request: Request, item_id: PathId) -> Response:
    """Take an item out of the catalogue: it is in no list any more, whatever the rules, and not found.

    What was written of it is gone. A model that knows it keeps what it learned from it, and a later POST or PUT brings
    it back.
    """
    parts = runtime(request)
    await in_thread(_require, parts.service, item_id)
    await in_thread(parts.store.upsert_items, [Item(item_id, {}, False, "deleted")])
    return json({"status": "deleted", "item_id": item_id})


def _require(service: Service, item_id: str) -> None:
    """Raise ``UnknownIdError`` where the catalogue does not hold an item now."""
    service.refresh()
    service.active.main.require_item(item_id)


def _search(service: Service, text: str, limit: int) -> dict[str, Any]:
    service.refresh()
    deployment = service.active.main
    found = deployment.search(text, limit)
    ids = deployment.ids(found)
    return {
        "items": [
            {"item_id": raw, "metadata": deployment.metadata(index)}
            for raw, index in zip(ids, found, strict=True)
        ]
    }
