"""Several pipelines on one split: which is better, and whether that is more than chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from recsmith.errors import ParameterError
from recsmith.evaluation.all_pairs import all_pairs_p, simultaneous_intervals
from recsmith.evaluation.report import Report, better_first, smaller_is_better, written
from recsmith.evaluation.significance import (
    Interval,
    PairedTest,
    Sample,
    differences,
    holm,
    interval_of,
    paired_p,
    percentiles,
    replicates,
    skewed,
    verdict,
)
from recsmith.tables import Table

HOLM, ALL_PAIRS = "holm", "all pairs"


def correction_title(correction: str) -> str:
    """The head of a column of corrected p-values."""
    return "p (Holm)" if correction == HOLM else f"p ({correction})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """One line of a comparison. Differences are this model minus the reference, on the same users."""

    model: str
    value: float
    interval: Interval
    verdict: str  #: best, baseline, better, worse, or no difference shown
    difference: float = 0.0
    difference_interval: Interval | None = None  #: None for the reference itself
    p: float | None = None
    p_corrected: float | None = None  #: for the number of comparisons: see ``Comparison.correction``


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Models beside a reference, best first."""

    metric: str
    reference: str
    split: str
    users: int
    level: float
    test: PairedTest
    correction: str  #: ``"holm"`` against a baseline, ``"all pairs"`` against the best of the same data
    notes: tuple[str, ...] = ()  #: which p-values and intervals are not to be trusted, and why
    rows: tuple[Contender, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "metric": self.metric,
            "reference": self.reference,
            "split": self.split,
            "users": self.users,
            "level": self.level,
            "test": self.test,
            "correction": self.correction,
            "notes": list(self.notes),
            "rows": [{name: _plain(getattr(row, name)) for name in Contender.__slots__} for row in self.rows],
        }

    def __rich__(self) -> Table:
        columns = (
            "model",
            "difference",
            f"{100 * self.level:g} %",
            "p",
            correction_title(self.correction),
            "verdict",
        )
        rows = [
            (row.model, "", "", "", "", row.verdict)
            if row.difference_interval is None
            else (
                row.model,
                f"{row.difference:+.4f}",
                written(row.difference_interval),
                row.p,
                row.p_corrected,
                row.verdict,
            )
            for row in self.rows
        ]
        title = f"Against {self.reference} by {self.metric}: paired {self.test} test on the same users"
        return Table(title, columns, rows, numbers=columns[1:-1], caption="\n".join(self.notes))


