"""The state of a training in one file: safetensors with a JSON header, so that reading it runs no code."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from recsmith.errors import BundleError

FORMAT = 1
_KEY = "recsmith"


def write(path: Path, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
    """Write a checkpoint beside ``path`` and put it in its place, so that there is a whole one at any time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".new")
    header = json.dumps({"format": FORMAT, **values})
    save_file({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, beside, {_KEY: header})
    with beside.open("rb+") as file:
        os.fsync(file.fileno())
    beside.replace(path)


def read(path: Path, identity: dict[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and values of a checkpoint that ``identity`` was given for.

    Raises
    ------
    BundleError
        The file is damaged, of another format, or of a training of something else: what differs is named.
    """
    try:
        with safe_open(path, framework="pt") as file:
            values: dict[str, Any] = json.loads((file.metadata() or {})[_KEY])
            tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, KeyError, ValueError, struct.error) as error:
        raise BundleError(
            f"{path} is not a checkpoint of recsmith, or it is damaged ({error}). Remove it to begin anew."
        ) from None
    if values.get("format") != FORMAT:
        raise BundleError(
            f"{path} has the format {values.get('format')}; this version reads {FORMAT}. Remove it to begin anew."
        )
    _check_identity(path, values.get("identity", {}), identity)
    return tensors, values


def _check_identity(path: Path, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    wanted = json.loads(json.dumps(wanted))
    for name in wanted:
        mine, theirs = wanted[name], found.get(name)
        if mine == theirs:
            continue
        if isinstance(mine, dict) and isinstance(theirs, dict):
            keys = [key for key in {**mine, **theirs} if mine.get(key) != theirs.get(key)]
            name = f"{name} {keys[0]}"
            mine, theirs = mine.get(keys[0]), theirs.get(keys[0])
        raise BundleError(
            f"{path} is the checkpoint of another training: its {name} is {theirs!r}, and here it is {mine!r}. "
            "Go on with what it was begun with, or remove it to begin anew."
        )
