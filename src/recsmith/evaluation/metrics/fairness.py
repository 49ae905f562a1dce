"""Which items and which tastes lists serve: groups of items by popularity, exposure, tail shares, calibration.

Array code on (n, k) lists of item indices, -1 = empty slot; one value per user. The mean popularity of a list (ARP) is
``beyond_accuracy.popularity`` with counts in place of shares. Formulas and sources: docs/notation.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
from scipy import sparse

from recsmith.errors import ParameterError
from recsmith.types import BoolArray, FloatArray, IntArray, Queries

Membership: TypeAlias = FloatArray
"""(n_items, groups) float64: share of each item that belongs to each group; a row sums to 1, or to 0."""
Divergence: TypeAlias = Literal["kl", "js"]
HEAD_SHARE = 0.8  #: of the events: the popular items hold it together, the others are the tail
SMOOTHING = 0.01  #: Steck's alpha


def popularity_groups(counts: IntArray, shares: Sequence[float] = (HEAD_SHARE,)) -> IntArray:
    """(n_items,) int64 group of each item by popularity: 0 the most popular ones, ``len(shares)`` the last.

    Items are put in order by their count (equal ones by smaller index); group g ends with the item whose events make
    up ``shares[g]`` of all. ``(0.8,)`` is the Pareto cut of head and tail, ``(0.2, 0.8)`` the head, middle and tail of
    H. Abdollahpouri, R. Burke, B. Mobasher, "Managing Popularity Bias in Recommender Systems with Personalized
    Re-Ranking", FLAIRS 2019.

    Parameters
    ----------
    counts
        (n_items,) events of each item in train.
    shares
        Rising bounds in (0, 1).

    Raises
    ------
    ParameterError
        Bounds that do not rise within (0, 1).
    """
    bounds = np.asarray(shares, dtype=np.float64)
    if not len(bounds) or (bounds <= 0).any() or (bounds >= 1).any() or (np.diff(bounds) <= 0).any():
        raise ParameterError.of("popularity_groups", "shares", "rising numbers in (0, 1)", shares)
    order = np.argsort(-counts, kind="stable")
    before = np.cumsum(counts[order]) - counts[order]
    group = np.empty(len(counts), dtype=np.int64)
    group[order] = np.searchsorted(bounds * counts.sum(), before, side="right")
    group[counts == 0] = len(bounds)
    return group


def membership(groups: IntArray, n_groups: int) -> Membership:
    """(n_items, n_groups) ones where ``groups`` (n_items,) says so; a row of zeros for -1."""
    table = np.zeros((len(groups), n_groups))
    known = groups >= 0
    table[np.flatnonzero(known), groups[known]] = 1.0
    return table


def exposure(items: IntArray, member: Membership, *, discounted: bool = False) -> FloatArray:
    """(n, groups) float64 what each group has of each list: places, or places times ``1 / log2(rank + 1)``.

    The discounted form is the position bias of A. Singh, T. Joachims, "Fairness of Exposure in Rankings", KDD 2018.
    """
    n, k = items.shape
    weight = 1.0 / np.log2(np.arange(2, k + 2)) if discounted else np.ones(k)
    filled = items >= 0
    offsets = np.concatenate([[0], np.cumsum(filled.sum(axis=1))])
    weights = np.broadcast_to(weight, items.shape)[filled]
    lists = sparse.csr_array((weights, items[filled], offsets), shape=(n, len(member)))
    return np.asarray(lists @ member)


def tail_share(items: IntArray, tail: BoolArray) -> FloatArray:
    """(n,) float64 share of the filled places that hold items of the ``tail`` (n_items,); NaN for an empty list.

    Its mean is APLT: H. Abdollahpouri, R. Burke, B. Mobasher, FLAIRS 2019.
    """
    filled = (items >= 0).sum(axis=1)
    share: FloatArray = np.full(len(items), np.nan)
    np.divide(tail_count(items, tail), filled, out=share, where=filled > 0)
    return share


def tail_count(items: IntArray, tail: BoolArray) -> FloatArray:
    """(n,) float64 number of places that hold items of the ``tail``; its mean is ACLT (same paper)."""
    held = (items >= 0) & tail[np.maximum(items, 0)]
    return np.asarray(held.sum(axis=1), dtype=np.float64)


def miscalibration(
    queries: Queries,
    items: IntArray,
    member: Membership,
    *,
    divergence: Divergence = "kl",
    alpha: float = SMOOTHING,
) -> FloatArray:
    """(n,) float64 how far the mix of a list is from that of the user's history, in bits; 0 is calibrated.

    With p the shares of the groups (genres) in the history and q in the list, ``"kl"`` is
    ``sum p log2(p / q')`` with ``q' = (1 - alpha) q + alpha p``: H. Steck, "Calibrated Recommendations", RecSys 2018.
    ``"js"`` is the Jensen-Shannon divergence of p and q, in [0, 1], and needs no smoothing.

    Parameters
    ----------
    queries
        (n,) requests with the histories; every event counts once.
    items
        (n, k) lists.
    member
        (n_items, groups); an item without groups says nothing.

    Returns
    -------
    numpy.ndarray
        NaN where history or list holds no item with a group.

    Raises
    ------
    ParameterError
        ``alpha`` outside (0, 1).
    """
    if not 0 < alpha < 1:
        raise ParameterError.of("miscalibration", "alpha", "in (0, 1)", alpha)
    events = np.ones(len(queries.items))
    told = sparse.csr_array((events, queries.items, queries.offsets), shape=(len(queries), len(member)))
    p, q = _shares(np.asarray(told @ member)), _shares(exposure(items, member))
    if divergence == "kl":
        return _kl(p, (1 - alpha) * q + alpha * p)
    middle = (p + q) / 2
    return (_kl(p, middle) + _kl(q, middle)) / 2


def _shares(amounts: Any) -> FloatArray:
    total = amounts.sum(axis=1, keepdims=True)
    shares: FloatArray = np.full(amounts.shape, np.nan)
    np.divide(amounts, total, out=shares, where=total > 0)
    return shares


def _kl(p: FloatArray, q: FloatArray) -> FloatArray:
    """Row sums of ``p log2(p / q)``, 0 where p is 0; rounding below 0 is cut off, NaN stays."""
    ratio = np.ones_like(p)
    np.divide(p, q, out=ratio, where=p > 0)
    told = np.isfinite(p).all(axis=1) & np.isfinite(q).all(axis=1)
    total = np.where(p > 0, p * np.log2(ratio), 0.0).sum(axis=1)
    return np.where(told, np.maximum(total, 0.0), np.nan)
