"""What managed clouds ask of a container: a route that says it is ready, and one that takes all requests for lists."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Request, Response
from pydantic import Field, TypeAdapter

from recsmith.serving.routes import health
from recsmith.serving.routes.common import caller, checked, raw, runtime, streamed
from recsmith.serving.schemas import RecommendRequest, Wire

READY = ("/ping",)  # SageMaker
SCORE = ("/invocations", "/score")  # SageMaker, Azure ML


class Instances(Wire):
    """Several requests in one body, as Vertex AI sends them."""

    instances: list[RecommendRequest] = Field(min_length=1, max_length=1000)
    parameters: Annotated[dict[str, Any], Field(max_length=0)] | None = None
    """A part of Vertex AI's body; what it could say stands in each instance."""


_ONE: TypeAdapter[RecommendRequest] = TypeAdapter(RecommendRequest)
_MANY: TypeAdapter[Instances] = TypeAdapter(Instances)


def router() -> APIRouter:
    """The routes of all clouds; Vertex AI names its own in ``AIP_HEALTH_ROUTE`` and ``AIP_PREDICT_ROUTE``."""
    routes = APIRouter(include_in_schema=False)
    for path in (*READY, *_told("AIP_HEALTH_ROUTE")):
        routes.add_api_route(path, health.ready, methods=["GET"])
    for path in (*SCORE, *_told("AIP_PREDICT_ROUTE")):
        routes.add_api_route(path, invoke, methods=["POST"])
    return routes


async def invoke(request: Request) -> Response:
    """The list for a ``RecommendRequest``; for ``instances`` all of them, with the problem in place of a failed one."""
    parts = runtime(request)
    if not _has_instances(await request.body()):
        return raw(await parts.recommend(await checked(request, _ONE), caller(request)))
    asked = (await checked(request, _MANY)).instances
    return streamed("predictions", parts.batch(asked, parts.prices(asked), caller(request)))


def _told(variable: str) -> list[str]:
    path = os.environ.get(variable)
    return [path] if path else []


def _has_instances(body: bytes) -> bool:
    with suppress(orjson.JSONDecodeError):
        given = orjson.loads(body)
        return isinstance(given, dict) and "instances" in given
    return False
