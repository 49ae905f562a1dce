"""How often items stand close together, and in which order: the Gram matrix of a log that knows time.

With ``d(a, b)`` the number of places from event a to event b of one history, negative where b comes first::

    together[i, j] = sum over users, events a of i, events b of j:  w_a w_b 0.5 ** (|d(a, b)| / half_life)
    after[i, j]    = the same, times ``backward`` where b comes before a

Without a half-life ``together`` is X'X. An exponential kernel is positive semidefinite, so ``together`` is, too.
"""

from __future__ import annotations

import numpy as np

from recsmith import parallel
from recsmith.data.dataset import Dataset
from recsmith.kernels import njit
from recsmith.types import FloatArray

_ITEMS = 16  # rows made by one task: popular items cost much more than others
_NEGLIGIBLE = 20  # half-lives after which a pair counts less than 1e-6


def cooccurrence(data: Dataset, half_life: float | None, backward: float) -> tuple[FloatArray, FloatArray]:
    """``together`` and ``after``, each (n_items, n_items) float64; one array twice where ``backward`` is 1.

    Parameters
    ----------
    half_life
        Places in a history after which a pair counts half, > 0; None: all pairs of a history count alike.
    backward
        0 to 1, what a pair counts in ``after[i, j]`` where j came before i.
    """
    longest = int(np.diff(data.offsets).max(initial=1))
    decay = np.ones(longest)
    if half_life is not None:
        reach = min(longest, int(np.ceil(_NEGLIGIBLE * half_life)) + 1)
        decay = np.exp2(-np.arange(reach) / half_life)
    together = np.zeros((data.n_items, data.n_items))
    after = together if backward == 1 else np.zeros_like(together)
    weight = np.ones(len(data)) if data.weight is None else data.weight.astype(np.float64)
    by_item = np.argsort(data.item, kind="stable")
    bounds = np.append(0, np.cumsum(data.item_counts()))

    def block(rows: slice) -> None:
        _pairs(
            by_item, bounds, data.user, data.offsets, data.item, weight, decay, backward, together, after,
            rows.start, rows.stop,
        )  # fmt: skip

    parallel.run(block, parallel.blocks(data.n_items, _ITEMS))
    return together, after


@njit(cache=True, nogil=True)
def _pairs(  # type: ignore[no-untyped-def]
    by_item, bounds, user, offsets, item, weight, decay, backward, together, after, start, stop
):
    reach = len(decay) - 1
    for i in range(start, stop):
        for p in range(bounds[i], bounds[i + 1]):
            a = by_item[p]
            first = max(offsets[user[a]], a - reach)
            last = min(offsets[user[a] + 1] - 1, a + reach)
            for b in range(first, last + 1):
                pair = weight[a] * weight[b] * decay[abs(b - a)]
                together[i, item[b]] += pair
                if backward != 1.0:
                    after[i, item[b]] += pair if b >= a else backward * pair
