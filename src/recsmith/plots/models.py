"""Pictures of models beside each other: how good, how fast, how varied."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from recsmith.errors import ParameterError
from recsmith.evaluation.report import Report, better_first, smaller_is_better
from recsmith.plots.style import COLOURS, canvas, dots, drawn, label_lines, name_points, settle

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TIMES = {"fit": "seconds to fit (log)", "recommend": "seconds for all lists (log)"}
VARIETY = {
    "diversity": "diversity of a list",
    "novelty": "novelty, bits",
    "coverage": "items that some list holds, share",
}


@drawn
def leaderboard(reports: Sequence[Report], metric: str) -> Figure:
    """Figures with their intervals, the best on top.

    Parameters
    ----------
    reports
        Of one split, each with ``metric``.
    metric
        Such as ``"ndcg@10"`` or ``"rmse"``.

    Raises
    ------
    ParameterError
        No report, or a metric that one of them lacks.
    """
    ordered = _ordered(reports, metric)
    best = ordered[0]
    low, high = zip(*(report.intervals[metric] for report in ordered), strict=True)
    means = [report.means[metric] for report in ordered]
    figure, [[axes]] = canvas(f"{best.model} is first by {metric}", height=1.3 + 0.3 * len(ordered))
    dots(axes, means, low, high, [report.model for report in ordered])
    label_lines(axes, means, [f"{mean:.3f}" for mean in means])
    less = ", less is better" if smaller_is_better(metric) else ""
    axes.set_xlabel(f"{metric} with 95 % interval{less}; {len(best):,} users")
    axes.margins(x=0.08)
    return figure


@drawn
def accuracy_time(reports: Sequence[Report], metric: str) -> Figure:
    """Accuracy against the seconds that the fit, and the lists of all judged users, took.

    Raises
    ------
    ParameterError
        No report, a metric that one of them lacks, or nobody told a time.
    """
    ordered = _ordered(reports, metric)
    told = [name for name in TIMES if any(report.seconds.get(name) for report in ordered)]
    if not told:
        raise ParameterError("None of these reports tells how long it took. Use those of complete runs.")
    corner = "lower" if smaller_is_better(metric) else "upper"
    figure, panels = canvas(
        f"{metric} against time: {corner} left is best",
        height=0.6 + _panel(ordered) * len(told), rows=len(told), columns=1,
    )  # fmt: skip
    column = panels[:, 0]
    for axes, name in zip(column, told, strict=True):
        timed = [report for report in ordered if report.seconds.get(name)]
        x = [report.seconds[name] for report in timed]
        wide = 1.3 * (max(x) / min(x)) ** 0.25  # room for names
        axes.set_xscale("log")
        axes.set_xlim(min(x) / wide, max(x) * wide)
        _tick_seconds(axes)
        axes.set_xlabel(f"{TIMES[name]}; {len(ordered[0]):,} users")
        axes.set_ylabel(metric)
        _points(axes, x, timed, metric)
    settle(figure)
    for axes, name in zip(column, told, strict=True):
        timed = [report for report in ordered if report.seconds.get(name)]
        _names(axes, [report.seconds[name] for report in timed], timed, metric)
    return figure


@drawn
def trade_off(reports: Sequence[Report], metric: str, *, cut: int | None = None) -> Figure:
    """Accuracy against diversity, novelty and coverage of the lists.

    Parameters
    ----------
    reports
        Of one split, each with ``metric``.
    metric
        The accuracy, such as ``"ndcg@10"``.
    cut
        Length of the lists of which variety is shown; None: that of the metric, else the shortest that was judged.

    Raises
    ------
    ParameterError
        No report, a metric that one of them lacks, or no variety was judged.
    """
    ordered = _ordered(reports, metric)
    names = {name: _variety(ordered, name, metric, cut) for name in VARIETY}
    shown = {name: key for name, key in names.items() if key is not None}
    if not shown:
        raise ParameterError(
            "None of these reports tells how varied the lists are. Judge lists, not ratings."
        )
    figure, panels = canvas(
        f"{metric} against variety; {len(ordered[0]):,} users",
        height=0.6 + _panel(ordered) * len(shown),
        rows=len(shown),
    )
    column = panels[:, 0]
    for axes, (name, key) in zip(column, shown.items(), strict=True):
        x = [report.beyond[key] for report in ordered]
        axes.set_xlabel(f"{VARIETY[name]} ({key})")
        axes.set_ylabel(metric)
        axes.margins(x=0.3)  # room for names
        _points(axes, x, ordered, metric)
    settle(figure)
    for axes, key in zip(column, shown.values(), strict=True):
        _names(axes, [report.beyond[key] for report in ordered], ordered, metric)
    return figure


def _ordered(reports: Sequence[Report], metric: str) -> list[Report]:
    if not reports:
        raise ParameterError.of("a picture of models", "reports", "at least one", [])
    for report in reports:
        if metric not in report.means:
            raise ParameterError.unknown(f"metric in the report of {report.model}", metric, report.means)
    return better_first(reports, metric)


def _panel(reports: Sequence[Report]) -> float:
    """Inches of a panel in which so many names find room."""
    return 2.2 + 0.1 * max(len(reports) - 5, 0)


def _variety(reports: Sequence[Report], name: str, metric: str, cut: int | None) -> str | None:
    """The key that all reports have, at the cut-off of the metric where there is one."""
    wanted = f"{name}@{metric.partition('@')[2] if cut is None else cut}"
    common = [key for key in reports[0].beyond if all(key in report.beyond for report in reports)]
    return next((key for key in (wanted, *common) if key in common and key.split("@")[0] == name), None)


def _points(axes: Axes, x: Sequence[float], reports: Sequence[Report], metric: str) -> None:
    means = np.array([report.means[metric] for report in reports])
    bounds = np.array([report.intervals[metric] for report in reports])
    reach = np.maximum(np.abs(bounds - means[:, None]).T, 0)
    axes.errorbar(x, means, yerr=reach, fmt="o", color=COLOURS[0], markersize=5, linewidth=1.2, capsize=2)
    axes.margins(y=0.12)


def _names(axes: Axes, x: Sequence[float], reports: Sequence[Report], metric: str) -> None:
    means, names = [report.means[metric] for report in reports], [report.model for report in reports]
    name_points(axes, x, means, names, [report.intervals[metric] for report in reports])


def _tick_seconds(axes: Axes) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0), numticks=8))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
