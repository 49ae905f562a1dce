"""The part the peers' runners share: read a job, measure the peer's call, write the answer.

A runner is a process that lives as long as its standard input. Each line it reads is a JSON object::

    {"job": NAME, "input": PATH_NPZ, "output": PATH_NPZ, "settings": {...}}

and each is answered with one JSON line on standard output::

    {"phases": {NAME: seconds}, "peak_rss_mb": float, "settings": {...}, "version": "..."}

or with ``{"error": "..."}``, after which the runner still takes jobs. Nothing but these answers reaches
the caller's end of standard output: what a peer prints goes to standard error.

Only the standard library and numpy are used, since every peer's environment has both.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import numpy.typing as npt

Arrays = Mapping[str, npt.NDArray[Any]]
Settings = dict[str, Any]


@dataclass
class Measure:
    """What one timed call took: wall-clock seconds, and the process's highest resident memory during it."""

    seconds: float = 0.0
    peak_rss_mb: float = 0.0


@dataclass(frozen=True)
class Result:
    """What a job hands back.

    ``phases`` holds a measure for each timed call: ``fit``, ``recommend``, ``predict``, ``metrics``. ``arrays``
    goes to the output file.
    """

    phases: Mapping[str, Measure]
    arrays: Arrays
    settings: Settings = field(default_factory=dict)


Job = Callable[[Arrays, Settings], Result]


@contextmanager
def measured() -> Iterator[Measure]:
    """Time the body of the ``with`` statement and watch its peak memory."""
    measure = Measure()
    gc.collect()
    _reset_peak_rss()
    start = time.perf_counter()
    yield measure
    measure.seconds = time.perf_counter() - start
    measure.peak_rss_mb = _peak_rss_mb()


def complete_settings(given: Mapping[str, Any], defaults: Mapping[str, Any]) -> Settings:
    """Lay the given settings over the defaults; a name without a default is an error."""
    unknown = sorted(set(given) - set(defaults))
    if unknown:
        raise ValueError(f"unknown settings: {', '.join(unknown)}; known: {', '.join(sorted(defaults))}")
    return {**defaults, **given}


def serve(distribution: str, jobs: Mapping[str, Job]) -> None:
    """Answer jobs from standard input until it ends."""
    peer_version = version(distribution)
    with _private_stdout() as answers:
        for line in sys.stdin:
            if line.strip():
                answers.write(json.dumps(_answer(line, jobs, peer_version)) + "\n")
                answers.flush()


def _answer(line: str, jobs: Mapping[str, Job], peer_version: str) -> dict[str, Any]:
    """Run the job in one request line; whatever goes wrong becomes an error answer."""
    try:
        return {**_run(json.loads(line), jobs), "version": peer_version}
    except Exception as error:
        traceback.print_exc()
        return {"error": f"{type(error).__name__}: {error}"}


def _run(request: Mapping[str, Any], jobs: Mapping[str, Job]) -> dict[str, Any]:
    """Load the input, do the job, save the output and sum up the measures."""
    name = request["job"]
    if name not in jobs:
        raise ValueError(f"unknown job {name!r}; known: {', '.join(sorted(jobs))}")
    result = jobs[name](_load(Path(request["input"])), request.get("settings", {}))
    _save(Path(request["output"]), result.arrays)
    return {**_figures(result.phases), "settings": result.settings}


def _figures(phases: Mapping[str, Measure]) -> dict[str, Any]:
    """Give each phase's seconds and the highest peak."""
    return {
        "phases": {name: measure.seconds for name, measure in phases.items()},
        "peak_rss_mb": max(measure.peak_rss_mb for measure in phases.values()),
    }


def _load(path: Path) -> Arrays:
    """Read every array of an npz file into memory."""
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def _save(path: Path, arrays: Arrays) -> None:
    """Write an npz file under exactly the given path."""
    named: dict[str, Any] = dict(arrays)
    with path.open("wb") as file:
        np.savez(file, **named)


@contextmanager
def _private_stdout() -> Iterator[TextIO]:
    """Keep standard output for the answers and point everything else written to it at standard error."""
    private = os.dup(1)
    os.dup2(2, 1)
    with os.fdopen(private, "w", encoding="utf-8") as answers:
        yield answers


def _reset_peak_rss() -> None:
    """Set the kernel's peak mark back to the present resident size, where it can be (Linux)."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak_rss_mb() -> float:
    """Give the peak resident size since the last reset, or over the process's life where no such mark is."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        scale = 2**20 if sys.platform == "darwin" else 2**10
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale
    kilobytes = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(kilobytes) / 2**10
