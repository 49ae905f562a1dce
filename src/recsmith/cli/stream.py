"""Frames to a file, block by block: complete under its name, or not there at all."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from recsmith.errors import ParameterError, StorageError

SUFFIXES = (".parquet", ".csv", ".jsonl")


def check_target(path: Path) -> None:
    """Refuse a name that cannot be written, before the work.

    Raises
    ------
    ParameterError
        Another suffix than .parquet, .csv or .jsonl, or a folder.
    StorageError
        See ``check_folder``.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise ParameterError.of("the output", "out", f"a file that ends in {', '.join(SUFFIXES)}", str(path))
    if path.is_dir():
        raise ParameterError.of("the output", "out", "a file, not a folder", str(path))
    check_folder(path)


def check_folder(path: Path) -> None:
    """Refuse a place where nothing can be written, before the work.

    Raises
    ------
    StorageError
        The folder, or the nearest one above that exists, is none or must not be written.
    """
    above = next(parent for parent in path.absolute().parents if parent.exists())
    if not above.is_dir():
        raise StorageError(f"{path} cannot be written: {above} is a file, not a folder. Choose another path.")
    if not os.access(above, os.W_OK | os.X_OK):
        raise StorageError(f"{path} cannot be written: no permission for {above}. Choose another path.")


def write_frame(frame: pl.DataFrame, path: Path) -> int:
    """One frame; see ``write_frames``."""
    return write_frames([frame], path)


def write_frames(frames: Iterable[pl.DataFrame], path: Path) -> int:
    """Write frames of one schema as one file, holding one of them in memory at a time.

    Parameters
    ----------
    frames
        At least one.
    path
        A ``.parquet``, ``.csv`` or ``.jsonl`` file; an older one is replaced once the new one is complete.

    Returns
    -------
    int
        Rows written.

    Raises
    ------
    ParameterError
        See ``check_target``.
    OSError
        The disk has no room, or the folder must not be written.
    """
    check_target(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _work_folder(path) as folder:
        part = folder / path.name
        try:
            rows = _parquet(frames, part) if path.suffix.lower() == ".parquet" else _text(frames, part)
        except (OSError, pl.exceptions.PolarsError) as error:
            raise _plain_error(error, path) from error
        part.replace(path)
    return rows


def _plain_error(error: Exception, path: Path) -> Exception:
    """An error of the operating system as such, which polars may wrap in one of its own."""
    number = re.search(r"\(os error (\d+)\)", str(error))
    if number is None:
        return error
    return OSError(int(number[1]), os.strerror(int(number[1])), str(path))


def write_text(text: str, path: Path) -> None:
    """A text file in UTF-8; an older one is replaced once the new one is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with _work_folder(path) as folder:
        part = folder / path.name
        part.write_text(text, encoding="utf-8")
        part.replace(path)


@contextmanager
def _work_folder(path: Path) -> Iterator[Path]:
    """A hidden folder beside the target, on the same disk; gone in the end, whatever happens."""
    folder = path.with_name(
        f".{path.name}.{secrets.token_hex(4)}.tmp"
    )  # known before it is made: no gap for Ctrl-C
    try:
        folder.mkdir()
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _text(frames: Iterable[pl.DataFrame], part: Path) -> int:
    """CSV or JSON lines: blocks are appended."""
    rows = 0
    with part.open("wb") as file:
        for frame in frames:
            if part.suffix.lower() == ".csv":
                frame.write_csv(file, include_header=rows == 0)
            else:
                frame.write_ndjson(file)
            rows += frame.height
    return rows


def _parquet(frames: Iterable[pl.DataFrame], part: Path) -> int:
    """Parquet: a part for each block, then one file out of them in a stream."""
    rows = 0
    pieces = part.parent / "pieces"
    pieces.mkdir()
    for number, frame in enumerate(frames):
        frame.write_parquet(pieces / f"{number:08}.parquet")
        rows += frame.height
    pl.scan_parquet(pieces / "*.parquet").sink_parquet(part, maintain_order=True)
    return rows
