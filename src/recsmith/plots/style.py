"""One look for all pictures: colours that the colour-blind can tell apart, and shapes beside every colour.

A picture is as wide as a phone, and two or three of them stand beside each other on a desk: so one drawing is readable
on both. Every colour below has its own name in a page's style sheet (see ``recsmith.report.pictures``), which gives it
another value in dark mode; no other colour is drawn.
"""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ParamSpec, TypeAlias, TypeVar

import numpy as np

from recsmith.errors import MissingExtraError
from recsmith.types import FloatArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

WIDTH = 4.2  #: inches of every picture
INK, MUTED, GRID, PAPER = "#1b1e24", "#5d6470", "#d9dde3", "#fefefe"
#: M. Okabe and K. Ito, "Color Universal Design", 2008, without yellow, which white paper swallows.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#b0639b", "#b07b00", "#3a9bd1")
MARKERS = ("o", "s", "^", "D", "v", "P")
_SIZE = 9.0  # points of text
_LINE = 46  # letters of a title's line
_FAR = 10.0  # points from which on a line leads from a name to its point
_CLEAR = 7.0  # pixels that such a line keeps from other points
_SWAY = 100.0  # overlapping pixels that one point in its way counts as
_NEAR = 2.0  # pixels that names keep from one another
P = ParamSpec("P")
T = TypeVar("T")
Box: TypeAlias = tuple[float, float, float, float]  # left, bottom, right, top, in pixels


def check_extra(feature: str = "A picture") -> None:
    """Raise ``MissingExtraError`` where Matplotlib is not installed."""
    if find_spec("matplotlib") is None:
        raise MissingExtraError.of(feature, "plot")


@contextmanager
def quiet() -> Iterator[None]:
    """No word of letters that the font has not: the reader's own font may have them."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        yield


def drawn(function: Callable[P, T]) -> Callable[P, T]:
    """Draw in this look, and leave Matplotlib's own settings as they were."""

    @wraps(function)
    def inner(*args: P.args, **kwargs: P.kwargs) -> T:
        check_extra()
        import matplotlib as mpl

        with mpl.rc_context(_look()), quiet():
            return function(*args, **kwargs)

    return inner


def canvas(
    title: str, *, height: float = 3.0, rows: int = 1, columns: int = 1, **options: Any
) -> tuple[Figure, Any]:
    """A figure with a title, which is broken into lines, and its axes: an array (rows, columns)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    lines = textwrap.wrap(title, _LINE)[:3]
    figure = Figure(figsize=(WIDTH, height + 0.17 * (len(lines) - 1)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False, **options)
    figure.suptitle("\n".join(lines), x=0.01, ha="left", fontsize=_SIZE + 1, fontweight="bold", color=INK)
    return figure, axes


def _look() -> Any:
    lines = {"axes.edgecolor": MUTED, "axes.grid": True, "grid.color": GRID, "grid.linewidth": 0.6}
    text = dict.fromkeys(("text.color", "axes.labelcolor", "xtick.labelcolor", "ytick.labelcolor"), INK)
    paper = dict.fromkeys(("figure.facecolor", "axes.facecolor", "savefig.facecolor"), PAPER)
    sizes = dict.fromkeys(
        ("font.size", "axes.titlesize", "axes.labelsize", "xtick.labelsize", "ytick.labelsize"), _SIZE
    )
    return {
        **lines, **text, **paper, **sizes, "font.family": ["DejaVu Sans"], "legend.fontsize": _SIZE,
        "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True, "axes.titlelocation": "left",
        "axes.titlepad": 3, "xtick.color": GRID, "ytick.color": GRID, "hatch.linewidth": 0.7,
        "text.parse_math": False,  # a dollar in a name is a dollar

    }  # fmt: skip


def legend(axes: Axes, columns: int = 2) -> None:
    """A legend of the axes' labels below all of the figure."""
    figure: Any = axes.figure
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower left", ncols=columns, frameon=False, fontsize=_SIZE, labelcolor=INK,
        handletextpad=0.5, columnspacing=1.2, borderaxespad=0.3,
    )  # fmt: skip


def shades() -> Colormap:
    """One hue from clear to full: the more, the further from the paper, be it white or black."""
    from matplotlib.colors import LinearSegmentedColormap

    red, green, blue = (int(COLOURS[-1][at : at + 2], 16) / 255 for at in (1, 3, 5))
    found = LinearSegmentedColormap.from_list("shades", [(red, green, blue, 0.08), (red, green, blue, 1.0)])
    return found.with_extremes(bad=(0, 0, 0, 0))


def settle(figure: Figure) -> None:
    """Lay out once and for all: from here on every place is known, and saving again is quicker."""
    with quiet():
        figure.draw_without_rendering()
    figure.set_layout_engine("none")


