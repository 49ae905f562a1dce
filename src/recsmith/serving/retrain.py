"""``recsmith retrain``: learn from the bundle's log and the events that came after it, and promote what is not worse.

The newest events judge. Up to a moment before them the new model learns, and the old one is told, as the service tells
it, in its histories; then both are asked for what came after. What is promoted is fitted on everything. An erased user
is in no part.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recsmith.bundle import Bundle
from recsmith.data.dataset import Dataset
from recsmith.data.ids import IdMap
from recsmith.data.schema import Log
from recsmith.data.split import fixed
from recsmith.errors import DataError
from recsmith.evaluation import judge
from recsmith.evaluation.comparison import Comparison, compare
from recsmith.protocols import Recommender
from recsmith.recommend import Pipeline, TopK
from recsmith.serving.activation import ACTIVE, Place, State, alone, current, replaced, revised, with_test
from recsmith.serving.events import digest
from recsmith.serving.rows import EVENT_FRAME
from recsmith.serving.settings import DISLIKE, Signal
from recsmith.serving.store import Store
from recsmith.types import IntArray, Queries

METRIC = "ndcg@10"
_JUDGING = 0.2  # share of the new events, the newest, that judge
_LEAST_USERS = 30  # that have one of these; with fewer nothing can be said
_MARGIN = 0.01  # relative loss that is taken for chance, unless a test shows it


@dataclass(frozen=True, slots=True)
class Retraining:
    """What came of it."""

    bundle: Bundle  #: fitted on everything
    comparison: Comparison | None  #: of old and new on the newest events; None where too few can judge
    better: bool  #: whether it may be promoted
    reason: str
    events: int  #: of the store, that were learned from


def retrain(
    bundle: Bundle,
    store: Store,
    signals: Mapping[str, Signal],
    *,
    recipe: Pipeline | None = None,
    seed: int = 0,
) -> Retraining:
    """Fit anew on the bundle's log and the store's events, and judge old and new on the newest of these.

    Parameters
    ----------
    bundle
        The active one.
    store
        Events; what they say is in ``signals``.
    recipe
        What to fit, not fitted yet; None: the bundle's own model with its parameters.

    Raises
    ------
    DataError
        A log without times, or a store without events that say what a user wants.
    """
    whole, new = _frames(bundle, store, signals)
    recipe = _like(bundle.pipeline) if recipe is None else recipe
    moment = new["timestamp"].sort()[int(len(new) * (1 - _JUDGING))]
    before, after = (
        _log(bundle, whole.filter(pl.col("timestamp") < moment)),
        whole.filter(pl.col("timestamp") >= moment),
    )
    comparison = _judged(bundle, recipe, before, _log(bundle, after), seed)
    better, reason = _verdict(comparison)
    data = Dataset.from_log(_log(bundle, whole))
    fitted = _like(recipe).fit(data, rng=seed)
    kept = replace(bundle, pipeline=fitted, data=data).with_info(seed=seed, retrained=int(time.time()))
    return Retraining(kept, comparison, better, reason, len(new))


def promote(store: Store, bundle: Path, new: Path, place: Place, *, end_ab_test: bool = False) -> None:
    """Have every worker answer from ``new`` where a bundle answered; an A/B test goes on unless it is to end.

    Parameters
    ----------
    bundle
        The bundle that the service was started with.
    place
        The bundle that was learned from, and where it answers: one of ``activation.places``.
    end_ab_test
        ``new`` is the active bundle, and no A/B test runs any more.

    Raises
    ------
    BundleError
        Another bundle was put there meanwhile.
    """

    def change(state: State) -> State:
        if end_ab_test:
            state = with_test(state, None)
        return replaced(state, place, new)

    revised(store, alone(bundle), change)


def state(store: Store, bundle: Path) -> State:
    """Which bundles answer, by the store: those that were activated since ``bundle`` was served, or ``bundle``."""
    return current(store.settings().get(ACTIVE), alone(bundle))


def _frames(bundle: Bundle, store: Store, signals: Mapping[str, Signal]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """All events, those of the bundle's log first, and those that only the store has; without erased users."""
    data = bundle.data
    if data.time is None:
        raise DataError(f"{data.name} has no timestamps, so newer events have no place behind its own.")
    new, disliked = _new(store, signals, data.rating_scale or (1.0, 5.0))
    if new.is_empty():
        raise DataError(
            "The store has no event that says what a user wants, so there is nothing new to learn."
        )
    columns = {"rating": data.value, "weight": data.weight, "timestamp": data.time}
    old = pl.DataFrame(
        {"user_id": data.users.raw(data.user), "item_id": data.items.raw(data.item)}
    ).with_columns(*(pl.Series(name, values) for name, values in columns.items() if values is not None))
    gone = set(store.erased())
    if gone:
        users = data.users.ids.cast(pl.String)
        erased = data.users.ids.filter(pl.Series([digest(user) in gone for user in users]))
        old = old.filter(~pl.col("user_id").is_in(erased.implode()))
    for key in ("user_id", "item_id"):
        numbers = new[key].cast(pl.Int64, strict=False)
        if old[key].dtype != pl.String and (numbers.cast(pl.String) == new[key]).fill_null(False).all():
            new = new.with_columns(numbers.alias(key))
        else:
            old = old.with_columns(pl.col(key).cast(pl.String))
    new = new.select(pl.col(name).cast(old[name].dtype) for name in old.columns)
    pair = ["user_id", "item_id"]
    known = disliked.select(pl.col(key).cast(old[key].dtype, strict=False) for key in pair)
    spelt = [known[key].cast(pl.String).eq_missing(disliked[key]) for key in pair]  # "007" is not the user 7
    taken_back = known.filter(spelt[0] & spelt[1])
    old, new = (frame.join(taken_back, on=pair, how="anti", maintain_order="left") for frame in (old, new))
    new = new.join(old, on=[*pair, "timestamp"], how="anti", maintain_order="left")
    if new.is_empty():
        raise DataError(
            "The bundle has learned every event of the store that says what a user wants already."
        )
    return pl.concat([old, new]), new


