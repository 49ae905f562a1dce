"""What an experiment showed: a row for each metric, variant and segment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np

from recsmith.errors import ParameterError
from recsmith.evaluation.experiments.sample_ratio import SampleRatio
from recsmith.evaluation.significance import Interval
from recsmith.tables import Table

RowMethod = Literal["t", "permutation", "sequential", "bootstrap"]
Method = Literal["auto", "t", "permutation", "sequential", "bootstrap"]
Correction = Literal["holm", "benjamini-hochberg", "none"]
EVERYBODY = "all"

METHODS = {
    "auto": "Welch's t, or permutations where a row needs them",
    "t": "Welch's t",
    "permutation": "permutations",
    "sequential": "always valid",
    "bootstrap": "bootstrap",
}  #: in words


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """One variant beside the control, by one metric. NaN is what cannot be said; ``note`` says why."""

    metric: str
    variant: str
    segment: str  #: "all", or a value of the segment's column
    method: RowMethod | None  #: of its test; None where there is none
    users: tuple[int, int]  #: of control and variant
    control: float  #: the control's figure
    value: float  #: the variant's figure; neither is adjusted
    difference: float  #: variant minus control, adjusted by the covariate where there is one
    interval: Interval  #: of the difference
    lift: float  #: the difference relative to the control's figure
    lift_interval: Interval
    p: float
    p_corrected: float  #: for the number of rows that have one
    probability: float  #: that the variant is better, by a flat prior
    loss: float  #: expected loss, in units of the metric, if the variant is chosen
    variance_reduction: float | None  #: share of the difference's variance that the covariate took out
    verdict: str  #: better, worse, no difference shown, nothing can be said, or not to be trusted
    note: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON: NaN is None."""
        return {field.name: _plain(getattr(self, field.name)) for field in fields(self)}


@dataclass(frozen=True, slots=True, kw_only=True)
class ABResult:
    """Effects, and whether they can be trusted."""

    control: str
    method: Method
    correction: Correction
    alpha: float
    planned_users: int | None  #: at which always-valid intervals are narrowest
    sample_ratio: SampleRatio
    rows: tuple[Effect, ...]
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "control": self.control,
            "method": self.method,
            "correction": self.correction,
            "alpha": self.alpha,
            "planned_users": self.planned_users,
            "sample_ratio": self.sample_ratio.as_dict(),
            "rows": [row.as_dict() for row in self.rows],
            "notes": list(self.notes),
        }

    def row(self, metric: str, variant: str, segment: str = EVERYBODY) -> Effect:
        """The effect of these names.

        Raises
        ------
        ParameterError
            There is none; the nearest name is offered.
        """
        left = self.rows
        for kind, name in (("metric", metric), ("variant", variant), ("segment", segment)):
            known = {getattr(row, kind) for row in left}
            left = tuple(row for row in left if getattr(row, kind) == name)
            if not left:
                raise ParameterError.unknown(f"{kind} in this result", name, known)
        return left[0]

    def __rich__(self) -> Table:
        several = len({row.segment for row in self.rows}) > 1
        p = "p" if self.correction == "none" else f"p ({self.correction.title()})"
        sure = f"{100 * (1 - self.alpha):g} %"
        columns = ["metric", "variant", *["segment"] * several, "control", "value", "lift", sure, p]
        columns += ["P(better)", "loss", "verdict"]
        columns += ["method"] * (self.method == "auto")
        numbers = [c for c in columns if c not in ("metric", "variant", "segment", "verdict", "method")]
        rows = [
            (
                row.metric,
                row.variant,
                *[row.segment] * several,
                row.control,
                row.value,
                *_change(row),
                row.p_corrected,
                row.probability,
                f"{row.loss:.2g}" if row.loss == row.loss else "",
                row.verdict,
                *[row.method or ""] * (self.method == "auto"),
            )
            for row in self.rows
        ]
        title = f"Against {self.control}: {METHODS[self.method]}, {100 * (1 - self.alpha):g} % intervals of the lift"
        return Table(title, columns, rows, numbers=numbers, caption=self._caption())

    def _caption(self) -> str:
        users = ", ".join(f"{name} {count:,}" for name, count in self.sample_ratio.counts.items())
        adjusted = [
            f"{row.metric}, {row.variant}: the covariate takes {row.variance_reduction:.0%} of the variance out; "
            "lift and p are adjusted, control and value are not."
            for row in self.rows
            if row.variance_reduction is not None and row.segment == EVERYBODY
        ]
        notes = [f"{row.metric}, {row.variant}, {row.segment}: {row.note}." for row in self.rows if row.note]
        if not all(np.isnan(row.difference) or _relative(row) for row in self.rows):
            notes.append("A lift without % is the difference, and so is its interval.")
        return "\n".join([f"Users: {users}. {self.sample_ratio.verdict}", *self.notes, *adjusted, *notes])


def _relative(row: Effect) -> bool:
    """Whether the table shows the lift: it has an interval, or nothing has."""
    return not np.isnan(row.lift) and (np.isnan(row.interval.low) or not np.isnan(row.lift_interval.low))


def _change(row: Effect) -> tuple[str, str]:
    """The lift and its interval; those of the difference where only the difference has an interval."""
    relative = _relative(row)
    form = "+.2%" if relative else "+.4g"
    value, (low, high) = (row.lift, row.lift_interval) if relative else (row.difference, row.interval)
    bounds = "" if np.isnan(low) else f"{low:{form}} to {high:{form}}"
    return "" if np.isnan(value) else f"{value:{form}}", bounds


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(part) for part in value]
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    return dict(value) if isinstance(value, Mapping) else value
