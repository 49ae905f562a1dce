"""Bundles on disk: a directory of arrays and JSON, written whole or not at all, checked before it is read.

::

    manifest.json           format, model, config, data, metrics, size and SHA-256 of every other file
    arrays.safetensors      what the model and its fallback learned
    seen.safetensors        the training events, in index space
    users.parquet           user ids and features, in index order
    items.parquet           item ids and features, in index order
    README.md               the model card

Loading never runs code: there is no pickle, and a file that does not belong to a bundle is refused.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import polars as pl
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from recsmith.card import model_card
from recsmith.data.dataset import Dataset
from recsmith.data.ids import IdMap
from recsmith.errors import BundleError, StorageError
from recsmith.mapped import mapped_arrays
from recsmith.types import IntArray, State, check_range

ArraysOf: TypeAlias = Callable[[Path], dict[str, Any]]

FORMAT = 1
_ATTEMPTS = 10  # reads of a bundle that others replace meanwhile
MANIFEST = "manifest.json"
ARRAYS, SEEN, USERS, ITEMS, CARD = FILES = (
    "arrays.safetensors",
    "seen.safetensors",
    "users.parquet",
    "items.parquet",
    "README.md",
)
_EVENT_COLUMNS = ("user", "item", "row", "value", "weight", "time", "event")


def save(target: Path, manifest: dict[str, Any], states: Mapping[str, State], data: Dataset) -> None:
    """Write a bundle; an older one at ``target`` stays whole until the new one is complete.

    Raises
    ------
    BundleError
        Where ``target`` is something else than a bundle, or the manifest is not JSON.
    StorageError
        Where the disk has no room or refuses.
    """
    target = target.resolve()  # a link to a bundle stays a link
    work = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        check_target(target)
        work = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
        work.mkdir()
        _write(work, manifest, states, data)
        with _alone(target.parent):
            _publish(work, target)
    except OSError as error:
        raise StorageError(
            f"The bundle could not be written to {target}: {error.strerror or error}. "
            "Nothing there was changed; free some space or choose another path."
        ) from error
    finally:
        if work is not None:
            shutil.rmtree(work, ignore_errors=True)


def check_target(target: Path) -> None:
    """Refuse a path that holds something else than a bundle.

    Raises
    ------
    BundleError
        See above.
    """
    if not target.exists():
        return
    with _alone(target.parent):  # not between the two renames of another process
        if target.exists() and not (target / MANIFEST).is_file():
            raise BundleError(f"{target} exists and is not a bundle. Choose another path or move it away.")


def _write(folder: Path, manifest: dict[str, Any], states: Mapping[str, State], data: Dataset) -> None:
    arrays: dict[str, Any] = {}
    described = {name: _flatten(state, name, arrays) for name, state in states.items()}
    _save_arrays(arrays, folder / ARRAYS)
    _save_arrays({n: c for n in _EVENT_COLUMNS if (c := getattr(data, n)) is not None}, folder / SEEN)
    _save_table(_id_table(data.users, data.user_features, "user_id"), folder / USERS)
    _save_table(_id_table(data.items, data.item_features, "item_id"), folder / ITEMS)
    (folder / CARD).write_text(model_card(manifest), encoding="utf-8")
    sums = {name: _digest(folder / name) for name in FILES}
    try:
        text = json.dumps({**manifest, "state": described, "files": sums}, indent=1, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise BundleError(f"The manifest must be JSON, without NaN: {error}. See info and config.") from error
    (folder / MANIFEST).write_text(text, encoding="utf-8")
    for name in (*FILES, MANIFEST):
        _sync(folder / name)
    _sync(folder)


def _save_arrays(arrays: Mapping[str, Any], file: Path) -> None:
    """Safetensors reports a full disk as an error of its own, and lets nobody else read the file: not so here."""
    try:
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, file)
    except SafetensorError as error:
        raise OSError(str(error)) from error
    file.chmod(file.parent.stat().st_mode & 0o666)


def _save_table(table: pl.DataFrame, file: Path) -> None:
    """Polars reports a full disk as an error of its own, too."""
    try:
        table.write_parquet(file)
    except pl.exceptions.PolarsError as error:
        raise OSError(str(error)) from error


def load(path: Path, *, mapped: bool = False) -> tuple[dict[str, Any], dict[str, State], Dataset]:
    """Manifest, states and data of a bundle, after checking all of it.

    With ``mapped`` the arrays are pages of the files; see ``mapped_arrays``.

    Raises
    ------
    BundleError
        Missing, cut short, changed, of a newer format, or holding a file that does not belong to it.
    """
    for _ in range(_ATTEMPTS):
        before = _identity(path)
        try:
            folder = _located(path)
            found = _read(folder, read_manifest(folder), mapped_arrays if mapped else load_file)
        except BundleError:
            if _identity(path) == before:
                raise
        else:
            if _identity(path) == before:
                return found
    raise BundleError(f"{path} is replaced faster than it can be read. Try again.")


def _identity(path: Path) -> tuple[int, int] | None:
    """What tells the folder at ``path`` from one that another process publishes there; None between the two."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns


