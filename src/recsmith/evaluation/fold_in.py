"""How far answers from fresh histories are behind a refit, and when a refit pays.

A model answers from the history in the query, so a new event counts at once. What it learned from all events
together (item vectors, similarities) stays as it was until the next fit. This measures what that costs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from recsmith.data.dataset import Dataset
from recsmith.data.split import Split
from recsmith.errors import ParameterError
from recsmith.evaluation.answers import Ranked, Rated, answer, can_rank
from recsmith.evaluation.report import smaller_is_better, written
from recsmith.evaluation.significance import Interval, intervals
from recsmith.recommend import Pipeline
from recsmith.resources import measure
from recsmith.tables import Table
from recsmith.types import BoolArray, IntArray

DEFAULT_SHARES = (0.01, 0.05, 0.1, 0.25, 0.5)


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldInRow:
    """One comparison on the same users: ``fold_in`` answers from the history, ``refit`` knows all of train."""

    share_new: float  #: share of the train events that came after the fold-in model was fitted
    new_events: int
    changed_users: int  #: judged users whose history grew since then
    fold_in: float  #: the metric
    refit: float
    gain: float  #: by how much the refit is better; negative: worse
    interval: Interval  #: 95 % bootstrap interval of the gain
    overlap: float | None  #: mean share of the k places that hold the same items; None for ratings
    refit_seconds: float  #: what the refit costs


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldInGap:
    """What fold-in costs against a trained user vector, and against a refit as new events come in."""

    model: str
    split: str
    metric: str
    trained: FoldInRow  #: the same fitted model: trained user vectors (refit) against fold-in; share_new = 0
    rows: tuple[FoldInRow, ...]  #: by ascending share of new events
    pays_at: float | None  #: smallest share at which the interval of the gain lies above ``least_gain``

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""

        def plain(row: FoldInRow) -> dict[str, Any]:
            return {n: list(v) if isinstance(v := getattr(row, n), tuple) else v for n in FoldInRow.__slots__}

        return {
            "model": self.model,
            "split": self.split,
            "metric": self.metric,
            "trained": plain(self.trained),
            "rows": [plain(row) for row in self.rows],
            "refit_pays_at": self.pays_at,
            "words": list(self.words()),
        }

    def words(self) -> tuple[str, ...]:
        """The findings in sentences, as a model card says them."""
        lines = [
            f"On {self.split}, trained user vectors against fold-in of the same histories: {self.metric} "
            f"{self.trained.refit:.4f} against {self.trained.fold_in:.4f}."
        ]
        lines += [
            f"With {row.share_new:.0%} of the events new: fold-in {row.fold_in:.4f}, refit {row.refit:.4f}, "
            f"gain of the refit {row.gain:+.4f} (95 % interval {row.interval.low:+.4f} to {row.interval.high:+.4f})."
            for row in self.rows
        ]
        shares = ", ".join(f"{row.share_new:.0%}" for row in self.rows)
        if self.pays_at is None:
            return (*lines, f"No refit paid, by its interval, at the shares that were measured ({shares}).")
        return (*lines, f"A refit pays, by its interval, from {self.pays_at:.0%} of new events on.")

    def __rich__(self) -> Table:
        columns = ("new events", "fold-in", "refit", "gain", "95 %", "same items")
        rows = [
            (
                f"{row.share_new:.0%}" if row.share_new else "none (trained vectors)",
                row.fold_in,
                row.refit,
                f"{row.gain:+.4f}",
                written(row.interval),
                "" if row.overlap is None else f"{row.overlap:.0%}",
            )
            for row in (self.trained, *self.rows)
        ]
        title = f"{self.model} on {self.split}: {self.metric}, and what a refit gains"
        return Table(title, columns, rows, numbers=columns[1:], caption=self.words()[-1])


@dataclass(frozen=True, slots=True, eq=False)
class _Judge:
    """Puts the questions of a split to one pipeline after another, and compares."""

    split: Split
    metric: str
    filter_seen: bool
    resamples: int
    seed: int

    def ask(self, pipeline: Pipeline, as_trained: BoolArray | None) -> Ranked | Rated:
        """Answers with trained user vectors where ``as_trained`` allows them."""
        split = replace(self.split, queries=self.split.queries.replace(as_trained=as_trained))
        return answer(pipeline, split, self.metric, filter_seen=self.filter_seen)

    def row(self, fold_in: Ranked | Rated, refit: Ranked | Rated, **rest: Any) -> FoldInRow:
        """The refit against the fold-in, user by user."""
        sign = -1.0 if smaller_is_better(self.metric) else 1.0
        samples = {"fold_in": fold_in.sample(self.metric), "refit": refit.sample(self.metric)}
        first, second = (sample.estimate() for sample in samples.values())
        draws: dict[str, Any] = {"resamples": self.resamples, "seed": self.seed}
        bounds = intervals(samples, against="fold_in", **draws)["refit"]
        lists = [answers.top.items for answers in (fold_in, refit) if isinstance(answers, Ranked)]
        return FoldInRow(
            fold_in=first,
            refit=second,
            gain=sign * (second - first),
            interval=Interval(*sorted(sign * bound for bound in bounds)),
            overlap=overlap(*lists) if lists else None,
            **rest,
        )


def fold_in_gap(
    make_pipeline: Callable[[], Pipeline],
    split: Split,
    share_new: Sequence[float] = DEFAULT_SHARES,
    *,
    metric: str | None = None,
    least_gain: float = 0.0,
    filter_seen: bool = True,
    resamples: int = 1000,
    seed: int = 0,
) -> FoldInGap:
    """Measure the gap between fold-in and a refit on the questions of a split.

    For each share s the model is fitted on all but the newest s of the train events and asked with the complete
    histories; beside it stands one fitted on all of train. Both know the same item indices. Without timestamps
    the order of the file is taken for that of time.

    Parameters
    ----------
    make_pipeline
        Makes a new, unfitted pipeline at each call.
    split
        Questions and truth; its train log is cut.
    share_new
        Shares of new events, each in (0, 1).
    metric
        ``"ndcg@10"`` and the like, or ``"rmse"``, ``"mae"``; None: ndcg@10 where the model orders items, else rmse.
    least_gain
        Gain in the metric from which a refit is worth its cost; 0: any gain that is more than chance.
    filter_seen
        As in ``judge``.
    resamples, seed
        Of the bootstrap; ``seed`` is that of the fits, too.

    Raises
    ------
    ParameterError
        A share outside (0, 1), or a metric that the model or the split cannot give.
    """
    if bad := [share for share in share_new if not 0 < share < 1]:
        raise ParameterError.of("fold_in_gap", "share_new", "shares in (0, 1)", bad[0])
    with measure() as usage:
        full = make_pipeline().fit(split.train, rng=seed)
    metric = metric or ("ndcg@10" if can_rank(full) else "rmse")
    judge = _Judge(split, metric, filter_seen, resamples, seed)
    refit = judge.ask(full, split.queries.as_trained)
    costs: dict[str, Any] = {"refit_seconds": usage.seconds}
    trained = judge.row(judge.ask(full, None), refit, share_new=0.0, new_events=0, changed_users=0, **costs)
    rows = []
    for share in sorted(share_new):
        older = _older_part(split.train, share)
        same = unchanged(split, older)
        asked = split.queries.as_trained
        stale = judge.ask(make_pipeline().fit(older, rng=seed), None if asked is None else asked & same)
        counts: dict[str, Any] = {
            "new_events": len(split.train) - len(older),
            "changed_users": int((~same[stale.rows]).sum()),
        }
        rows.append(judge.row(stale, refit, share_new=share, **counts, **costs))
    return FoldInGap(
        model=type(full.model).__name__,
        split=split.name,
        metric=metric,
        trained=trained,
        rows=tuple(rows),
        pays_at=next((row.share_new for row in rows if row.interval.low > least_gain), None),
    )


def overlap(first: IntArray, second: IntArray) -> float:
    """Mean share of the k places of ``first`` (n, k) whose item is also in the same row of ``second`` (n, k).

    Empty slots (-1) are no item; the lists repeat none.
    """
    n, k = first.shape
    if n == 0:
        return float("nan")
    width = int(max(first.max(), second.max())) + 1
    row = np.arange(n, dtype=np.int64)[:, None] * max(width, 1)
    return float(np.isin((row + first)[first >= 0], (row + second)[second >= 0]).sum() / (n * k))


def _older_part(train: Dataset, share: float) -> Dataset:
    """All but the newest ``share`` of the events, at least one event on either side; the id maps stay."""
    order = (
        np.argsort(train.row, kind="stable") if train.time is None else np.lexsort((train.row, train.time))
    )
    cut = int(np.clip(round(len(train) * (1 - share)), 1, max(len(train) - 1, 1)))
    return train.take(order[:cut], f"without the newest {share:.0%} of the events")


def unchanged(split: Split, older: Dataset) -> BoolArray:
    """(n,) bool: the query's history is what the older model was fitted on."""
    users = split.queries.users
    lengths = np.where(users < 0, 0, np.diff(older.offsets)[np.maximum(users, 0)])
    same: BoolArray = lengths == split.queries.lengths
    return same
