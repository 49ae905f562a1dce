"""The few protocols that everything in recsmith is written against.

A model scores from the history in the query, so a new user needs no refit. A model never masks,
ranks or maps ids: that is ``recommend.py``'s, once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Flag, auto
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self, runtime_checkable

import numpy as np
from pydantic import BaseModel

from recsmith.types import Cost, FloatArray, IntArray, Prediction, Queries, Shape, State

if TYPE_CHECKING:
    import polars as pl

    from recsmith.data.dataset import Dataset


class Evidence(Flag):
    """What a query must bring for a model to have an opinion."""

    NOTHING = 0
    HISTORY = auto()
    CONTEXT = auto()


class Monitor(Protocol):
    """What a fit reports to: progress, and validation where there is one."""

    def progress(self, done: int, total: int, **figures: float) -> bool:
        """``done`` of ``total`` steps are done. Returns True where the fit should stop here."""
        ...


@runtime_checkable
class Coach(Monitor, Protocol):
    """A monitor that follows a training epoch by epoch: it judges the model, and says where its state is kept."""

    checkpoint: (
        Path | None
    )  #: the file that a training writes after each epoch, and goes on from where it exists

    def judge(self, model: Model, epoch: int) -> float | None:
        """A figure of the model as it is after ``epoch`` epochs, larger is better; None: not judged this time."""
        ...


@runtime_checkable
class Model(Protocol):
    """Something that learns from a Dataset."""

    needs: ClassVar[Evidence]
    config: BaseModel

    def fit(
        self, data: Dataset, *, rng: np.random.Generator | int | None = None, monitor: Monitor | None = None
    ) -> Self:
        """Forget, learn from ``data`` and return self. ``rng`` None means seed 0."""
        ...

    def cost(self, shape: Shape) -> Cost:
        """What a fit on a log of that size needs."""
        ...


@runtime_checkable
class Recommender(Model, Protocol):
    """A model that orders items."""

    def score(self, queries: Queries, items: IntArray | None = None) -> FloatArray:
        """(n, n_items) or (n, len(items)) float32, larger is better.

        NaN where the needed evidence is missing; ``recommend`` falls back there.
        """
        ...


@runtime_checkable
class RatingPredictor(Model, Protocol):
    """A model that predicts ratings."""

    def predict(self, queries: Queries, rows: IntArray, items: IntArray) -> Prediction:
        """Ratings of the pairs (query ``rows[p]``, item ``items[p]``); item -1 is one that is not known."""
        ...


@runtime_checkable
class Embedder(Protocol):
    """Optional: the score is a scalar product, so product and top-k are fused, or an index is used."""

    def embed_queries(self, queries: Queries) -> FloatArray:
        """(n, d) float32; a row of NaN where the evidence is missing."""
        ...

    def embed_items(self) -> FloatArray:
        """(n_items, d) float32, C-contiguous; the same object until the next fit, as what is made of it is kept."""
        ...


@runtime_checkable
class ItemSimilarity(Protocol):
    """Optional: which items are like which."""

    def similar(self, items: IntArray) -> FloatArray:
        """(len(items), n_items) float32, larger is more alike; NaN where nothing is known."""
        ...


@runtime_checkable
class Explainer(Protocol):
    """Optional: what each event of the history adds to a score."""

    def contributions(self, queries: Queries, rows: IntArray, items: IntArray) -> FloatArray:
        """(number of events of the pairs,) float32: pair p owns ``lengths[rows[p]]`` values, in history order."""
        ...


@runtime_checkable
class Extensible(Protocol):
    """Optional: items that came after training, known by their features."""

    def extend_items(self, features: pl.DataFrame) -> Self:
        """A new model; the new items' indices are appended."""
        ...


@runtime_checkable
class UserEncoder(Protocol):
    """Optional: knows users by their features, so that one without a history may get a list of his own."""

    def encode_users(self, features: pl.DataFrame) -> FloatArray:
        """(n, d) float32 for ``Queries.context``; a row of zeros where nothing is known."""
        ...


@runtime_checkable
class Stateful(Protocol):
    """A model that can be put on disk and taken back without running code."""

    def state(self) -> State:
        """Everything learned."""
        ...

    def restore(self, state: State) -> object:
        """Take back what ``state`` gave."""
        ...


class Choice(Protocol):
    """What a policy chose."""

    @property
    def items(self) -> IntArray:
        """(n, k) int32; -1 in a place that could not be filled."""
        ...

    @property
    def propensities(self) -> FloatArray:
        """(n, k) float32 probability with which each was chosen, given the places above it; NaN in empty places."""
        ...


@runtime_checkable
class Policy(Protocol):
    """Bandits and reinforcement learning choose among candidates that ``recommend`` gives."""

    def act(self, queries: Queries, candidates: IntArray, k: int, *, rng: np.random.Generator) -> Choice:
        """Choose ``k`` of the candidates for each request."""
        ...

    def update(self, queries: Queries, items: IntArray, rewards: FloatArray) -> None:
        """Learn from what the chosen items brought."""
        ...


class Tracker(Protocol):
    """Where a run's parameters, metrics, tables and files go. A method raises what it likes: a run goes on."""

    def parameters(self, values: Mapping[str, Any]) -> None:
        """What the run was asked to do, by dotted name."""
        ...

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """What it measured, after ``step`` epochs or at the end."""
        ...

    def table(self, name: str, rows: Sequence[Mapping[str, Any]], step: int | None = None) -> None:
        """Rows of JSON values with the same names."""
        ...

    def artifact(self, path: str) -> None:
        """A file that it wrote."""
        ...

    def model(self, path: str) -> None:
        """The bundle that it wrote."""
        ...

    def close(self, *, failed: bool = False) -> None:
        """Nothing more will come; ``failed`` where the run ended with an error."""
        ...
