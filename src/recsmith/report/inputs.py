"""What a report is made of, read and checked before anything is drawn."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from recsmith.data.dataset import Dataset
from recsmith.data.split import Split
from recsmith.data.split_by_name import parse
from recsmith.errors import DataError, ParameterError, RecsmithError
from recsmith.evaluation.answers import fingerprint
from recsmith.evaluation.comparison import Comparison, compare
from recsmith.evaluation.report import Report, better_first
from recsmith.experiment.compare import PastRun, deciding_metric, read_run, run_labels, why_apart
from recsmith.experiment.config import read_experiment
from recsmith.experiment.folder import RunFolder

AUDIT = "audit.json"
HOW_AUDIT = "recsmith audit --data LOG --out FOLDER"
HOW_AB = "recsmith ab analyze FILE --metric M --control NAME --json > ab.json"
_VERSION = 1  # of audit.json
_OF_AUDIT = ("cold_start", "fairness", "robustness", "limits", "reports")
_OF_AB = ("control", "alpha", "method", "sample_ratio", "rows")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Inputs:
    """Everything that is shown."""

    runs: tuple[PastRun, ...]  #: on one train part and split, judged alike; best first by ``metric``
    folders: Mapping[str, RunFolder]  #: label -> folder, of all runs
    apart: Mapping[str, tuple[PastRun, str]]  #: label -> run that answered other questions, and which
    metric: str
    tests: Comparison | None  #: of ``runs``; None: there is one
    data: Dataset | None  #: the whole log; None: it could not be read again
    split: Split | None
    why_no_log: str  #: why; empty where it was read
    audit: Mapping[str, Any] | None
    audit_note: str  #: what the reader must know of the audit beside these runs
    foreign_audit: bool  #: the audit is of another log than the runs
    ab: Mapping[str, Any] | None

    @property
    def best(self) -> PastRun:
        """The first of the runs."""
        return self.runs[0]

    @property
    def reports(self) -> list[Report]:
        """Of the runs, best first."""
        return [run.report for run in self.runs]


def read_inputs(
    paths: Sequence[Path], *, audit: Path | None = None, ab: Path | None = None, metric: str | None = None
) -> Inputs:
    """Read runs, audit and experiment.

    The first run says which questions count: runs on another train part or split, or judged otherwise, stand apart.

    Parameters
    ----------
    paths
        Folders of complete runs, each once.
    audit
        A folder that ``recsmith audit --out`` wrote, or the file in it.
    ab
        What ``recsmith ab analyze --json`` said.
    metric
        What decides; None: ndcg@10 where all runs have it, else the first that all have.

    Raises
    ------
    ParameterError
        No run, one twice, or an unknown metric.
    DataError
        A folder without a complete run, or a file that is no audit or no result of an experiment.
    """
    if not paths or len({path.resolve() for path in paths}) < len(paths):
        raise ParameterError.of(
            "report", "runs", "one or more folders, each once", [str(path) for path in paths]
        )
    labels = run_labels(paths)
    read = [_read_run(path, label) for path, label in zip(paths, labels, strict=True)]
    strange = {run.label: (run, why) for run in read if (why := why_apart(run, read[0]))}
    paired = [run for run in read if run.label not in strange]
    chosen = deciding_metric(paired, metric)
    ordered = better_first([run.report for run in paired], chosen)
    by_label = {run.label: run for run in paired}
    folders = {label: RunFolder(path) for path, label in zip(paths, labels, strict=True)}
    found = None if audit is None else _read_audit(audit)
    data, split, why = _read_log(folders[labels[0]], read[0])
    foreign = "" if found is None else _of_another_log(found, read[0], data)
    return Inputs(
        runs=tuple(by_label[report.model] for report in ordered),
        folders=folders,
        apart=strange,
        metric=chosen,
        tests=compare(ordered, chosen) if len(ordered) > 1 else None,
        data=data,
        split=split,
        why_no_log=why,
        audit=found,
        audit_note=foreign or ("" if found is None else _beside(found, paired)),
        foreign_audit=bool(foreign),
        ab=None if ab is None else _read_ab(ab),
    )


@contextmanager
def complete(what: str, how: str) -> Iterator[None]:
    """Say which part of a file is missing, in place of an error about a key.

    Raises
    ------
    DataError
        What was read within lacks a part, or a part is something else.
    """
    try:
        yield
    except RecsmithError:
        raise
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, pl.exceptions.PolarsError) as error:
        raise DataError(
            f"{what} cannot be shown: {type(error).__name__}: {error}. Make it again: {how}"
        ) from error


def _read_run(path: Path, label: str) -> PastRun:
    if not RunFolder(path).experiment.exists():
        what = (
            "is not the folder of a complete run: it holds no experiment.yaml"
            if path.is_dir()
            else "is no folder"
        )
        raise DataError(f"{path} {what}. Make a run with: recsmith run FILE.yaml --out {path}")
    try:
        with complete(f"The run {path}", "recsmith run"):
            run = read_run(path, label)
            _ = run.question, run.environment["train"]["name"], run.took["seconds"]
            return run
    except (OSError, yaml.YAMLError) as error:
        raise DataError(f"The run {path} cannot be read: {error}. Run it again.") from None


def _read_log(folder: RunFolder, run: PastRun) -> tuple[Dataset | None, Split | None, str]:
    """The log and split of a run, where the log is still there and the same."""
    try:
        experiment = read_experiment(folder.experiment)
        if experiment.data.source is None:
            split = experiment.load_split()
            data = split.train
        else:
            data = experiment.data.read(experiment.data.source)
            split = parse(experiment.split).split(data)[0]
    except (RecsmithError, OSError) as error:
        return None, None, f"The log of {run.label} could not be read again: {error}"
    if fingerprint(split) != run.environment["split"]["fingerprint"]:
        return None, None, f"The log of {run.label} has changed since the run, so it is not shown."
    return data, split, ""


def _read_audit(path: Path) -> dict[str, Any]:
    file = path / AUDIT if path.is_dir() else path
    found = _read_json(file, "an audit", HOW_AUDIT)
    if found.get("version") != _VERSION:
        raise DataError(
            f"{file}: its version is {found.get('version')!r}, and this one reads {_VERSION}. Audit again."
        )
    _check_keys(found, _OF_AUDIT, file, "an audit", HOW_AUDIT)
    return found


def _read_ab(file: Path) -> dict[str, Any]:
    found = _read_json(file, "the result of an experiment", HOW_AB)
    _check_keys(found, _OF_AB, file, "the result of an experiment", HOW_AB)
    return found


def _read_json(file: Path, what: str, how: str) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no JSON"
        raise DataError(f"{file} is not {what}: {reason}. Make one: {how}") from None
    if not isinstance(found, dict):
        raise DataError(f"{file} is not {what}: it holds a {type(found).__name__}. Make one: {how}")
    return found


def _check_keys(found: Mapping[str, Any], keys: Sequence[str], file: Path, what: str, how: str) -> None:
    if missing := [key for key in keys if key not in found]:
        raise DataError(f"{file} is not {what}: it lacks {', '.join(missing)}. Make one: {how}")


def _of_another_log(audit: Mapping[str, Any], run: PastRun, data: Dataset | None) -> str:
    """That the audit is of another log than the run, in words; empty where it is not, or is too old to tell."""
    with complete("The audit", HOW_AUDIT):
        theirs, own = audit.get("log"), run.environment["train"]
        splits = {report["protocol"]["split_fingerprint"] for report in audit["reports"]}
        if theirs is None or splits == {run.report.protocol["split_fingerprint"]}:
            return ""
        same_name = theirs["name"] == own["name"]
        if theirs["fingerprint"] == data.fingerprint() if data is not None else same_name:
            return ""
        size = f"{theirs['users']:,} users, {theirs['items']:,} items, {theirs['events']:,} events"
    other = "another state of the log or read with other tables or filters" if same_name else "another log"
    ours = "" if same_name else f", the runs are of {own['name']}"
    return f"The audit is of {other}: {theirs['name']} ({size}){ours}. Nothing here compares with the runs."


def _beside(audit: Mapping[str, Any], runs: Sequence[PastRun]) -> str:
    """What the reader must know of the audit beside the runs: another split, or other parameters."""
    with complete("The audit", HOW_AUDIT):
        theirs = {report["protocol"]["split_fingerprint"] for report in audit["reports"]}
        configs = {report["model"]: report["config"] for report in audit["reports"]}
    said = []
    if theirs != {runs[0].report.protocol["split_fingerprint"]}:
        said.append(
            "The audit was made on another split than the runs: its figures stand beside theirs and do not compare."
        )
    others = [r.label for r in runs if r.label in configs and configs[r.label] != r.report.config]
    if others:
        said.append(
            f"The audit fitted these with other parameters than the runs of that name: {', '.join(others)}."
        )
    return " ".join(said)
