"""Runs side by side: their figures, what differs between them, and whether the difference is more than chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from recsmith.errors import ParameterError
from recsmith.evaluation.comparison import Comparison, compare
from recsmith.evaluation.report import Report, better_first, written
from recsmith.experiment.folder import RunFolder, flattened
from recsmith.tables import Table

_NAMES = frozenset({"name", "tuned"})  # say nothing of what a run does


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PastRun:
    """A complete run, as its folder tells it."""

    label: str
    report: Report
    values: Mapping[str, Any]  #: the experiment by dotted key
    environment: Mapping[str, Any]
    took: Mapping[str, Any]

    @property
    def question(self) -> tuple[Any, ...]:
        """What was asked: runs can be paired where it is equal."""
        told = self.report.protocol
        data, split = (self.environment[part]["fingerprint"] for part in ("train", "split"))
        return data, split, told["filter_seen"], told["rating_times"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RunsCompared:
    """Runs, best first by ``metric``."""

    metric: str
    runs: tuple[PastRun, ...]
    tests: Comparison | None  #: of the runs that answered the questions of the reference; None: of one alone
    apart: Mapping[str, str]  #: label -> why it is not paired with the reference

    def differences(self) -> dict[str, list[Any]]:
        """Keys of the experiments whose values are not the same in all runs."""
        keys = dict.fromkeys(key for run in self.runs for key in run.values)
        found = {key: [run.values.get(key) for run in self.runs] for key in keys}
        return {key: values for key, values in found.items() if any(value != values[0] for value in values)}

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "metric": self.metric,
            "runs": [
                {
                    "run": run.label,
                    "split": run.report.split,
                    "users": len(run.report),
                    "means": dict(run.report.means),
                    "intervals": {name: list(pair) for name, pair in run.report.intervals.items()},
                    "git": run.environment.get("git"),
                    "took": dict(run.took),
                }
                for run in self.runs
            ],
            "differences": self.differences(),
            "comparison": None if self.tests is None else self.tests.as_dict(),
            "not_paired": dict(self.apart),
        }

    def tables(self) -> list[Table]:
        """For people: figures, what differs."""
        labels = [run.label for run in self.runs]
        metrics = dict.fromkeys(name for run in self.runs for name in run.report.means)
        rows: list[tuple[Any, ...]] = [
            (name, *(_figure(run.report, name) for run in self.runs)) for name in metrics
        ]
        rows.append(("users", *(len(run.report) for run in self.runs)))
        rows.append(("seconds", *(f"{run.took['seconds']:.1f}" for run in self.runs)))
        apart = "\n".join(f"{label} is not paired: {why}" for label, why in self.apart.items())
        title = f"Runs by {self.metric}, the best first"
        shown = [Table(title, ["metric", *labels], rows, numbers=labels, whole=["metric"], caption=apart)]
        if found := self.differences():
            rows = [(key, *(_written(value) for value in values)) for key, values in found.items()]
            shown.append(Table("What differs", ["key", *labels], rows, whole=["key"]))
        return shown


def read_run(path: Path, label: str) -> PastRun:
    """Read a complete run.

    Raises
    ------
    DataError
        The folder holds none.
    """
    folder = RunFolder(path)
    report = folder.read_report()
    values = {key: value for key, value in flattened(folder.read_experiment()).items() if key not in _NAMES}
    return PastRun(
        label=label,
        report=replace(report, model=label),
        values=values,
        environment=folder.read_environment(),
        took=folder.read_complete(),
    )


def compare_runs(
    paths: Sequence[Path], metric: str | None = None, *, baseline: Path | None = None
) -> RunsCompared:
    """Lay runs side by side.

    Parameters
    ----------
    paths
        Folders of two or more complete runs.
    metric
        What decides; None: ndcg@10 where all have it, else the first metric that all have.
    baseline
        The run that the others are tested against; None: the best. Only runs on the same data and split, judged alike,
        are tested: the others are listed in ``apart``.

    Raises
    ------
    ParameterError
        Fewer than two runs, one twice, an unknown metric, or a baseline that is none of them.
    DataError
        A folder without a complete run.
    """
    if len(paths) < 2 or len({path.resolve() for path in paths}) < len(paths):
        raise ParameterError.of(
            "compare-runs", "runs", "two or more folders, each once", [str(p) for p in paths]
        )
    if baseline is not None and baseline not in paths:
        raise ParameterError.unknown("run of this comparison", str(baseline), [str(path) for path in paths])
    labels = run_labels(paths)
    read = {label: read_run(path, label) for path, label in zip(paths, labels, strict=True)}
    chosen = deciding_metric(list(read.values()), metric)
    ordered = [read[report.model] for report in better_first([run.report for run in read.values()], chosen)]
    reference = ordered[0] if baseline is None else read[labels[paths.index(baseline)]]
    apart = {run.label: why for run in ordered if (why := why_apart(run, reference))}
    paired = [run.report for run in ordered if run.label not in apart]
    tests = (
        compare(paired, chosen, baseline=None if baseline is None else reference.label)
        if len(paired) > 1
        else None
    )
    return RunsCompared(metric=chosen, runs=tuple(ordered), tests=tests, apart=apart)


def why_apart(run: PastRun, reference: PastRun) -> str:
    """Why two runs cannot be paired; nothing where they can."""
    names = ("another train part", "another split", "another filter_seen", "other rating_times")
    pairs = zip(names, run.question, reference.question, strict=True)
    found = [name for name, mine, theirs in pairs if mine != theirs]
    return f"{', '.join(found)} than {reference.label}" if found else ""


def deciding_metric(runs: Sequence[PastRun], metric: str | None) -> str:
    """``metric``, or where it is None ndcg@10, or the first one that all runs have.

    Raises
    ------
    ParameterError
        A run lacks ``metric``, or the runs have none in common.
    """
    common = [name for name in runs[0].report.means if all(name in run.report.means for run in runs)]
    if metric is not None and metric not in common:
        raise ParameterError.unknown("metric that all runs have", metric, common)
    if not common:
        raise ParameterError("These runs have no metric in common. Compare runs of one kind.")
    return metric or ("ndcg@10" if "ndcg@10" in common else common[0])


def run_labels(paths: Sequence[Path]) -> list[str]:
    """The folders' names, or their paths where two have the same."""
    names = [path.resolve().name for path in paths]
    return names if len(set(names)) == len(names) else [str(path) for path in paths]


def _figure(report: Report, name: str) -> str:
    if name not in report.means:
        return ""
    return f"{report.means[name]:.4f} ({written(report.intervals[name])})"


def _written(value: Any) -> str:
    return "" if value is None else str(value)
