"""``load``: from a name, a path or a frame to a Dataset."""

from __future__ import annotations

from typing import Any

from recsmith.data.dataset import Dataset
from recsmith.data.sources import load_log


def load(source: Any, *, keep_catalogue: bool = True, **options: Any) -> Dataset:
    """Read a log and index it.

    Parameters
    ----------
    source
        A data set's name (``"ml-100k"``), a path to a file or folder, or a pandas, polars or Arrow frame.
    keep_catalogue
        Items of the item table that nobody touched are known, too.
    options
        Those of the source: for files and frames ``columns={"user_id": "buyer"}``, ``timestamp_unit="ms"``,
        ``users=``, ``items=``; see ``recsmith.data.sources``.

    Raises
    ------
    DataError
        The file or frame is not a log; the message names column and row.
    ParameterError
        An unknown name.
    """
    return Dataset.from_log(load_log(source, **options), keep_catalogue=keep_catalogue)
