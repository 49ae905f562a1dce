"""Parameters of functions whose first argument is a log: their types, and one check for all of them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from functools import cache, wraps
from inspect import signature
from typing import Annotated, Any, ParamSpec, TypeVar, get_type_hints

from pydantic import AfterValidator, Field, create_model

from recsmith.config import Config

P = ParamSpec("P")
R = TypeVar("R")


def _amount(value: int | float) -> int | float:
    if value < 0 or (isinstance(value, float) and value >= 1):
        raise ValueError("a number of events (an integer >= 0) or a share >= 0 and < 1")
    return value


def unix_seconds(moment: int | str | date) -> int:
    """Unix seconds of a moment: an integer as it is; a date or ISO text (``1998-03-01``) is UTC by default.

    Raises
    ------
    ValueError
        Where text is neither an integer nor a date.
    """
    if isinstance(moment, str) and not moment.lstrip("-").isdigit():
        try:
            moment = datetime.fromisoformat(moment)
        except ValueError:
            raise ValueError("Unix seconds or an ISO date such as 1998-03-01") from None
    if isinstance(moment, date):
        full = moment if isinstance(moment, datetime) else datetime(moment.year, moment.month, moment.day)
        return int((full if full.tzinfo else full.replace(tzinfo=UTC)).timestamp())
    return int(moment)


Share = Annotated[float, Field(gt=0, lt=1)]
Seed = Annotated[int, Field(ge=0)]
Amount = Annotated[int | float, AfterValidator(_amount)]
Moment = Annotated[int | str | datetime | date, AfterValidator(unix_seconds)]


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """Check all arguments but the first against their annotations, with errors in the house sentence."""
    log = next(iter(signature(function).parameters))

    @wraps(function)
    def check(*args: P.args, **kwargs: P.kwargs) -> R:
        given = signature(function).bind(*args, **kwargs).arguments
        first = given.pop(log)
        config = parameters_of(check).make(function.__name__, **given)
        return function(first, **dict(config))

    return check


@cache
def parameters_of(function: Callable[..., Any]) -> type[Config]:
    """All arguments but the first as a Config, read off the signature."""
    hints = get_type_hints(function, include_extras=True)
    _, *parameters = signature(function).parameters.values()
    fields = {p.name: (hints[p.name], p.default) for p in parameters}
    return create_model(function.__name__, __base__=Config, **fields)  # type: ignore[call-overload, no-any-return]
