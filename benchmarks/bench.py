"""recsmith beside its peers: same data, same split, same settings, same machine, in turn.

``make bench`` runs it; ``python benchmarks/bench.py --help`` names its parts. Each peer answers from an environment
of its own (``.bench/NAME``, made from ``peers/NAME/requirements.txt``). The runs of all sides take turns, and what
counts is the ratio of their medians: machines are noisy and shared. Lists and predictions come back to recsmith's own
metrics. Results are merged with earlier ones, so that a cell or a peer can be measured again by itself.

Data sets that cannot be redistributed are found through RECSMITH_EXTRA_DATA. Exit status: 0 where every side was
measured, 1 where one failed (its row says why), 2 for a wrong call.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.insert(0, str(HERE))

from harness import report  # noqa: E402
from harness.cells import CELLS  # noqa: E402
from harness.environments import Peers  # noqa: E402
from harness.machine import machine  # noqa: E402
from harness.measure import measure  # noqa: E402

PEERS = Peers(HERE / "peers", ROOT / ".bench")


def main(argv: list[str] | None = None) -> int:
    """Run the cells that were asked for, merge, write the JSON, the tables and the pictures."""
    options = _options(argv)
    if options.list:
        for cell in CELLS.values():
            print(f"{cell.name:24} {cell.data:16} {cell.what} ({', '.join(cell.peers)})")
        return 0
    record = report.load(options.out)
    record["machine"] = machine()
    failed = False
    for name in [] if options.tables else options.cells:
        print(f"{name}: {CELLS[name].what}", file=sys.stderr)
        with tempfile.TemporaryDirectory() as folder:
            found = measure(
                CELLS[name], PEERS, Path(folder), runs=options.runs, only=options.peer, limit=options.limit
            )
        print(report.lines(name, found), file=sys.stderr)
        failed |= any("error" in side for side in found["sides"].values())
        report.merge(record, name, found)
        _write(options.out, record)
    report.write(record, options.docs or options.out.with_suffix(""))
    print(report.summary(record))
    return int(failed)


def _write(path: Path, record: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1))


def _options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cells", nargs="*", help="names of cells, or parts of names; all by default")
    parser.add_argument("--peer", action="append", default=[], help="only this peer; may be repeated")
    parser.add_argument("--quick", action="store_true", help="MovieLens-100K alone: some minutes")
    parser.add_argument("--runs", type=int, default=3, help="counted runs of each side (3)")
    parser.add_argument("--limit", type=float, default=900.0, help="seconds after which a run is given up")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "bench.json")
    parser.add_argument("--docs", type=Path, help="folder for tables and pictures; beside --out by default")
    parser.add_argument("--tables", action="store_true", help="only write tables and pictures again")
    parser.add_argument("--list", action="store_true", help="what there is to measure")
    options = parser.parse_args(argv)
    if unknown := set(options.peer) - set(PEERS.names()):
        parser.error(f"no peer named {', '.join(sorted(unknown))}; known: {', '.join(PEERS.names())}")
    if strange := [part for part in options.cells if not any(part in name for name in CELLS)]:
        parser.error(f"no cell named {', '.join(strange)}; known: {', '.join(CELLS)}")
    if "RECSMITH_EXTRA_DATA" not in os.environ and not options.list and not options.tables:
        parser.error("RECSMITH_EXTRA_DATA is not set: the folder with lightgcn-gowalla, ml-100k and ml-1m")
    options.cells = [
        name
        for name, cell in CELLS.items()
        if (not options.cells or name in options.cells or _part_of(name, options.cells))
        and (not options.peer or set(cell.peers) & set(options.peer))
        and (not options.quick or cell.data == "MovieLens-100K")
    ]
    return options


def _part_of(name: str, parts: list[str]) -> bool:
    """A part that is itself a cell's name means that cell alone."""
    return any(part in name for part in parts if part not in CELLS)


if __name__ == "__main__":
    sys.exit(main())