def _new(
    store: Store, signals: Mapping[str, Signal], scale: tuple[float, float]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The store's events that say that a user wants an item; and the pairs that a user came to dislike."""
    low, high = scale
    frame = pl.concat([*store.events_frame(), _NOTHING])
    said = pl.DataFrame(
        {
            "event": list(signals),
            "weight": [s.weight for s in signals.values()],
            "place": [s.rating for s in signals.values()],
        }
    )
    place = (
        pl.when(pl.col("event") == "rating")
        .then((pl.col("value") - low) / (high - low))
        .otherwise(None)
        .fill_null(pl.col("place"))
    )
    frame = frame.join(said, on="event", how="inner", maintain_order="left").with_columns(
        place=place.clip(0, 1)
    )
    last = frame.sort("placed", maintain_order=True).unique(["user_id", "item_id"], keep="last")
    wanted = (pl.col("weight") > 0) & (pl.col("place") >= DISLIKE)
    told = frame.filter(wanted).with_columns(rating=low + pl.col("place") * (high - low))
    return told, last.filter(pl.col("place") < DISLIKE)


_NOTHING = pl.DataFrame(schema=EVENT_FRAME)


def _log(bundle: Bundle, frame: pl.DataFrame) -> Log:
    """Events with the bundle's tables of users and items."""
    data = bundle.data
    tables: dict[str, Any] = {}
    for name, key, features in (
        ("users", "user_id", data.user_features),
        ("items", "item_id", data.item_features),
    ):
        tables[name] = None if features is None else features.with_columns(pl.col(key).cast(frame[key].dtype))
    return Log(interactions=frame, name=data.name, rating_scale=data.rating_scale, **tables)


def _judged(bundle: Bundle, recipe: Pipeline, before: Log, after: Log, seed: int) -> Comparison | None:
    """Old and new, asked for what came after a moment; None where too few users have any."""
    if after.interactions["user_id"].n_unique() < _LEAST_USERS:
        return None
    test = Dataset.from_log(after, keep_catalogue=False)
    learned = Dataset.from_log(before)
    new = _like(recipe).fit(learned, rng=seed)
    split = fixed(learned, test)
    old = _InOtherSpace.of(bundle, split.train.items)
    reports = [
        judge(pipeline, split, name=name, ks=(10,), metrics=("ndcg",), rating=False)
        for name, pipeline in (("active", old), ("new", new))
    ]
    return compare(reports, METRIC, baseline="active")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _InOtherSpace(Pipeline):
    """A fitted pipeline that is asked, and answers, in another index space of items."""

    inner: Pipeline
    theirs: IntArray  #: (n_items,) the inner index of each item, -1 where the inner model does not know it
    back: IntArray  #: (inner n_items,) the index of each inner item, -1 for one that is not asked about

    @classmethod
    def of(cls, bundle: Bundle, items: IdMap) -> _InOtherSpace:
        """The bundle's pipeline among ``items``."""
        theirs, back = bundle.data.items.index(items.ids), items.index(bundle.data.items.ids)
        model, inner = bundle.pipeline.model, bundle.pipeline
        return cls(model=model, n_items=len(items), inner=inner, theirs=theirs, back=back)

    def recommend(self, queries: Queries, k: int = 10, **rest: Any) -> TopK:
        """The lists, in the outer space; the histories are told, so trained user vectors do not answer."""
        index = self.theirs[queries.items]
        told = queries.keep(index >= 0, index).replace(as_trained=None)
        found = self.inner.recommend(told, k, exclude=np.flatnonzero(self.back < 0), **rest)
        items = np.where(found.items >= 0, self.back[found.items], -1).astype(np.int32)
        return replace(found, items=items)


def _verdict(comparison: Comparison | None) -> tuple[bool, str]:
    if comparison is None:
        return False, f"Fewer than {_LEAST_USERS} users have one of the newest events: nothing can be said."
    rows = {row.model: row for row in comparison.rows}
    new, old = rows["new"], rows["active"]
    if not new.value and not old.value:
        return False, "None of the newest events is in a list of either bundle: nothing can be said."
    figures = f"{METRIC} {new.value:.4f} against {old.value:.4f} of the active bundle"
    if new.verdict == "worse" or new.difference < -_MARGIN * old.value:
        return False, f"Worse: {figures}."
    return True, f"Not worse: {figures}."


def _like(pipeline: Pipeline) -> Pipeline:
    """A pipeline with the same parameters that is not fitted."""

    def anew(model: Recommender) -> Recommender:
        return type(model)(model.config)  # type: ignore[call-arg]

    fallback = None if pipeline.fallback is None else anew(pipeline.fallback)
    return replace(pipeline, model=anew(pipeline.model), fallback=fallback, n_items=0)
