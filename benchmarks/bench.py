"""recsmith beside its peers: same data, same settings, same machine, in turn.

``make bench`` runs it; ``python benchmarks/bench.py --help`` names its parts. Each peer answers from an
environment of its own (``.bench/NAME``, made from ``peers/NAME/requirements.txt``). The runs of recsmith and
of the peer alternate, and what counts is the ratio of their medians: machines are noisy and shared.
Data sets that cannot be redistributed are found through RECSMITH_EXTRA_DATA.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
ENVIRONMENTS = ROOT / ".bench"
sys.path.insert(0, str(HERE))

from cells import CELLS, Cell  # noqa: E402

# Work-arounds for old BLAS builds that slow a current one down: no worker runs under them.
_BLAS_OVERRIDES = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
console = Console(stderr=True)


@dataclass
class Worker:
    """A process that answers a JSON line per job, with its own clock around the job alone."""

    command: list[str]
    process: subprocess.Popen[str] = field(init=False)

    def __post_init__(self) -> None:
        environment = {k: v for k, v in os.environ.items() if k not in _BLAS_OVERRIDES}
        self.process = subprocess.Popen(
            self.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )

    def ask(self, job: str, source: Path, target: Path, settings: dict[str, Any]) -> dict[str, Any]:
        """One job; an answer with ``error`` is raised."""
        assert self.process.stdin is not None and self.process.stdout is not None
        request = {"job": job, "input": str(source), "output": str(target), "settings": settings}
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        answer: dict[str, Any] = json.loads(line) if line else {"error": "the worker died"}
        if "error" in answer:
            raise RuntimeError(f"{self.command[-1]}: {answer['error']}")
        return answer

    def close(self) -> None:
        """End the process."""
        self.process.communicate()


def peer_python(name: str) -> Path:
    """The interpreter of a peer's environment, which is made where it is missing."""
    folder = ENVIRONMENTS / name
    python = folder / "bin" / "python"
    stamp = folder / ".installed"
    requirements = HERE / "peers" / name / "requirements.txt"
    if not stamp.exists() or stamp.read_text() != requirements.read_text():
        console.print(f"making the environment of {name}")
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", "-r", str(requirements)], check=True)
        stamp.write_text(requirements.read_text())
    return python


def measure(cell: Cell, runs: int, folder: Path) -> dict[str, Any]:
    """Alternate recsmith and the peer ``runs`` times after one warm-up each; a run is all inputs of the cell."""
    inputs = cell.data()
    for number, arrays in enumerate(inputs):
        np.savez(folder / f"{cell.name}-{number}.npz", **arrays)
    sides = {
        "recsmith": (Worker([sys.executable, str(HERE / "peers" / "recsmith" / "runner.py")]), *cell.ours),
        cell.peer: (
            Worker([str(peer_python(cell.peer)), str(HERE / "peers" / cell.peer / "runner.py")]),
            *cell.theirs,
        ),
    }
    answers: dict[str, list[dict[str, Any]]] = {name: [] for name in sides}
    try:
        for turn in range(runs + 1):
            for name, (worker, job, settings) in sides.items():
                parts = [
                    worker.ask(job, folder / f"{cell.name}-{n}.npz", folder / f"{name}-{n}.npz", settings)
                    for n in range(len(inputs))
                ]
                if turn:
                    answers[name].append(
                        {
                            **parts[-1],
                            "seconds": sum(part["seconds"] for part in parts),
                            "peak_rss_mb": max(part["peak_rss_mb"] for part in parts),
                        }
                    )
    finally:
        for worker, *_ in sides.values():
            worker.close()
    quality = {}
    for name in sides:
        figures = [
            cell.quality(arrays, dict(np.load(folder / f"{name}-{n}.npz"))) for n, arrays in enumerate(inputs)
        ]
        quality[name] = {key: float(np.mean([f[key] for f in figures])) for key in figures[0]}
    return _row(cell, answers, quality)


def _row(
    cell: Cell, answers: dict[str, list[dict[str, Any]]], quality: dict[str, dict[str, float]]
) -> dict[str, Any]:
    sides = {}
    for name, given in answers.items():
        seconds = [a["seconds"] for a in given]
        sides[name] = {
            "median_seconds": statistics.median(seconds),
            "min_seconds": min(seconds),
            "max_seconds": max(seconds),
            "peak_rss_mb": max(a["peak_rss_mb"] for a in given),
            "version": given[-1]["version"],
            "settings": given[-1]["settings"],
            "quality": quality[name],
        }
    ratio = sides["recsmith"]["median_seconds"] / sides[cell.peer]["median_seconds"]
    return {
        "cell": cell.name,
        "what": cell.what,
        "peer": cell.peer,
        "ratio": ratio,
        "wanted": cell.wanted,
        **sides,
    }


def table(rows: list[dict[str, Any]]) -> Table:
    """The rows as people read them."""
    shown = Table("cell", "peer", "recsmith s", "peer s", "ratio", "wanted", "quality recsmith | peer")
    for row in rows:
        if "error" in row:
            shown.add_row(row["cell"], row["peer"], "", "", "", "", row["error"])
            continue
        ours, theirs = row["recsmith"], row[row["peer"]]
        quality = " ".join(f"{k} {v:.4f}|{theirs['quality'][k]:.4f}" for k, v in ours["quality"].items())
        shown.add_row(
            row["cell"],
            f"{row['peer']} {theirs['version']}",
            f"{ours['median_seconds']:.3f}",
            f"{theirs['median_seconds']:.3f}",
            f"{row['ratio']:.2f}",
            f"<= {row['wanted']:.2f}",
            quality,
        )
    return shown


def main() -> None:
    """Run the cells that were asked for and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cells", nargs="*", help=f"names of cells, all by default: {', '.join(CELLS)}")
    parser.add_argument("--runs", type=int, default=9, help="counted runs of each side")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "bench.json")
    options = parser.parse_args()
    if unknown := set(options.cells) - set(CELLS):
        parser.error(f"no cell named {', '.join(sorted(unknown))}; known: {', '.join(CELLS)}")
    if "RECSMITH_EXTRA_DATA" not in os.environ:
        parser.error("RECSMITH_EXTRA_DATA is not set: the folder with lightgcn-gowalla and ml-100k")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name in options.cells or CELLS:
            console.print(f"{name}: {CELLS[name].what}")
            try:
                rows.append(measure(CELLS[name], options.runs, Path(folder)))
            except (RuntimeError, subprocess.CalledProcessError) as error:
                rows.append({"cell": name, "peer": CELLS[name].peer, "error": str(error)})
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(rows, indent=1))
    Console(width=180).print(table(rows))


if __name__ == "__main__":
    main()
