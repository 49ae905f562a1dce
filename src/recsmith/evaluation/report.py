"""Report: what one pipeline is worth on one split, for people and for machines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from recsmith.errors import ParameterError
from recsmith.evaluation.metrics import rating
from recsmith.evaluation.significance import Interval, Sample, intervals
from recsmith.tables import Table
from recsmith.types import BoolArray, FloatArray, IntArray

VERSION = 1  #: of the schema of ``Report.as_dict``


@dataclass(frozen=True, slots=True, eq=False)
class Stratum:
    """Figures of some of the users."""

    users: int
    means: Mapping[str, float]
    intervals: Mapping[str, Interval]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Report:
    """What one pipeline is worth on one split. All per-user arrays are in the order of ``user_ids``."""

    model: str  #: name of the pipeline
    config: Mapping[str, Any]  #: class and parameters of model, fallback and weighting
    protocol: Mapping[str, Any]  #: split_fingerprint, filter_seen, resamples, seed
    split: str  #: name of the split
    notes: tuple[str, ...]  #: what the reader must know: of the split, and what was not judged
    leakage: tuple[str, ...] = ()  #: what the split gives away: see ``data.leakage``
    user_ids: pl.Series  #: (n,) raw ids of the judged users
    known: BoolArray  #: (n,) the user has events in train
    values: Mapping[str, FloatArray]  #: metric -> (n,) float64 of each user, NaN where it is not judged
    pairs: IntArray | None = None  #: (n,) rated pairs of each user, where ratings were judged
    means: Mapping[str, float]  #: metric -> figure: over users, or over pairs for rmse and mae
    intervals: Mapping[str, Interval]  #: metric -> 95 % bootstrap interval over users
    strata: Mapping[str, Stratum] = field(default_factory=dict)  #: "known" and "unknown" users
    shares: Mapping[str, float] = field(
        default_factory=dict
    )  #: truth_not_in_train, fallback_slots, empty_slots
    beyond: Mapping[str, float] = field(default_factory=dict)  #: coverage, gini, diversity, novelty, ...
    seconds: Mapping[str, float] = field(
        default_factory=dict
    )  #: fit, recommend, predict, evaluate: wall clock
    memory_mb: Mapping[str, float | None] = field(
        default_factory=dict
    )  #: peak resident memory of fit, recommend

    def __len__(self) -> int:
        return len(self.user_ids)

    def __repr__(self) -> str:
        shown = ", ".join(f"{name} {mean:.4f}" for name, mean in self.means.items())
        return f"Report({self.model!r} on {self.split!r}, {len(self):,} users: {shown})"

    def sample(self, metric: str) -> Sample:
        """The figure as sums over users, which intervals and tests are made of.

        Raises
        ------
        ParameterError
            A metric that was not judged.
        """
        if metric not in self.values:
            raise ParameterError.unknown(f"metric in the report of {self.model}", metric, self.values)
        return sample_of(metric, self.values[metric], self.pairs)

    def as_dict(self, *, per_user: bool = False) -> dict[str, Any]:
        """Plain values for JSON: NaN is None, intervals are pairs; ``per_user`` adds the arrays."""
        result: dict[str, Any] = {
            "version": VERSION,
            "model": self.model,
            "config": dict(self.config),
            "split": self.split,
            "protocol": dict(self.protocol),
            "users": len(self),
            "notes": list(self.notes),
            "leakage": list(self.leakage),
            "means": _plain(self.means),
            "intervals": _plain_intervals(self.intervals),
            "strata": {
                name: {"users": s.users, "means": _plain(s.means), "intervals": _plain_intervals(s.intervals)}
                for name, s in self.strata.items()
            },
            "shares": _plain(self.shares),
            "beyond_accuracy": _plain(self.beyond),
            "seconds": _plain(self.seconds),
            "memory_mb": _plain(self.memory_mb),
        }
        if per_user:
            result["per_user"] = {
                "user_id": self.user_ids.to_list(),
                "known": self.known.tolist(),
                "pairs": None if self.pairs is None else self.pairs.tolist(),
                "values": {name: [_number(v) for v in column] for name, column in self.values.items()},
            }
        return result

    def per_user(self) -> pl.DataFrame:
        """A row for each judged user: ``user_id, known``, ``pairs`` where ratings were judged, and each metric."""
        pairs = {} if self.pairs is None else {"pairs": self.pairs}
        return pl.DataFrame({"user_id": self.user_ids, "known": self.known, **pairs, **self.values})

    @classmethod
    def read(cls, values: Mapping[str, Any], users: pl.DataFrame) -> Report:
        """The report of which ``as_dict`` gave ``values`` and ``per_user`` gave ``users``.

        Raises
        ------
        KeyError, TypeError, ValueError
            A part is missing or is something else.
        """
        if values["version"] != VERSION:
            raise ValueError(f"its version is {values['version']}, and this one reads {VERSION}")
        strata = {
            name: Stratum(part["users"], _figures(part["means"]), _intervals(part["intervals"]))
            for name, part in values["strata"].items()
        }
        return cls(
            **{name: values[name] for name in ("model", "config", "protocol", "split")},
            notes=tuple(values["notes"]),
            leakage=tuple(values.get("leakage", ())),  # older ones have none
            user_ids=users["user_id"],
            known=users["known"].to_numpy(),
            values={name: users[name].to_numpy() for name in values["means"]},
            pairs=users["pairs"].to_numpy() if "pairs" in users.columns else None,
            means=_figures(values["means"]),
            intervals=_intervals(values["intervals"]),
            strata=strata,
            shares=values["shares"],
            beyond=_figures(values["beyond_accuracy"]),
            seconds=values["seconds"],
            memory_mb=values["memory_mb"],
        )

    def card(self) -> dict[str, Any]:
        """The split and the figures with their intervals, as a bundle's model card shows them."""
        figures = {
            name: {"mean": mean, "interval": list(self.intervals[name])} for name, mean in self.means.items()
        }
        return {"split": self.split, "figures": figures}

    def __rich__(self) -> Table:
        strata = self.strata if len(self.strata) > 1 else {}
        columns = ["metric", "all users", "95 %", *(f"{n} ({s.users:,})" for n, s in strata.items())]
        rows: list[tuple[Any, ...]] = [
            (name, mean, written(self.intervals[name]), *(s.means[name] for s in strata.values()))
            for name, mean in self.means.items()
        ]
        rows += [(name, figure, *[""] * (len(columns) - 2)) for name, figure in self.beyond.items()]
        title = f"{self.model} on {self.split}: {len(self):,} users"
        styles = [""] * len(self.means) + ["dim"] * len(self.beyond)
        return Table(
            title,
            columns,
            rows,
            numbers=columns[1:],
            whole=columns[:1],
            styles=styles,
            caption=self._caption(),
        )

    def _caption(self) -> str:
        times = ", ".join(f"{name} {value:.2f} s" for name, value in self.seconds.items())
        memory = ", ".join(
            f"{name} {value:.0f} MB" for name, value in self.memory_mb.items() if value is not None
        )
        shares = ", ".join(f"{name.replace('_', ' ')} {value:.1%}" for name, value in self.shares.items())
        return "\n".join(line for line in (shares, times, memory, *self.notes) if line)


