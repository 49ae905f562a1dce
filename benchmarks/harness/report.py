"""Results as people read them: merged with earlier ones, judged by the rule, written as Markdown."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from harness.cell import LOWER_IS_BETTER, OURS

Record = dict[str, Any]

#: Seconds that are no difference: what fits this fast is measured by its overhead.
NOTHING = 0.001


def load(path: Path) -> Record:
    """What earlier runs wrote, or an empty record."""
    if not path.exists():
        return {"cells": {}}
    found: Record = json.loads(path.read_text())
    return found if "cells" in found else {"cells": {}}


def merge(record: Record, name: str, found: Record) -> None:
    """Put a measured cell in: sides that were not measured this time keep what they had."""
    earlier = record["cells"].get(name, {}).get("sides", {})
    record["cells"][name] = {**found, "sides": {**earlier, **found["sides"]}}


def verdicts(cell: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Each peer's row by the rule: at least as accurate or inside the peer's interval, and not slower.

    ``accurate`` and ``fast`` are None where there is nothing to compare.
    """
    for name, side in cell["sides"].items():
        if name == OURS:
            continue
        ours = cell["sides"].get(OURS, {})
        ratio = side.get("ratio", {}).get(cell["decides"])
        yield {
            "peer": name,
            "ratio": ratio,
            "fast": None if ratio is None else _fast(cell, side, ratio),
            "accurate": _accurate(ours.get("quality"), side.get("quality")),
            "error": side.get("error"),
        }


def _fast(cell: Mapping[str, Any], side: Mapping[str, Any], ratio: float) -> bool:
    """At most the wanted ratio, or a difference of less than a millisecond."""
    phase = cell["decides"]
    behind: float = side["against"][phase] - side["phases"][phase]["median"]
    return ratio <= cell["wanted"] or behind < NOTHING


def _accurate(ours: Mapping[str, Any] | None, theirs: Mapping[str, Any] | None) -> bool | None:
    figure = next(iter(ours), None) if ours else None
    if figure is None or not theirs or figure not in theirs or "interval" not in theirs[figure]:
        return None
    mine, other = ours[figure]["value"], theirs[figure]["value"]  # type: ignore[index]
    low, high = theirs[figure]["interval"]
    return bool(mine <= max(other, high) if figure in LOWER_IS_BETTER else mine >= min(other, low))


def lines(name: str, cell: Mapping[str, Any]) -> str:
    """A cell in a few lines for the terminal."""
    shown = []
    for side, figures in cell["sides"].items():
        if "error" in figures:
            shown.append(f"  {side:10} FAILED: {figures['error']}")
            continue
        times = "  ".join(f"{phase} {t['median']:.3f} s" for phase, t in figures["phases"].items())
        ratios = "  ".join(f"{phase} x{ratio:.2f}" for phase, ratio in figures.get("ratio", {}).items())
        quality = "  ".join(f"{key} {entry['value']:.4f}" for key, entry in figures["quality"].items())
        shown.append(f"  {side:10} {times}  {figures['peak_rss_mb']:.0f} MB  {quality}  {ratios}")
    return "\n".join(shown)


def summary(record: Record) -> str:
    """How many rows there are, and each one that is not as wanted."""
    rows, short, broken = 0, [], []
    for name, cell in record["cells"].items():
        if "error" in cell["sides"].get(OURS, {}):
            broken.append(f"  {name}: recsmith: {cell['sides'][OURS]['error']}")
        for row in verdicts(cell):
            rows += 1
            if row["error"]:
                broken.append(f"  {name}: {row['peer']}: {row['error']}")
            if row["fast"] is False or row["accurate"] is False:
                short.append(f"  {name}: {shortfall(cell, row)}")
    text = [f"{rows} rows, {len(short)} not as wanted, {len(broken)} failed"]
    return "\n".join([*text, *short, *broken])


def shortfall(cell: Mapping[str, Any], row: Mapping[str, Any]) -> str:
    """What is not as wanted in a row, in words."""
    said = []
    if row["fast"] is False:
        said.append(f"{cell['decides']} takes {row['ratio']:.2f} times {row['peer']}'s")
    if row["accurate"] is False:
        figure = next(iter(cell["sides"][OURS]["quality"]))
        mine, other = (cell["sides"][n]["quality"][figure] for n in (OURS, row["peer"]))
        low, high = other["interval"]
        said.append(
            f"{figure} {mine['value']:.4f} against {row['peer']}'s {other['value']:.4f} [{low:.4f}, {high:.4f}]"
        )
    return "; ".join(said)


def write(record: Record, folder: Path) -> None:
    """The tables as ``peers.md`` and the pictures beside it."""
    from harness.markdown import page

    folder.mkdir(parents=True, exist_ok=True)
    pictures: list[Path] = []
    try:
        from harness.plots import draw

        pictures = draw(record, folder)
    except ModuleNotFoundError as error:
        print(f"no pictures: {error}; pip install 'recsmith[plot]' brings what they need")
    (folder / "peers.md").write_text(page(record, pictures))
