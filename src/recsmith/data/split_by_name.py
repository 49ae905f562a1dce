"""Ways of splitting by name, for the command line and experiments: ``user-time:0.3``, ``random:seed=3``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from inspect import Parameter, getdoc, signature
from typing import Any

from recsmith.data.dataset import Dataset
from recsmith.data.split import Split
from recsmith.data.split_parameters import parameters_of
from recsmith.data.splitters import (
    global_time,
    k_fold,
    leave_last_out,
    random_holdout,
    time_folds,
    unknown_items,
    unknown_users,
    user_time,
)
from recsmith.errors import ParameterError

SPLITTERS: Mapping[str, Callable[..., Split | Iterator[Split]]] = {
    "user-time": user_time,
    "global-time": global_time,
    "leave-last-out": leave_last_out,
    "random": random_holdout,
    "k-fold": k_fold,
    "time-folds": time_folds,
    "unknown-users": unknown_users,
    "unknown-items": unknown_items,
}


@dataclass(frozen=True, slots=True)
class Splitter:
    """A way of splitting with its parameters, checked when it is made.

    Parameters
    ----------
    name
        A key of ``SPLITTERS``.
    parameters
        Parameters of that function by name; what is left out has its default.

    Raises
    ------
    ParameterError
        An unknown name (the nearest one is offered) or a value out of range.
    """

    name: str
    parameters: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if self.name not in SPLITTERS:
            raise ParameterError.unknown("way of splitting", self.name, SPLITTERS)
        checked = parameters_of(SPLITTERS[self.name]).make(self.name, **self.parameters)
        object.__setattr__(self, "parameters", dict(checked))

    def split(self, data: Dataset) -> list[Split]:
        """Split ``data``: one split, or one for each fold.

        Raises
        ------
        DataError
            Where the log cannot be split so: no times, too few events.
        """
        made = SPLITTERS[self.name](data, **self.parameters)
        return [made] if isinstance(made, Split) else list(made)

    def describe(self) -> str:
        """Say what is done, with every parameter: ``user-time (share=0.2): Each user's last ...``."""
        values = ", ".join(f"{name}={value}" for name, value in self.parameters.items())
        summary = (getdoc(SPLITTERS[self.name]) or "").partition("\n")[0]
        return f"{self.name} ({values}): {summary}"

    def __str__(self) -> str:
        """The text that ``parse`` reads back; parameters at their default are left out."""
        default = parameters_of(SPLITTERS[self.name])()
        changed = {n: v for n, v in self.parameters.items() if v != getattr(default, n)}
        return ":".join([self.name, *(f"{name}={value}" for name, value in changed.items())])


def parse(text: str) -> Splitter:
    """Read ``name``, ``name:value`` or ``name:value:key=value``.

    Values without a key stand in the order of the function's parameters.

    Examples
    --------
    >>> print(parse("random:0.3:seed=3").describe())
    random (share=0.3, seed=3, keep_catalogue=False): Each event by itself is train with ...

    Raises
    ------
    ParameterError
        An unknown way or parameter (the nearest name is offered), a value out of range, or text that does not
        have this form.
    """
    name, *parts = (part.strip() for part in text.split(":"))
    name = name.lower().replace("_", "-")
    if name not in SPLITTERS:
        raise ParameterError.unknown("way of splitting", name, SPLITTERS)
    kinds = {n: p.kind for n, p in signature(SPLITTERS[name]).parameters.items() if n != "data"}
    in_order = iter([n for n, kind in kinds.items() if kind is Parameter.POSITIONAL_OR_KEYWORD])
    parameters: dict[str, str] = {}
    for part in parts:
        key, equals, value = part.partition("=")
        if not equals:
            key, value = next(in_order, ""), part
        key = key.strip().replace("-", "_")
        if not key or not value or key in parameters:
            raise ParameterError.of(
                "a split",
                "text",
                f"like {name}:{':'.join(f'{n}=...' for n in kinds)}, each parameter once",
                text,
            )
        parameters[key] = value.strip()
    return Splitter(name, parameters)


def validation(split: Split, splitter: Splitter) -> list[Split]:
    """Split the train part of ``split`` once more, to choose parameters on: no test event is in the result.

    The catalogue is that of ``split.train``, and what the outer split has to say stands first in the notes.
    """
    return splitter.split(split.train)
