"""Does a figure hold? Over seeds and splits (``stability``), and with less to learn from (``learning_curve``).

What the numbers do not say at all is in ``limits.py``; what a split gives away in ``data/leakage.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, Literal, TypeAlias

import numpy as np
from scipy.special import stdtr

from recsmith.data.dataset import Dataset
from recsmith.data.split import Split
from recsmith.errors import ParameterError
from recsmith.evaluation.all_pairs import all_pairs_p, square
from recsmith.evaluation.answers import answer, can_rank
from recsmith.evaluation.comparison import ALL_PAIRS, HOLM, correction_title
from recsmith.evaluation.fairness import plain_row
from recsmith.evaluation.fold_in import unchanged
from recsmith.evaluation.report import smaller_is_better, written
from recsmith.evaluation.significance import Interval, Sample, holm, intervals, paired_p, verdict
from recsmith.evaluation.watch import Watch, unwatched
from recsmith.recommend import Pipeline
from recsmith.tables import Table
from recsmith.types import BoolArray, FloatArray, IntArray

Make: TypeAlias = Callable[[], Pipeline]
Unit: TypeAlias = Literal["users", "events"]
DEFAULT_SHARES = (0.1, 0.25, 0.5, 0.75, 1.0)
SPLITS_TEST = "corrected resampled t"
USERS_TEST = "randomization over users"


@dataclass(frozen=True, slots=True, kw_only=True)
class StabilityRow:
    """One model over seeds and splits; differences are this model minus the reference."""

    model: str
    mean: float
    sd: float  #: over all runs
    sd_seeds: float  #: within a split, pooled: the luck of the fit; NaN with one seed
    sd_splits: float  #: of the means over seeds: the luck of the split; NaN with one split
    values: tuple[tuple[float, ...], ...]  #: (splits, seeds)
    difference: float | None  #: None for the reference itself
    p: float | None
    p_corrected: float | None  #: for the number of comparisons: see ``Stability.correction``
    verdict: str  #: best, baseline, better, worse, or no difference shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Stability:
    """Models over several seeds and splits, best first."""

    metric: str
    reference: str
    splits: tuple[str, ...]
    seeds: tuple[int, ...]
    test: str  #: which paired test p-values are of
    correction: str  #: ``"holm"`` against a baseline, ``"all pairs"`` against the best of the same data
    rows: tuple[StabilityRow, ...]
    left_out: tuple[str, ...] = ()  #: models that were judged once and not fitted again

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON: NaN is None."""
        return {**plain_row(self), "rows": [plain_row(row) for row in self.rows]}

    def __rich__(self) -> Table:
        corrected = correction_title(self.correction)
        columns = ("model", "mean", "sd", "sd seeds", "sd splits", "difference", "p", corrected, "verdict")
        rows = [
            (
                row.model,
                row.mean,
                row.sd,
                row.sd_seeds,
                row.sd_splits,
                "" if row.difference is None else f"{row.difference:+.4f}",
                row.p,
                row.p_corrected,
                row.verdict,
            )
            for row in self.rows
        ]
        title = f"{self.metric} over {len(self.splits)} splits and {len(self.seeds)} seeds"
        caption = f"Against {self.reference}: paired, {self.test}."
        if self.left_out:
            caption += f"\n{only_best(len(self.rows), self.left_out)}"
        return Table(title, columns, rows, numbers=columns[1:-1], whole=columns[:1], caption=caption)


def only_best(kept: int, left_out: Sequence[str]) -> str:
    """That the models behind the best were not fitted again, in words."""
    return (
        f"Only the best {kept} of {kept + len(left_out)} models, by one fit on one split, were fitted again. Left out: "
        f"{', '.join(left_out)}."
    )


def stability(
    models: Mapping[str, Make],
    splits: Sequence[Split],
    seeds: Sequence[int] = (0, 1, 2),
    *,
    metric: str = "ndcg@10",
    baseline: str | None = None,
    filter_seen: bool = True,
    level: float = 0.95,
    watch: Watch = unwatched,
) -> Stability:
    """Fit every model on every split with every seed, and compare the models.

    With two splits or more the models are compared by their mean over seeds in each split. Splits of one log share
    much of their train part, so the plain t-test would find too much; the variance is corrected by ``1/J + test/train``
    in place of ``1/J`` (C. Nadeau, Y. Bengio, "Inference for the Generalization Error", Machine Learning 52, 2003,
    section 5). With one split they are compared user by user, each user's value being the mean over seeds.

    Parameters
    ----------
    models
        Name -> what makes a new, unfitted pipeline.
    splits
        Of one log, such as those of ``k_fold``, or of one way with several seeds.
    seeds
        Of the fits, distinct.
    metric
        ``"ndcg@10"`` and the like, or ``"rmse"``, ``"mae"``.
    baseline
        Name of the model that the others are compared with; None: the best, with p-values corrected for all pairs.
    filter_seen
        As in ``judge``.
    level
        One minus it is the level of the verdicts.
    watch
        As in ``cold_start``.

    Raises
    ------
    ParameterError
        No model, split or seed; a seed twice; an unknown baseline or metric.
    """
    for name, values in (("models", models), ("splits", splits), ("seeds", seeds)):
        if not len(values):
            raise ParameterError.of("stability", name, "at least one", values)
    if len(set(seeds)) < len(seeds):
        raise ParameterError.of("stability", "seeds", "distinct", list(seeds))
    if baseline is not None and baseline not in models:
        raise ParameterError.unknown("model", baseline, models)
    samples: dict[str, list[list[Sample]]] = {name: [] for name in models}
    for split in splits:
        for name, make in models.items():
            row = []
            for seed in seeds:
                with watch(f"{name}: {split.name}, seed {seed}") as monitor:
                    fitted = make().fit(split.train, rng=seed, monitor=monitor)
                    row.append(answer(fitted, split, metric, filter_seen=filter_seen).sample(metric))
            samples[name].append(row)
    sizes = np.array([len(split.truth.items) / max(len(split.train), 1) for split in splits])
    return _compared(samples, splits, seeds, metric, baseline, level, float(sizes.mean()))