def _read(
    folder: Path, manifest: dict[str, Any], arrays_of: ArraysOf
) -> tuple[dict[str, Any], dict[str, State], Dataset]:
    """States and data that belong to a manifest, all checked."""
    try:
        _verify(folder, manifest["files"])
        arrays = arrays_of(folder / ARRAYS)
        states = {name: _unflatten(values, name, arrays) for name, values in manifest["state"].items()}
        return manifest, states, _read_data(folder, manifest["data"], arrays_of)
    except BundleError:
        raise
    except OSError as error:
        raise BundleError(f"{folder} cannot be read: {error.strerror or error}.") from error
    except (
        LookupError,
        TypeError,
        AttributeError,
        ValueError,
        SafetensorError,
        pl.exceptions.PolarsError,
    ) as error:
        raise BundleError(f"{folder} does not fit together: {error}. Train it again.") from error


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a bundle, its format checked.

    Raises
    ------
    BundleError
        No bundle there, not JSON, or a format that this version does not read.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        version = manifest["format"]
    except (FileNotFoundError, NotADirectoryError):
        raise BundleError(
            f"{folder} is not a bundle: it has no {MANIFEST}. Wanted a folder that 'train' wrote."
        ) from None
    except OSError as error:
        raise BundleError(f"{folder / MANIFEST} cannot be read: {error.strerror or error}.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise BundleError(
            f"{folder / MANIFEST} is damaged ({error}). Restore a copy or train again."
        ) from error
    if not isinstance(version, int) or version > FORMAT:
        raise BundleError(
            f"{folder} has bundle format {version}; this recsmith reads up to {FORMAT}. Upgrade recsmith."
        )
    missing = {"files", "model", "fallback", "weighting", "data", "state", "info"} - set(manifest)
    if missing:
        raise BundleError(
            f"{folder / MANIFEST} lacks {', '.join(sorted(missing))}. Restore a copy or train again."
        )
    return dict(manifest)


def _flatten(state: State, prefix: str, arrays: dict[str, Any]) -> dict[str, Any]:
    """Arrays into ``arrays`` under ``prefix/name``; returns the JSON part."""
    arrays |= {f"{prefix}/{name}": np.ascontiguousarray(value) for name, value in state.arrays.items()}
    parts = {name: _flatten(part, f"{prefix}/{name}", arrays) for name, part in state.parts.items()}
    return {"values": dict(state.values), "arrays": sorted(state.arrays), "parts": parts}


def _unflatten(values: Mapping[str, Any], prefix: str, arrays: Mapping[str, Any]) -> State:
    own = {name: arrays[f"{prefix}/{name}"] for name in values["arrays"]}
    parts = {name: _unflatten(part, f"{prefix}/{name}", arrays) for name, part in values["parts"].items()}
    return State(own, values["values"], parts)


