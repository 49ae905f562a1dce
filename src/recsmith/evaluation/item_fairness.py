"""What lists do to groups of items.

Exposure of a group is laid beside its share of the catalogue (demographic parity), beside its share of what users
really took afterwards (equal opportunity), and beside its share of the log.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from scipy import sparse

from recsmith.data.dataset import Dataset
from recsmith.data.split import Split
from recsmith.errors import ParameterError
from recsmith.evaluation.answers import Answerable, Ranked, answerable
from recsmith.evaluation.fairness import plain_row
from recsmith.evaluation.groups import MOST_GROUPS, counted, labels_of
from recsmith.evaluation.metrics import beyond_accuracy as beyond
from recsmith.evaluation.metrics import fairness
from recsmith.evaluation.report import written
from recsmith.evaluation.significance import Interval, Sample, percentiles, replicates
from recsmith.tables import Table
from recsmith.types import FloatArray, IntArray

POPULARITY = "popularity"  #: groups "popular" and "tail": see ``metrics.fairness.popularity_groups``
_NAMES = ("popular", "tail")


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemGroupRow:
    """What a group of items is and what lists give to it.

    An item of several groups counts in parts in the shares.
    """

    group: str
    items: float
    catalogue_share: float  #: of all items
    event_share: float  #: of the events of train
    relevance_share: float  #: of the truth
    exposure_share: float  #: of the places of all lists
    exposure_interval: Interval
    discounted_share: float  #: of the exposure, a place weighing ``1 / log2(rank + 1)``
    to_catalogue: float  #: exposure share over catalogue share; 1 is demographic parity
    to_relevance: float  #: exposure share over relevance share; 1 is exposure in proportion to what is wanted
    chance: float  #: P(listed | group): of all unseen pairs of a user and an item of the group
    recall: float  #: P(listed | group, relevant): over pairs, as equal opportunity has it
    recall_interval: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemFairness:
    """How one model's lists treat groups of items."""

    model: str
    split: str
    by: str
    k: int
    users: int
    rows: tuple[ItemGroupRow, ...]
    figures: Mapping[str, float]  #: parity_difference, opportunity_difference, rsp, reo: 0 is even
    intervals: Mapping[str, Interval]  #: of the two differences, between the groups of ``between``
    between: Mapping[str, tuple[str, str]]  #: difference -> groups with the largest and the smallest figure
    unknown: float  #: share of the places whose items have no group

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON: NaN is None."""
        return {
            **plain_row(self),
            "rows": [plain_row(row) for row in self.rows],
            "figures": {name: None if np.isnan(value) else value for name, value in self.figures.items()},
            "intervals": {
                name: [None if np.isnan(b) else b for b in bounds] for name, bounds in self.intervals.items()
            },
            "between": {name: list(groups) for name, groups in self.between.items()},
        }

    def __rich__(self) -> Table:
        columns = (
            "group", "items", "of catalogue", "of events", "of truth", "of places", "95 %", "/ catalogue",
            "/ truth", f"recall@{self.k}", "95 % ",
        )  # fmt: skip
        rows = [
            (
                row.group,
                f"{row.items:,.0f}",
                *(
                    f"{share:.1%}"
                    for share in (
                        row.catalogue_share,
                        row.event_share,
                        row.relevance_share,
                        row.exposure_share,
                    )
                ),
                written(row.exposure_interval),
                f"{row.to_catalogue:.2f}",
                f"{row.to_relevance:.2f}",
                row.recall,
                written(row.recall_interval),
            )
            for row in self.rows
        ]
        lost = f"\n{self.unknown:.1%} of the places hold items without a group." if self.unknown else ""
        title = f"{self.model} on {self.split}, items by {self.by}: {self.k} places, {counted(self.users, 'user')}"
        return Table(
            title, columns, rows, numbers=columns[1:], whole=columns[:1], caption=self._caption() + lost
        )

    def _caption(self) -> str:
        """The figures over all groups: differences with their groups and intervals, spreads without."""
        said = []
        for name, value in self.figures.items():
            text = f"{name.replace('_', ' ')} {value:.4f}"
            if name in self.between:
                text += f" ({written(self.intervals[name])}), {self.between[name][0]} over {self.between[name][1]}"
            said.append(text)
        return (
            f"{'; '.join(said)}.\nThe two groups of a difference were chosen for their figures. rsp and reo have no "
            "interval: they cannot be below 0, so what is drawn again lies above them."
        )


def item_fairness(
    ranked: Ranked,
    split: Split,
    by: str = POPULARITY,
    *,
    k: int = 10,
    model: str = "model",
    filter_seen: bool = True,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> ItemFairness:
    """Compare groups of items by what lists give to them.

    Parameters
    ----------
    ranked
        What ``answers.rank(fitted, split, [f"ndcg@{k}"])`` returned: lists of at least ``k`` places.
    split
        The same split.
    by
        ``"popularity"``: the popular items that hold 80 % of train's events, and the tail. Otherwise a column of the
        item table: single values (provider, year in quarters), or lists (genres), of which each counts in part.
    k
        Places that count.
    model
        How the result calls the model, such as ``report.model``: the lists do not know whose they are.
    filter_seen
        As the lists were made.
    level, resamples, seed
        Of the bootstrap over users. A difference has the interval of the signed difference between the two groups
        that have the largest and the smallest figure in the data; the spreads ``rsp`` and ``reo`` have none, as a
        bootstrap of a figure that cannot be below 0 lies above it.

    Raises
    ------
    ParameterError
        No such column, fewer than two groups or more than 50, or ``k`` beyond the lists.
    """
    check_cut(ranked, k)
    names, member = item_groups(split.train, by)
    places = ranked.top.items[:, :k]
    truth = answerable(split, filter_seen=filter_seen)
    amounts = _amounts(ranked, truth, member, k, filter_seen)
    samples = [
        Sample(amounts[above][:, g], _below(amounts[below], g))
        for above, below in (
            ("listed", "filled"),
            ("relevant", "wanted"),
            ("hit", "touched"),
            ("held", "free"),
        )
        for g in range(len(names))
    ]
    drawn = replicates(samples, resamples=resamples, seed=seed).reshape(resamples, 4, len(names))
    value = np.array([sample.estimate() for sample in samples]).reshape(4, len(names))
    ends = _ends(value[3], value[2])
    paired = {"parity_difference": drawn[:, 3], "opportunity_difference": drawn[:, 2]}
    return ItemFairness(
        model=model,
        split=split.name,
        by=by,
        k=k,
        users=len(places),
        rows=tuple(_rows(names, member, places, split.train.item_counts(), value, drawn, level)),
        figures=_disparities(value[3], value[2]),
        intervals={
            n: percentiles(paired[n][:, high] - paired[n][:, low], level) for n, (high, low) in ends.items()
        },
        between={name: (names[high], names[low]) for name, (high, low) in ends.items()},
        unknown=max(0.0, 1.0 - float(value[0].sum())),
    )


def item_groups(train: Dataset, by: str) -> tuple[tuple[str, ...], fairness.Membership]:
    """Names of the groups and (n_items, groups) membership; an item without a value has a row of zeros.

    Raises
    ------
    ParameterError
        No such column, fewer than two groups or more than 50.
    """
    if by == POPULARITY:
        return _NAMES, fairness.membership(fairness.popularity_groups(train.item_counts()), 2)
    columns = [] if train.item_features is None else train.item_features.columns
    if train.item_features is None or by not in columns or by == "item_id":
        raise ParameterError.unknown(
            "item attribute", by, [POPULARITY, *(c for c in columns if c != "item_id")]
        )
    column = train.item_features[by]
    if not isinstance(column.dtype, pl.List):
        labels = labels_of(column, kind="item")
        return labels.groups, fairness.membership(labels.codes, len(labels.groups))
    names = column.explode().drop_nulls().unique().sort()
    if not 2 <= len(names) <= MOST_GROUPS:
        missing = int((column.list.len().fill_null(0) == 0).sum())
        raise ParameterError(
            f"A comparison of groups of items by {by!r} needs 2 to {MOST_GROUPS} values. That column of the table of "
            f"items has {len(names)}; it is empty for {missing:,} of {counted(len(column), 'item')}."
        )
    vectors = beyond.category_vectors(column)
    shares = np.asarray(vectors.todense(), dtype=np.float64)
    return tuple(map(str, names.to_list())), shares / np.maximum(shares.sum(axis=1, keepdims=True), 1.0)


def _rows(
    names: tuple[str, ...],
    member: fairness.Membership,
    places: IntArray,
    counts: IntArray,
    value: FloatArray,
    drawn: FloatArray,
    level: float,
) -> list[ItemGroupRow]:
    """A row for each group, from (4, groups) figures and (draws, 4, groups) of the bootstrap."""
    exposed, relevance, recall, chance = value
    catalogue, events = member.mean(axis=0), counts @ member / max(counts.sum(), 1)
    discounted = fairness.exposure(places, member, discounted=True).sum(axis=0)
    everything = fairness.exposure(places, np.ones((len(member), 1)), discounted=True).sum()
    return [
        ItemGroupRow(
            group=name,
            items=float(member[:, g].sum()),
            catalogue_share=float(catalogue[g]),
            event_share=float(events[g]),
            relevance_share=float(relevance[g]),
            exposure_share=float(exposed[g]),
            exposure_interval=percentiles(drawn[:, 0, g], level),
            discounted_share=_over(discounted[g], everything),
            to_catalogue=_over(exposed[g], catalogue[g]),
            to_relevance=_over(exposed[g], relevance[g]),
            chance=float(chance[g]),
            recall=float(recall[g]),
            recall_interval=percentiles(drawn[:, 2, g], level),
        )
        for g, name in enumerate(names)
    ]


def check_cut(ranked: Ranked, k: int) -> None:
    """Raise ``ParameterError`` unless the lists have ``k`` places."""
    if not 1 <= k <= ranked.top.items.shape[1]:
        raise ParameterError.of(
            "item fairness", "k", f"in 1 .. {ranked.top.items.shape[1]}, the lists' length", k
        )


def _amounts(
    ranked: Ranked, truth: Answerable, member: fairness.Membership, k: int, filter_seen: bool
) -> dict[str, FloatArray]:
    """What each user adds to each group: (n, groups), or (n,) where it is of all groups.

    Shares count an item of several groups in parts; probabilities (hit of touched, held of free) count it in each.
    """
    items, whole = ranked.top.items[:, :k], (member > 0).astype(np.float64)
    wanted = _distinct(truth.offsets, truth.items)
    right = np.where(ranked.hit[:, :k], items, -1)
    seen = _distinct(ranked.queries.offsets, ranked.queries.items) if filter_seen else None
    gone = 0.0 if seen is None else _group_sums(seen, whole)
    return {
        "listed": fairness.exposure(items, member),
        "filled": (items >= 0).sum(axis=1).astype(np.float64),
        "relevant": _group_sums(wanted, member),
        "wanted": np.diff(wanted[0]).astype(np.float64),
        "hit": fairness.exposure(right, whole),
        "touched": _group_sums(wanted, whole),
        "held": fairness.exposure(items, whole),
        "free": np.broadcast_to(whole.sum(axis=0), (len(items), whole.shape[1])) - gone,
    }


def _distinct(offsets: IntArray, items: IntArray) -> tuple[IntArray, IntArray]:
    """Ragged rows with each known item (>= 0) once."""
    rows = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    width = int(items.max(initial=0)) + 1
    keys = np.unique((rows * width + items)[items >= 0])
    return np.searchsorted(keys, np.arange(len(offsets)) * width), keys % width


def _group_sums(ragged: tuple[IntArray, IntArray], member: fairness.Membership) -> FloatArray:
    offsets, items = ragged
    table = sparse.csr_array((np.ones(len(items)), items, offsets), shape=(len(offsets) - 1, len(member)))
    return np.asarray(table @ member)


def _below(amount: FloatArray, g: int) -> FloatArray:
    return amount if amount.ndim == 1 else amount[:, g]


def _ends(chance: FloatArray, recall: FloatArray) -> dict[str, tuple[int, int]]:
    """The groups with the largest and the smallest figure, of those differences that have two."""
    found = {}
    for name, p in (("parity_difference", chance), ("opportunity_difference", recall)):
        if np.isfinite(p).sum() > 1:
            found[name] = int(np.nanargmax(p)), len(p) - 1 - int(np.nanargmin(p[::-1]))
    return found


def _disparities(chance: FloatArray, recall: FloatArray) -> dict[str, float]:
    """Figures of (groups,) probabilities; a group without one is left out.

    ``rsp`` and ``reo`` are standard deviation over mean: Z. Zhu, J. Wang, J. Caverlee, "Measuring and Mitigating Item
    Under-Recommendation Bias in Personalized Ranking Systems", SIGIR 2020.
    """
    figures = {}
    for gap, spread, p in (
        ("parity_difference", "rsp", chance),
        ("opportunity_difference", "reo", recall),
    ):
        known = p[~np.isnan(p)]
        nan = float("nan")
        figures[gap] = float(known.max() - known.min()) if len(known) else nan
        figures[spread] = _over(known.std(), known.mean()) if len(known) else nan
    return figures


def _over(above: float, below: float) -> float:
    return float(above / below) if below > 0 else float("nan")
