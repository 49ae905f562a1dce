"""Metrics of ranked lists against what really happened, as array code: one value per user.

Which slots are right is found once (``hits``); every metric at every cut-off is then a sum over that table.
Relevance is binary. Formulas and edge cases: docs/notation.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias

import numpy as np

from recsmith.errors import ParameterError
from recsmith.kernels import njit
from recsmith.types import BoolArray, FloatArray, IntArray

RankingMetric: TypeAlias = Callable[[BoolArray, IntArray, int], FloatArray]


def hits(items: IntArray, truth_offsets: IntArray, truth_items: IntArray) -> tuple[BoolArray, IntArray]:
    """Find the right slots of ranked lists, and how many items would have been right.

    Parameters
    ----------
    items
        (n, width) int32 item indices, best first; -1 is an empty slot. An item that a list repeats counts
        at its first place only.
    truth_offsets
        (n + 1,) int64 row bounds into ``truth_items``.
    truth_items
        (t,) int32 item indices that really happened, in any order; a repeated item counts once. Each -1 is an
        item that the model cannot know: nothing hits it, and it counts as relevant.

    Returns
    -------
    hit
        (n, width) bool.
    relevant
        (n,) int64 number of distinct relevant items, each -1 by itself.

    Raises
    ------
    ParameterError
        Where lists and bounds disagree in number.
    """
    if items.ndim != 2 or len(truth_offsets) != len(items) + 1:
        wanted = f"(n, width) with n = {len(truth_offsets) - 1}, one list for each row of the truth"
        raise ParameterError.of("hits", "items", wanted, items.shape)
    hit = np.zeros(items.shape, dtype=np.bool_)
    relevant = np.zeros(len(items), dtype=np.int64)
    _hits(np.asarray(items), np.asarray(truth_offsets), np.asarray(truth_items), hit, relevant)
    return hit, relevant


def precision(hit: BoolArray, relevant: IntArray, k: int) -> FloatArray:
    """(n,) float64 right slots among the first ``k``, over ``k``; an empty slot is a wrong one."""
    return _judged(_right(hit, k) / k, relevant)


def recall(hit: BoolArray, relevant: IntArray, k: int) -> FloatArray:
    """(n,) float64 right slots among the first ``k``, over the number of relevant items."""
    return _judged(_right(hit, k) / np.maximum(relevant, 1), relevant)


def f1(hit: BoolArray, relevant: IntArray, k: int) -> FloatArray:
    """(n,) float64 harmonic mean of precision and recall: ``2 right / (k + relevant)``."""
    return _judged(2.0 * _right(hit, k) / (k + relevant), relevant)


def hit_rate(hit: BoolArray, relevant: IntArray, k: int) -> FloatArray:
    """(n,) float64 1 where one of the first ``k`` is right, else 0."""
    return _judged((_right(hit, k) > 0).astype(np.float64), relevant)


def mrr(hit: BoolArray, relevant: IntArray, k: int) -> FloatArray:
    """(n,) float64 ``1 / rank`` of the first right slot among the first ``k``, 0 without one."""
    top = _top(hit, k)
    first = top.argmax(axis=1)
    return _judged(np.where(_right(hit, k) > 0, 1.0 / (first + 1), 0.0), relevant)


def average_precision(hit: BoolArray, relevant: IntArray, k: int) -> FloatArray:
    """(n,) float64 sum of the precisions at the right slots, over ``min(k, relevant)``; its mean is MAP."""
    top = _top(hit, k)
    at_rank = np.cumsum(top, axis=1) / np.arange(1, k + 1)
    total = np.einsum("ij,ij->i", at_rank, top.astype(np.float64))
    return _judged(total / np.clip(relevant, 1, k), relevant)


def ndcg(hit: BoolArray, relevant: IntArray, k: int) -> FloatArray:
    """(n,) float64 discounted gain ``sum 1 / log2(rank + 1)`` over that of the best possible list.

    The best possible list has ``min(k, relevant)`` right slots, at its top.
    K. Jarvelin, J. Kekalainen, "Cumulated gain-based evaluation of IR techniques", TOIS 20(4), 2002.
    """
    discount = 1.0 / np.log2(np.arange(2, k + 2))
    ideal = np.cumsum(discount)[np.clip(relevant, 1, k) - 1]
    return _judged(_top(hit, k).astype(np.float64) @ discount / ideal, relevant)


#: Every ranking metric by name: ``METRICS["ndcg"](hit, relevant, 10)`` gives (n,) float64 in [0, 1].
METRICS: Mapping[str, RankingMetric] = {
    "precision": precision,
    "recall": recall,
    "f1": f1,
    "hit_rate": hit_rate,
    "mrr": mrr,
    "map": average_precision,
    "ndcg": ndcg,
}
DEFAULT_METRICS = ("precision", "recall", "ndcg", "map", "mrr", "hit_rate")


def parse(name: str) -> tuple[str, int]:
    """``"ndcg@10"`` -> ``("ndcg", 10)``.

    Raises
    ------
    ParameterError
        An unknown metric (the nearest one is offered) or a cut-off that is not an integer >= 1.
    """
    metric, _, cut = name.partition("@")
    if metric not in METRICS:
        raise ParameterError.unknown("ranking metric", metric, METRICS)
    if not cut.isdecimal() or int(cut) < 1:
        raise ParameterError(
            f"A ranking metric is written name@k with an integer k >= 1, like ndcg@10. Got {name!r}."
        )
    return metric, int(cut)


def expand(metrics: Iterable[str], ks: Iterable[int]) -> tuple[str, ...]:
    """Full names: ``("ndcg", "recall@20")`` at ``(5, 10)`` -> ``ndcg@5, ndcg@10, recall@20``; all are checked."""
    cuts = tuple(ks)
    names = [full for m in metrics for full in ([m] if "@" in m else [f"{m}@{k}" for k in cuts])]
    for name in names:
        parse(name)
    return tuple(dict.fromkeys(names))


def score(hit: BoolArray, relevant: IntArray, names: Iterable[str]) -> dict[str, FloatArray]:
    """All of ``names`` for all lists.

    Parameters
    ----------
    hit, relevant
        From ``hits``; lists must be as wide as the largest cut-off.
    names
        ``"ndcg@10"`` and the like.

    Returns
    -------
    dict
        Name -> (n,) float64 in [0, 1], NaN for a row without truth.

    Raises
    ------
    ParameterError
        An unknown name, or lists narrower than a cut-off.
    """
    parsed = {name: parse(name) for name in names}
    return {name: METRICS[metric](hit, relevant, k) for name, (metric, k) in parsed.items()}


def _top(hit: BoolArray, k: int) -> BoolArray:
    """The first ``k`` columns."""
    if not 1 <= k <= hit.shape[1]:
        raise ParameterError.of("a ranking metric", "k", f"in 1 .. {hit.shape[1]}, the width of the lists", k)
    return hit[:, :k]


def _right(hit: BoolArray, k: int) -> IntArray:
    """(n,) number of right slots among the first ``k``."""
    right: IntArray = np.count_nonzero(_top(hit, k), axis=1)
    return right


def _judged(values: FloatArray, relevant: IntArray) -> FloatArray:
    """NaN for a row without truth: it says nothing about the model."""
    return np.where(relevant > 0, values, np.nan)


@njit(cache=True, nogil=True)
def _hits(items, offsets, truth, hit, relevant):  # type: ignore[no-untyped-def]
    for r in range(items.shape[0]):
        wanted = np.sort(truth[offsets[r] : offsets[r + 1]])
        taken = np.zeros(len(wanted), dtype=np.bool_)
        for j in range(len(wanted)):
            relevant[r] += wanted[j] < 0 or j == 0 or wanted[j] != wanted[j - 1]
        for s in range(items.shape[1]):
            item = items[r, s]
            at = np.searchsorted(wanted, item)
            if item >= 0 and at < len(wanted) and wanted[at] == item and not taken[at]:
                taken[at] = True
                hit[r, s] = True