def compare(
    reports: Sequence[Report],
    metric: str,
    *,
    baseline: str | None = None,
    test: PairedTest = "randomization",
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Comparison:
    """Each report against the baseline, or against the best one.

    A difference is called ``better`` or ``worse`` where its p-value, corrected for the number of comparisons, is
    below ``1 - level``. Against a baseline that is Holm's correction. The best was chosen by the same figures, so
    against it p-values are corrected, and intervals widened, for all pairs of models: see ``all_pairs.py``. A baseline
    that is named beforehand shows smaller differences.

    Parameters
    ----------
    reports
        Two or more, of the same split and users, with distinct names.
    metric
        A name that all reports hold, such as ``"ndcg@10"`` or ``"rmse"``.
    baseline
        Name of the report to compare with; None: the best.

    Raises
    ------
    ParameterError
        Reports that cannot be compared, or an unknown name or metric.
    """
    _check_comparable(reports, metric, baseline)
    samples = {report.model: report.sample(metric) for report in better_first(reports, metric)}
    reference = baseline or next(iter(samples))
    others = [model for model in samples if model != reference]
    columns, values = list(samples.values()), np.array([sample.estimate() for sample in samples.values()])
    drawn = replicates(columns, resamples=resamples, seed=seed)
    p = {model: paired_p(samples[model], samples[reference], test=test, seed=seed) for model in others}
    at = list(samples).index(reference)
    if baseline is None and len(others) > 1:
        corrected = dict(zip(samples, all_pairs_p(columns, test=test, seed=seed)[at], strict=True))
        gaps = dict(zip(samples, simultaneous_intervals(drawn, values, at, level), strict=True))
    else:
        corrected = dict(zip(others, holm(list(p.values())), strict=True))
        gaps = {m: percentiles(drawn[:, j] - drawn[:, at], level) for j, m in enumerate(samples)}

    def row(j: int, model: str) -> Contender:
        one: dict[str, Any] = {
            "model": model, "value": float(values[j]), "interval": interval_of(columns[j], drawn[:, j], level),
        }  # fmt: skip
        if model == reference:
            return Contender(**one, verdict="best" if baseline is None else "baseline")
        difference, adjusted = float(values[j] - values[at]), float(corrected[model])
        return Contender(
            **one,
            difference=difference,
            difference_interval=gaps[model],
            p=p[model],
            p_corrected=adjusted,
            verdict=verdict(difference, adjusted, 1 - level, smaller_is_better=smaller_is_better(metric)),
        )

    return Comparison(
        metric=metric,
        reference=reference,
        split=reports[0].split,
        users=len(reports[0]),
        level=level,
        test=test,
        correction=HOLM if baseline is not None else ALL_PAIRS,
        notes=_notes(samples, reference),
        rows=tuple(row(j, model) for j, model in enumerate(samples)),
    )


def _notes(samples: Mapping[str, Sample], reference: str) -> tuple[str, ...]:
    """Which differences are too few and skewed for their tests and intervals."""
    doubtful = [
        model
        for model, sample in samples.items()
        if model != reference and skewed(differences(sample, samples[reference]))
    ]
    if not doubtful:
        return ()
    return (
        f"Warning: too few users differ from {reference}, or too unevenly, for the p-values and intervals of "
        f"{', '.join(doubtful)}: fewer than 10, or than 25 times the squared skewness of the differences.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaderboard:
    """Reports of one split in order, with what they cost."""

    metric: str
    split: str
    users: int
    rows: list[dict[str, Any]]  #: rank, model, the metric, low, high, fit_seconds, answer_seconds, memory_mb

    def __rich__(self) -> Table:
        columns = ("", "model", self.metric, "95 %", "fit s", "ask s", "MB")
        digits = {"fit_seconds": 2, "answer_seconds": 2, "memory_mb": 0}
        rows = [
            (
                row["rank"],
                row["model"],
                row[self.metric],
                written(Interval(row["low"], row["high"])),
                *(_short(row[cost], places) for cost, places in digits.items()),
            )
            for row in self.rows
        ]
        title = f"{self.metric} on {self.split}: {self.users:,} users"
        return Table(title, columns, rows, numbers=(columns[0], *columns[2:]))


def leaderboard(reports: Sequence[Report], metric: str) -> Leaderboard:
    """The reports from best to worst by ``metric``, as rows and as a table.

    ``answer_seconds`` is the time of all lists and predictions, ``memory_mb`` the peak of fit and lists.

    Raises
    ------
    ParameterError
        No reports, of different splits, or without the metric.
    """
    _check_same_split(reports, 1)
    rows = []
    for rank, report in enumerate(better_first(reports, metric), start=1):
        low, high = report.intervals[metric]
        answered = [report.seconds[step] for step in ("recommend", "predict") if step in report.seconds]
        rows.append(
            {
                "rank": rank,
                "model": report.model,
                metric: report.means[metric],
                "low": low,
                "high": high,
                "fit_seconds": report.seconds.get("fit"),
                "answer_seconds": sum(answered) if answered else None,
                "memory_mb": max((v for v in report.memory_mb.values() if v is not None), default=None),
            }
        )
    return Leaderboard(metric=metric, split=reports[0].split, users=len(reports[0]), rows=rows)


def _check_same_split(reports: Sequence[Report], least: int) -> None:
    if len(reports) < least:
        raise ParameterError.of("a comparison", "reports", f"at least {least}", len(reports))
    if len(names := {report.split for report in reports}) > 1:
        raise ParameterError(f"Reports of different splits cannot be compared: {', '.join(sorted(names))}.")


def _check_comparable(reports: Sequence[Report], metric: str, baseline: str | None) -> None:
    _check_same_split(reports, 2)
    models = [report.model for report in reports]
    if len(set(models)) < len(models):
        raise ParameterError(f"Reports need distinct names, given with name=. Got {', '.join(models)}.")
    if baseline is not None and baseline not in models:
        raise ParameterError.unknown("report", baseline, models)
    first = reports[0]
    for report in reports:
        report.sample(metric)
        if any(
            report.protocol[part] != first.protocol[part] for part in ("split_fingerprint", "filter_seen")
        ):
            raise ParameterError(
                f"{report.model} and {first.model} answered different questions: the split or filter_seen differs."
            )
        if not report.user_ids.equals(first.user_ids):
            names = f"{report.model} and {first.model}"
            raise ParameterError(
                f"{names} were judged on different users. Use one split and one filter_seen."
            )


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _short(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
