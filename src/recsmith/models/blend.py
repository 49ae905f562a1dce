"""Blend: a weighted mix of models, itself a Recommender.

``score[r, i] = sum over parts k: weight_k * s_k[r, i] / spread_k[r]``, where ``spread_k[r]`` is the standard deviation
of all that part k says to request r. Scores of two models have different units, and those of one model are larger for
an active user; divided by their spread they can be added. An item that a part has no evidence for counts as the least
that the part says to that request, and as 0 where that is positive.

Weights are learned on validation, from outside: ``experiment/blend.py``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Self

import numpy as np
from pydantic import Field, field_validator

from recsmith.config import Config
from recsmith.data.dataset import Dataset
from recsmith.data.weighting import Weighting
from recsmith.errors import ParameterError
from recsmith.kernels import njit
from recsmith.models.base import BaseModel
from recsmith.models.registry import create, name_of
from recsmith.protocols import Explainer, ItemSimilarity, Monitor, Recommender
from recsmith.types import BoolArray, Cost, FloatArray, IntArray, Queries, Shape, State, ragged_take


class Part(Config):
    """One model of a blend."""

    model: str
    """Registered name."""
    parameters: dict[str, Any] = Field(default_factory=dict)
    """Its own parameters."""
    weighting: Weighting = Field(default_factory=Weighting)
    """How it weighs the events of a history."""
    weight: float = Field(default=1.0, ge=0)
    """Its share of the mix, >= 0; only the ratios of weights count."""


class BlendConfig(Config):
    """Parameters of Blend."""

    parts: tuple[Part, ...] = (Part(model="ease"), Part(model="item-knn"))
    """The models, at least one of them with a weight > 0."""

    @field_validator("parts")
    @classmethod
    def _usable(cls, parts: tuple[Part, ...]) -> tuple[Part, ...]:
        if not sum(part.weight for part in parts) > 0:
            raise ValueError("at least one part with a weight > 0")
        for part in parts:
            if not isinstance(create(part.model, **part.parameters), Recommender):
                raise ValueError(f"models that order items; {part.model} predicts ratings only")
        return parts


class Blend(BaseModel[BlendConfig]):
    """A weighted mix of models.

    Each part weighs the history by its own ``weighting``, so a pipeline hands it the events as they are.
    """

    config_class = BlendConfig
    weighs_history = True
    learned = ("models_",)
    models_: list[Any]  #: the fitted parts, in the order of the config

    @classmethod
    def of(
        cls, models: Sequence[Recommender], weightings: Sequence[Weighting], weights: Sequence[float]
    ) -> Self:
        """A blend of models that are fitted already."""
        parts = [
            {
                "model": name_of(model),
                "parameters": model.config.model_dump(mode="json", exclude_defaults=True),
                "weighting": weighting,
                "weight": float(weight),
            }
            for model, weighting, weight in zip(models, weightings, weights, strict=True)
        ]
        blend = cls(parts=parts)
        blend.models_ = list(models)
        return blend

    def fit(
        self, data: Dataset, *, rng: np.random.Generator | int | None = None, monitor: Monitor | None = None
    ) -> Self:
        """Fit every part on the log as it weighs it. ``monitor`` is told of the parts as shares of one work.

        Raises
        ------
        DataError
            A log that one of the parts cannot learn from.
        """
        parts, models = self.config.parts, []
        for number, part in enumerate(parts):
            share = None if monitor is None else _Share(monitor, number, len(parts))
            model = create(part.model, **part.parameters)
            models.append(model.fit(part.weighting.log(data), rng=rng, monitor=share))  # type: ignore[attr-defined]
        self.models_ = models
        return self

    def score(self, queries: Queries, items: IntArray | None = None) -> FloatArray:
        """(n, n_items) or (n, len(items)) float32; NaN where no part has evidence."""
        self.check_fitted()
        said = (
            (part.weight, _scores(model, part, queries))
            for model, part in zip(self.models_, self.config.parts, strict=True)
            if part.weight
        )
        mixed = _mixed(said)
        return mixed if items is None else np.ascontiguousarray(mixed[:, items])

    def similar(self, items: IntArray) -> FloatArray:
        """(len(items), n_items) float32: the same mix of what the parts call similar.

        Raises
        ------
        ParameterError
            Where no part knows a similarity.
        """
        self.check_fitted()
        able = [
            (model, part.weight)
            for model, part in zip(self.models_, self.config.parts, strict=True)
            if part.weight and isinstance(model, ItemSimilarity)
        ]
        if not able:
            raise ParameterError(
                "No part of this blend knows a similarity of items. Add item-knn, ease or ials."
            )
        return _mixed((weight, np.array(model.similar(items), dtype=np.float32)) for model, weight in able)

    def contributions(self, queries: Queries, rows: IntArray, items: IntArray) -> FloatArray:
        """What each event adds, over all parts that can say so; they add up to the score where all can.

        Where an item repeats in a history, its latest event has all of it.
        """
        self.check_fitted()
        _, positions = ragged_take(queries.offsets, rows)
        counted = _latest(queries)[positions]
        total = np.zeros(len(positions), dtype=np.float32)
        asked, which = np.unique(rows, return_inverse=True)
        for model, part in zip(self.models_, self.config.parts, strict=True):
            if part.weight and isinstance(model, Explainer):
                own = part.weighting.queries(queries)
                told = counted & np.repeat(own.lengths > 0, queries.lengths)[positions]
                spread = _spreads(_scores(model, part, queries.take(asked)))[which]
                scale = np.divide(part.weight, spread, out=np.zeros_like(spread), where=spread > 0)
                added = model.contributions(own, rows, items) * np.repeat(scale, own.lengths[rows])
                total[told] += np.nan_to_num(added)
        return total

    def state(self) -> State:
        """The states of the parts."""
        self.check_fitted()
        return State(parts={str(number): model.state() for number, model in enumerate(self.models_)})

    def restore(self, state: State) -> Self:
        """Take back what ``state`` gave."""
        self.models_ = [
            create(part.model, **part.parameters).restore(state.parts[str(number)])
            for number, part in enumerate(self.config.parts)
        ]
        return self

    def cost(self, shape: Shape) -> Cost:
        """All parts, one after the other; what they learned stays in memory together."""
        costs = [create(part.model, **part.parameters).cost(shape) for part in self.config.parts]
        return Cost(sum(c.gemm for c in costs), sum(c.gather for c in costs), sum(c.bytes for c in costs))


class _Share:
    """A monitor of one part's fit, as a share of the whole."""

    def __init__(self, monitor: Monitor, number: int, parts: int) -> None:
        self._monitor, self._number, self._parts = monitor, number, parts

    def progress(self, done: int, total: int, **figures: float) -> bool:
        return self._monitor.progress(self._number * total + done, self._parts * total, **figures)


