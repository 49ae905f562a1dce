"""JSON that clients send to be kept: only what every database, list and JSON library can hold again."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

import orjson
from pydantic import AfterValidator, WithJsonSchema

MAX_DEPTH = 16  #: of lists and objects within one another
MAX_BYTES = 1 << 16  #: of the metadata of an item, as JSON
_MOST = 2**63 - 1
_TEXT = {"type": "string", "pattern": "^[^\\u0000]*$"}
_ANY = {"$ref": "#/components/schemas/JsonValue"}
_OBJECT = {"type": "object", "propertyNames": {"pattern": _TEXT["pattern"]}, "additionalProperties": _ANY}
#: What a value may be, as a component of the OpenAPI document; its depth and length are checked besides.
SCHEMA = {
    "anyOf": [
        {"type": "null"}, {"type": "boolean"}, {"type": "number", "minimum": -_MOST - 1, "maximum": _MOST}, _TEXT,
        {"type": "array", "items": _ANY}, _OBJECT,
    ]
}  # fmt: skip


def check_json(value: Any, depth: int = 0) -> None:
    """Look through a value that was parsed from JSON.

    Raises
    ------
    ValueError
        A number beyond 64 bits or not finite, text with a NUL character or half of a surrogate pair, or more than
        ``MAX_DEPTH`` lists and objects within one another.
    """
    if isinstance(value, str):
        if "\0" in value or (not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value)):
            raise ValueError("text without NUL characters and halves of surrogate pairs expected")
    elif isinstance(value, int | float):
        if not -_MOST - 1 <= value <= _MOST:  # nor is NaN
            raise ValueError("numbers within 64 bits expected")
    elif isinstance(value, list | dict):
        if depth == MAX_DEPTH:
            raise ValueError(f"at most {MAX_DEPTH} lists and objects within one another expected")
        for part in value if isinstance(value, list) else [*value, *value.values()]:
            check_json(part, depth + 1)


def _metadata(value: dict[str, Any]) -> dict[str, Any]:
    check_json(value)
    if len(orjson.dumps(value)) > MAX_BYTES:
        raise ValueError(f"at most {MAX_BYTES} bytes of metadata expected")
    return value


Metadata: TypeAlias = Annotated[dict[str, Any], AfterValidator(_metadata), WithJsonSchema(_OBJECT)]