def _id_table(ids: IdMap, features: pl.DataFrame | None, key: str) -> pl.DataFrame:
    return pl.DataFrame({key: ids.ids}) if features is None else features


def _read_data(folder: Path, about: Mapping[str, Any], arrays_of: ArraysOf) -> Dataset:
    """The training log, its indices checked: compiled loops trust them."""
    users, items = pl.read_parquet(folder / USERS), pl.read_parquet(folder / ITEMS)
    columns: dict[str, IntArray | None] = {**dict.fromkeys(_EVENT_COLUMNS), **arrays_of(folder / SEEN)}
    user_ids, item_ids = IdMap(users["user_id"], "user"), IdMap(items["item_id"], "item")
    user, item = np.asarray(columns["user"]), np.asarray(columns["item"])
    check_range("the bundle", "user", user, len(user_ids))
    check_range("the bundle", "item", item, len(item_ids))
    if (np.diff(user) < 0).any() or any(len(c) != len(user) for c in columns.values() if c is not None):
        raise ValueError("the events are not sorted by user, or their columns differ in length")
    scale = about["rating_scale"]
    return Dataset(
        users=user_ids,
        items=item_ids,
        **columns,  # type: ignore[arg-type]
        event_names=tuple(about["event_names"]),
        user_features=users if about["has_user_features"] else None,
        item_features=items if about["has_item_features"] else None,
        rating_scale=None if scale is None else (scale[0], scale[1]),
        name=about["name"],
        notes=tuple(about["notes"]),
        offsets=np.searchsorted(user, np.arange(len(user_ids) + 1)).astype(np.int64),
    )


def _previous(target: Path) -> Path:
    return target.with_name(f".{target.name}.previous")


def _publish(work: Path, target: Path) -> None:
    """Put a complete folder in place of an old one. A crash in between leaves the old one where ``load`` finds it."""
    previous = _previous(target)
    if target.exists():
        shutil.rmtree(previous, ignore_errors=True)
        target.rename(previous)
    try:
        work.rename(target)
    except BaseException:  # an interrupt, too
        if previous.exists():
            previous.rename(target)
        raise
    _sync(target.parent)
    shutil.rmtree(previous, ignore_errors=True)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time publishes in a folder, where the file system has locks."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(ImportError, OSError):
            from fcntl import LOCK_EX, flock

            flock(handle, LOCK_EX)
        yield
    finally:
        os.close(handle)  # and with it the lock


def _located(path: Path) -> Path:
    """``path``, or the older bundle that a crash in the middle of a save left beside it."""
    previous = _previous(path.resolve())
    return previous if not path.exists() and previous.exists() else path


def _verify(folder: Path, files: Mapping[str, Mapping[str, Any]]) -> None:
    strangers = sorted({p.name for p in folder.iterdir()} - {*FILES, MANIFEST})
    if strangers:
        raise BundleError(
            f"{folder} holds {', '.join(strangers)}, which is no part of a bundle. Arrays and JSON are all that "
            "recsmith loads, never a pickle; remove the file if it is yours."
        )
    for name in FILES:
        file = folder / name
        if name not in files or not file.is_file():
            raise BundleError(f"{folder} is incomplete: {name} is missing. Restore a copy or train again.")
        found, wanted = _digest(file), files[name]
        if found["bytes"] < wanted.get("bytes", 0):
            raise BundleError(
                f"{file} has {found['bytes']} bytes where {wanted['bytes']} were written: it was cut short. "
                "Restore a copy or train again."
            )
        if found["sha256"] != wanted.get("sha256"):
            raise BundleError(
                f"{file} was changed after it was written (its SHA-256 differs). Restore a copy or train again."
            )


def _digest(file: Path) -> dict[str, Any]:
    with file.open("rb") as stream:
        return {"bytes": file.stat().st_size, "sha256": hashlib.file_digest(stream, "sha256").hexdigest()}


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
