"""Events held out inside train, by which a training is judged while it goes on.

The id maps stay those of train: what was fitted on the rest can be asked about the test part, too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recsmith.data.dataset import Dataset
from recsmith.data.split import Split, Truth
from recsmith.errors import DataError
from recsmith.experiment.config import Training
from recsmith.types import BoolArray, IntArray, ragged_take


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeldOut:
    """What is left to learn from with the questions about the rest."""

    split: Split  #: ``split.train`` has the id maps of the log that was cut
    users: IntArray  #: (n,) int32 users who are asked

    def fresh(self, split: Split) -> Split:
        """``split``, whose train part was cut, for a model that did not see what was held out of it."""
        queries = split.queries
        if queries.as_trained is None:
            return split
        changed = np.isin(queries.users, self.users)
        told = queries.replace(as_trained=queries.as_trained & ~changed)
        return Split(
            name=split.name,
            train=split.train,
            queries=told,
            user_ids=split.user_ids,
            truth=split.truth,
            notes=(*split.notes, self.split.train.notes[-1]),
            user_features=split.user_features,
        )


def hold_out(data: Dataset, training: Training, seed: int) -> HeldOut:
    """Cut ``training.held_out`` events off each of ``training.users`` random users with more events than that.

    Raises
    ------
    DataError
        Nobody has so many events.
    """
    n = training.held_out
    able = np.flatnonzero(np.diff(data.offsets) > n)
    if not len(able):
        raise DataError(
            f"{data.name}: no user has more than {n} events, so none can be held out for validation. Lower "
            "'training.held_out', or set 'training.validation' to null."
        )
    rng = np.random.default_rng([seed, 1])
    users = np.sort(rng.permutation(able)[: training.users]).astype(np.int32)
    held = _last(data, users, n) if training.which == "last" else _any(data, users, n, rng)
    truth = data.take(held)
    said = f"{len(truth):,} events of {len(users):,} users were held out of train for validation."
    rest = data.take(~held, note=said)
    split = Split(
        name=f"{training.which} events of train",
        train=rest,
        queries=rest.queries(users).replace(at=None if truth.time is None else truth.time[::n].copy()),
        user_ids=data.users.raw(users).alias("user_id"),
        truth=Truth(
            offsets=np.arange(len(users) + 1, dtype=np.int64) * n,
            items=truth.item,
            values=truth.value,
            times=truth.time,
        ),
    )
    return HeldOut(split=split, users=users)


def _last(data: Dataset, users: IntArray, n: int) -> BoolArray:
    mask = np.zeros(len(data), dtype=np.bool_)
    mask[(data.offsets[users + 1][:, None] - 1 - np.arange(n)).ravel()] = True
    return mask


def _any(data: Dataset, users: IntArray, n: int, rng: np.random.Generator) -> BoolArray:
    bounds, rows = ragged_take(data.offsets, users)
    of = np.repeat(np.arange(len(users)), np.diff(bounds))
    drawn = np.lexsort((rng.random(len(rows)), of))
    mask = np.zeros(len(data), dtype=np.bool_)
    mask[rows[drawn[(bounds[:-1][:, None] + np.arange(n)).ravel()]]] = True
    return mask
