"""Are groups of users served alike? Each metric by group, with intervals, differences, ratios and tests.

What lists do to groups of *items* is in ``item_fairness.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from recsmith.errors import ParameterError
from recsmith.evaluation.groups import UNKNOWN, Labels, counted, permutation_p, user_labels
from recsmith.evaluation.report import Report, smaller_is_better, written
from recsmith.evaluation.significance import (
    ALIKE,
    Interval,
    Sample,
    holm,
    interval_of,
    percentiles,
    replicates,
    verdict,
)
from recsmith.tables import Table
from recsmith.types import FloatArray

MIN_USERS = 30  #: smaller groups are told and not judged
MATTERS = 0.2  #: share of the overall figure from which a difference matters
SMALL = "too small to say"


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupRow:
    """A metric of one group. Differences and ratios are against all other users whose attribute is known."""

    metric: str
    group: str
    users: int  #: of the group that have the figure
    value: float
    interval: Interval
    difference: float
    difference_interval: Interval
    ratio: float
    ratio_interval: Interval
    p: float | None  #: permutation test; None where the group is too small, or is that of the unknown
    p_corrected: (
        float | None
    )  #: Holm's correction for the groups of this metric; of two groups there is one test
    verdict: str  #: better, worse, no difference shown, too small to say; for the unknown: not compared


@dataclass(frozen=True, slots=True, kw_only=True)
class GapRow:
    """The largest gap of a metric between two groups that are large enough.

    The two were chosen for their figures, so the interval says how sure the gap between *these* is and is not around
    zero where all groups are alike. Whether there is any difference at all is for ``p`` to say, which knows the choice.
    """

    metric: str
    high: str  #: group with the largest figure
    low: str  #: group with the smallest
    difference: float
    interval: Interval
    ratio: float  #: low over high
    ratio_interval: Interval
    p: float  #: of "no large enough group differs from the others": permutations, by the largest absolute t


@dataclass(frozen=True, slots=True, kw_only=True)
class UserFairness:
    """How one model serves groups of users."""

    model: str
    split: str
    by: str
    users: int
    unknown: (
        int  #: judged users whose attribute is missing: told as a group of their own, compared with nobody
    )
    level: float
    min_users: int
    rows: tuple[GroupRow, ...]
    gaps: tuple[GapRow, ...]  #: one for each metric; none where fewer than two groups are large enough
    warnings: tuple[str, ...]  #: which groups are too small to say, and why

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON: NaN is None."""
        own = {name: getattr(self, name) for name in ("model", "split", "by", "users", "unknown", "level")}
        return {
            **own,
            "min_users": self.min_users,
            "rows": [plain_row(row) for row in self.rows],
            "gaps": [plain_row(row) for row in self.gaps],
            "warnings": list(self.warnings),
        }

    def table(self, metrics: Sequence[str] | None = None) -> Table:
        """Rows of some of the metrics; None: all."""
        shown = {row.metric for row in self.rows} if metrics is None else set(metrics)
        columns = ("metric", "group", "users", "value", "95 %", "against the rest", "95 % ", "p (Holm)", "")
        rows = [
            (
                row.metric,
                row.group,
                row.users,
                row.value,
                written(row.interval),
                "" if np.isnan(row.difference) else f"{row.difference:+.4f}",
                "" if np.isnan(row.difference) else written(row.difference_interval),
                row.p_corrected,
                row.verdict,
            )
            for row in self.rows
            if row.metric in shown
        ]
        title = f"{self.model} on {self.split}, by {self.by}: {counted(self.users, 'user')}"
        gaps = [
            f"{gap.metric}: the largest gap is {gap.difference:.4f} ({written(gap.interval)}), {gap.low} / {gap.high} "
            f"= {gap.ratio:.2f}; any difference at all: p = {gap.p:.4f}."
            for gap in self.gaps
            if gap.metric in shown
        ]
        hidden = {row.metric for row in self.rows} - shown
        warnings = [text for text in self.warnings if not any(text.startswith(f"{m} by") for m in hidden)]
        caption = "\n".join([*gaps, *warnings])
        return Table(
            title, columns, rows, numbers=columns[2:8], whole=[columns[0], columns[-1]], caption=caption
        )

    def __rich__(self) -> Table:
        return self.table()


