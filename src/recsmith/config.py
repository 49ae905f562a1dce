"""The base of every configuration: frozen, unknown keys forbidden, errors in the house sentence."""

from __future__ import annotations

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from recsmith.errors import ParameterError


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
        return ParameterError.unknown(f"parameter of {owner}", name, cls.model_fields)
    wanted = first["msg"].removeprefix("Input should be ").replace("Value error, ", "")
    wanted = wanted.replace("greater than or equal to", ">=").replace("less than or equal to", "<=")
    wanted = wanted.replace("greater than", ">").replace("less than", "<")
    return ParameterError.of(owner, name, wanted, first["input"])
