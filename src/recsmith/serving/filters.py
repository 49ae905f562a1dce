"""Filters on item metadata: the ``filters`` of a request and the ``where`` of a rule.

::

    {"genres": "Drama"}                                a value; of a field with several, one of them
    {"year": {"gte": 1990, "lt": 2000}}                all conditions must hold
    {"genres": "Drama", "language": {"in": ["en", "fr"]}}
    {"any": [{"genres": "Drama"}, {"not": {"title": {"contains": "war"}}}]}

Operators: ``in, not_in, gt, gte, lt, lte, contains, exists``. ``gt`` and its like take a number or an ISO 8601 date.
``contains`` finds text within a value, in capitals or not. An item without the field meets no condition but
``not_in``, ``exists: false`` and what stands under ``not``.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from reprlib import repr as shortened
from typing import Any, Protocol, Self

import numpy as np

from recsmith.errors import ParameterError
from recsmith.serving.columns import Column
from recsmith.types import BoolArray, FloatArray

MAX_DEPTH = 8  #: of ``any``, ``all`` and ``not`` within one another
MAX_CONDITIONS = 64
MAX_VALUES = 1000  #: of ``in`` and ``not_in``
MAX_TEXT = 1000  #: characters of a value or a name
_LARGEST = 1e300

_NUMBER = {"type": "number", "minimum": -_LARGEST, "maximum": _LARGEST}
_SCALAR = {"anyOf": [_NUMBER, {"type": "boolean"}, {"type": "string", "maxLength": MAX_TEXT}]}
_VALUES = {"type": "array", "items": _SCALAR, "minItems": 1, "maxItems": MAX_VALUES}
_MOMENT = {"type": "string", "anyOf": [{"format": "date"}, {"format": "date-time"}]}
_BOUND = {"anyOf": [_NUMBER, _MOMENT]}
_PART = {"$ref": "#/components/schemas/Filter"}
_PARTS = {"type": "array", "items": _PART, "minItems": 1}
_CONDITIONS = {
    "type": "object",
    "minProperties": 1,
    "additionalProperties": False,
    "properties": {
        **dict.fromkeys(("in", "not_in"), _VALUES),
        **dict.fromkeys(("gt", "gte", "lt", "lte"), _BOUND),
        "contains": {"type": "string", "minLength": 1, "maxLength": MAX_TEXT},
        "exists": {"type": "boolean"},
    },
}
#: A filter as a component of an OpenAPI document; how deep and how long it is is checked besides.
SCHEMA = {
    "type": "object",
    "propertyNames": {"maxLength": MAX_TEXT},
    "properties": {
        "not": _PART,
        **dict.fromkeys(("any", "all"), _PARTS),
    },
    "additionalProperties": {"anyOf": [_SCALAR, _CONDITIONS]},
}

_Comparison = Callable[[FloatArray, float], BoolArray]
_COMPARISONS: Mapping[str, _Comparison] = {
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}
OPERATORS = ("in", "not_in", *_COMPARISONS, "contains", "exists")


class Table(Protocol):
    """Items with metadata."""

    def __len__(self) -> int: ...

    def column(self, field: str) -> Column:
        """The values of a field, a column without values where no item has it."""
        ...


_Node = Callable[[Table], BoolArray]


@dataclass(frozen=True, slots=True)
class Filter:
    """A checked filter. Two filters are equal where their canonical texts are."""

    text: str  #: canonical JSON
    fields: frozenset[str] = field(compare=False)  #: the fields that it looks at
    mask: Callable[[Table], BoolArray] = field(
        compare=False, repr=False
    )  #: (len(table),) the items that pass
    conditions: int = field(default=0, compare=False)  #: on fields, that each item is held against

    @classmethod
    def parse(cls, given: object, owner: str = "filters") -> Self:
        """Check a filter that came as JSON or YAML.

        Parameters
        ----------
        given
            The filter, as in the module's docstring. ``{}`` lets every item pass.
        owner
            What messages call it.

        Raises
        ------
        ParameterError
            An unknown operator, a value of the wrong kind, or more than the limits of this module allow.
        """
        parser = _Parser(owner)
        node = parser.node(given, ())
        text = json.dumps(given, sort_keys=True, separators=(",", ":"), default=_iso)
        return cls(text, frozenset(parser.fields), node, parser.conditions)


class _Parser:
    """Turns a filter into nested functions, and counts what it holds."""

    def __init__(self, owner: str) -> None:
        self.owner = owner
        self.fields: set[str] = set()
        self.conditions = 0

    def node(self, given: object, path: tuple[str, ...], depth: int = 0) -> _Node:
        """The function of a filter or of a part of it."""
        if depth > MAX_DEPTH:
            raise self.error(path, f"at most {MAX_DEPTH} levels of 'any', 'all' and 'not'", given)
        if not isinstance(given, Mapping):
            raise self.error(path, "an object such as {'genres': 'Drama'}", given)
        return _every([self.entry(key, value, path, depth) for key, value in given.items()])

    def entry(self, key: object, value: object, path: tuple[str, ...], depth: int) -> _Node:
        """One key with its value: a junction or a field."""
        if not isinstance(key, str) or len(key) > MAX_TEXT:
            raise self.error(path, f"an object whose names are text of at most {MAX_TEXT} characters", key)
        path = (*path, key)
        if key == "not":
            return _without(self.node(value, path, depth + 1))
        if key not in ("any", "all"):
            return self.on_field(key, value, path)
        if not isinstance(value, list | tuple) or not value:
            raise self.error(path, "a list of filters", value)
        nodes = [self.node(part, (*path, str(n)), depth + 1) for n, part in enumerate(value, 1)]
        return _every(nodes) if key == "all" else _some(nodes)

    def on_field(self, name: str, value: object, path: tuple[str, ...]) -> _Node:
        """The conditions on one field."""
        self.fields.add(name)
        if not isinstance(value, Mapping):
            return self.condition(name, "in", [value], path)
        if not value:
            raise self.error(path, f"a value, or an object with one of {', '.join(OPERATORS)}", value)
        return _every([self.condition(name, op, wanted, (*path, str(op))) for op, wanted in value.items()])

    def condition(self, name: str, op: object, wanted: object, path: tuple[str, ...]) -> _Node:
        """One operator on one field."""
        self.conditions += 1
        if self.conditions > MAX_CONDITIONS:
            raise self.error((), f"at most {MAX_CONDITIONS} conditions", self.conditions)
        if op in ("in", "not_in"):
            values = self.values(wanted, path)
            return _when(name, lambda column: column.equal(values) ^ (op == "not_in"))
        if op == "contains":
            text = self.text(wanted, path)
            return _when(name, lambda column: column.contains(text))
        if op == "exists":
            if not isinstance(wanted, bool):
                raise self.error(path, "true or false", wanted)
            return _when(name, lambda column: column.exists() ^ (not wanted))
        if isinstance(op, str) and (compare := _COMPARISONS.get(op)):
            return self.threshold(name, compare, wanted, path)
        raise ParameterError.unknown(f"operator in {self.owner}", shortened(op).strip("'"), OPERATORS)

    def threshold(self, name: str, compare: _Comparison, wanted: object, path: tuple[str, ...]) -> _Node:
        """A field's number or moment against a bound."""
        if _is_number(wanted):
            number = float(wanted)  # type: ignore[arg-type]
            return _when(name, lambda column: column.compare(compare, number))
        try:
            moment = _seconds(wanted)
        except (ValueError, TypeError):
            raise self.error(path, "a number or an ISO 8601 date", wanted) from None
        return _when(name, lambda column: compare(column.moments, moment))

    def values(self, wanted: object, path: tuple[str, ...]) -> list[str | float]:
        """What a field may be equal to, as ``Column.equal`` takes it."""
        if not isinstance(wanted, list | tuple) or not 1 <= len(wanted) <= MAX_VALUES:
            raise self.error(path, f"a list of 1 to {MAX_VALUES} values", wanted)
        return [self.scalar(value, path) for value in wanted]

    def scalar(self, value: object, path: tuple[str, ...]) -> str | float:
        """A value to be equal to."""
        if isinstance(value, bool):
            return str(value).lower()
        if _is_number(value):
            return float(value)  # type: ignore[arg-type]
        if isinstance(value, date):
            return _iso(value)
        if isinstance(value, str) and len(value) <= MAX_TEXT:
            return value
        many = f"a number, true, false or text of at most {MAX_TEXT} characters ('in' takes a list of these)"
        raise self.error(path, many, value)

    def text(self, value: object, path: tuple[str, ...]) -> str:
        """Text to be found within a value."""
        if not isinstance(value, str) or not 1 <= len(value) <= MAX_TEXT:
            raise self.error(path, f"text of 1 to {MAX_TEXT} characters", value)
        return value

    def error(self, path: tuple[str, ...], wanted: str, got: object) -> ParameterError:
        """The house sentence with the place in the filter; what came is cut short."""
        where = f"{shortened('.'.join(path))} part" if path else "top level"
        return ParameterError(f"The {where} of {self.owner} must be {wanted}. Got {shortened(got)} instead.")


def _every(nodes: list[_Node]) -> _Node:
    def mask(table: Table) -> BoolArray:
        out = np.ones(len(table), dtype=np.bool_)
        for node in nodes:
            out &= node(table)
        return out

    return nodes[0] if len(nodes) == 1 else mask


def _some(nodes: list[_Node]) -> _Node:
    def mask(table: Table) -> BoolArray:
        out = np.zeros(len(table), dtype=np.bool_)
        for node in nodes:
            out |= node(table)
        return out

    return mask


def _without(node: _Node) -> _Node:
    return lambda table: ~node(table)


def _when(name: str, test: Callable[[Column], BoolArray]) -> _Node:
    return lambda table: test(table.column(name))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _LARGEST


def _seconds(value: object) -> float:
    """Unix seconds of a date or of ISO 8601 text; UTC where it says no offset."""
    moment = datetime.fromisoformat(_iso(value) if isinstance(value, date) else value)  # type: ignore[arg-type]
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _iso(value: Any) -> str:
    """A date out of YAML as ISO text."""
    return str(value.isoformat())