def user_fairness(
    report: Report,
    table: pl.DataFrame,
    by: str,
    *,
    metrics: Sequence[str] | None = None,
    extra: Mapping[str, FloatArray] | None = None,
    edges: Sequence[float] | None = None,
    min_users: int = MIN_USERS,
    matters: float = MATTERS,
    level: float = 0.95,
    permutations: int = 9999,
    resamples: int = 1000,
    seed: int = 0,
) -> UserFairness:
    """Compare groups of a report's users.

    A group is *too small to say* where fewer than ``min_users`` of its users have the figure, or where no difference is
    shown and the interval of the difference reaches further than ``matters`` times the overall figure on either
    side, or too few of its users have a hit (``Sample.few_hits``) for such an interval: then a gap that would matter
    may be there unseen.

    Parameters
    ----------
    report
        What ``judge`` or ``evaluate`` returned.
    table
        Frame with ``user_id`` and the attribute, such as ``Dataset.user_features``; users may be missing.
    by
        Name of the attribute's column; see ``groups.user_labels`` on bands of numbers.
    metrics
        Metrics of the report; None: all of them.
    extra
        More figures, name -> (n,) float64 in the order of ``report.user_ids``, NaN where a user has none. What is
        better is not known of them; their verdicts are higher and lower.
    edges
        Lower bounds of bands.
    min_users, matters
        The rule above; ``min_users`` >= 2, ``matters`` > 0.
    level
        Of intervals, and one minus it of verdicts.
    permutations, resamples, seed
        Of tests and intervals.

    Raises
    ------
    ParameterError
        An unknown metric or attribute, fewer than two groups, or a value out of range.
    DataError
        A table without ``user_id``.
    """
    if min_users < 2:
        raise ParameterError.of("user_fairness", "min_users", ">= 2", min_users)
    if not matters > 0:
        raise ParameterError.of("user_fairness", "matters", "> 0", matters)
    samples = {name: report.sample(name) for name in (report.values if metrics is None else metrics)}
    for name, values in (extra or {}).items():
        if len(values) != len(report):
            raise ParameterError.of(
                "user_fairness", "extra", f"of length {len(report)}", f"{name!r}: {len(values)}"
            )
        samples[name] = Sample.of_users(np.asarray(values, dtype=np.float64))
    labels = user_labels(report.user_ids, table, by, edges=edges)
    compared = _Compared(samples, labels, min_users, matters, level, frozenset(extra or ()))
    rows, gaps = compared.results(permutations=permutations, resamples=resamples, seed=seed)
    return UserFairness(
        model=report.model,
        split=report.split,
        by=by,
        users=len(report),
        unknown=labels.unknown,
        level=level,
        min_users=min_users,
        rows=tuple(rows),
        gaps=tuple(gaps),
        warnings=_warnings(rows, labels, min_users, matters),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Compared:
    """Figures over the same users, and the groups of these."""

    samples: Mapping[str, Sample]
    labels: Labels
    min_users: int
    matters: float
    level: float
    neutral: frozenset[str]  #: figures of which nobody says what is better

    def results(self, *, permutations: int, resamples: int, seed: int) -> tuple[list[GroupRow], list[GapRow]]:
        """All rows and gaps."""
        codes = self.labels.codes
        tested = np.flatnonzero(self.labels.sizes >= self.min_users)
        draws: dict[str, Any] = {"least": self.min_users, "permutations": permutations, "seed": seed}
        p, overall = permutation_p(list(self.samples.values()), self.labels, tested, **draws)
        rows, gaps = [], []
        for at, (metric, sample) in enumerate(self.samples.items()):
            inside = [sample.take(codes == g) for g in range(len(self.labels.groups))]
            drawn = _Drawn.of(sample, self.labels, resamples, seed)
            chance = dict(zip(tested.tolist(), p[:, at], strict=True))
            large = [g for g in chance if not np.isnan(chance[g])]
            alone = [chance[g] for g in large]
            two = len(self.labels.groups) == 2  # each is the rest of the other: one test, not two
            corrected = dict(zip(large, alone if two else holm(alone), strict=True))
            rows += [
                self._row(metric, g, drawn, part, chance.get(g), corrected.get(g))
                for g, part in enumerate(inside)
            ]
            if self.labels.unknown:
                rows.append(self._unknown(metric, sample.take(codes < 0), drawn))
            if len(large) > 1:
                gaps.append(self._gap(metric, large, drawn, float(overall[at])))
        return rows, gaps

    def _row(
        self, metric: str, g: int, drawn: _Drawn, part: Sample, p: float | None, corrected: float | None
    ) -> GroupRow:
        value, rest = drawn.values[g], drawn.rests[g]
        difference = percentiles(drawn.groups[:, g] - drawn.others[:, g], self.level)
        row: dict[str, Any] = {
            "difference": value - rest,
            "difference_interval": difference,
            "ratio": _divided(value, rest),
            "ratio_interval": percentiles(_divided(drawn.groups[:, g], drawn.others[:, g]), self.level),
        }
        return GroupRow(
            metric=metric,
            group=self.labels.groups[g],
            users=_users(part),
            value=value,
            interval=interval_of(part, drawn.groups[:, g], self.level),
            p=p if corrected is not None else None,
            p_corrected=corrected,
            verdict=self._verdict(metric, value - rest, difference, corrected, drawn.overall, part.few_hits),
            **row,
        )

    def _verdict(
        self, metric: str, difference: float, interval: Interval, p: float | None, overall: float, few: bool
    ) -> str:
        if p is None:
            return SMALL
        if p < 1 - self.level:
            if metric in self.neutral:
                return "higher" if difference > 0 else "lower"
            return verdict(difference, p, 1 - self.level, smaller_is_better=smaller_is_better(metric))
        return SMALL if few or max(-interval.low, interval.high) > self.matters * abs(overall) else ALIKE

    def _unknown(self, metric: str, part: Sample, drawn: _Drawn) -> GroupRow:
        """Users whose attribute is missing: the figure alone."""
        nan, nothing = float("nan"), Interval(float("nan"), float("nan"))
        return GroupRow(
            metric=metric,
            group=UNKNOWN,
            users=_users(part),
            value=part.estimate(),
            interval=interval_of(part, drawn.unknown, self.level),
            difference=nan,
            difference_interval=nothing,
            ratio=nan,
            ratio_interval=nothing,
            p=None,
            p_corrected=None,
            verdict="not compared",
        )

    def _gap(self, metric: str, large: Sequence[int], drawn: _Drawn, p: float) -> GapRow:
        high = max(large, key=lambda g: drawn.values[g])
        low = min(large, key=lambda g: drawn.values[g])
        first, second = drawn.groups[:, high], drawn.groups[:, low]
        return GapRow(
            metric=metric,
            high=self.labels.groups[high],
            low=self.labels.groups[low],
            difference=drawn.values[high] - drawn.values[low],
            interval=percentiles(first - second, self.level),
            ratio=_divided(drawn.values[low], drawn.values[high]),
            ratio_interval=percentiles(_divided(second, first), self.level),
            p=p,
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Drawn:
    """A figure of each group and of its rest: as it is, and in each bootstrap draw of the users."""

    overall: float
    values: list[float]
    rests: list[float]
    groups: FloatArray  #: (resamples, groups)
    others: FloatArray  #: (resamples, groups) the rest of each
    unknown: FloatArray  #: (resamples,)

    @classmethod
    def of(cls, sample: Sample, labels: Labels, resamples: int, seed: int) -> _Drawn:
        n, codes = len(labels.groups), labels.codes
        masks = [codes == g for g in range(n)]
        rest = [(codes >= 0) & ~mask for mask in masks]
        parts = [
            replace(sample, total=sample.total * mask, count=sample.count * mask)
            for mask in (*masks, *rest, codes < 0)
        ]
        figures = [part.estimate() for part in parts]
        drawn = replicates(parts, resamples=resamples, seed=seed)
        return cls(
            sample.estimate(),
            figures[:n],
            figures[n : 2 * n],
            drawn[:, :n],
            drawn[:, n : 2 * n],
            drawn[:, -1],
        )


def plain_row(row: Any) -> dict[str, Any]:
    """A result's fields for JSON: intervals are pairs, NaN is None."""
    return {name: _plain(getattr(row, name)) for name in type(row).__slots__}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(part) for part in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _users(sample: Sample) -> int:
    return int((sample.count > 0).sum())


def _divided(above: Any, below: Any) -> Any:
    """``above / below``, NaN where nothing is below."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.asarray(above, dtype=np.float64) / below
    ratio = np.where(np.isfinite(ratio), ratio, np.nan)
    return ratio if ratio.ndim else float(ratio)


def _warnings(rows: Sequence[GroupRow], labels: Labels, min_users: int, matters: float) -> tuple[str, ...]:
    said = [
        f"{labels.name} {group}: {counted(size, 'user')}, fewer than {min_users}: too small to say."
        for group, size in zip(labels.groups, labels.sizes.tolist(), strict=True)
        if size < min_users
    ]
    large = {group for group, size in zip(labels.groups, labels.sizes, strict=True) if size >= min_users}
    for metric in dict.fromkeys(row.metric for row in rows):
        unsaid = [r for r in rows if r.metric == metric and r.group in large and r.verdict == SMALL]
        rare = [r for r in unsaid if r.users < min_users]
        if rare:
            said.append(
                f"{metric} by {labels.name}: fewer than {min_users} users have it in "
                f"{', '.join(f'{r.group} ({r.users})' for r in rare)}: not tested, and not part of the largest gap."
            )
        wide = [r for r in unsaid if r.users >= min_users]
        groups = ", ".join(f"{r.group} ({r.users})" for r in wide)
        if groups:
            said.append(
                f"{metric} by {labels.name}: too few users to rule out a gap of more than {matters:.0%} of the overall "
                f"figure: {groups}."
            )
    if labels.unknown:
        said.append(
            f"{labels.name} is missing for {labels.unknown:,} of {counted(len(labels.codes), 'user')}: a group of "
            "their own, compared with nobody."
        )
    return tuple(said)
