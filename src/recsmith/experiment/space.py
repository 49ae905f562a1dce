"""The space that a tuner searches: the ``Search`` marks of a model's parameters and of ``Weighting``, or given bounds.

Optuna is not needed here: ``study.py`` asks it for points of these dimensions.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from recsmith.config import Search
from recsmith.data.dataset import Dataset
from recsmith.data.order import pair_totals
from recsmith.data.weighting import Weighting
from recsmith.errors import ParameterError
from recsmith.evaluation.report import smaller_is_better
from recsmith.experiment.train import make_pipeline
from recsmith.models.registry import model_class
from recsmith.protocols import Evidence

#: Parameters of ``Weighting`` that change only the question: a fitted model serves all values of them.
WHEN_ASKED = frozenset({"half_life", "half_life_unit"})

_NONE_SHARE = 1 / 8  # of the range, above its upper end: that is None
_REPEATED = 0.01  # of the events at least, for repeats to be worth a choice
_DIGITS = 3  # significant digits of a value: enough for any model, and a config file stays readable


@dataclass(frozen=True, slots=True, kw_only=True)
class Dimension:
    """The values of one parameter."""

    kind: Literal["float", "int", "choice"]
    low: float = 0.0
    high: float = 1.0
    log: bool = False
    optional: bool = False  #: above ``high`` lies None
    choices: tuple[Any, ...] = ()

    @property
    def top(self) -> float:
        """Upper end of what is drawn, the room for None included."""
        if not self.optional:
            return self.high
        if self.log:
            return float(self.high * (self.high / self.low) ** _NONE_SHARE)
        return self.high + (self.high - self.low) * _NONE_SHARE

    def value(self, drawn: Any) -> Any:
        """The parameter's value at a drawn point."""
        if self.kind == "choice":
            return drawn
        if self.optional and drawn > self.high:
            return None
        if self.kind == "int":
            return int(drawn)
        return min(max(float(f"{drawn:.{_DIGITS}g}"), self.low), self.high)

    def drawn(self, value: Any) -> Any:
        """The point of a value, or the nearest one where the value lies outside."""
        if self.kind == "choice":
            return value if value in self.choices else self.choices[0]
        if value is None:
            return self.top if self.kind == "float" else int(self.top)
        inside = min(max(value, self.low), self.high)
        return int(inside) if self.kind == "int" else float(inside)

    def __str__(self) -> str:
        """As ``--space`` reads it."""
        if self.kind == "choice":
            return "|".join("none" if choice is None else str(choice) for choice in self.choices)
        return f"{self.low:g}..{self.high:g}{',log' if self.log else ''}{' or none' if self.optional else ''}"


Space: TypeAlias = Mapping[str, Dimension]
"""Parameter -> where it is searched."""


def space_of(model: str, data: Dataset, metric: str = "ndcg@10") -> dict[str, Dimension]:
    """What is worth searching for a registered model on a log like ``data``, judged by ``metric``.

    Marks of the model's config come first, then those of ``Weighting`` where the model reads the history and lists
    are judged: ratings know no weighting.

    Raises
    ------
    ParameterError
        An unknown model.
    """
    ratings = smaller_is_better(metric)
    cls = model_class(model)
    fields = dict(cls.config_class.model_fields)
    if cls.needs & Evidence.HISTORY and not ratings:
        fields = _fields(model)
    found = {}
    for name, field in fields.items():
        for mark in field.metadata:
            if isinstance(mark, Search) and _applies(mark, data, ratings):
                found[name] = _dimension(name, field, mark)
                break
    return found


def changed(space: Space, model: str, wanted: Mapping[str, str]) -> dict[str, Dimension]:
    """``space`` with other bounds: ``{"reg": "1..1000,log", "similarity": "cosine|jaccard"}``.

    Raises
    ------
    ParameterError
        An unknown parameter (the nearest one is offered), text of another form, or a bound that the model refuses.
    """
    own = _fields(model)
    result = dict(space)
    for name, text in wanted.items():
        if name not in own:
            raise ParameterError.unknown(f"parameter of {model}", name, own)
        dimension = _dimension(name, own[name], _read(name, text))
        for end in dimension.choices or (dimension.low, dimension.high):
            make_pipeline(model, **{name: dimension.value(end)})
        result[name] = dimension
    return result


