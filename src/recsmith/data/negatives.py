"""Negatives: items that a user has not touched, drawn at random for training and for sampled metrics.

A draw depends on the seed and on its place in the answer, never on the number of threads.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recsmith import parallel
from recsmith.data.dataset import Dataset, Matrix
from recsmith.errors import DataError, ParameterError
from recsmith.kernels import njit
from recsmith.types import FloatArray, IntArray

_BLOCK = 4096  # rows of one task
_TRIES = 64  # rejected draws of a popular item before the exact way


def uniform(data: Dataset, n: int, rng: np.random.Generator | int, users: IntArray | None = None) -> IntArray:
    """Items drawn evenly from those that the user has no event with; see ``NegativeSampler.draw``."""
    return NegativeSampler.of(data).draw(n, rng, users)


def popularity(
    data: Dataset,
    n: int,
    rng: np.random.Generator | int,
    power: float = 0.75,
    users: IntArray | None = None,
) -> IntArray:
    """Items drawn in proportion to ``count ** power`` from those that the user has no event with [1]_.

    Where none of those has an event (of anyone), they are drawn evenly. See ``NegativeSampler.draw``.

    References
    ----------
    .. [1] Mikolov et al., "Distributed Representations of Words and Phrases and their Compositionality",
       NeurIPS 2013, section 2.2: the power 3/4.
    """
    return NegativeSampler.of(data, power).draw(n, rng, users)


@dataclass(frozen=True, slots=True, eq=False)
class NegativeSampler:
    """The positives of every user, sorted once, to draw from as often as a training needs."""

    positives: Matrix  #: (n_users, n_items) CSR with sorted, distinct columns
    cumulative: FloatArray | None  #: (n_items,) float64 running sum of the items' weights; None: all equal

    @classmethod
    def of(cls, data: Dataset, power: float = 0.0) -> NegativeSampler:
        """Prepare to draw in proportion to ``count ** power``; 0 is evenly, items without an event included.

        Raises
        ------
        ParameterError
            Where ``power`` is negative or not finite.
        """
        if not (np.isfinite(power) and power >= 0):
            raise ParameterError.of("popularity", "power", "finite and >= 0", power)
        weights = data.item_counts().astype(np.float64) ** power if power else None
        return cls(data.matrix("ones"), None if weights is None else np.cumsum(weights))

    def draw(
        self,
        n: int,
        rng: np.random.Generator | int,
        users: IntArray | None = None,
        streams: IntArray | None = None,
    ) -> IntArray:
        """Draw ``n`` negatives for each of ``users``, independently: an item may come twice in a row.

        Parameters
        ----------
        n
            Number of negatives of a row, >= 0.
        rng
            A generator or a seed; one number is drawn from it.
        users
            (r,) user indices, in any order and as often as wanted; -1 is a user who has no event. None: every
            user once.
        streams
            (r,) numbers >= 0: with the same seed, a row of the same user and number draws the same items wherever
            it stands. None: its place.

        Returns
        -------
        (r, n) int32
            Item indices, none of them a positive of the row's user.

        Raises
        ------
        DataError
            Where a user has an event with every item.
        ParameterError
            Where ``n`` is negative, a user index is out of range, or ``streams`` has another length.
        """
        n_users, n_items = self.positives.shape
        who = np.arange(n_users) if users is None else np.asarray(users, dtype=np.int64)
        if n < 0:
            raise ParameterError.of("negatives", "n", ">= 0", n)
        if len(who) and (who.min() < -1 or who.max() >= n_users):
            wrong = who.min() if who.min() < -1 else who.max()
            raise ParameterError.of("negatives", "users", f"indices from -1 to {n_users - 1}", int(wrong))
        number = np.arange(len(who)) if streams is None else np.asarray(streams, dtype=np.int64)
        if len(number) != len(who):
            raise ParameterError.of("negatives", "streams", f"of length {len(who)}", f"length {len(number)}")
        indptr = np.append(self.positives.indptr, self.positives.indptr[-1])  # row -1 has no positive
        full = np.flatnonzero(np.diff(indptr)[who] >= n_items)
        if len(full) and n:
            raise DataError(
                f"User index {who[full[0]]} has an event with each of the {n_items} items: no negative is "
                "left. Leave such users out, or give the log a catalogue of more items."
            )
        seed = np.random.default_rng(rng).integers(0, 2**64, dtype=np.uint64)
        drawn = np.empty((len(who), n), dtype=np.int32)

        def fill(rows: slice) -> None:
            arguments = (who[rows], number[rows], indptr, self.positives.indices, n_items, seed)
            if self.cumulative is None:
                _uniform(*arguments, drawn[rows])
            else:
                _weighted(*arguments, self.cumulative, drawn[rows])

        parallel.run(fill, parallel.blocks(len(who), _BLOCK))
        return drawn


@njit(cache=True, nogil=True)
def next_bits(state):  # type: ignore[no-untyped-def]
    """Give the next state and output of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014, figure 15)."""
    state = state + np.uint64(0x9E3779B97F4A7C15)
    z = state
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state, z ^ (z >> np.uint64(31))


@njit(cache=True, nogil=True)
def stream(seed, row):  # type: ignore[no-untyped-def]
    """Give a row a stream of its own: a state as far from its neighbours' as chance puts it."""
    _, mixed = next_bits(np.uint64(row))
    _, state = next_bits(seed ^ mixed)
    return state


