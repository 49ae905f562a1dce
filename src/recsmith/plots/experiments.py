"""Pictures of experiments with users."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from recsmith.errors import DataError, ParameterError
from recsmith.plots.style import COLOURS, INK, MARKERS, canvas, dots, drawn, label_lines, legend

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_KINDS = {"better": 2, "worse": 1}  # verdict -> colour and marker; all others share the first


@drawn
def lift(
    rows: pl.DataFrame, *, control: str = "control", alpha: float = 0.05, segment: str = "all"
) -> Figure:
    """Lift of each variant over the control by each metric, with its interval.

    Parameters
    ----------
    rows
        Of ``ABResult``: metric, variant, segment, users (a list of two), lift, lift_interval (a list of two), verdict.
    control
        The variant that the others are compared with.
    alpha
        One minus the level of the intervals.
    segment
        Which rows.

    Raises
    ------
    DataError
        A column is missing.
    ParameterError
        No row of that segment has a lift.
    """
    wanted = ("metric", "variant", "segment", "users", "lift", "lift_interval", "verdict")
    if missing := [name for name in wanted if name not in rows.columns]:
        raise DataError(
            f"The rows of this picture lack {', '.join(missing)}. They have: {', '.join(rows.columns)}."
        )
    kept = rows.filter((pl.col("segment") == segment) & pl.col("lift").is_not_null())
    if kept.is_empty():
        raise ParameterError(f"No row of the segment {segment!r} has a lift.")
    names = [f"{variant}: {metric}" for metric, variant in kept.select("metric", "variant").iter_rows()]
    found = [f"{v} {verdict} by {m}" for v, m, verdict in kept.select("variant", "metric", "verdict").iter_rows()
             if verdict in _KINDS]  # fmt: skip
    title = (
        "; ".join(found)
        if len(found) == 1
        else f"{len(found)} of {kept.height} comparisons show a difference"
    )
    figure, [[axes]] = canvas(title, height=1.4 + 0.34 * kept.height)
    bounds = np.array(kept["lift_interval"].to_list(), dtype=np.float64).reshape(-1, 2)
    values, kinds = kept["lift"].to_numpy(), [_KINDS.get(verdict, 0) for verdict in kept["verdict"]]
    for kind in sorted(set(kinds)):
        own = np.where(np.array(kinds) == kind, 100 * values, np.nan)
        name = next((name for name, number in _KINDS.items() if number == kind), "no difference shown")
        dots(axes, own, 100 * bounds[:, 0], 100 * bounds[:, 1], names,
             color=COLOURS[kind], fmt=MARKERS[kind], label=name)  # fmt: skip
    label_lines(axes, 100 * values, [f"{100 * value:+.1f} %" for value in values])
    axes.axvline(0, color=INK, linewidth=1)
    axes.margins(x=0.1)
    users = [count for pair in kept["users"] for count in pair]
    fewest, most = min(users), max(users)
    each = f"{fewest:,}" if fewest == most else f"{fewest:,} to {most:,}"
    axes.set_xlabel(f"lift over {control}, %, {100 * (1 - alpha):g} % interval\n{each} users per variant")
    legend(axes)
    return figure