def defaults(model: str, names: Space) -> dict[str, Any]:
    """The value of each named parameter that a model has when nothing is said."""
    fields = _fields(model)
    return {name: fields[name].get_default(call_default_factory=True) for name in names}


def fit_key(model: str, parameters: Mapping[str, Any]) -> str:
    """Equal for parameters that one fit serves: those that differ only in what is said when asking."""
    apart = WHEN_ASKED - set(model_class(model).config_class.model_fields)
    return repr(sorted((name, value) for name, value in parameters.items() if name not in apart))


def _fields(model: str) -> dict[str, FieldInfo]:
    """Parameters of a model and of how its histories are weighed; of one name it is the model's."""
    cls = model_class(model)
    shared = {} if cls.weighs_history else dict(Weighting.model_fields)
    return shared | dict(cls.config_class.model_fields)


def _applies(mark: Search, data: Dataset, ratings: bool) -> bool:
    if mark.use is not None and (mark.use == "ratings") != ratings:
        return False
    if mark.needs == "times":
        return data.time is not None
    if mark.needs == "ratings":
        return data.value is not None
    if mark.needs == "weights":
        return data.weight is not None or _repeats(data) > _REPEATED
    return True


def _repeats(data: Dataset) -> float:
    """Share of the events whose pair was there before."""
    return float(1 - (1 / pair_totals(data.offsets, data.item, None, data.n_items)).mean())


def _dimension(name: str, field: FieldInfo, mark: Search) -> Dimension:
    """The dimension of a field's mark; its type is that of the annotation."""
    kinds = set(_kinds(field.annotation))
    if mark.choices:
        return Dimension(kind="choice", choices=tuple(mark.choices))
    if mark.low is None or mark.high is None:
        values = tuple(_literals(field.annotation)) or ((False, True) if bool in kinds else ())
        if not values:
            raise ParameterError.of("the space", name, "bounds or choices", mark)
        return Dimension(kind="choice", choices=values)
    if not (mark.low < mark.high) or (mark.log and mark.low <= 0):
        wanted = "low..high with low < high, and low > 0 for log"
        raise ParameterError.of("the space", name, wanted, f"{mark.low:g}..{mark.high:g}")
    if not kinds & {int, float}:
        raise ParameterError.of("the space", name, "choices like a|b: it is no number", "bounds")
    kind: Literal["int", "float"] = "float" if float in kinds else "int"
    return Dimension(kind=kind, low=mark.low, high=mark.high, log=mark.log, optional=type(None) in kinds)


def _kinds(annotation: Any) -> list[Any]:
    """``float | None`` as [float, NoneType]."""
    return list(get_args(annotation)) if get_origin(annotation) in (Union, types.UnionType) else [annotation]


def _literals(annotation: Any) -> list[Any]:
    return [
        value
        for kind in _kinds(annotation)
        for value in (get_args(kind) if get_origin(kind) is Literal else [None] if kind is type(None) else [])
    ]


def _read(name: str, text: str) -> Search:
    """``1..1000,log`` or ``cosine|jaccard``."""
    wrong = ParameterError.of("the space", name, "low..high, low..high,log or a|b|c", text)
    bounds, comma, scale = str(text).partition(",")
    low, dots, high = bounds.partition("..")
    if comma and (not dots or scale.strip() != "log"):
        raise wrong
    if not dots:
        return Search(choices=tuple(_plain(part.strip()) for part in bounds.split("|")))
    try:
        return Search(float(low), float(high), log=bool(comma))
    except ValueError:
        raise wrong from None


def _plain(text: str) -> Any:
    """A choice as a number, None, a bool, or text."""
    words = {"none": None, "null": None, "true": True, "false": False}
    if text.lower() in words:
        return words[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
