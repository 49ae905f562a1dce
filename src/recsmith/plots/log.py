"""Pictures of a log: who touched what, how few items hold most of it, when it happened, and how a split cuts it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from recsmith.data.dataset import Dataset
from recsmith.data.split import Split, percent
from recsmith.errors import DataError
from recsmith.evaluation.metrics import fairness
from recsmith.plots.style import COLOURS, MUTED, PAPER, canvas, drawn, legend, shades
from recsmith.types import IntArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DAY = 86_400
_FIRST, _LAST = -62_135_596_800, 253_402_300_800  # Unix seconds of the years 1 and 10,000
_BINS = 48  # of a heat map, on a side
_POINTS = 400  # of a curve
_SHOWN_USERS = 24  # of a split
_SHOWN_EVENTS = 150  # of each of them
_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_HALF = 0.8  # the share of events that is marked on the long tail


@drawn
def heat_map(data: Dataset, *, bins: int = _BINS) -> Figure:
    """Share of the pairs that occur, users and items each put in order by their number of events.

    Parameters
    ----------
    data
        The log.
    bins
        Cells on a side, at most.
    """
    users, items = _place(np.diff(data.offsets), bins), _place(data.item_counts(), bins)
    pairs = data.matrix("ones").tocoo()
    shape = users.max() + 1, items.max() + 1
    cells = np.zeros(shape)
    np.add.at(cells, (users[pairs.row], items[pairs.col]), 1)
    possible = np.bincount(users)[:, None] * np.bincount(items)[None]
    share = 100 * cells / possible
    density = 100 * len(pairs.data) / (data.n_users * data.n_items)

    from matplotlib.colors import LogNorm

    figure, [[axes]] = canvas(f"{density:.2g} % of all pairs of a user and an item occur", height=3.9)
    seen = share[share > 0]
    low = float(seen.min())
    norm = LogNorm(low, max(float(seen.max()), 1.5 * low))
    picture = axes.imshow(
        np.ma.masked_less_equal(share, 0), cmap=shades(), norm=norm, aspect="auto", extent=(0, 100, 100, 0),
        interpolation="nearest",
    )  # fmt: skip
    bar = figure.colorbar(picture, ax=axes, location="bottom", shrink=0.9, pad=0.02)
    bar.set_label("pairs that occur, % of the cell (log)")
    ticks = np.geomspace(norm.vmin or low, norm.vmax or low, 4)
    bar.set_ticks(ticks.tolist(), labels=[f"{tick:.2g}" for tick in ticks], minor=False)
    bar.ax.minorticks_off()
    bar.outline.set_edgecolor(MUTED)
    axes.grid(False)
    axes.set_xlabel(f"items, most popular first, % of {data.n_items:,}")
    axes.set_ylabel(f"users, most active first, % of {data.n_users:,}")
    return figure


@drawn
def long_tail(data: Dataset) -> Figure:
    """Share of the events that the most popular items hold (a Lorenz curve, from the other end)."""
    counts = np.sort(data.item_counts())[::-1]
    held = np.concatenate([[0.0], np.cumsum(counts) / counts.sum()])
    part = np.linspace(0, 1, len(held))
    group = fairness.popularity_groups(data.item_counts(), (_HALF,))
    head = float((group == 0).mean())
    figure, [[axes]] = canvas(f"{percent(head, 1)} of the items hold {100 * _HALF:g} % of the events")
    kept = np.unique(np.linspace(0, len(held) - 1, _POINTS).astype(int))
    axes.fill_between(100 * part[kept], 100 * held[kept], color=COLOURS[0], alpha=0.15, linewidth=0)
    axes.plot(100 * part[kept], 100 * held[kept], color=COLOURS[0], linewidth=1.8)
    axes.plot([0, 100], [0, 100], color=MUTED, linestyle="--", linewidth=1)
    axes.annotate("all alike", (60, 60), (66, 52), color=MUTED)
    axes.plot([100 * head], [100 * _HALF], "o", color=COLOURS[1], markersize=7)
    axes.annotate(percent(head, 1), (100 * head, 100 * _HALF), (8, -12), textcoords="offset points")
    axes.set(xlim=(0, 100), ylim=(0, 102))
    axes.set_xlabel(f"items, most popular first, % of {data.n_items:,}")
    axes.set_ylabel(f"events held, % of {len(data):,}")
    return figure


@drawn
def over_time(data: Dataset) -> Figure:
    """Events, and users who had one, in each day, week, month or year.

    Raises
    ------
    DataError
        A log without times.
    """
    time = _times(data)
    edges, unit = _periods(int(time.min()), int(time.max()))
    at = np.searchsorted(edges, time, side="right") - 1
    events = np.bincount(at, minlength=len(edges) - 1)[: len(edges) - 1]
    pair = np.unique(at.astype(np.int64) * data.n_users + data.user)
    users = np.bincount(pair // data.n_users, minlength=len(edges) - 1)[: len(edges) - 1]
    busiest = int(events.argmax())
    figure, panels = canvas(
        f"The busiest {unit} holds {percent(int(events[busiest]), len(data))} of the events",
        height=3.6,
        rows=2,
        sharex=True,
    )
    days = _dates(edges)
    for axes, values, colour, name in zip(
        panels[:, 0], (events, users), COLOURS, ("events", "users with one"), strict=False
    ):
        axes.stairs(values, days, fill=True, color=colour, alpha=0.75)
        axes.set_ylabel(name)
        axes.yaxis.set_major_formatter(_short_number)
        axes.set_ylim(bottom=0)
    _date_axis(panels[-1, 0], f"{unit} (UTC); {len(data):,} events")
    return figure


@drawn
def week_pattern(data: Dataset) -> Figure:
    """Share of the events in each hour of the week.

    Raises
    ------
    DataError
        A log without times.
    """
    hours = _times(data) // 3600
    weekday = (hours // 24 + 3) % 7  # 1970-01-01 was a Thursday
    share = 100 * np.bincount(weekday * 24 + hours % 24, minlength=168).reshape(7, 24) / len(data)
    from matplotlib.ticker import MaxNLocator

    day, hour = np.unravel_index(int(share.argmax()), share.shape)
    figure, [[axes]] = canvas(
        f"{_WEEKDAYS[day]} {hour}:00 UTC is busiest: {percent(float(share[day, hour]), 100)} of the events",
        height=2.7,
    )
    picture = axes.imshow(
        np.ma.masked_less_equal(share, 0), cmap=shades(), vmin=0, aspect="auto", extent=(0, 24, 6.5, -0.5)
    )
    bar = figure.colorbar(picture, ax=axes, location="bottom", shrink=0.9, pad=0.02)
    bar.set_label(f"% of {len(data):,} events")
    bar.locator = MaxNLocator(4)
    bar.outline.set_edgecolor(MUTED)
    axes.grid(False)
    axes.set_yticks(range(7), _WEEKDAYS)
    axes.set_xticks(range(0, 25, 6))
    axes.set_xlabel("hour of the day, UTC")
    return figure


@drawn
def split_picture(split: Split, *, seed: int = 0) -> Figure:
    """Some users, a line each: what is learnt from, what is told in the question, and what is to be found.

    Parameters
    ----------
    split
        Any split. Without times the place in the history stands for them.
    seed
        Of the choice of users.
    """
    rng = np.random.default_rng(seed)
    rows = np.flatnonzero(np.diff(split.truth.offsets) > 0)
    rows = np.sort(rng.permutation(rows)[:_SHOWN_USERS])
    parts = (split.truth.times, split.queries.times)
    timed = all(times is not None and _in_calendar(times) for times in parts)
    lines = [_timeline(split, int(row), timed) for row in rows]
    lines.sort(key=lambda line: min(events.min() for events in line if len(events)))
    truth, learned = len(split.truth.items), len(split.train)
    figure, panels = canvas(
        f"Split {split.name} hides {percent(truth, truth + learned)} of the events",
        height=4.6 if timed else 3.6, rows=1 + timed, sharex=timed, height_ratios=[1, 2] if timed else None,
    )  # fmt: skip
    if timed:
        _both_parts(panels[0, 0], split)
    axes = panels[-1, 0]
    for line, (told, asked) in enumerate(lines):
        for events, marker, colour, size in ((told, "|", COLOURS[0], 6), (asked, "o", COLOURS[1], 3.5)):
            some = np.sort(rng.permutation(events)[:_SHOWN_EVENTS])
            x, face = _dates(some) if timed else some, "none" if marker == "o" else colour
            axes.plot(x, np.full(len(some), line), marker, color=colour, markersize=size, mfc=face, mew=0.9)
    for marker, colour, name in (("|", COLOURS[0], "known when asked"), ("o", COLOURS[1], "to be found")):
        axes.plot([], [], marker, color=colour, mfc="none", label=name)
    axes.set(yticks=[], ylabel=f"{len(rows)} of {len(split.queries):,} users", ylim=(len(rows) - 0.3, -0.7))
    if timed:
        _date_axis(axes, "time of the event (UTC)")
    else:
        axes.set_xlabel("place in the history")
    legend(axes)
    return figure


def _both_parts(axes: Axes, split: Split) -> None:
    """Events over time, those of train and on top of them those to be found."""
    train, truth = split.train.time, split.truth.times
    if train is None or truth is None:
        return
    edges, unit = _periods(int(min(train.min(), truth.min())), int(max(train.max(), truth.max())))
    learned, asked = (np.histogram(times, edges)[0] for times in (train, truth))
    days = _dates(edges)
    axes.stairs(learned, days, fill=True, color=COLOURS[0], alpha=0.75)
    axes.stairs(
        learned + asked,
        days,
        baseline=learned,
        fill=True,
        facecolor=COLOURS[1],
        edgecolor=PAPER,
        linewidth=0,
        alpha=0.75,
        hatch="////",
    )
    axes.set_ylabel(f"events\na {unit}")
    axes.yaxis.set_major_formatter(_short_number)


def _timeline(split: Split, row: int, timed: bool) -> tuple[IntArray, IntArray]:
    """What a user is known for, and what is to be found: times of the events, or their places in the history."""
    queries, truth = split.queries, split.truth
    known, asked = (slice(*offsets[row : row + 2]) for offsets in (queries.offsets, truth.offsets))
    if timed and queries.times is not None and truth.times is not None:
        return queries.times[known], truth.times[asked]
    n = int(known.stop - known.start)
    return np.arange(n), np.arange(n, n + int(asked.stop - asked.start))


def _place(counts: IntArray, bins: int) -> IntArray:
    """(n,) the cell of each one, by falling count; cells hold equally many."""
    place = np.empty(len(counts), dtype=np.int64)
    place[np.argsort(-counts, kind="stable")] = np.arange(len(counts))
    return place * min(bins, len(counts)) // max(len(counts), 1)


def _times(data: Dataset) -> IntArray:
    if data.time is None:
        raise DataError(
            f"{data.name} has no times, so there is no picture over time. Give a column timestamp."
        )
    if not _in_calendar(data.time):
        raise DataError(
            f"{data.name} has times before the year 1 or after the year 9999, so there is no picture over time. "
            "Say their unit: --timestamp-unit ms."
        )
    return data.time


def _in_calendar(times: IntArray) -> bool:
    return not len(times) or bool(times.min() > _FIRST and times.max() < _LAST)


def _periods(first: int, last: int) -> tuple[IntArray, str]:
    """Edges of the finest periods of which there are no more than about a hundred, and their name."""
    days = (last - first) / _DAY
    for unit, length, most in (("day", _DAY, 60), ("week", 7 * _DAY, 60 * 7)):
        if days <= most:
            start = first - (first - 4 * _DAY * (unit == "week")) % length  # weeks begin on Mondays
            return np.arange(start, last + length + 1, length), unit
    unit, code = ("month", "M") if days <= 3_650 else ("year", "Y")
    low, high = (np.datetime64(moment, "s").astype(f"datetime64[{code}]") for moment in (first, last))
    edges = np.arange(low, high + 2).astype("datetime64[s]").astype(np.int64)
    return edges, unit


def _dates(seconds: Any) -> Any:
    """Days since 1970, as Matplotlib counts dates."""
    return np.asarray(seconds, dtype=np.float64) / _DAY


def _date_axis(axes: Axes, label: str) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator: Any = AutoDateLocator(minticks=3, maxticks=6)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    axes.set_xlabel(label)


def _short_number(value: float, _: Any = None) -> str:
    """1,200 as 1.2k."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"
