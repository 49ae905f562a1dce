"""``load``: from a name, a path or a frame to a Dataset."""

from __future__ import annotations

from typing import Any

from recsmith.data.dataset import Dataset
from recsmith.data.filters import at_least
from recsmith.data.filters import k_core as core
from recsmith.data.sources import load_log


def load(
    source: Any,
    *,
    keep_catalogue: bool = True,
    min_rating: float | None = None,
    k_core: int | None = None,
    **options: Any,
) -> Dataset:
    """Read a log, index it and filter it.

    Parameters
    ----------
    source
        A data set's name (``"ml-100k"``), a path to a file or folder, or a pandas, polars or Arrow frame.
    keep_catalogue
        Items of the item table that nobody touched are known, too.
    min_rating
        Keep ratings of at least this; see ``recsmith.data.filters.at_least``.
    k_core
        Keep users and items with at least so many events; see ``recsmith.data.filters.k_core``.
    options
        Those of the source: for files and frames ``columns={"user_id": "buyer"}``, ``timestamp_unit="ms"``,
        ``users=``, ``items=``; see ``recsmith.data.sources``.

    Raises
    ------
    DataError
        The file or frame is not a log (the message names column and row), or a filter leaves nothing of it.
    ParameterError
        An unknown name.
    """
    data = Dataset.from_log(load_log(source, **options), keep_catalogue=keep_catalogue)
    if min_rating is not None:
        data = at_least(data, min_rating)
    return data if k_core is None else core(data, k_core, k_core)
