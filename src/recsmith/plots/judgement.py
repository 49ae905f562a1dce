"""Pictures of an audit: unknown users, groups of users and of items, and less to learn from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from recsmith.data.split import percent
from recsmith.errors import DataError, ParameterError
from recsmith.plots.style import COLOURS, GRID, INK, MARKERS, canvas, dots, drawn, legend

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PANELS = 2  # beside each other
_SHARES = {
    "catalogue_share": "of the items",
    "relevance_share": "of what was wanted",
    "exposure_share": "of the places in lists",
}


@drawn
def cold_start_curves(rows: pl.DataFrame, metric: str, *, stratum: str = "all") -> Figure:
    """A panel for each model: its curve over the number of known events, those of the others grey behind it.

    Parameters
    ----------
    rows
        ``ColdStart.frame()``, or the rows of its JSON: model, given, metric, stratum, value, low, high, gain, users.
    metric, stratum
        Which of them.

    Raises
    ------
    DataError
        A column is missing.
    ParameterError
        No such rows.
    """
    _check(rows, ("model", "given", "metric", "stratum", "value", "low", "high", "gain", "users"))
    rows = rows.filter((pl.col("metric") == metric) & (pl.col("stratum") == stratum)).sort("given")
    if rows.is_empty():
        raise ParameterError(f"There is no cold-start curve of {metric} for the stratum {stratum!r}.")
    models = rows["model"].unique(maintain_order=True).to_list()
    given = rows["given"].unique().sort().to_list()
    curves = {model: rows.filter(pl.col("model") == model) for model in _by_last(rows, models)}
    users = max(rows["users"])
    lines = -(-len(models) // _PANELS)
    figure, panels = canvas(
        f"{metric} of {users:,} users unknown to train, by events told of them", height=1.0 + 1.35 * lines,
        rows=lines, columns=_PANELS, sharex=True, sharey=True,
    )  # fmt: skip
    panels = panels.ravel()
    for axes, (model, own) in zip(panels, curves.items(), strict=False):
        for other in curves.values():
            axes.plot([given.index(g) for g in other["given"]], other["value"], color=GRID, linewidth=1.4)
        at = np.array([given.index(g) for g in own["given"]])
        behind = (own["value"] - own["gain"]).cast(pl.Float64).fill_nan(None)
        if behind.null_count() < len(behind):
            axes.plot(at, behind, color=COLOURS[1], linestyle="--", linewidth=1.2, label="its fallback")
        axes.fill_between(at, own["low"], own["high"], color=COLOURS[0], alpha=0.2, linewidth=0)
        axes.plot(
            at, own["value"], color=COLOURS[0], marker="o", markersize=3.5, linewidth=1.6, label="this model"
        )
        axes.set_title(model)
        axes.set_xticks(range(len(given)), [str(g) for g in given])
        axes.set_ylim(bottom=0)
    for axes in panels[len(curves) :]:
        axes.set_visible(False)
    for axes in panels[max(len(curves) - _PANELS, 0) : len(curves)]:
        axes.set_xlabel("events told")
    panels[len(curves) - 1].plot([], [], color=GRID, linewidth=1.4, label="the others")
    legend(panels[len(curves) - 1], 3)
    return figure


@drawn
def fairness_bars(
    rows: pl.DataFrame, metric: str, *, model: str, by: str, overall: float | None = None
) -> Figure:
    """A bar for each group of users with its interval; hatched where the group is too small to say anything.

    Parameters
    ----------
    rows
        Of one ``UserFairness``: metric, group, users, value, interval (a list of two), verdict.
    metric
        Which of them.
    model, by
        For the title.
    overall
        The figure of all users, drawn as a line.

    Raises
    ------
    DataError, ParameterError
        As ``cold_start_curves``.
    """
    _check(rows, ("metric", "group", "users", "value", "interval", "verdict"))
    rows = rows.filter(pl.col("metric") == metric)
    if rows.is_empty():
        raise ParameterError(f"There is no {metric} by {by}.")
    told = [verdict in ("better", "worse", "higher", "lower") for verdict in rows["verdict"]]
    differs = ", ".join(str(g) for g, one in zip(rows["group"], told, strict=True) if one)
    title = f"{model} by {by}: " + (f"{differs} served otherwise" if differs else "no difference shown")
    names = [f"{group} ({users:,})" for group, users in zip(rows["group"], rows["users"], strict=True)]
    figure, [[axes]] = canvas(title, height=1.3 + 0.26 * rows.height)
    small = [verdict == "too small to say" for verdict in rows["verdict"]]
    values = np.array(rows["value"].to_list(), dtype=np.float64)
    places = np.arange(len(values))
    for mask, hatch, face, name in (
        (~np.array(small), "", COLOURS[5], "enough to say"), (np.array(small), "////", "none", "too small to say"),
    ):  # fmt: skip
        if mask.any():
            axes.barh(
                places[mask], values[mask], 0.7, color=face, hatch=hatch, edgecolor=COLOURS[5], label=name
            )
    low, high = np.array([_pair(pair) for pair in rows["interval"]], dtype=np.float64).T
    dots(axes, values, low, high, names, color=INK, markersize=3, capsize=2, linewidth=1)
    if overall is not None:
        axes.axvline(overall, color=COLOURS[1], linestyle="--", linewidth=1.2, label="all users")
    axes.set_xlim(left=0)
    axes.set_xlabel(f"{metric} with 95 % interval; group (users)")
    legend(axes, 3)
    return figure


@drawn
def exposure(rows: pl.DataFrame, *, model: str, by: str) -> Figure:
    """Groups of items: their share of the catalogue, of what was wanted, and of the places in lists.

    Parameters
    ----------
    rows
        Of one ``ItemFairness``: group, catalogue_share, relevance_share, exposure_share.
    model, by
        For the title.

    Raises
    ------
    DataError
        A column is missing.
    """
    _check(rows, ("group", *_SHARES))
    rows = rows.sort("exposure_share", descending=True)
    first = rows.row(0, named=True)
    title = f"{model}: {first['group']} items get {percent(first['exposure_share'], 1)} of the places"
    figure, [[axes]] = canvas(title, height=1.5 + 0.26 * rows.height)
    places = np.arange(rows.height)
    shares = 100 * rows.select(*_SHARES).to_numpy()
    axes.hlines(places, shares.min(axis=1), shares.max(axis=1), color=GRID, linewidth=3)
    for n, name in enumerate(_SHARES.values()):
        face = COLOURS[n] if n == 2 else "none"
        axes.plot(shares[:, n], places, MARKERS[n], color=COLOURS[n], mfc=face, label=name, markersize=6)
    axes.set_yticks(places, [str(group) for group in rows["group"]])
    axes.set_ylim(rows.height - 0.5, -0.5)
    axes.grid(False, axis="y")
    axes.set_xlim(left=-1)
    axes.set_xlabel(f"share, %; items by {by}")
    legend(axes)
    return figure


@drawn
def learning_curve(rows: pl.DataFrame, metric: str, *, model: str) -> Figure:
    """Accuracy over the size of the train part.

    Parameters
    ----------
    rows
        Of one ``LearningCurve``: share, events, value, interval.
    metric, model
        For title and axis.

    Raises
    ------
    DataError
        A column is missing.
    """
    _check(rows, ("share", "events", "value", "interval"))
    rows = rows.sort("events")
    low, high = np.array([_pair(pair) for pair in rows["interval"]], dtype=np.float64).T
    figure, [[axes]] = canvas(f"{model}: what more events bring")
    events = rows["events"].to_numpy() / 1000
    axes.fill_between(events, low, high, color=COLOURS[0], alpha=0.2, linewidth=0)
    axes.plot(events, rows["value"], color=COLOURS[0], marker="o", markersize=4)
    for x, y, share in zip(events, rows["value"], rows["share"], strict=True):
        axes.annotate(
            f"{100 * share:g} %", (x, y), (0, 6), textcoords="offset points", ha="center", va="bottom"
        )
    axes.set_xlabel("train events, thousands; share of all")
    axes.set_ylabel(f"{metric} with 95 % interval")
    axes.margins(x=0.12, y=0.2)
    return figure


def _check(rows: pl.DataFrame, columns: tuple[str, ...]) -> None:
    if missing := [name for name in columns if name not in rows.columns]:
        raise DataError(
            f"The rows of this picture lack {', '.join(missing)}. They have: {', '.join(rows.columns)}."
        )


def _pair(pair: Any) -> tuple[Any, Any]:
    """Bounds, NaN for none."""
    low, high = pair if pair is not None else (None, None)
    return (np.nan if low is None else low), (np.nan if high is None else high)


def _by_last(rows: pl.DataFrame, models: list[str]) -> list[str]:
    """Models by their figure with most events known, best first."""
    last = dict(zip(rows["model"], rows["value"], strict=True))  # rows rise by events: the last one stays
    return sorted(models, key=lambda model: -(last[model] if last[model] is not None else -np.inf))
