"""What the runners share whose jobs end in lists: the log as a CSR matrix, and ragged lists as one array.

Input of such a job: ``indptr``, ``indices``, ``data``, ``shape`` (CSR, users by items). Output: ``items``, (n_users, k)
int32 with a list for each user, best first, seen items left out, -1 in an empty slot.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix
from worker import Arrays


def log_matrix(arrays: Arrays, dtype: Any = np.float32) -> csr_matrix:
    """The log, users by items."""
    shape = tuple(int(size) for size in arrays["shape"])
    return csr_matrix((arrays["data"].astype(dtype), arrays["indices"], arrays["indptr"]), shape=shape)


def log_pairs(arrays: Arrays) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """User and item of each event."""
    n_users = int(arrays["shape"][0])
    return np.repeat(np.arange(n_users), np.diff(arrays["indptr"])), arrays["indices"]


def padded(lists: Iterable[Sequence[int]], n_users: int, k: int) -> npt.NDArray[np.int32]:
    """One list per user, of at most ``k``, as an array."""
    items = np.full((n_users, k), -1, dtype=np.int32)
    for user, found in enumerate(lists):
        items[user, : len(found)] = found[:k]
    return items


def laid_out(users: npt.NDArray[Any], found: npt.NDArray[Any], n_users: int, k: int) -> npt.NDArray[np.int32]:
    """Long form (user, item), each user's rows together and best first, as an array."""
    items = np.full((n_users, k), -1, dtype=np.int32)
    first = np.flatnonzero(np.diff(users, prepend=-1) != 0)
    lengths = np.diff(np.append(first, len(users)))
    place = np.arange(len(users)) - np.repeat(first, lengths)
    items[users, place] = found
    return items


def without_seen(items: npt.NDArray[Any], scores: npt.NDArray[Any]) -> npt.NDArray[np.int32]:
    """What runs out of unseen items is filled by implicit with a score of about -3.4e38: such slots become -1."""
    return np.where(scores > -1e38, items, -1).astype(np.int32)