def _compared(
    samples: Mapping[str, list[list[Sample]]],
    splits: Sequence[Split],
    seeds: Sequence[int],
    metric: str,
    baseline: str | None,
    level: float,
    test_to_train: float,
) -> Stability:
    values = {
        name: np.array([[sample.estimate() for sample in row] for row in table])
        for name, table in samples.items()
    }
    sign = 1.0 if smaller_is_better(metric) else -1.0
    order = sorted(values, key=lambda name: sign * float(values[name].mean()))
    reference = baseline or order[0]
    others = [name for name in order if name != reference]
    several = len(splits) > 1

    def alone(first: str, second: str) -> float:
        if several:
            return _resampled_t(values[first].mean(axis=1) - values[second].mean(axis=1), test_to_train)
        return paired_p(_pooled(samples[first][0]), _pooled(samples[second][0]))

    p = [alone(name, reference) for name in others]
    if baseline is not None:
        adjusted = holm(p)
    elif several:
        all_p = square(len(order), holm([alone(*pair) for pair in combinations(order, 2)]))
        adjusted = all_p[0, 1:].tolist()
    else:
        adjusted = all_pairs_p([_pooled(samples[name][0]) for name in order])[0, 1:].tolist()
    corrected = dict(zip(others, zip(p, adjusted, strict=True), strict=True))
    rows = [
        _row(name, values[name], values[reference], corrected.get(name), baseline is not None, metric, level)
        for name in order
    ]
    return Stability(
        metric=metric,
        reference=reference,
        splits=tuple(split.name for split in splits),
        seeds=tuple(seeds),
        test=SPLITS_TEST if several else USERS_TEST,
        correction=HOLM if baseline is not None else ALL_PAIRS,
        rows=tuple(rows),
    )


def _row(
    model: str,
    values: FloatArray,
    reference: FloatArray,
    p: tuple[float, float] | None,
    named: bool,
    metric: str,
    level: float,
) -> StabilityRow:
    splits, seeds = values.shape
    difference = float(values.mean() - reference.mean())
    if p is None:
        said = "baseline" if named else "best"
    else:
        said = verdict(difference, p[1], 1 - level, smaller_is_better=smaller_is_better(metric))
    nan = float("nan")
    return StabilityRow(
        model=model,
        mean=float(values.mean()),
        sd=float(values.std(ddof=1)) if values.size > 1 else nan,
        sd_seeds=float(np.sqrt(values.var(axis=1, ddof=1).mean())) if seeds > 1 else nan,
        sd_splits=float(values.mean(axis=1).std(ddof=1)) if splits > 1 else nan,
        values=tuple(tuple(map(float, row)) for row in values),
        difference=None if p is None else difference,
        p=None if p is None else p[0],
        p_corrected=None if p is None else p[1],
        verdict=said,
    )


def _resampled_t(differences: FloatArray, test_to_train: float) -> float:
    """Two-sided p of a zero mean of differences over overlapping splits."""
    n = len(differences)
    mean, variance = float(differences.mean()), float(differences.var(ddof=1))
    if variance == 0:
        return 1.0 if mean == 0 else 0.0
    t = mean / np.sqrt((1 / n + test_to_train) * variance)
    return float(2 * stdtr(n - 1, -abs(t)))


def _pooled(samples: Sequence[Sample]) -> Sample:
    """Each user's mean over seeds."""
    total = np.mean([sample.total for sample in samples], axis=0)
    return replace(samples[0], total=total)


@dataclass(frozen=True, slots=True, kw_only=True)
class LearningRow:
    """A model fitted on a share of the train part."""

    share: float
    users: int  #: of the train part that it learned from
    events: int
    value: float
    interval: Interval  #: 95 % bootstrap over the judged users
    missing: float  #: by how much all of train is better; 0 at share 1
    missing_interval: Interval  #: paired


