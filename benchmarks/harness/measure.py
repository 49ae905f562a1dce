"""Runs that take turns: recsmith, the first peer, the second ..., and again; what counts is the ratio of medians."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from harness.cell import OURS, Arrays, Cell, Quality
from harness.environments import PeerError, Peers
from harness.quality import combined, figures
from harness.workers import Worker

#: A side whose first run takes longer than this many seconds is measured by that run alone.
LONG = 20.0


@dataclass
class _Runner:
    """One side while it is measured."""

    worker: Worker
    job: str
    settings: Mapping[str, Any]
    runs: list[dict[str, Any]] = field(default_factory=list)
    done: bool = False


def measure(
    cell: Cell, peers: Peers, folder: Path, *, runs: int, only: Sequence[str] = (), limit: float = 900.0
) -> dict[str, Any]:
    """The record of a cell: what each side took, how good it was, or the last line of its error.

    Parameters
    ----------
    runs
        Counted runs of each side, after one that warms it up.
    only
        Peers to measure; all of the cell's by default.
    limit
        Seconds after which a run is given up.
    """
    inputs = list(cell.inputs())
    for number, arrays in enumerate(inputs):
        np.savez(folder / f"{cell.name}-{number}.npz", **arrays)
    names = [OURS, *(name for name in cell.peers if not only or name in only)]
    errors: dict[str, str] = {}
    sides = _start(cell, peers, names, errors)
    try:
        for turn in range(runs + 1):
            for name in [n for n in sides if n not in errors and not sides[n].done]:
                try:
                    _turn(cell, name, sides[name], len(inputs), folder, limit, first=turn == 0)
                except PeerError as error:
                    errors[name] = str(error)
    finally:
        for side in sides.values():
            side.worker.close()
    return _record(cell, inputs, sides, errors, folder, names)


def _start(cell: Cell, peers: Peers, names: Sequence[str], errors: dict[str, str]) -> dict[str, _Runner]:
    sides = {}
    for name in names:
        try:
            worker = Worker(peers.command(name))
        except (PeerError, OSError) as error:
            errors[name] = str(error)
            continue
        sides[name] = _Runner(worker, cell.sides[name].job, cell.sides[name].settings)
    return sides


def _turn(
    cell: Cell, name: str, side: _Runner, n_inputs: int, folder: Path, limit: float, *, first: bool
) -> None:
    """One run: all inputs of the cell. The first warms up, and counts only where it is long."""
    started = time.perf_counter()
    answers = [
        side.worker.ask(
            side.job,
            folder / f"{cell.name}-{n}.npz",
            folder / f"{cell.name}-{name}-{n}.npz",
            side.settings,
            seconds=limit,
        )
        for n in range(n_inputs)
    ]
    side.done = first and time.perf_counter() - started > LONG
    if side.done or not first:
        side.runs.append(_sum(answers))


def _sum(answers: Sequence[dict[str, Any]]) -> dict[str, Any]:
    phases = {phase: sum(answer["phases"][phase] for answer in answers) for phase in answers[0]["phases"]}
    return {**answers[-1], "phases": phases, "peak_rss_mb": max(a["peak_rss_mb"] for a in answers)}


def _record(
    cell: Cell,
    inputs: Sequence[Arrays],
    sides: Mapping[str, _Runner],
    errors: Mapping[str, str],
    folder: Path,
    names: Sequence[str],
) -> dict[str, Any]:
    measured: dict[str, dict[str, Any]] = {}
    qualities: dict[str, Quality] = {}
    for name in names:
        if name in errors:
            measured[name] = {"error": errors[name]}
            continue
        judged = time.perf_counter()
        outputs = [dict(np.load(folder / f"{cell.name}-{name}-{n}.npz")) for n in range(len(inputs))]
        judged = time.perf_counter()
        qualities[name] = combined(
            [cell.judge(given, output) for given, output in zip(inputs, outputs, strict=True)]
        )
        measured[name] = {
            **_times(sides[name].runs),
            "evaluate_seconds": time.perf_counter() - judged,
            "note": cell.sides[name].note,
        }
    for name, found in figures(qualities, OURS).items():
        measured[name]["quality"] = found
    _add_ratios(measured)
    return {
        "what": cell.what,
        "data": cell.data,
        "decides": cell.decides,
        "wanted": cell.wanted,
        "sides": measured,
    }


def _times(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    phases = {
        phase: {
            "median": statistics.median(run["phases"][phase] for run in runs),
            "min": min(run["phases"][phase] for run in runs),
            "max": max(run["phases"][phase] for run in runs),
        }
        for phase in runs[0]["phases"]
    }
    return {
        "version": runs[-1]["version"],
        "settings": runs[-1]["settings"],
        "runs": len(runs),
        "phases": phases,
        "peak_rss_mb": max(run["peak_rss_mb"] for run in runs),
    }


def _add_ratios(measured: dict[str, dict[str, Any]]) -> None:
    """Of each phase that both have, recsmith / peer, kept with the peer: a later rerun moves only what it measured."""
    ours = measured[OURS].get("phases")
    for name, side in measured.items():
        if ours is not None and name != OURS and "phases" in side:
            side["ratio"] = {
                phase: ours[phase]["median"] / max(times["median"], 1e-9)
                for phase, times in side["phases"].items()
                if phase in ours
            }
            side["against"] = {phase: ours[phase]["median"] for phase in side["ratio"]}
