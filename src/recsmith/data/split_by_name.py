"""Ways of splitting by name, for the command line and experiments: ``user-time:0.3``, ``random:seed=3``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from inspect import Parameter, getdoc, signature
from typing import Any

from recsmith.data.dataset import Dataset
from recsmith.data.parameters import parameters_of
from recsmith.data.split import Split
from recsmith.data.splitters import SPLITTERS
from recsmith.errors import ParameterError


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
    _, *known = signature(SPLITTERS[name]).parameters.values()
    in_order = iter([p.name for p in known if p.kind is Parameter.POSITIONAL_OR_KEYWORD])
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
                f"like {name}:{':'.join(f'{p.name}=...' for p in known)}, each parameter once",
                text,
            )
        parameters[key] = value.strip()
    return Splitter(name, parameters)