@dataclass(frozen=True, slots=True, kw_only=True)
class LearningCurve:
    """One model, told ever more; the questions stay the same."""

    model: str
    split: str
    metric: str
    by: Unit
    rows: tuple[LearningRow, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON: NaN is None."""
        return {**plain_row(self), "rows": [plain_row(row) for row in self.rows]}

    def __rich__(self) -> Table:
        columns = ("share", "users", "events", self.metric, "95 %", "missing", "95 % ")
        rows = [
            (
                f"{row.share:.0%}",
                row.users,
                row.events,
                row.value,
                written(row.interval),
                f"{row.missing:+.4f}",
                written(row.missing_interval),
            )
            for row in self.rows
        ]
        return Table(
            f"{self.model} on {self.split}, by share of the train {self.by}", columns, rows, numbers=columns
        )


def learning_curve(
    make: Make,
    split: Split,
    shares: Sequence[float] = DEFAULT_SHARES,
    *,
    by: Unit = "users",
    metric: str | None = None,
    name: str | None = None,
    filter_seen: bool = True,
    resamples: int = 1000,
    seed: int = 0,
    watch: Watch = unwatched,
) -> LearningCurve:
    """Fit on random shares of the train part and ask the same questions, with the same histories in them.

    Each share holds the smaller ones. Item indices stay, so an item that fell out of train cannot be recommended and is
    a miss. A trained user vector answers only where the user's history is what the model was fitted on.

    Parameters
    ----------
    make
        Makes a new, unfitted pipeline at each call.
    split
        Questions and truth.
    shares
        Each in (0, 1]; 1 is added.
    by
        ``"users"``: all events of a share of the users; ``"events"``: a share of the events.
    metric
        ``"ndcg@10"`` and the like, or ``"rmse"``, ``"mae"``; None: ndcg@10 where the model orders items, else rmse.
    name
        How the result calls the model; None: its class.
    filter_seen
        As in ``judge``.
    resamples, seed
        Of the intervals; ``seed`` is that of the draw and of the fits, too.
    watch
        As in ``cold_start``.

    Raises
    ------
    ParameterError
        A share outside (0, 1], an unknown unit or metric.
    """
    if bad := [share for share in shares if not 0 < share <= 1]:
        raise ParameterError.of("learning_curve", "shares", "in (0, 1]", bad[0])
    if by not in ("users", "events"):
        raise ParameterError.of("learning_curve", "by", "'users' or 'events'", by)
    points = sorted({*shares, 1.0})
    rank = _ranks(split.train, by, seed)
    first = make()
    name = name or type(first.model).__name__
    metric = metric or ("ndcg@10" if can_rank(first) else "rmse")
    samples, sizes = {}, {}
    for share in points:
        part = split.train.take(rank < max(1, round(share * (rank.max() + 1))), f"{share:.0%} of the {by}")
        with watch(f"{name}: {share:.0%} of the {by}") as monitor:
            fitted = make().fit(part, rng=seed, monitor=monitor)
            answers = answer(fitted, _asked(split, part), metric, filter_seen=filter_seen)
        samples[share] = answers.sample(metric)
        sizes[share] = (int((np.diff(part.offsets) > 0).sum()), len(part))
    return LearningCurve(
        model=name,
        split=split.name,
        metric=metric,
        by=by,
        rows=tuple(_curve(samples, sizes, metric, {"resamples": resamples, "seed": seed})),
    )


def _ranks(train: Dataset, by: Unit, seed: int) -> IntArray:
    """(m,) place of each event, or of its user among those with events, in a random order."""
    rng = np.random.default_rng(seed)
    if by == "events":
        return rng.permutation(len(train))
    active = np.flatnonzero(np.diff(train.offsets))
    place = np.zeros(train.n_users, dtype=np.int64)
    place[active] = rng.permutation(len(active))
    return place[train.user]


def _asked(split: Split, part: Dataset) -> Split:
    """The same questions; a trained vector answers only for a user of whom the part holds all."""
    trained: BoolArray | None = split.queries.as_trained
    if trained is not None:
        trained = trained & unchanged(split, part)
    return replace(split, queries=split.queries.replace(as_trained=trained))


def _curve(
    samples: Mapping[float, Sample],
    sizes: Mapping[float, tuple[int, int]],
    metric: str,
    draws: Mapping[str, Any],
) -> list[LearningRow]:
    named = {str(share): sample for share, sample in samples.items()}
    last = str(max(samples))
    bounds, gaps = intervals(named, **draws), intervals(named, against=last, **draws)
    sign = 1.0 if smaller_is_better(metric) else -1.0
    whole = samples[max(samples)].estimate()
    return [
        LearningRow(
            share=share,
            users=sizes[share][0],
            events=sizes[share][1],
            value=sample.estimate(),
            interval=bounds[str(share)],
            missing=sign * (sample.estimate() - whole) + 0.0,
            missing_interval=Interval(*sorted(sign * bound + 0.0 for bound in gaps[str(share)])),
        )
        for share, sample in samples.items()
    ]
