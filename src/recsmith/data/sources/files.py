"""Logs out of files (CSV, TSV, Parquet, JSON lines, RecBole; also compressed), folders and frames."""

from __future__ import annotations

import gzip
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Literal, TypeAlias

import narwhals.stable.v2 as nw
import polars as pl

from recsmith.data.schema import (
    FEATURE_ALIASES,
    Entity,
    Log,
    TimestampUnit,
    canonical,
    catalogue,
    normalized,
    shown,
)
from recsmith.errors import DataError, ParameterError

Columns: TypeAlias = Mapping[str, str] | Sequence[str] | None

TEXT = (
    ".csv",
    ".tsv",
    ".txt",
    ".data",
    ".dat",
    ".inter",
    ".item",
    ".user",
    ".kg",
    ".link",
    ".rating",
    ".base",
    ".test",
)
JSON_LINES = (".jsonl", ".ndjson", ".json")
PARQUET = (".parquet", ".pq")
COMPRESSED = (".gz", ".zst")
_DELIMITERS = "\t,;|"
_NEVER = "\x01"  # a delimiter that no text file has: gives whole lines


@dataclass(frozen=True, slots=True)
class _Table:
    """A table as it was read."""

    frame: pl.DataFrame
    origin: str
    typed: bool  # the format has types: text ids are text even where they spell numbers
    first_row: int


def read(
    source: Any,
    *,
    columns: Columns = None,
    timestamp_unit: TimestampUnit | None = None,
    name: str | None = None,
    users: Any = None,
    items: Any = None,
    rating_scale: tuple[float, float] | None = None,
) -> Log:
    """A log from a file, a folder of files or a frame.

    Parameters
    ----------
    source
        Path of a CSV or TSV file (delimiter ``, ; |`` or tab), Parquet, JSON lines or RecBole atomic file,
        each also with ``.gz`` or ``.zst``; of a folder of such files with the same columns, read in
        the order of their names; or a pandas, polars or Arrow frame.
    columns
        Canonical name -> name in the header, where the accepted names do not fit; or, for a text file
        *without* a header, the names of all its columns in order. It holds for the tables of users and items too,
        where they have such a column: ``{"user_id": "listener", "genres": "genre"}``.
    timestamp_unit
        ``"s"``, ``"ms"``, ``"us"`` or ``"ns"`` for numeric timestamps; seconds if not given.
    name
        Name of the log; the name of the file if not given.
    users, items
        Tables of features, as path or frame, with a user or item id column.
    rating_scale
        Lowest and highest possible rating; what was observed if not given.

    Raises
    ------
    DataError
        The file is missing, empty, unreadable or ragged, or holds what a log cannot hold.
    ParameterError
        ``columns``, ``timestamp_unit`` or ``rating_scale`` is wrong.
    """
    if isinstance(columns, str):
        raise ParameterError.of("read", "columns", "a mapping or a list of names", columns)
    parts = _tables(source, columns)
    chosen: Mapping[str, str] = columns if isinstance(columns, Mapping) else {}
    tables = users is not None or items is not None
    of_log = {key: name for key, name in chosen.items() if not (tables and key in FEATURE_ALIASES)}
    frames = [
        canonical(
            part.frame,
            origin=part.origin,
            columns=of_log,
            timestamp_unit=timestamp_unit,
            typed=part.typed,
            first_row=part.first_row,
        )
        for part in parts
    ]
    frame = _stacked(frames, parts)
    origin = parts[0].origin if len(parts) == 1 else str(source)
    return Log(
        interactions=frame,
        users=_features(users, "user", frame["user_id"].dtype, chosen),
        items=_features(items, "item", frame["item_id"].dtype, chosen),
        name=name or (_stem(Path(source)) if isinstance(source, str | PathLike) else "log"),
        rating_scale=_scale(frame, rating_scale),
        origin=origin,
        first_row=parts[0].first_row if len(parts) == 1 else 1,
    )


