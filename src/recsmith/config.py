"""The base of every configuration: frozen, unknown keys forbidden, errors in the house sentence.

A parameter that is worth tuning carries a ``Search`` in its annotation::

    reg: Annotated[float, Search(10, 10_000, log=True)] = Field(default=300.0, gt=0)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from recsmith.errors import ParameterError


@dataclass(frozen=True, slots=True)
class Search:
    """Where ``recsmith tune`` looks for a parameter: bounds, or choices.

    Without either, the field must be a ``Literal`` or a bool, and all its values are tried. Of a field that may be
    None, the upper end of the range stands for None, which must then mean the same as a very large number. A field
    may carry two marks of different ``use``.
    """

    low: float | None = None  #: smallest value tried
    high: float | None = None  #: largest value tried
    log: bool = False  #: steps are factors: for what must be > 0 and may differ by orders of magnitude
    choices: tuple[Any, ...] = ()  #: the values tried, instead of bounds
    use: Literal["lists", "ratings"] | None = None  #: what alone the parameter matters for; None: both
    needs: Literal["times", "ratings", "weights"] | None = None  #: what the log must have; weights or repeats


class Config(BaseModel):
    """A frozen set of parameters. ``Literal`` for choices, ``Field`` for ranges."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def make(cls, owner: str, config: Self | None = None, **overrides: Any) -> Self:
        """``config`` with ``overrides``, checked; ``owner`` names the user of the parameters in messages.

        Raises
        ------
        ParameterError
            An unknown name (the nearest one is offered) or a value out of range.
        """
        values = {} if config is None else config.model_dump()
        try:
            return cls.model_validate(values | overrides)
        except ValidationError as error:
            raise _house_error(owner, cls, error) from None


def _house_error(owner: str, cls: type[BaseModel], error: ValidationError) -> ParameterError:
    first = error.errors(include_url=False)[0]
    name = ".".join(str(part) for part in first["loc"]) or "config"
    if first["type"] == "extra_forbidden":
        *path, key = first["loc"]
        section = f"parameter of {owner}" if not path else f"key in {'.'.join(map(str, path))!r} of {owner}"
        return ParameterError.unknown(section, str(key), _section(cls, path).model_fields)
    wanted = first["msg"].removeprefix("Input should be ").replace("Value error, ", "")
    wanted = wanted.replace("greater than or equal to", ">=").replace("less than or equal to", "<=")
    wanted = wanted.replace("greater than", ">").replace("less than", "<")
    return ParameterError.of(owner, name, wanted, first["input"])


def _section(cls: type[BaseModel], path: Sequence[int | str]) -> type[BaseModel]:
    """The class of the section at ``path``: ``("tracking", "mlflow")``."""
    for name in path:
        hint = cls.model_fields[str(name)].annotation
        cls = next(
            part for part in (hint, *get_args(hint)) if isinstance(part, type) and issubclass(part, BaseModel)
        )
    return cls
