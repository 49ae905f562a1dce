"""Metrics and tables as JSON lines in the folder of the run. This is the tracker that is always there."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from recsmith.tracking.null import NullTracker

METRICS, TABLES = "metrics.jsonl", "tables.jsonl"


class JsonLines(NullTracker):
    """One line for each call: ``{"step": 3, "train/loss": 5.1}``.

    A run that goes on repeats the epochs that it had not saved: their old lines are taken out when the first of them
    comes again, so that each step is there once.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._begun: set[str] = set()  # files in which this process has written

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """A line of figures; one that is not a number is null."""
        plain = {name: value if math.isfinite(value) else None for name, value in values.items()}
        self._write(METRICS, {"step": step, **plain})

    def table(self, name: str, rows: Sequence[Mapping[str, Any]], step: int | None = None) -> None:
        """A line with all rows of a table."""
        self._write(TABLES, {"step": step, "table": name, "rows": list(rows)})

    def _write(self, name: str, line: Mapping[str, Any]) -> None:
        file = self.folder / name
        if name not in self._begun:
            _forget(file, line)
            self._begun.add(name)
        with file.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line, ensure_ascii=False) + "\n")


def read_lines(file: Path) -> list[dict[str, Any]]:
    """The lines of a file; none where it is not there. A line that was cut off by the end of a process is left out."""
    if not file.exists():
        return []
    found = []
    for text in file.read_text(encoding="utf-8").splitlines():
        try:
            found.append(json.loads(text))
        except ValueError:
            continue
    return found


def _forget(file: Path, coming: Mapping[str, Any]) -> None:
    """Take out what comes again, from the line on that says of the same step what ``coming`` says, and half a line."""
    lines = read_lines(file)
    again = [number for number, line in enumerate(lines) if _place(line) == _place(coming)]
    if lines:
        last = again[0] if again else len(lines)
        kept = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines[:last])
        beside = file.with_name(file.name + ".new")
        beside.write_text(kept, encoding="utf-8")
        beside.replace(file)


def _place(line: Mapping[str, Any]) -> tuple[Any, ...]:
    """Step and subject of a line: its table, or the first part of its first metric's name."""
    subject = next((name.partition("/")[0] for name in line if name != "step"), "")
    return line["step"], line.get("table", subject)