def read_table(source: Any) -> pl.DataFrame:
    """A table of any columns, out of one file of a kind that ``read`` knows, or of a frame.

    Columns of a text file that hold nothing but numbers become numbers; ids stay text.

    Raises
    ------
    DataError
        The file is missing, empty, unreadable or ragged, or ``source`` is a folder of several.
    """
    parts = _tables(source, None)
    if len(parts) > 1:
        raise DataError(f"{source} must be one file. Got {len(parts)} files.")
    return parts[0].frame if parts[0].typed else _inferred(parts[0].frame)


def read_text(
    source: Path | bytes,
    *,
    separator: str,
    header: Literal[True] | Sequence[str],
    origin: str,
    **options: Any,
) -> pl.DataFrame:
    """A delimited text table with every column as text; rows that are too short or too long are refused.

    ``header`` is True where the first line holds the names, else the names.

    Raises
    ------
    DataError
        Ragged rows, text that is not UTF-8, no line at all.
    """
    names = None if header is True else list(header)
    try:
        frame = pl.read_csv(
            source, separator=separator, has_header=names is None, infer_schema=False, **options
        )
    except pl.exceptions.NoDataError:
        raise DataError(f"{origin} is empty. Wanted a header line and at least one row.") from None
    except pl.exceptions.PolarsError as error:
        first = _first_ragged(source, separator, n_columns=None, longer=True)
        if first is not None:
            raise DataError(f"{origin}: {first}. Quote values that hold the delimiter.") from None
        raise DataError(
            f"{origin} cannot be read as text separated by {separator!r}: {_reason(error)}."
        ) from None
    if names is not None:
        if frame.width != len(names):
            raise DataError(f"{origin} has {frame.width} columns, not {len(names)} ({', '.join(names)}).")
        frame.columns = names
    if frame.width > 1 and frame.height and frame[:, -1].null_count():
        first = _first_ragged(source, separator, n_columns=frame.width, longer=False)
        if first is not None:
            raise DataError(f"{origin}: {first}. Write an empty value for what is missing.")
    return frame


def _reason(error: Exception) -> str:
    """Why a text file cannot be read, without what polars advises its own users."""
    text = str(error)
    if "not properly escaped" in text:
        return "a quotation mark opens and is never closed"
    first = text.splitlines()[0].rstrip(".") if text else type(error).__name__
    return f"{first}. Convert the file to UTF-8 first" if "utf" in text.lower() else first


def _tables(source: Any, columns: Columns) -> list[_Table]:
    """What ``source`` holds, one table per file."""
    names = None if columns is None or isinstance(columns, Mapping) else list(columns)
    if not isinstance(source, str | PathLike):
        if names is not None:
            raise ParameterError.of("read", "columns", "a mapping for a frame (a list is for files)", columns)
        return [_Table(_from_frame(source), "the frame", True, 1)]
    path = Path(source).expanduser()
    if not path.exists():
        raise DataError(f"There is no file or folder {str(path)!r} (looked in {Path.cwd()}).")
    if not path.is_dir():
        return [_read_file(path, names)]
    files = [f for f in sorted(path.iterdir()) if f.is_file() and _readable(f)]
    if not files:
        known = ", ".join((*TEXT, *JSON_LINES, *PARQUET))
        raise DataError(
            f"The folder {path} holds no file that can be read. Known: {known}, also with .gz or .zst."
        )
    return [_read_file(f, names) for f in files]


def _read_file(path: Path, names: Sequence[str] | None) -> _Table:
    """One file, by its suffix; unknown suffixes are taken as delimited text."""
    origin = str(path)
    if path.stat().st_size == 0:
        raise DataError(f"{origin} is empty. Wanted a header line and at least one row.")
    kind = _kind(path)
    if names is not None and kind in (*PARQUET, *JSON_LINES):
        raise ParameterError.of(
            "read", "columns", f"a mapping for {kind} files, which name their columns", names
        )
    try:
        if kind in PARQUET:
            table = _Table(pl.read_parquet(path, hive_partitioning=False), origin, True, 1)
        elif kind in JSON_LINES:
            table = _Table(pl.read_ndjson(path, infer_schema_length=None), origin, True, 1)
        else:
            table = _read_delimited(path, names)
    except (pl.exceptions.PolarsError, OSError, EOFError) as error:
        raise DataError(
            f"{origin} cannot be read as {kind.lstrip('.') or 'text'}: {_reason(error)}."
        ) from None
    if table.frame.is_empty():
        raise DataError(f"{origin} holds no row below its header ({shown(table.frame.columns)}).")
    return table


