"""The OpenAPI document: what FastAPI knows of the routes, and the bodies that they check themselves."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from recsmith.serving import filters, json_values, schemas
from recsmith.serving.access import needed
from recsmith.serving.routes.common import BODIES
from recsmith.serving.settings import Settings

_REFERENCE = "#/components/schemas/{model}"


def document(app: FastAPI, settings: Settings) -> dict[str, Any]:
    """The document of a service with these settings, made once.

    It says all that a schema can say: a request that it allows and that is refused meets what the service holds now,
    and gets 404 or 409; one that it does not allow gets 422.
    """
    if app.openapi_schema is None:
        found = FastAPI.openapi(app)
        components = found.setdefault("components", {})
        components["schemas"] = _schemas(components.get("schemas", {}), settings)
        components["securitySchemes"] = {"key": {"type": "apiKey", "in": "header", "name": "X-API-Key"}}
        for path, methods in found["paths"].items():
            for method, about in methods.items():
                if settings.auth == "keys" and needed(method.upper(), path) is not None:
                    about["security"] = [{"key": []}]
                for parameter in about.get("parameters", ()):
                    if parameter["name"] == "num_recommendations":
                        parameter["schema"]["maximum"] = settings.list_length
        app.openapi_schema = found
    return app.openapi_schema


def _schemas(known: dict[str, Any], settings: Settings) -> dict[str, Any]:
    """The components: those of FastAPI, of the bodies, and what they refer to."""
    models: list[type[BaseModel]] = [*BODIES, schemas.EventIn, schemas.Problem]
    _, made = models_json_schema([(model, "validation") for model in models], ref_template=_REFERENCE)
    found: dict[str, Any] = (
        made["$defs"] | known | {"JsonValue": json_values.SCHEMA, "Filter": filters.SCHEMA}
    )
    for name in ("HTTPValidationError", "ValidationError"):
        found.pop(name, None)
    request = found["RecommendRequest"]["properties"]
    request["filters"] = {
        "anyOf": [{"$ref": _REFERENCE.format(model="Filter")}, {"type": "null"}],
        "default": None,
    }
    for name in ("RecommendRequest", "WhyNot"):
        found[name]["properties"]["num_recommendations"]["maximum"] = settings.list_length
    words = [name for name in settings.signals if name != "rating"]
    found["Feedback"]["properties"]["feedback"]["anyOf"][-1] = {"type": "string", "enum": words}
    variants = found["Experiment"]["properties"]["variants"]  # Pydantic lets other names pass
    variants["propertyNames"]["pattern"] = next(iter(variants["patternProperties"]))
    return found