def sample_of(metric: str, values: FloatArray, pairs: IntArray | None) -> Sample:
    """A metric's per-user values as sums: over users, or over pairs for ratings."""
    if metric in rating.METRICS and pairs is not None:
        return Sample.of_pairs(values, pairs, root=metric == "rmse")
    return Sample.of_users(values, bounded=metric not in rating.METRICS)


def summarize(
    samples: Mapping[str, Sample], *, resamples: int, seed: int
) -> tuple[dict[str, float], dict[str, Interval]]:
    """Figures and their 95 % intervals."""
    means = {name: sample.estimate() for name, sample in samples.items()}
    return means, intervals(samples, resamples=resamples, seed=seed)


def smaller_is_better(metric: str) -> bool:
    """Whether the metric is an error."""
    return metric in rating.METRICS


def better_first(reports: Sequence[Report], metric: str) -> list[Report]:
    """The reports from best to worst by ``metric``; equal ones stay in order, those without a figure come last."""
    sign = 1.0 if smaller_is_better(metric) else -1.0
    figures = [sign * report.sample(metric).estimate() for report in reports]
    order = np.argsort(np.where(np.isnan(figures), np.inf, figures), kind="stable")
    return [reports[i] for i in order]


def written(interval: Interval) -> str:
    """``0.4312 to 0.4521``."""
    return f"{interval.low:.4f} to {interval.high:.4f}"


def _figures(values: Mapping[str, float | None]) -> dict[str, float]:
    """What ``_plain`` gave."""
    return {name: float("nan") if value is None else value for name, value in values.items()}


def _intervals(values: Mapping[str, Sequence[float | None]]) -> dict[str, Interval]:
    """What ``_plain_intervals`` gave."""
    bounds = {
        name: [float("nan") if bound is None else bound for bound in pair] for name, pair in values.items()
    }
    return {name: Interval(low, high) for name, (low, high) in bounds.items()}


def _number(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else float(value)


def _plain(values: Mapping[str, float | None]) -> dict[str, float | None]:
    return {name: _number(value) for name, value in values.items()}


def _plain_intervals(values: Mapping[str, Interval]) -> dict[str, list[float | None]]:
    return {name: [_number(value.low), _number(value.high)] for name, value in values.items()}
