"""Arrays of a safetensors file as pages of the file itself: processes that read the same file share its memory."""

from __future__ import annotations

import json
import math
import mmap
from pathlib import Path
from typing import Any

import numpy as np

_TYPES = {
    "BOOL": "?", "U8": "u1", "I8": "i1", "U16": "<u2", "I16": "<i2", "U32": "<u4", "I32": "<i4", "U64": "<u8",
    "I64": "<i8", "F16": "<f2", "F32": "<f4", "F64": "<f8",
}  # fmt: skip


def mapped_arrays(file: Path) -> dict[str, Any]:
    """The arrays of ``file`` by name. Writing to one changes a copy of the page, never the file.

    The file must stay as it is while an array lives: one that is replaced by renaming does, one that is written over
    does not.

    Raises
    ------
    ValueError
        The file is no safetensors file, or a type is not one of numpy's.
    OSError
        It cannot be read.

    Notes
    -----
    Eight bytes with the length of a JSON object, the object (type, shape and place of each array), the arrays:
    https://github.com/huggingface/safetensors#format.
    """
    with file.open("rb") as stream:
        pages = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY)
    start = 8 + int.from_bytes(pages[:8], "little")
    if start > len(pages):
        raise ValueError(f"{file.name} is no safetensors file")
    described = json.loads(pages[8:start])
    described.pop("__metadata__", None)
    return {name: _array(pages, start, name, about) for name, about in described.items()}


def _array(pages: mmap.mmap, start: int, name: str, about: dict[str, Any]) -> Any:
    low, high = about["data_offsets"]
    shape = tuple(about["shape"])
    if about["dtype"] not in _TYPES:
        raise ValueError(f"the array {name!r} has the type {about['dtype']}, which numpy does not know")
    dtype = np.dtype(_TYPES[about["dtype"]])
    count = math.prod(shape)
    if low < 0 or high - low != count * dtype.itemsize or start + high > len(pages):
        raise ValueError(f"the array {name!r} does not lie where its file says")
    return np.frombuffer(pages, dtype, count, start + low).reshape(shape)
