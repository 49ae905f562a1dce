"""Column names, dtypes and units of a log, and the many names under which files write them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Literal, TypeAlias

import polars as pl

from recsmith.errors import DataError, ParameterError

TimestampUnit: TypeAlias = Literal["s", "ms", "us", "ns"]
Entity: TypeAlias = Literal["user", "item"]

#: Canonical column -> the names under which it is accepted. Case and punctuation do not matter.
ALIASES: Mapping[str, tuple[str, ...]] = {
    "user_id": (
        "user_id", "user", "uid", "customer_id", "customer", "reviewer_id", "visitor_id", "member_id",
        "client_id", "account_id", "reader_id",
    ),
    "item_id": (
        "item_id", "item", "iid", "movie_id", "movie", "product_id", "product", "asin", "artist_id",
        "business_id", "song_id", "track_id", "book_id", "isbn", "article_id", "news_id", "game_id", "app_id",
        "video_id", "poi_id", "sku",
    ),
    "rating": ("rating", "ratings", "stars", "score", "overall", "review_score"),
    "weight": ("weight", "count", "plays", "play_count", "listens", "quantity", "confidence"),
    "timestamp": (
        "timestamp", "datetime", "date", "time", "ts", "unix_time", "unix_review_time", "event_time",
        "event_timestamp", "created_at",
    ),
    "event": (
        "event", "event_type", "event_name", "behavior", "behavior_type", "behaviour", "action",
        "action_type",
    ),
}  # fmt: skip

#: The same for tables of users and items: descriptive columns with a name of their own.
FEATURE_ALIASES: Mapping[str, tuple[str, ...]] = {
    "title": ("title", "movie_title", "item_title", "product_title", "name", "item_name", "product_name"),
    "genres": ("genres", "genre", "class", "categories"),
    "year": ("year", "release_year"),
}

#: What one second is in each unit.
PER_SECOND: Mapping[TimestampUnit, int] = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}

_RECBOLE_TYPE = re.compile(r":(token|float|token_seq|float_seq)$")
_SECOND_OF_ITS_NAME = re.compile(r"_duplicated_\d+$")  # of a column named twice
_SHOWN = 20  # names that a message lists
_ISO_FORMATS = (
    "%Y-%m-%d %H:%M:%S%.f%#z",
    "%Y-%m-%d %H:%M:%S%.f",
    "%Y-%m-%d %H:%M%#z",
    "%Y-%m-%d %H:%M",
    "%Y-%m-%d",
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Log:
    """Frames as they were read, before ids become indices."""

    interactions: pl.DataFrame
    """Canonical columns only, rows in the order of the file: user_id, item_id (Int64 or String),
    [rating Float32], [weight Float32], [timestamp Int64, Unix seconds UTC], [event String]."""
    users: pl.DataFrame | None = None  #: user_id and feature columns
    items: pl.DataFrame | None = None  #: item_id and feature columns: title, genres (List[str]), year, ...
    name: str = "log"
    rating_scale: tuple[float, float] | None = None  #: lowest and highest possible rating; None if implicit
    origin: str = ""  #: file name(s), for messages
    citation: str = ""  #: how to cite, and the licence
    extras: Mapping[str, pl.DataFrame] = field(
        default_factory=dict
    )  #: tags, links, kg ... where there are any
    first_row: int = 1  #: the number an editor gives to the first row: 2 below a header line

    def __len__(self) -> int:
        return self.interactions.height

    def __repr__(self) -> str:
        tables = [
            f"{n}: {t.height:,}" for n, t in (("users", self.users), ("items", self.items)) if t is not None
        ]
        columns = ", ".join(self.interactions.columns)
        return f"Log({self.name!r}: {len(self):,} rows of {columns}{''.join('; ' + t for t in tables)})"

    @property
    def implicit(self) -> bool:
        """Whether the log says only that something happened, not how it was liked."""
        return "rating" not in self.interactions.columns


def normalized(name: str) -> str:
    """A header cell without case, punctuation and RecBole type: ``userId:token`` -> ``userid``."""
    return "".join(c for c in _RECBOLE_TYPE.sub("", name.strip().casefold()) if c.isalnum())


def canonical(
    frame: pl.DataFrame,
    *,
    origin: str,
    columns: Mapping[str, str] | None = None,
    timestamp_unit: TimestampUnit | None = None,
    typed: bool = True,
    first_row: int = 1,
) -> pl.DataFrame:
    """The canonical columns of a log, in canonical order and dtypes; rows stay as they are.

    Parameters
    ----------
    frame
        Any table with a user and an item column under one of the names of ``ALIASES``.
    origin
        File name for messages.
    columns
        Canonical name -> name in the header, where the aliases do not do: ``{"user_id": "buyer"}``.
    timestamp_unit
        Unit of numeric timestamps. None means seconds, and values that cannot be seconds are refused.
    typed
        False for formats without types (CSV): ids are integers if each one is written as an integer
        (no leading zero, sign or blank), else text.
    first_row
        Row number of the first row, for messages.

    Returns
    -------
    pl.DataFrame
        ``user_id, item_id [rating] [weight] [timestamp] [event]`` as :class:`Log` describes them.

    Raises
    ------
    DataError
        A column is missing or ambiguous, or holds something that it cannot hold.
    ParameterError
        ``columns`` or ``timestamp_unit`` is wrong.
    """
    if timestamp_unit is not None and timestamp_unit not in PER_SECOND:
        raise ParameterError.of("canonical", "timestamp_unit", "'s', 'ms', 'us' or 'ns'", timestamp_unit)
    found = _match(frame.columns, ALIASES, origin=origin, chosen=columns or {})
    for wanted in ("user_id", "item_id"):
        if wanted not in found:
            raise _missing(wanted, frame.columns, origin)
    out = {}
    for name in ALIASES:
        if name not in found:
            continue
        where = _Where(origin, found[name], first_row)
        series = frame[found[name]]
        if name in ("user_id", "item_id"):
            series = id_column(series, origin=origin, typed=typed)
        elif name in ("rating", "weight"):
            series = _numbers(series, where).cast(pl.Float32)
        elif name == "timestamp":
            series = _seconds(series, where, timestamp_unit)
        else:
            series = series.cast(pl.String)
        out[name] = series.alias(name)
    return pl.DataFrame(out)


def catalogue(
    frame: pl.DataFrame,
    *,
    entity: Entity,
    origin: str,
    columns: Mapping[str, str] | None = None,
    typed: bool = True,
) -> pl.DataFrame:
    """A table of users or items: the id column first, ``title``, ``genres`` and ``year`` under these names.

    ``genres`` becomes List[String], split at ``|``, else at ``,`` or ``;`` (at blanks for a RecBole
    ``token_seq``). ``year`` becomes Int32, null where it is not a number. Other columns keep their name
    (without a RecBole type) and type.

    Raises
    ------
    DataError
        No or several id columns, or an id that is missing or repeated.
    """
    key = f"{entity}_id"
    aliases = {key: ALIASES[key], **FEATURE_ALIASES}
    found = _match(frame.columns, aliases, origin=origin, chosen=columns or {})
    if key not in found and "id" in frame.columns:
        found[key] = "id"
    if key not in found:
        raise _missing(key, frame.columns, origin)
    ids = id_column(frame[found[key]], origin=origin, typed=typed).alias(key)
    if ids.null_count():
        raise DataError(
            f"{origin}: {ids.null_count()} of {len(ids)} rows have no {key}. Give each row an id."
        )
    if (repeated := ids.filter(ids.is_duplicated())).len():
        raise DataError(f"{origin}: {key} {repeated[0]!r} has more than one row. Keep one row per {entity}.")
    names = {source: name for name, source in found.items() if name != key}
    rest = []
    for source in frame.columns:
        if source == found[key]:
            continue
        series = frame[source].alias(names.get(source, _RECBOLE_TYPE.sub("", source)))
        if source not in names and series.name in (key, *names.values()):
            continue  # another column was chosen for it
        if series.name == "genres":
            series = genre_lists(series, blanks=source.endswith(":token_seq"))
        elif series.name == "year":
            series = series.cast(pl.Float64, strict=False).cast(pl.Int32, strict=False)
        rest.append(series)
    return pl.DataFrame([ids, *rest])


def genre_lists(genres: pl.Series, *, blanks: bool = False) -> pl.Series:
    """List[String] out of text such as ``Action|Comedy``; an empty cell is an empty list."""
    if genres.dtype == pl.List(pl.String):
        return genres.fill_null(pl.lit([], dtype=pl.List(pl.String)))
    text = genres.cast(pl.String).fill_null("")
    separator = " " if blanks else next((s for s in "|,;" if text.str.contains(s, literal=True).any()), "|")
    parts = pl.Series(genres.name, text.str.split(separator))
    return parts.list.eval(pl.element().str.strip_chars().filter(pl.element().str.strip_chars() != ""))


def id_column(ids: pl.Series, *, origin: str, typed: bool = True) -> pl.Series:
    """Int64 or String ids as they came, nulls kept.

    Raises
    ------
    DataError
        Floats, booleans, dates or a mixture.
    """
    if ids.dtype.is_integer():
        try:
            return ids.cast(pl.Int64)
        except pl.exceptions.PolarsError:
            raise DataError(
                f"{origin}: column {ids.name!r} holds integers beyond 2**63 - 1. Cast the column to text."
            ) from None
    if (text := _text(ids)) is not None:
        return text if typed else _as_integers(text)
    held = "a mixture of types" if ids.dtype == pl.Object else str(ids.dtype)
    why = " (a missing id turns integers into floats: drop those rows first)" if ids.dtype.is_float() else ""
    raise DataError(
        f"{origin}: column {ids.name!r} must hold integers or text to be an id. It holds {held}{why}. "
        "Cast the column to one of the two."
    )


def _text(values: pl.Series) -> pl.Series | None:
    """The column as text where it holds text, categories or nothing; None where it holds anything else."""
    if isinstance(values.dtype, pl.Categorical | pl.Enum) or values.dtype in (pl.String, pl.Null):
        return values.cast(pl.String)
    return None


def _filled(text: pl.Series) -> pl.Series:
    """Text without blanks around it; an empty cell is a missing value."""
    stripped = text.str.strip_chars()
    return stripped.set(stripped == "", None)


def _as_integers(text: pl.Series) -> pl.Series:
    """The column as Int64 if writing it back gives the same text, else unchanged."""
    numbers = text.cast(pl.Int64, strict=False)
    if numbers.null_count() > text.null_count() or numbers.null_count() == len(text):
        return text
    padded = text.str.starts_with("0") & (text.str.len_bytes() > 1)
    odd = padded | text.str.starts_with("-0") | text.str.starts_with("+")
    return text if odd.any() else numbers


@dataclass(frozen=True, slots=True)
class _Where:
    """The place that a message about a cell names."""

    origin: str
    column: str
    first_row: int

    def error(self, bad: pl.Series, values: pl.Series, wanted: str) -> DataError:
        """The message about the first row where ``bad``."""
        row = int(bad.arg_max() or 0)
        more = int(bad.sum()) - 1
        rest = f" (and {more} more rows)" if more else ""
        return DataError(
            f"{self.origin}: column {self.column!r}, row {row + self.first_row}: {values[row]!r} is not "
            f"{wanted}{rest}. Correct the value or drop the row."
        )


def _match(
    header: Sequence[str], aliases: Mapping[str, tuple[str, ...]], *, origin: str, chosen: Mapping[str, str]
) -> dict[str, str]:
    """Canonical name -> name in the header; what the caller chose goes first."""
    for name, column in chosen.items():
        if name not in aliases:
            raise ParameterError.unknown("column", name, aliases)
        if column not in header:
            near = get_close_matches(column, header, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise DataError(f"{origin} has no column {column!r} for {name}.{hint} Found: {shown(header)}.")
    found = dict(chosen)
    spelled = {normalized(alias): name for name, options in aliases.items() for alias in options}
    for column in header:
        name = spelled.get(normalized(_SECOND_OF_ITS_NAME.sub("", column)), "")
        if not name or name in chosen or column in chosen.values():
            continue
        if name in found:
            raise DataError(
                f"{origin}: two columns could be {name}: {found[name]!r} and {column!r}. "
                f"Choose one: columns={{{name!r}: {found[name]!r}}} or --column {name}={found[name]}."
            )
        found[name] = column
    return found


def shown(header: Sequence[str]) -> str:
    """The names of a header as a message lists them."""
    more = f" ... and {len(header) - _SHOWN} more" if len(header) > _SHOWN else ""
    return (", ".join(header[:_SHOWN]) or "none") + more


def _missing(name: str, header: Sequence[str], origin: str) -> DataError:
    """The message about a header without ``name``."""
    looks_like_data = bool(header) and all(
        re.fullmatch(r"[-+.\d]+", _SECOND_OF_ITS_NAME.sub("", c.strip())) for c in header
    )
    hint = (
        " The first line looks like data: for a file without a header give the names of all "
        'columns in order, columns=["user_id", "item_id", ...] or --names user_id,item_id,...'
        if looks_like_data
        else ""
    )
    return DataError(
        f"{origin} has no column for {name}. Found: {shown(header)}.{hint} "
        f"Accepted (case and punctuation do not matter): {', '.join(ALIASES[name])}. "
        f"Or say which: columns={{{name!r}: 'NAME'}} or --column {name}=NAME."
    )


def _numbers(values: pl.Series, where: _Where) -> pl.Series:
    """The column as numbers; text must spell them."""
    if values.dtype.is_numeric() or values.dtype == pl.Boolean:
        return values.cast(pl.Float64) if values.dtype.is_decimal() else values
    if (text := _text(values)) is not None:
        text = _filled(text)
        numbers = text.cast(pl.Float64, strict=False)
        if (bad := numbers.is_null() & text.is_not_null()).any():
            raise where.error(bad, text, "a number")
        return numbers
    raise DataError(f"{where.origin}: column {where.column!r} must hold numbers. It holds {values.dtype}.")


def _seconds(values: pl.Series, where: _Where, unit: TimestampUnit | None) -> pl.Series:
    """Int64 Unix seconds (UTC); fractions are cut off."""
    if isinstance(values.dtype, pl.Date | pl.Datetime):
        return values.dt.epoch("s").cast(pl.Int64)
    if values.dtype.is_numeric():
        return _scaled(values, where, unit)
    if (text := _text(values)) is None:
        raise DataError(
            f"{where.origin}: column {where.column!r} must hold Unix seconds, dates or ISO 8601 text. "
            f"It holds {values.dtype}."
        )
    text = _filled(text)
    for dtype in (pl.Int64, pl.Float64):
        numbers = text.cast(dtype, strict=False)
        if numbers.null_count() == text.null_count():
            return _scaled(numbers, where, unit)
    return _iso_seconds(text, where)


def _scaled(values: pl.Series, where: _Where, unit: TimestampUnit | None) -> pl.Series:
    """Numbers in ``unit`` as Int64 seconds; refuses what cannot be seconds where no unit is given."""
    if values.dtype.is_float():
        values = values.fill_nan(None)
    if (bad := values.cast(pl.Int64, strict=False).is_null() & values.is_not_null()).any():
        raise where.error(bad, values, "a time")  # infinite, or beyond 64 bits
    middle = values.abs().median() if unit is None else None
    if isinstance(middle, int | float) and middle > 1e11:
        likely: TimestampUnit = "ms" if middle < 1e14 else "us" if middle < 1e17 else "ns"
        raise DataError(
            f"{where.origin}: column {where.column!r} should hold Unix seconds, but its median is "
            f"{middle:.0f}, which as seconds is beyond the year 5000 and looks like {likely}. "
            f"Say so: timestamp_unit={likely!r} or --timestamp-unit {likely} (or 's' if they are seconds)."
        )
    per_second = PER_SECOND[unit or "s"]
    if values.dtype.is_float():
        return pl.Series(values.name, (values / per_second).floor().cast(pl.Int64))
    whole = values.cast(pl.Int64)
    return whole if per_second == 1 else whole // per_second


def _iso_seconds(text: pl.Series, where: _Where) -> pl.Series:
    """ISO 8601 text as Int64 seconds; a time without an offset is UTC."""
    frame = text.alias("t").to_frame()
    spaced = pl.col("t").str.replace(r"^(\d{4}-\d{2}-\d{2})[Tt]", "${1} ").str.replace(r"[Zz]$", "+00:00")
    frame = frame.select("t", spaced.alias("s"))
    seconds = pl.Series("t", [None] * len(text), dtype=pl.Int64)
    for form in _ISO_FORMATS:
        zone = "UTC" if form.endswith("z") else None
        parsed = pl.col("s").str.to_datetime(form, strict=False, time_zone=zone, time_unit="us", exact=True)
        seconds = seconds.fill_null(frame.select(parsed.dt.epoch("s").cast(pl.Int64)).to_series())
        if seconds.null_count() == text.null_count():
            break
    if (bad := seconds.is_null() & text.is_not_null()).any():
        raise where.error(bad, text, "Unix seconds or an ISO 8601 date (2024-01-31T12:00:00Z)")
    return seconds
