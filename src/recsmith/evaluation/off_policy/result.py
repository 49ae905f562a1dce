"""What an off-policy evaluation found, for people and for machines."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from recsmith.errors import ParameterError
from recsmith.evaluation.significance import Interval
from recsmith.tables import Table

_MEAN_AWAY = 0.1  # of the mean weight from what is expected, within its error: told all the same
_FEW = 30  # rounds, or effective rounds, below which intervals are too hopeful


@dataclass(frozen=True, slots=True)
class Estimate:
    """What one estimator says of the target policy."""

    estimator: str
    value: float  #: mean reward of a round, or of a list
    interval: Interval | None  #: None where the estimate is biased on this log: the notes say by what
    error: float  #: standard error by the delta method: of the sampling alone, without a bias
    parameter: dict[str, float] | None = None  #: name and value, where the estimator has one


@dataclass(frozen=True, slots=True)
class Overlap:
    """How far the log can speak for the target."""

    rounds: int
    effective: float  #: (sum w)^2 / sum w^2: the rounds that an equally weighted sample would have
    largest: float  #: weight
    mean: float  #: weight; about 1 where the propensities are right and the target stays in the log's support
    mean_error: float  #: standard error of ``mean``, rounds of a unit together; NaN of one unit
    impossible: float  #: share of the target's probability on other actions where the logged one was certain
    unseen: float = 0.0  #: share on actions that the log never shows, by chance or because it cannot

    @property
    def share(self) -> float:
        """Effective over all rounds."""
        return self.effective / self.rounds


@dataclass(frozen=True, slots=True, kw_only=True)
class OffPolicyResult:
    """What a target policy would have earned, by several estimators from one log."""

    estimates: tuple[Estimate, ...]
    logged: Estimate  #: what the logging policy did earn
    overlap: Overlap
    level: float  #: of the intervals
    method: str  #: of the intervals: bootstrap or normal
    per: str = "round"  #: what a value is the mean over
    notes: tuple[str, ...] = ()  #: what the reader must know

    def __getitem__(self, estimator: str) -> Estimate:
        """The estimate of that name.

        Raises
        ------
        ParameterError
            It was not asked for.
        """
        for one in self.estimates:
            if one.estimator == estimator:
                return one
        raise ParameterError.unknown(
            "estimator of this result", estimator, [e.estimator for e in self.estimates]
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; NaN and infinities are None."""
        return {
            "per": self.per,
            "level": self.level,
            "method": self.method,
            "estimates": [_plain(asdict(one)) for one in self.estimates],
            "logged": _plain(asdict(self.logged)),
            "overlap": _plain({**asdict(self.overlap), "share": self.overlap.share}),
            "notes": list(self.notes),
        }

    def __rich__(self) -> Table:
        sure = f"{self.level:.0%}"
        columns = ("estimator", "value", sure, "std. error", "parameter")
        rows = [_row(one) for one in (*self.estimates, self.logged)]
        over = self.overlap
        facts = (
            f"{over.rounds:,} {self.per}s; effective {over.effective:,.0f} ({over.share:.1%}); "
            f"largest weight {over.largest:,.4g}; mean weight {over.mean:.4f}"
        )
        return Table(
            f"Off-policy estimates per {self.per}",
            columns,
            rows,
            numbers=columns[1:4],
            whole=columns[:1],
            styles=[""] * len(self.estimates) + ["dim"],
            caption="\n".join((facts, *self.notes)),
        )


def notes_on(overlap: Overlap, per: str = "round") -> list[str]:
    """The warnings that a reader must see."""
    notes = []
    if overlap.impossible > 0:
        notes.append(
            f"Warning: {overlap.impossible:.1%} of the target's probability lies on other actions where the logged one "
            "was certain. Estimates by weights say nothing of them."
        )
    if overlap.unseen > 0:
        notes.append(
            f"Warning: {overlap.unseen:.1%} of the target's probability lies on actions that the log never shows. "
            "If it never could, estimates by weights say nothing of them."
        )
    if overlap.rounds < _FEW:
        notes.append(
            f"Warning: the log is small, {overlap.rounds:,} {per}s ({overlap.effective:,.1f} effective). "
            "Its intervals are too hopeful."
        )
    elif overlap.share < 0.1 or overlap.effective < _FEW:
        notes.append(
            f"Warning: the weights leave {overlap.effective:,.0f} effective {per}s of {overlap.rounds:,} "
            f"({overlap.share:.1%}). The intervals are too hopeful where few {per}s carry the estimate."
        )
    return notes + _on_the_mean_weight(overlap)


def _on_the_mean_weight(overlap: Overlap) -> list[str]:
    """The arithmetic mean test of propensities: where they are right, weights are 1 on average.

    What of the target was impossible has no weight, so the expected mean is less by that. L. Li, J. Y. Kim, I. Zitouni.
    Toward predicting the outcome of an A/B experiment for search relevance. WSDM 2015.
    """
    expected = 1 - overlap.impossible
    away = abs(overlap.mean - expected)
    error = f"standard error {overlap.mean_error:.3f}"
    found = f"Warning: the mean weight is {overlap.mean:.3f}, not {expected:.4g} ({error})."
    if away > max(3 * overlap.mean_error, 1e-6):
        return [f"{found} Propensities are wrong, or the target leaves the log's support."]
    if away > _MEAN_AWAY:
        return [
            f"{found} So few rounds carry the weight that chance can be the reason; ips is off by such a factor."
        ]
    return []


def _row(one: Estimate) -> tuple[str, ...]:
    """Four digits that count: rewards may be small."""
    between = "-" if one.interval is None else "{:.4g} to {:.4g}".format(*one.interval)
    set_to = ", ".join(f"{name} {value:.4g}" for name, value in (one.parameter or {}).items())
    return one.estimator, f"{one.value:.4g}", between, f"{one.error:.2g}", set_to


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(part) for part in value]
    if isinstance(value, float):
        return float(value) if np.isfinite(value) else None
    return value