def _scores(model: Any, part: Part, queries: Queries) -> FloatArray:
    """(n, n_items) float32: what a part says, ours to change."""
    return np.require(model.score(part.weighting.queries(queries)), np.float32, ["C", "W"])


def _latest(queries: Queries) -> BoolArray:
    """(m,) whether an event is the last one of its item in its history."""
    rows = queries.rows
    order = np.lexsort((queries.items, rows))
    changes = (np.diff(rows[order], append=-1) != 0) | (np.diff(queries.items[order], append=-1) != 0)
    latest = np.zeros(len(order), dtype=np.bool_)
    latest[order[changes]] = True
    return latest


def _mixed(said: Iterable[tuple[float, FloatArray]]) -> FloatArray:
    """The sum of weight times standardized scores; NaN where all of them are. The scores are overwritten."""
    total: FloatArray | None = None
    known: BoolArray | None = None
    for weight, scores in said:
        evidence = standardize(scores)
        scores *= np.float32(weight)
        if total is None or known is None:
            total, known = scores, evidence
        else:
            total += scores
            known |= evidence
    assert total is not None and known is not None  # a config has a part that counts
    total[~known] = np.nan
    return total


def standardize(scores: FloatArray) -> BoolArray:
    """Divide each row of ``scores`` (n, m) float32 by its spread, in place, and put what NaN counts where it stands.

    Returns (n, m) bool: where there was a score. A row of equal scores, or of none, becomes 0.
    """
    known = np.empty(scores.shape, dtype=np.bool_)
    _standardize(scores, known)
    return known


@njit(cache=True, nogil=True)
def _spread(row):  # type: ignore[no-untyped-def]
    """Standard deviation and least of the entries that are not NaN; the deviation is 0 without two that differ."""
    total, squares, least, n = 0.0, 0.0, np.inf, 0
    for s in row:
        if not np.isnan(s):
            total += s
            n += 1
            least = min(least, s)
    mean = total / max(n, 1)
    for s in row:
        if not np.isnan(s):
            squares += (s - mean) ** 2
    return np.sqrt(squares / max(n, 1)), least


@njit(cache=True, nogil=True)
def _spreads(scores):  # type: ignore[no-untyped-def]
    out = np.empty(len(scores))
    for r in range(len(scores)):
        out[r] = _spread(scores[r])[0]
    return out


@njit(cache=True, nogil=True)
def _standardize(scores, known):  # type: ignore[no-untyped-def]
    for r in range(scores.shape[0]):
        spread, least = _spread(scores[r])
        scale = 1.0 / spread if spread > 0 else 0.0
        absent = min(least, 0.0)
        for i in range(scores.shape[1]):
            known[r, i] = not np.isnan(scores[r, i])
            scores[r, i] = scale * (scores[r, i] if known[r, i] else absent) if scale > 0 else 0.0