def name_points(
    axes: Axes,
    x: Sequence[float],
    y: Sequence[float],
    names: Sequence[str],
    bounds: Sequence[Sequence[float]],
) -> None:
    """Write each point's name beside it, where it hides no point, no interval and no name before it, if there is room.

    Parameters
    ----------
    x, y
        (n,) the points, on axes whose limits are set, of a figure that ``settle`` has laid out.
    bounds
        (n,) lowest and highest y of the interval of each.
    """
    feet, heads = (axes.transData.transform(np.column_stack([x, ends])) for ends in zip(*bounds, strict=True))
    points = axes.transData.transform(np.column_stack([x, y]))
    taken = [_box(px, py, px, py, 5.0) for px, py in points]
    taken += [_box(foot[0], foot[1], head[0], head[1], 3.0) for foot, head in zip(feet, heads, strict=True)]
    for at, name in enumerate(names):
        tried = []
        for place in _AROUND:
            text, box = _written(axes, name, (x[at], y[at]), place)
            cost = sum(_overlap(box, other) for other in taken) + (0 if _inside(axes, box) else 1e6)
            cost += _SWAY * _crossed(points, at, box)
            tried.append((cost, text, box))
            if cost == 0:
                break
        best = min(tried, key=lambda one: one[0])
        for one in tried:
            if one is not best:
                one[1].remove()
        taken.append(best[2])


def _written(
    axes: Axes, name: str, at: tuple[float, float], place: tuple[float, float, Any, Any]
) -> tuple[Any, Box]:
    from matplotlib.text import Text

    dx, dy, side, level = place
    far = abs(dy) > _FAR
    line = {"arrowstyle": "-", "color": MUTED, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 3} if far else None
    text = axes.annotate(
        name,
        at,
        (dx, dy),
        textcoords="offset points",
        ha=side,
        va=level,
        fontsize=_SIZE,
        color=INK,
        arrowprops=line,
    )
    figure: Any = axes.figure
    text.update_positions(figure.canvas.get_renderer())
    found = Text.get_window_extent(text)  # without the line
    return text, _box(found.x0, found.y0, found.x1, found.y1, _NEAR)


def _crossed(points: FloatArray, at: int, box: Box) -> int:
    """How many other points lie on the way from a point to the middle of its name."""
    way = points[at] + np.linspace(0, 1, 12)[:, None] * (
        np.array([box[0] + box[2], box[1] + box[3]]) / 2 - points[at]
    )
    gaps = np.linalg.norm(way[:, None] - np.delete(points, at, axis=0), axis=2)
    return int((gaps < _CLEAR).any(axis=0).sum())


def _inside(axes: Axes, box: Box) -> bool:
    """Whether a name stays within the picture and near its axes."""
    figure: Any = axes.figure
    frame = axes.get_window_extent()
    sides = box[0] >= frame.x0 and box[2] <= figure.bbox.x1
    return bool(sides and box[1] >= frame.y0 - _NEAR and box[3] <= frame.y1 + 12)


_CLOSE = (
    (7, 0, "left", "center_baseline"), (-7, 0, "right", "center_baseline"), (0, 6, "center", "bottom"),
    (0, -6, "center", "top"), (7, 6, "left", "bottom"), (-7, 6, "right", "bottom"), (7, -6, "left", "top"),
    (-7, -6, "right", "top"),
)  # fmt: skip
_AROUND: tuple[tuple[float, float, Any, Any], ...] = _CLOSE + tuple(
    (right * 14, up * far, "left" if right > 0 else "right", "bottom" if up > 0 else "top")
    for far in (18, 30, 44)
    for right in (1, -1)
    for up in (1, -1)
)  #: offsets in points, and the side of the name that is there


def _box(x0: float, y0: float, x1: float, y1: float, room: float) -> Box:
    return x0 - room, y0 - room, x1 + room, y1 + room


def _overlap(a: Box, b: Box) -> float:
    """The area that two boxes share."""
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))


def label_lines(axes: Axes, values: Any, texts: Sequence[str]) -> None:
    """A figure in words above the dot of each line, on paper so that no line crosses it."""
    for line, (value, text) in enumerate(zip(values, texts, strict=True)):
        axes.annotate(
            text, (value, line), (0, 5), textcoords="offset points", ha="center", va="bottom", zorder=4,
            bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 0.6},
        )  # fmt: skip


def dots(axes: Axes, values: Any, low: Any, high: Any, names: Sequence[str], **options: Any) -> None:
    """A dot and its interval in each line, the first one on top.

    Parameters
    ----------
    values, low, high
        (n,) figures and the bounds of their intervals; NaN draws nothing.
    names
        (n,) of the lines.
    """
    places = np.arange(len(names))
    values = np.asarray(values, dtype=np.float64)
    reach = np.array(
        [values - np.asarray(low, dtype=np.float64), np.asarray(high, dtype=np.float64) - values]
    )
    style: dict[str, Any] = {
        "fmt": "o",
        "color": COLOURS[0],
        "markersize": 5,
        "capsize": 3,
        "linewidth": 1.4,
    } | options
    axes.errorbar(values, places, xerr=np.maximum(reach, 0), **style)
    axes.set_yticks(places, names)
    axes.set_ylim(len(names) - 0.5, -0.7)
    axes.grid(False, axis="y")
    axes.locator_params(axis="x", nbins=6)