def _read_delimited(path: Path, names: Sequence[str] | None) -> _Table:
    """A text file whose delimiter is taken from its first line."""
    line = _first_line(path)
    if not line.strip():
        raise DataError(
            f"{path} is empty or begins with an empty line. Wanted a header line and at least one row."
        )
    if "::" in line:
        raise DataError(
            f"{path} separates columns by '::'. For MovieLens: load_log('ml-1m' or 'ml-10m', path=FOLDER); "
            "else replace '::' by a tab."
        )
    separator = max(_DELIMITERS, key=line.count)
    if separator not in line:
        raise DataError(
            f"{path}: the first line has no delimiter (tab, comma, semicolon or |): "
            f"{line[:80]!r}. Wanted at least a user and an item."
        )
    quoted = {} if '"' in line or separator != "\t" else {"quote_char": None}
    frame = read_text(path, separator=separator, header=names or True, origin=str(path), **quoted)
    return _Table(frame, str(path), False, 2 if names is None else 1)


def _first_line(path: Path) -> str:
    """The first line of a text file, without a byte order mark."""
    if path.suffix.lower() == ".zst":
        try:
            first = _lines(path, n_rows=1)
        except pl.exceptions.NoDataError:
            return ""
        return str(first[0] or "") if len(first) else ""
    with gzip.open(path, "rb") if path.suffix.lower() == ".gz" else path.open("rb") as file:
        line = file.readline(1 << 20)
    if line.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
        raise DataError(f"{path} is UTF-16. Convert the file to UTF-8 first.")
    return line.decode("utf-8-sig", errors="replace").rstrip("\r\n")


def _first_ragged(source: Path | bytes, separator: str, *, n_columns: int | None, longer: bool) -> str | None:
    """Words about the first line with too many or too few values; None where quotes forbid to count."""
    try:
        lines = _lines(source)
    except pl.exceptions.PolarsError:
        return None
    if lines.str.contains('"', literal=True).any():
        return None
    counts = lines.str.count_matches(separator, literal=True).fill_null(0) + 1
    wanted = n_columns or int(counts[0])
    bad = (counts > wanted) if longer else (counts < wanted) & (lines.str.len_bytes() > 0)
    if not bad.any():
        return None
    row = int(bad.arg_max() or 0)
    return f"line {row + 1} has {counts[row]} values instead of {wanted}: {str(lines[row])[:120]!r}"


def _lines(source: Path | bytes, n_rows: int | None = None) -> pl.Series:
    """The lines of a text file as they are."""
    return pl.read_csv(
        source,
        separator=_NEVER,
        has_header=False,
        quote_char=None,
        infer_schema=False,
        encoding="utf8-lossy",
        n_rows=n_rows,
    ).to_series()


def _from_frame(source: Any) -> pl.DataFrame:
    """Any eager or lazy frame that narwhals knows, as polars; rows keep their order."""
    try:
        frame = nw.from_native(source)
    except TypeError:
        raise DataError(
            f"Wanted a path, or a pandas, polars or Arrow frame. Got {type(source).__name__} instead."
        ) from None
    except nw.exceptions.DuplicateError as error:
        raise DataError(f"The frame has a column name more than once: {error}. Rename or drop one.") from None
    eager = frame.collect("polars") if isinstance(frame, nw.LazyFrame) else frame
    if isinstance(eager.to_native(), pl.DataFrame):
        out: pl.DataFrame = eager.to_native()
    else:
        out = pl.DataFrame([_series(eager[column], column) for column in eager.columns])
    if out.is_empty():
        raise DataError(f"The frame has no rows. Its columns: {', '.join(out.columns) or 'none'}.")
    return out


