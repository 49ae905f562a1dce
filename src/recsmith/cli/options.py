"""Options that several verbs share, and how their text is read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from functools import wraps
from inspect import Parameter, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from recsmith.errors import ParameterError
from recsmith.models.registry import MODELS

if TYPE_CHECKING:
    from recsmith.data.dataset import Dataset
    from recsmith.data.schema import Log
    from recsmith.types import Shape

_LOG = "The log"

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No notes, no progress.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Only say how long it will take and how much memory.")
]
Index = Annotated[
    bool,
    typer.Option(
        "--index", help="Approximate lists from an index of the items, where that is faster (extra 'ann')."
    ),
]
Seed = Annotated[int, typer.Option(help="Seed; the same seed gives the same digits.")]
Model = Annotated[
    str, typer.Argument(help=f"One of: {', '.join(MODELS)}.", metavar="MODEL", show_default=False)
]
ModelOrConfig = Annotated[
    str | None,
    typer.Argument(
        help=f"One of: {', '.join(MODELS)}; or say --config.", metavar="[MODEL]", show_default=False
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", "-s", metavar="KEY=VALUE", help="A parameter of the model or of the history weighting."
    ),
]
Data = Annotated[
    str,
    typer.Option("--data", "-d", help="Data set, file or folder.", metavar="NAME|PATH", show_default=False),
]
Columns = Annotated[
    list[str] | None,
    typer.Option(
        "--column",
        metavar="NAME=HEADER",
        help="user_id=buyer: where a column is called otherwise.",
        rich_help_panel=_LOG,
    ),
]
Names = Annotated[
    str | None,
    typer.Option(
        metavar="A,B,...",
        help="All columns in order, for a text file without a header.",
        rich_help_panel=_LOG,
    ),
]
Unit = Annotated[
    str | None, typer.Option(help="Unit of numeric timestamps: s, ms, us or ns.", rich_help_panel=_LOG)
]
Users = Annotated[
    str | None, typer.Option(metavar="PATH", help="Table of user features.", rich_help_panel=_LOG)
]
Items = Annotated[
    str | None, typer.Option(metavar="PATH", help="Table of item features: titles ...", rich_help_panel=_LOG)
]
Scale = Annotated[
    str | None,
    typer.Option(metavar="LOW,HIGH", help="Lowest and highest possible rating.", rich_help_panel=_LOG),
]
MinRating = Annotated[float | None, typer.Option(help="Keep ratings of at least this.", rich_help_panel=_LOG)]
KCore = Annotated[
    int | None, typer.Option(help="Keep users and items with at least so many events.", rich_help_panel=_LOG)
]
SourcePath = Annotated[
    str | None,
    typer.Option(
        "--path", metavar="PATH", help="Official zip or folder of a named data set.", rich_help_panel=_LOG
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where a log comes from and how it is read: the options of every verb that reads one, see ``reads_log``."""

    data: Data
    column: Columns = None
    names: Names = None
    timestamp_unit: Unit = None
    users: Users = None
    items: Items = None
    scale: Scale = None
    path: SourcePath = None
    min_rating: MinRating = None
    k_core: KCore = None

    def options(self) -> dict[str, Any]:
        """Options of ``load_log``, only those that were given.

        Raises
        ------
        ParameterError
            Text that is not of the form wanted.
        """
        if self.column and self.names:
            raise ParameterError(
                "--column and --names exclude one another: --names gives the names of all columns."
            )
        given: dict[str, Any] = {
            "columns": pairs("--column", self.column) if self.column else None,
            "timestamp_unit": self.timestamp_unit,
            "users": self.users,
            "items": self.items,
            "rating_scale": None if self.scale is None else _bounds(self.scale),
            "path": self.path,
        }
        if self.names:
            given["columns"] = listed(self.names)
        return {name: value for name, value in given.items() if value is not None}

    def log(self) -> Log:
        """Read the log, before ids become indices."""
        from recsmith.data.sources import load_log

        return load_log(self.data, **self.options())

    def load(self) -> Dataset:
        """Read, index and filter the log."""
        from recsmith.data.load import load

        return load(self.data, min_rating=self.min_rating, k_core=self.k_core, **self.options())

    def shape(self) -> Shape:
        """The size of the log, reading as little of it as possible; all of it where a filter was asked for."""
        from recsmith.cli.sizes import shape_of

        if self.min_rating is not None or self.k_core is not None:
            return self.load().shape
        return shape_of(self.data, self.options())


