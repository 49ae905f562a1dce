"""Lists, similar items, and why an item is or is not in a list."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import orjson
from fastapi import APIRouter, Query, Request, Response
from pydantic import TypeAdapter

from recsmith.serving.explain import reasons, sentence
from recsmith.serving.routes.common import (
    PROBLEMS,
    PathId,
    StrictRoute,
    body_of,
    caller,
    checked,
    json,
    raw,
    runtime,
    streamed,
)
from recsmith.serving.schemas import Recommendations, RecommendBatch, RecommendRequest, Similar, WhyNot
from recsmith.serving.service import Service

router = APIRouter(responses=PROBLEMS, route_class=StrictRoute)
_TOLD = ("model", "fallback", "weighting", "data", "info")  # of a bundle's manifest
_ONE: TypeAdapter[RecommendRequest] = TypeAdapter(RecommendRequest)
_MANY: TypeAdapter[RecommendBatch] = TypeAdapter(RecommendBatch)
_WHY: TypeAdapter[WhyNot] = TypeAdapter(WhyNot)


@router.post("/recommend", response_model=Recommendations, openapi_extra=body_of(RecommendRequest))
async def recommend(request: Request) -> Response:
    """A list for a user, or for the items of an anonymous session. Nobody gets an empty one while items are left."""
    return raw(await runtime(request).recommend(await checked(request, _ONE), caller(request)))


@router.post("/recommend/batch", openapi_extra=body_of(RecommendBatch))
async def recommend_batch(request: Request) -> Response:
    """Lists for several requests; where one is at fault its place holds the problem. It is sent while it is made."""
    parts, asked = runtime(request), (await checked(request, _MANY)).requests
    return streamed("answers", parts.batch(asked, parts.prices(asked), caller(request)))


@router.get("/users/{user_id}/recommendations", response_model=Recommendations)
async def recommendations(
    request: Request,
    user_id: PathId,
    num_recommendations: Annotated[int, Query(ge=1, le=1000)] = 10,
    explain: bool = False,
) -> Response:
    """The list that ``POST /recommend`` would give without exploration. It changes nothing that others depend on."""
    asked = RecommendRequest(
        user_id=user_id, num_recommendations=num_recommendations, explain=explain, explore=False
    )
    return raw(await runtime(request).recommend(asked, caller(request)))


@router.get("/similar/{item_id}", response_model=Similar)
async def similar(
    request: Request, item_id: PathId, num_similar: Annotated[int, Query(ge=1, le=1000)] = 10
) -> Response:
    """Items that are like one, by the active model; what rules hide from everybody is not among them."""
    found = await runtime(request).aside(caller(request), num_similar, _similar, item_id, num_similar)
    return json(found)


@router.get("/model")
async def model(request: Request) -> Response:
    """What the active bundle says of itself: model and parameters, log, figures."""
    deployment = runtime(request).service.active.main
    told = deployment.bundle.manifest()
    return json({"model_version": deployment.version, **{name: told[name] for name in _TOLD}})


@router.post("/explain", openapi_extra=body_of(WhyNot))
async def why_not(request: Request) -> Response:
    """Why an item is in a user's list, or why it is not: seen, hidden by a rule, or behind others by how much."""
    asked = await checked(request, _WHY)
    return json(await runtime(request).aside(caller(request), asked.num_recommendations, _why, asked))


def _similar(service: Service, item_id: str, k: int) -> dict[str, Any]:
    service.refresh()
    deployment, rules = service.active.main, service.rules
    index = deployment.require_item(item_id)
    entries = []
    if index < deployment.catalogue.n_known:
        hidden = rules.hidden(deployment.catalogue, {})
        exclude = None if hidden is None else np.flatnonzero(hidden)
        best = deployment.bundle.alike(np.array([index], dtype=np.int32), k, exclude=exclude)
        items, values = best.items[0][best.items[0] >= 0].tolist(), best.scores[0].tolist()
        entries = [
            {"item_id": raw_id, "similarity": value, "metadata": metadata}
            for (raw_id, metadata), value in zip(deployment.shown(items), values, strict=False)
        ]
    return {"item_id": item_id, "similar_items": entries, "model_version": deployment.version}


def _why(service: Service, asked: WhyNot) -> dict[str, Any]:
    """The place of an item in the order of all, and what stands in its way."""
    request = RecommendRequest(
        user_id=asked.user_id,
        num_recommendations=asked.num_recommendations,
        context=asked.context,
        explain=True,
    )
    lister, one = service.asked(request)
    deployment = lister.deployment
    item = deployment.require_item(asked.item_id)
    (answer,) = lister.answers([one])
    shown = orjson.loads(answer.shown)
    listed = [entry["item_id"] for entry in shown]
    out: dict[str, Any] = {
        "user_id": asked.user_id,
        "item_id": asked.item_id,
        "model_version": deployment.version,
    }
    why = reasons(deployment, one.history, [item])[0]
    out["reasons"] = why
    raw_id = deployment.ids([item])[0]
    if raw_id in listed:
        rank = listed.index(raw_id) + 1
        source = shown[rank - 1]["source"]
        return out | {"listed": True, "rank": rank, "why": sentence(why, source)}
    obstacles = lister.obstacles(one, item)
    out |= {"listed": False, "obstacles": obstacles}
    if item < deployment.bundle.data.n_items:
        standing = lister.standing(one, item)
        last = shown[-1]["score"] if shown else None
        out |= {"standing": standing, "score_of_last": last}
        if not obstacles:
            place = standing["rank"]
            text = (
                "the model has no evidence for it"
                if place is None
                else f"it is number {place} in the order of scores"
            )
            out["why"] = f"Not in the first {asked.num_recommendations}: {text}."
    out.setdefault("why", " ".join(obstacles) or "The model does not know this item; a rule can place it.")
    return out