def _series(column: Any, name: str) -> pl.Series:
    """One narwhals column as polars; mixed types are refused by name."""
    try:
        return pl.Series(name, column.to_polars())
    except ModuleNotFoundError:  # pandas text without pyarrow
        values = column.to_list()
    except Exception:  # pyarrow's own errors about objects of several types, which need not be installed
        values = column.to_list()
    kinds = sorted({type(v).__name__ for v in values if v is not None and v == v})
    if len(kinds) > 1:
        raise DataError(
            f"The frame: column {name!r} mixes {', '.join(kinds)}. Cast it to text or to integers."
        )
    return pl.Series(name, [v if v == v else None for v in values])


def _features(
    source: Any, entity: Entity, ids: pl.DataType, columns: Mapping[str, str]
) -> pl.DataFrame | None:
    """A table of users or items, its ids of the type that the log has where text allows it.

    Of ``columns`` counts what the table has: its ids may have another name than those of the log.
    """
    if source is None:
        return None
    parts = _tables(source, None)
    if len(parts) > 1:
        raise DataError(f"{source}: the table of {entity}s must be one file. Got {len(parts)} files.")
    part = parts[0]
    frame = part.frame if part.typed else _inferred(part.frame)
    typed = part.typed or ids == pl.String
    own = {f"{entity}_id", *FEATURE_ALIASES}
    chosen = {key: name for key, name in columns.items() if key in own and name in frame.columns}
    return catalogue(frame, entity=entity, origin=part.origin, columns=chosen, typed=typed)


def _inferred(frame: pl.DataFrame) -> pl.DataFrame:
    """Text columns that hold nothing but numbers, as numbers; ids and codes such as ``02139`` stay text."""
    out = []
    for series in frame:
        is_id = normalized(series.name).endswith("id") or series.name.endswith((":token", ":token_seq"))
        numbers = series.cast(pl.Float64, strict=False)
        exact = numbers.null_count() == series.null_count() < len(series)
        if exact and not is_id and not series.str.contains(r"^[+-]?0\d").any():
            whole = series.cast(pl.Int64, strict=False)
            out.append(whole if whole.null_count() == series.null_count() else numbers)
        else:
            out.append(series)
    return pl.DataFrame(out)


def _stacked(frames: Sequence[pl.DataFrame], parts: Sequence[_Table]) -> pl.DataFrame:
    """One frame out of the files of a folder, which must agree."""
    if len(frames) == 1:
        return frames[0]
    for frame, part in zip(frames, parts, strict=True):
        if frame.columns != frames[0].columns:
            raise DataError(
                f"The files of a folder must have the same columns. {parts[0].origin}: "
                f"{', '.join(frames[0].columns)}; {part.origin}: {', '.join(frame.columns)}."
            )
    for column in ("user_id", "item_id"):
        kinds = {frame[column].dtype for frame in frames}
        if len(kinds) > 1:
            if any(part.typed for part in parts):
                raise DataError(
                    f"{column} is text in some files of the folder and integers in others. Cast one."
                )
            frames = [frame.with_columns(pl.col(column).cast(pl.String)) for frame in frames]
    return pl.concat(frames)


def _scale(frame: pl.DataFrame, given: tuple[float, float] | None) -> tuple[float, float] | None:
    """The given scale, or the observed one; None without ratings."""
    if "rating" not in frame.columns:
        return None
    if given is not None:
        low, high = float(given[0]), float(given[1])
        if not low < high:
            raise ParameterError.of("read", "rating_scale", "(lowest, highest)", given)
        return low, high
    observed = frame["rating"].filter(frame["rating"].is_finite())
    return (float(observed.min()), float(observed.max())) if len(observed) else None  # type: ignore[arg-type]


def _kind(path: Path) -> str:
    """The suffix that says the format, compression aside."""
    return Path(path.stem).suffix.lower() if path.suffix.lower() in COMPRESSED else path.suffix.lower()


def _readable(path: Path) -> bool:
    about = any(word in path.name.casefold() for word in ("readme", "license"))
    return not (about or path.name.startswith((".", "_"))) and _kind(path) in (*TEXT, *JSON_LINES, *PARQUET)


def _stem(path: Path) -> str:
    """File name without format and compression."""
    if path.is_dir():
        return path.resolve().name
    return Path(path.stem).stem if path.suffix.lower() in COMPRESSED else path.stem