def reads_log(
    data: Any = Data, *, required: bool = True, filters: bool = True
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a verb the fields of ``Source`` as options; they reach it as its one parameter ``source``.

    Parameters
    ----------
    data
        How the log is named: an ``Annotated`` argument or option.
    required
        Whether it must be; if not, ``source.data`` may be empty.
    filters
        Whether the verb also takes the filters ``--min-rating`` and ``--k-core``.
    """
    hints = get_type_hints(Source, include_extras=True) | {"data": data}
    defaults = {
        f.name: f.default for f in fields(Source) if filters or f.name not in ("min_rating", "k_core")
    }
    defaults["data"] = Parameter.empty if required else ""
    options = [
        Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=hints[name])
        for name, default in defaults.items()
    ]

    def decorate(verb: Callable[..., None]) -> Callable[..., None]:
        own = signature(verb, eval_str=True)
        parameters = []
        for parameter in own.parameters.values():
            own_one = [parameter.replace(kind=Parameter.KEYWORD_ONLY)]
            parameters += options if parameter.name == "source" else own_one

        @wraps(verb)
        def run(**given: Any) -> None:
            verb(source=Source(**{name: given.pop(name) for name in defaults}), **given)

        run.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in parameters}
        return run

    return decorate


def pairs(option: str, texts: Sequence[str]) -> dict[str, str]:
    """``NAME=VALUE`` texts as a mapping, each name once.

    Raises
    ------
    ParameterError
        A text of another form, or a name that is there twice.
    """
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.strip() or name.strip() in found:
            raise ParameterError(f"{option} wants NAME=VALUE, each name once. Got {text!r}.")
        found[name.strip()] = value.strip()
    return found


def parameters(texts: Sequence[str] | None, option: str = "--set") -> dict[str, Any]:
    """``KEY=VALUE`` texts with the values read as YAML: numbers, true, null, text."""
    return {name: scalar(option, value) for name, value in pairs(option, texts or ()).items()}


def scalar(option: str, text: str) -> Any:
    """A value as YAML has it; also ``1e-3``, which YAML 1.1 takes for text.

    Raises
    ------
    ParameterError
        Text that YAML cannot read.
    """
    import yaml

    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise ParameterError(
            f"{option}: {text!r} cannot be read as a value. Quote it, or write a number."
        ) from None
    if isinstance(value, str) and value == text:
        try:
            return float(value)
        except ValueError:
            return value
    return value


def listed(text: str) -> list[str]:
    """The parts of ``a,b,c``."""
    return [part.strip() for part in text.split(",") if part.strip()]


def cut_offs(text: str) -> tuple[int, ...]:
    """``5,10,20`` as integers >= 1.

    Raises
    ------
    ParameterError
        Anything else.
    """
    parts = listed(text)
    if not parts or not all(part.isdecimal() and int(part) >= 1 for part in parts):
        raise ParameterError(f"The 'k' option must be integers >= 1, like 5,10,20. Got {text!r} instead.")
    return tuple(int(part) for part in parts)


def ids_of(text: str | None) -> list[str] | None:
    """Item ids: ``a,b,c``, or the lines of a file of that name.

    Raises
    ------
    ParameterError
        No id at all.
    """
    if text is None:
        return None
    path = Path(text)
    found = (
        [line.strip() for line in path.read_text("utf-8").splitlines() if line.strip()]
        if path.is_file()
        else listed(text)
    )
    if not found:
        raise ParameterError(
            f"No id in {text!r}. Wanted ids separated by commas, or a file with one id a line."
        )
    return found


def moment(option: str, text: str | None) -> int | None:
    """Unix seconds of a date, UTC where it says no offset, or of a number.

    Raises
    ------
    ParameterError
        Anything else.
    """
    if text is None:
        return None
    if text.isdecimal():
        return int(text)
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ParameterError(
            f"{option} wants a date like 2026-11-01, or Unix seconds. Got {text!r}."
        ) from None
    return int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp())


_FALLBACK = "Who answers where the model cannot: popular, popular:half_life=14, or none."
Fallback = Annotated[str, typer.Option(help=_FALLBACK)]
FallbackOrConfig = Annotated[
    str | None,
    typer.Option(help=f"{_FALLBACK} Default: popular, or what the config says.", show_default=False),
]


def model_and_parameters(text: str) -> tuple[str, dict[str, Any]]:
    """``ease`` or ``ease:reg=300,half_life=20``: a model's name and its parameters."""
    name, colon, rest = text.partition(":")
    return name.strip(), parameters(listed(rest), f"the model {text!r}") if colon else {}


def fallback_of(text: str) -> dict[str, Any]:
    """``popular``, ``popular:half_life=14`` or ``none`` as the arguments of ``make_pipeline``."""
    name, values = model_and_parameters(text)
    return {"fallback": None if name == "none" else name, "fallback_parameters": values}


def _bounds(text: str) -> tuple[float, float]:
    try:
        low, high = (float(part) for part in listed(text))
    except ValueError:
        raise ParameterError(f"--scale wants LOW,HIGH like 1,5. Got {text!r}.") from None
    return low, high