@njit(cache=True, nogil=True)
def _unit(z):  # type: ignore[no-untyped-def]
    """Turn 64 random bits into a float64 in [0, 1)."""
    return np.float64(z >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@njit(cache=True, nogil=True)
def _skipping(rank, positives):  # type: ignore[no-untyped-def]
    """Find item number ``rank`` of those that are not in the sorted ``positives``."""
    low, high = 0, len(positives)
    while low < high:  # positives[j] - j items before positives[j] are free
        middle = (low + high) // 2
        if positives[middle] - middle <= rank:
            low = middle + 1
        else:
            high = middle
    return rank + low


@njit(cache=True, nogil=True)
def _uniform(users, number, indptr, indices, n_items, seed, out):  # type: ignore[no-untyped-def]
    for r in range(len(users)):
        positives = indices[indptr[users[r]] : indptr[users[r] + 1]]
        free = n_items - len(positives)
        state = stream(seed, number[r])
        for j in range(out.shape[1]):
            state, z = next_bits(state)
            out[r, j] = _skipping(min(int(_unit(z) * free), free - 1), positives)


@njit(cache=True, nogil=True)
def _weighted(users, number, indptr, indices, n_items, seed, cumulative, out):  # type: ignore[no-untyped-def]
    total = cumulative[n_items - 1]
    for r in range(len(users)):
        positives = indices[indptr[users[r]] : indptr[users[r] + 1]]
        state = stream(seed, number[r])
        for j in range(out.shape[1]):
            chosen = -1
            for _ in range(_TRIES):
                state, z = next_bits(state)
                item = np.searchsorted(cumulative, _unit(z) * total, side="right")
                place = np.searchsorted(positives, item)
                if item < n_items and (place == len(positives) or positives[place] != item):
                    chosen = item
                    break
            if chosen < 0:
                state, z = next_bits(state)
                chosen = _exactly(_unit(z), positives, cumulative)
            out[r, j] = chosen


@njit(cache=True, nogil=True)
def _exactly(unit, positives, cumulative):  # type: ignore[no-untyped-def]
    """Draw by weight from the items outside ``positives`` in two walks; evenly where they weigh nothing."""
    n_items = len(cumulative)
    total = 0.0
    for attempt in range(2):
        reached, p, last = 0.0, 0, -1
        for item in range(n_items):
            if p < len(positives) and positives[p] == item:
                p += 1
                continue
            weight = cumulative[item] - (cumulative[item - 1] if item else 0.0)
            if weight > 0.0:
                reached += weight
                last = item
                if attempt == 1 and reached > unit * total:
                    return item
        total = reached
        if last < 0:
            free = n_items - len(positives)
            return _skipping(min(int(unit * free), free - 1), positives)
    return last
