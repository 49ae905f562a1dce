"""Pictures of the record: accuracy against fit time for each log, and the ratios of all rows.

Colours are those of M. Okabe and K. Ito, which people with any kind of colour vision tell apart; every library has
its own marker as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from harness.cell import LOWER_IS_BETTER, OURS
from harness.report import Record, verdicts

_COLOURS = ("#000000", "#E69F00", "#56B4E9", "#009E73", "#CC79A7", "#0072B2", "#D55E00", "#999933", "#882255")
_MARKERS = "osD^vP*Xh"
_SIZES = (54, 48, 46, 60, 60, 76, 130, 70, 70)  # that look alike
_LIBRARIES = (
    OURS, "implicit", "lenskit", "rectools", "surprise", "cornac", "irspack", "recbole", "myfm",
)  # fmt: skip


def draw(record: Record, folder: Path) -> list[Path]:
    """Write every picture as SVG; the paths, in the order in which to show them."""
    cells = record["cells"]
    found = [_ratios(cells, folder / "ratios.svg")]
    for data in dict.fromkeys(cell["data"] for cell in cells.values()):
        for figure in ("ndcg@20", "rmse"):
            points = _points(cells, data, figure)
            if points:
                found.append(_accuracy(points, data, figure, folder))
    return [path for path in found if path is not None]


def _ratios(cells: Mapping[str, Any], path: Path) -> Path | None:
    """A row for each cell, a mark for each peer: how many times as long the peer takes, on a logarithmic scale."""
    rows = [
        (name, row["peer"], 1 / row["ratio"])
        for name, cell in reversed(cells.items())
        for row in verdicts(cell)
        if row["ratio"]
    ]
    if not rows:
        return None
    names = list(dict.fromkeys(name for name, *_ in rows))
    figure, axes = plt.subplots(figsize=(9, 1.8 + 0.3 * len(names)), layout="constrained")
    for peer in _ordered(row[1] for row in rows):
        mine = [(speed, names.index(name)) for name, p, speed in rows if p == peer]
        axes.scatter(*zip(*mine, strict=True), label=peer, zorder=3, **_style(peer))
    axes.axvline(1, color="black", linewidth=1)
    axes.axvspan(axes.get_xlim()[0], 1, color="#00000012", linewidth=0)
    axes.set_xscale("log")
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(-0.7, len(names) - 0.3)
    axes.grid(axis="both", color="#DDDDDD", linewidth=0.6)
    axes.set_xlabel("time of the peer / time of recsmith; right of 1, recsmith is faster")
    figure.legend(loc="outside upper center", ncols=8, frameon=False)
    return _save(figure, path)


def _points(cells: Mapping[str, Any], data: str, figure: str) -> list[tuple[str, str, float, float]]:
    """(cell, library, fit seconds, figure) of every side that has them."""
    return [
        (name, side, max(found["phases"]["fit"]["median"], 1e-4), found["quality"][figure]["value"])
        for name, cell in cells.items()
        if cell["data"] == data
        for side, found in cell["sides"].items()
        if "fit" in found.get("phases", {}) and figure in found.get("quality", {})
    ]


def _accuracy(
    points: Sequence[tuple[str, str, float, float]], data: str, figure_name: str, folder: Path
) -> Path:
    """Each model of each library; the model's name stands beside recsmith's mark."""
    figure, axes = plt.subplots(figsize=(9, 5.6), layout="constrained")
    for library in _ordered(point[1] for point in points):
        mine = [(seconds, value) for _, side, seconds, value in points if side == library]
        axes.scatter(
            *zip(*mine, strict=True),
            label=library,
            zorder=4 if library == OURS else 3,
            **_style(library),
        )
    _name(axes, points, data)
    axes.set_xscale("log")
    axes.set_xlabel("fit, seconds")
    better = "smaller is better" if figure_name in LOWER_IS_BETTER else "larger is better"
    axes.set_ylabel(f"{figure_name.upper()} ({better})")
    if figure_name in LOWER_IS_BETTER:
        axes.invert_yaxis()
    axes.set_title(data)
    axes.grid(color="#DDDDDD", linewidth=0.6)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    stem = data.lower().replace(" ", "-")
    return _save(figure, folder / f"accuracy-{stem}-{figure_name.split('@')[0]}.svg")


def _name(axes: Axes, points: Sequence[tuple[str, str, float, float]], data: str) -> None:
    """The model's name beside recsmith's mark, above or below by turns so that neighbours stay readable."""
    ours = sorted((p for p in points if p[1] == OURS), key=lambda p: p[3])
    ending = "-" + {"MovieLens-100K": "ml-100k", "MovieLens-1M": "ml-1m"}.get(data, data.lower())
    for turn, (cell, _, seconds, value) in enumerate(ours):
        axes.annotate(
            cell.removesuffix(ending),
            (seconds, value),
            xytext=(6, 5 if turn % 2 else -11),
            textcoords="offset points",
            fontsize=8,
        )


def _ordered(names: Iterable[str]) -> list[str]:
    """The libraries among ``names``, each once and always in the same order; strangers last."""
    found = dict.fromkeys(names)
    return [*(name for name in _LIBRARIES if name in found), *(n for n in found if n not in _LIBRARIES)]


def _style(library: str) -> dict[str, Any]:
    place = _LIBRARIES.index(library) if library in _LIBRARIES else len(_COLOURS) - 1
    return {
        "color": _COLOURS[place],
        "marker": _MARKERS[place],
        "s": _SIZES[place],
        "edgecolors": "white",
        "linewidths": 0.5,
    }


def _save(figure: Any, path: Path) -> Path:
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
    return path
