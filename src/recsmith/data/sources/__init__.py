"""Where logs come from: registered data sets, files, frames. One file per data set or format."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import polars as pl

from recsmith.data.schema import Log
from recsmith.errors import DataError, ParameterError

#: Name -> ``module:function``. The function gets the name (with what follows a colon) and the options.
SOURCES: Mapping[str, str] = {
    "ml-100k": "recsmith.data.sources.movielens:load",
    "ml-1m": "recsmith.data.sources.movielens:load",
    "ml-10m": "recsmith.data.sources.movielens:load",
    "ml-20m": "recsmith.data.sources.movielens:load",
    "ml-25m": "recsmith.data.sources.movielens:load",
    "ml-32m": "recsmith.data.sources.movielens:load",
    "ml-latest-small": "recsmith.data.sources.movielens:load",
    "ml-latest": "recsmith.data.sources.movielens:load",
    "synthetic": "recsmith.data.sources.synthetic:load",
}
_FILES = "recsmith.data.sources.files:read"


def load_log(source: Any, **options: Any) -> Log:
    """A log from a registered name, a path or a frame.

    Parameters
    ----------
    source
        A name of ``SOURCES`` (``"ml-100k"``, ``"synthetic:users=1000,items=500,events=20000,seed=1"``),
        the path of a file or folder, or a pandas, polars or Arrow frame. A name goes before a file of
        that name: write ``./ml-100k`` for the file.
    **options
        Passed to the loader: ``path`` for MovieLens; ``columns``, ``timestamp_unit``, ``users``, ``items``,
        ... of :func:`recsmith.data.sources.files.read` for files and frames.

    Raises
    ------
    ParameterError
        Neither a name nor a file; or an option that the loader does not have.
    DataError, FetchError
        As the loader says.
    """
    if isinstance(source, str):
        name = source.partition(":")[0]
        if name in SOURCES:
            return _call(SOURCES[name], source, options)
        if not Path(source).expanduser().exists():
            raise _unknown(source)
    return _call(_FILES, source, options)


def list_sources() -> pl.DataFrame:
    """The registered data sets, one row each.

    Returns
    -------
    pl.DataFrame
        ``name, users, items, events`` (null where it depends), ``size`` (download in bytes), ``cached``
        (whether it is on this machine already), ``licence``.
    """
    rows = [
        {"name": name, **import_module(target.partition(":")[0]).about(name)}
        for name, target in SOURCES.items()
    ]
    schema = {
        "name": pl.String, "users": pl.Int64, "items": pl.Int64, "events": pl.Int64, "size": pl.Int64,
        "cached": pl.Boolean, "licence": pl.String,
    }  # fmt: skip
    return pl.DataFrame(rows, schema=schema)


def _call(target: str, source: Any, options: Mapping[str, Any]) -> Log:
    """Run ``module:function``, refusing options that it does not have."""
    module, _, name = target.partition(":")
    loader: Callable[..., Log] = getattr(import_module(module), name)
    known = [p.name for p in inspect.signature(loader).parameters.values() if p.kind is p.KEYWORD_ONLY]
    for option in options:
        if option not in known:
            raise ParameterError.unknown(
                f"option of {source if isinstance(source, str) else 'a frame'}", option, known
            )
    return loader(source, **options)


def _unknown(source: str) -> DataError | ParameterError:
    """Something that looks like a path is a missing file; anything else is a wrong name."""
    if "/" in source or "\\" in source or Path(source).suffix:
        return DataError(f"There is no file or folder {source!r} (looked in {Path.cwd()}).")
    error = ParameterError.unknown("data set", source, SOURCES)
    return ParameterError(f"{error} Nor is there a file or folder of that name in {Path.cwd()}.")
