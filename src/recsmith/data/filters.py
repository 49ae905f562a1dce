"""Filters that are applied to a log before it is split. Each leaves a note, for the reader of a report."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from recsmith.data.dataset import Dataset
from recsmith.errors import DataError, ParameterError

K_CORE_NOTE = "k-core"
"""How the note of ``k_core`` begins."""


def k_core(data: Dataset, users: int = 5, items: int = 5) -> Dataset:
    """Keep users and items with enough events, round after round until all that are left have them.

    A pair that occurs twice counts as two events. The id maps hold only what is left. The filter looks at
    every event, those that a split will judge included, so it makes the task easier than a service's: use it
    to compare with published tables.

    Parameters
    ----------
    data
        The log.
    users, items
        Least number of events of a user and of an item, >= 1.

    Raises
    ------
    ParameterError
        Where a number is less than 1.
    DataError
        Where nothing is left.
    """
    for name, least in (("users", users), ("items", items)):
        if least < 1:
            raise ParameterError.of("k_core", name, ">= 1", least)
    rows = np.arange(len(data))
    rounds = 0
    while len(rows):
        user, item = data.user[rows], data.item[rows]
        kept = np.bincount(user, minlength=data.n_users)[user] >= users
        kept &= np.bincount(item, minlength=data.n_items)[item] >= items
        if kept.all():
            break
        rows = rows[kept]
        rounds += 1
    if not len(rows):
        raise DataError(
            f"No event of {data.name} is left at users >= {users}, items >= {items}. Choose less."
        )
    core = data.take(rows).compact()
    note = (
        f"{K_CORE_NOTE} (users >= {users}, items >= {items} events) was applied before the split and "
        f"removed, in {rounds} rounds, {len(data) - len(core):,} of {len(data):,} events, "
        f"{data.n_users - core.n_users:,} of {data.n_users:,} users and "
        f"{data.n_items - core.n_items:,} of {data.n_items:,} items. Users with fewer events are not judged."
    )
    return replace(core, notes=(*data.notes, note))


def at_least(data: Dataset, rating: float) -> Dataset:
    """Keep the events with a rating of at least ``rating``: what is often called a positive.

    The id maps hold the users and items of what is left, and the items of the item table where there is one.

    Parameters
    ----------
    data
        A log with ratings. A missing rating (NaN) is not kept.
    rating
        Least rating, on the data's scale.

    Raises
    ------
    DataError
        Where the log has no ratings, or none is high enough.
    """
    kept = data.ratings() >= rating
    if not kept.any():
        highest = float(np.nanmax(data.ratings())) if len(data) else float("nan")
        raise DataError(
            f"No rating of {data.name} is >= {rating:g}. The highest is {highest:g}: choose less."
        )
    catalogue = None if data.item_features is None else np.ones(data.n_items, dtype=np.bool_)
    chosen = data.take(kept).compact(keep_items=catalogue)
    note = (
        f"Only ratings >= {rating:g} were kept: {len(chosen):,} of {len(data):,} events. "
        f"{data.n_users - chosen.n_users:,} of {data.n_users:,} users have none and are not judged."
    )
    return replace(chosen, notes=(*data.notes, note))
