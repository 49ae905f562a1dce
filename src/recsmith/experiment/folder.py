"""The folder of a run: what is where, and whether it is complete.

::

    runs/NAME/
      experiment.yaml     the file with every value
      environment.json    versions, platform, git commit, fingerprints of data and split
      metrics.jsonl       figures of each epoch, and of the test part
      tables.jsonl        sample lists
      checkpoints/        the state of the training, until the run is complete
      maps/               pictures of the item vectors
      bundle/             the model that was judged
      report.json  users.parquet   the test figures, and those of each user
      run.json            written last: what the run took

Each file is there whole or not at all.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from recsmith.errors import DataError, ParameterError
from recsmith.evaluation.report import Report
from recsmith.experiment.config import Experiment

RUNS = Path("runs")
_FREE = {
    "epochs",
    "patience",
    "device",
}  # parameters that may change when a run goes on; the checkpoint has a say, too


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Paths below a run's folder."""

    path: Path

    @property
    def experiment(self) -> Path:
        """The resolved file."""
        return self.path / "experiment.yaml"

    @property
    def environment(self) -> Path:
        """Where it ran, and on what data."""
        return self.path / "environment.json"

    @property
    def report(self) -> Path:
        """The test figures."""
        return self.path / "report.json"

    @property
    def users(self) -> Path:
        """The test figures of each user."""
        return self.path / "users.parquet"

    @property
    def bundle(self) -> Path:
        """The model that was judged."""
        return self.path / "bundle"

    @property
    def checkpoints(self) -> Path:
        """States of trainings."""
        return self.path / "checkpoints"

    @property
    def complete(self) -> Path:
        """The file that is written last."""
        return self.path / "run.json"

    def check(self, experiment: Experiment) -> None:
        """See that the folder holds the same experiment, or none.

        Raises
        ------
        ParameterError
            It holds another one: the first key that differs is named.
        """
        if self.experiment.exists():
            _check_same(self.experiment, experiment)

    def begin(self, experiment: Experiment) -> None:
        """Make the folder."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_text(self.experiment, experiment.document())

    def write_json(self, file: Path, values: Mapping[str, Any]) -> None:
        """A JSON file, whole or not at all."""
        write_text(file, json.dumps(values, indent=1, ensure_ascii=False) + "\n")

    def write_report(self, report: Report) -> None:
        """The figures, and those of each user."""
        beside = self.users.with_name(self.users.name + ".new")
        report.per_user().write_parquet(beside)
        beside.replace(self.users)
        self.write_json(self.report, report.as_dict())

    def read_report(self) -> Report:
        """The figures again.

        Raises
        ------
        DataError
            The run has none yet, or the files are damaged.
        """
        if not self.complete.exists():
            raise DataError(
                f"{self.path} is not the folder of a complete run. Go on with it: recsmith run --resume."
            )
        try:
            return Report.read(_read_json(self.report), pl.read_parquet(self.users))
        except (OSError, KeyError, ValueError, TypeError, pl.exceptions.PolarsError) as error:
            raise DataError(f"{self.path}: the report cannot be read ({error}). Run it again.") from None

    def read_environment(self) -> dict[str, Any]:
        """Where it ran, and on what data; empty where that is not written yet."""
        return _read_json(self.environment) if self.environment.exists() else {}

    def read_complete(self) -> dict[str, Any]:
        """What the run took."""
        return _read_json(self.complete)

    def read_experiment(self) -> dict[str, Any]:
        """The resolved file."""
        found: dict[str, Any] = yaml.safe_load(self.experiment.read_text(encoding="utf-8"))
        return found


def write_text(file: Path, text: str) -> None:
    """A text file in UTF-8, whole or not at all."""
    beside = file.with_name(file.name + ".new")
    beside.write_text(text, encoding="utf-8")
    beside.replace(file)


def choose_folder(experiment: Experiment, out: Path | None, *, resume: bool) -> RunFolder:
    """The folder ``out``, or a new one below ``runs`` that is named after the experiment.

    With ``resume`` it is the newest one of that name, where there is one.

    Raises
    ------
    ParameterError
        ``out`` holds something else than a run, or a run and ``resume`` is not said.
    """
    if out is None:
        return _numbered(experiment.name, resume)
    folder = RunFolder(out)
    if out.exists() and any(out.iterdir()):
        if not folder.experiment.exists():
            raise ParameterError.of("a run", "out", "a new folder, or that of a run", str(out))
        if not resume:
            raise ParameterError(f"{out} holds a run. Choose another --out, or go on with it by --resume.")
    return folder


def _numbered(name: str, resume: bool) -> RunFolder:
    number, newest = 1, None
    while (path := RUNS / (name if number == 1 else f"{name}-{number}")).exists():
        newest = RunFolder(path)
        number += 1
    if resume and newest is not None and newest.experiment.exists():
        return newest
    return RunFolder(path)


def _check_same(file: Path, experiment: Experiment) -> None:
    """Raise where the run was begun with other values."""
    before = _comparable(yaml.safe_load(file.read_text(encoding="utf-8")))
    now = _comparable(experiment.model_dump(mode="json"))
    for key in {**before, **now}:
        if before.get(key) != now.get(key):
            raise ParameterError(
                f"{file.parent} was begun with {key} = {before.get(key)!r}, and now it is {now.get(key)!r}. Go on with "
                "what it was begun with, or choose another --out."
            )


def _comparable(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values that a run depends on, by dotted key."""
    kept = {key: part for key, part in values.items() if key not in ("name", "tracking", "tuned")}
    kept["parameters"] = {k: v for k, v in values["parameters"].items() if k not in _FREE}
    return flattened(kept)


def flattened(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested values by dotted key."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            found |= flattened(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def _read_json(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found
