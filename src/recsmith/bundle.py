"""Bundle: a trained recommender with its ids, histories and metadata. ``bundle_format`` puts it on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recsmith import bundle_format, parallel
from recsmith.data.dataset import Dataset, rows_of
from recsmith.data.ids import IdMap, id_series
from recsmith.data.weighting import Weighting
from recsmith.errors import BundleError, ParameterError
from recsmith.protocols import Explainer, ItemSimilarity, RatingPredictor, Recommender, Stateful, UserEncoder
from recsmith.recommend import SOURCES, Pipeline, TopK
from recsmith.topk import TopKBlock
from recsmith.types import IntArray, Queries, State
from recsmith.version import __version__

USERS_AT_ONCE = 16_384  #: of a frame of ``recommend_batches``
_ITEMS_AT_ONCE = 256  # of ``similar``: rows of n_items scores in memory

Registry = Callable[[str], Callable[..., Any]]
"""From a model's registered name to its class."""


@dataclass(frozen=True, slots=True, eq=False)
class Bundle:
    """A fitted pipeline with the ids, histories and features that it answers from.

    Ids go in and come out raw. An id that is not known is a new user: the fallback answers.
    """

    model_name: str
    pipeline: Pipeline
    data: Dataset  #: the training log
    fallback_name: str | None = None
    info: Mapping[str, Any] = field(default_factory=dict)  #: JSON: seed, metrics, times, fold-in gap
    policy_name: str | None = None
    policy: Any = None  #: what fills the places of exploration, with what it has learned of the items so far

    def queries(self, users: Sequence[Any] | None = None) -> Queries:
        """Requests of users by raw id (None = all of the log), each with its whole history."""
        return self._queries(None if users is None else self.data.users.index(_listed(users)))

    def _queries(self, users: IntArray | None) -> Queries:
        """Requests by user index."""
        return self.with_context(self.data.queries(users))

    def with_context(self, queries: Queries) -> Queries:
        """The requests with what the user table holds of their users, where the model looks at it.

        Whoever makes requests by other means than ``queries`` needs it for the lists that ``recommend`` gives.
        """
        if self.data.user_features is None or not isinstance(self.pipeline.model, UserEncoder):
            return queries
        return self.pipeline.informed(queries, rows_of(self.data.user_features, queries.users))

    def recommend(
        self,
        users: Sequence[Any] | None = None,
        k: int = 10,
        *,
        filter_seen: bool = True,
        items: Sequence[Any] | None = None,
        exclude: Sequence[Any] | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> pl.DataFrame:
        """Lists for users, as a frame ``user_id, item_id, score, rank, source``.

        Parameters
        ----------
        users
            Raw ids; None for every user of the log.
        k
            Items for each, >= 1. A user gets fewer only where fewer are left.
        filter_seen
            Leave out what the user's history holds.
        items, exclude
            Raw item ids that alone may be, or must not be, recommended.

        Raises
        ------
        ParameterError
            ``k`` < 1.
        UnknownIdError
            An id of ``items`` that the bundle does not know. Unknown ids in ``exclude`` hide nothing.
        """
        lists = self.lists(
            self.queries(users), k, filter_seen=filter_seen, items=items, exclude=exclude, progress=progress
        )
        ids = self.data.users.ids if users is None else _column(users, self.data.users, "user_id")
        return self._frame(ids, lists)

    def recommend_batches(
        self,
        k: int = 10,
        *,
        filter_seen: bool = True,
        items: Sequence[Any] | None = None,
        exclude: Sequence[Any] | None = None,
        size: int = USERS_AT_ONCE,
        progress: Callable[[int, int], None] | None = None,
    ) -> Iterator[pl.DataFrame]:
        """``recommend`` for every user of the log, ``size`` users a frame: memory does not grow with the log."""
        if size < 1:
            raise ParameterError.of("recommend_batches", "size", ">= 1", size)
        for start in range(0, self.data.n_users, size):
            ids = self.data.users.ids.slice(start, size)
            queries = self._queries(np.arange(start, start + len(ids), dtype=np.int32))
            lists = self.lists(queries, k, filter_seen=filter_seen, items=items, exclude=exclude)
            yield self._frame(ids, lists)
            if progress is not None:
                progress(start + len(ids), self.data.n_users)

    def recommend_for(
        self,
        history: Sequence[Any],
        k: int = 10,
        *,
        filter_seen: bool = True,
        items: Sequence[Any] | None = None,
        exclude: Sequence[Any] | None = None,
    ) -> pl.DataFrame:
        """A list for somebody unknown with a history of item ids, oldest first: ``item_id, score, rank, source``."""
        seen = self.data.items.require(_listed(history))
        query = Queries(users=np.array([-1], dtype=np.int32), offsets=np.array([0, len(seen)]), items=seen)
        if self.data.value is not None and self.data.rating_scale is not None:
            query = query.replace(values=np.full(len(seen), self.data.rating_scale[1], dtype=np.float32))
        lists = self.lists(query, k, filter_seen=filter_seen, items=items, exclude=exclude)
        return self._frame(pl.Series("user_id", [None]), lists).drop("user_id")

    def lists(
        self,
        queries: Queries,
        k: int = 10,
        *,
        filter_seen: bool = True,
        items: Sequence[Any] | None = None,
        exclude: Sequence[Any] | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> TopK:
        """The ranked lists in index space, with the reason where one is short."""
        include = None if items is None else np.unique(self.data.items.require(_listed(items)))
        hidden = None if exclude is None else self.data.items.index(_listed(exclude))
        return self.pipeline.recommend(
            queries, k, filter_seen=filter_seen, include=include, exclude=hidden, progress=progress
        )

    def similar(self, items: Sequence[Any], k: int = 10) -> pl.DataFrame:
        """The ``k`` items most like each of ``items``: ``item_id, similar_id, similarity, rank``.

        Raises
        ------
        UnknownIdError
            An item that the bundle does not know.
        ParameterError
            ``k`` < 1, or a model that knows no similarity.
        """
        asked = self.data.items.require(_listed(items))
        best = self.alike(asked, k)
        row, slot = np.nonzero(best.items >= 0)
        return pl.DataFrame(
            {
                "item_id": self.data.items.raw(asked[row]),
                "similar_id": self.data.items.raw(best.items[row, slot]),
                "similarity": best.scores[row, slot],
                "rank": (slot + 1).astype(np.int32),
            }
        )

    def alike(self, items: IntArray, k: int, *, exclude: IntArray | None = None) -> TopKBlock:
        """``similar`` in index space: (n, k) items and similarities for ``items`` (n,), -1 in a slot that stays empty.

        Items of ``exclude``, sorted or not, are in no list. Raises ``ParameterError`` as ``similar``.
        """
        if k < 1:
            raise ParameterError.of("similar", "k", ">= 1", k)
        if not isinstance(self.pipeline.model, ItemSimilarity):
            raise ParameterError(
                f"The model {self.model_name!r} knows no similarity of items. Train item-knn, ease or ials."
            )
        best = TopKBlock(len(items), k)
        for rows in parallel.blocks(len(items), _ITEMS_AT_ONCE):
            scores = np.require(self.pipeline.model.similar(items[rows]), np.float32, ["C", "W", "O"])
            if exclude is not None:
                scores[:, exclude] = -np.inf
            part = TopKBlock(len(scores), k)
            part.update(scores, 0, np.arange(len(scores) + 1), items[rows])
            best.items[rows], best.scores[rows] = part.items, part.scores
        return best

    def predict(self, users: Sequence[Any], items: Sequence[Any]) -> pl.DataFrame:
        """Ratings that ``users[p]`` would give ``items[p]``, on the log's scale: ``user_id, item_id, rating, std``.

        An id that is not known is predicted from what is known of the other. ``std`` is null where the model
        gives no uncertainty.

        Raises
        ------
        ParameterError
            A model that predicts no ratings, or sequences of different lengths.
        """
        model = self.pipeline.model
        if not isinstance(model, RatingPredictor):
            raise ParameterError(
                f"The model {self.model_name!r} predicts no ratings. Train biased-mf, item-knn or user-knn."
            )
        who = _column(users, self.data.users, "user_id")
        what = _column(items, self.data.items, "item_id")
        if len(who) != len(what):
            raise ParameterError(
                f"predict wants as many items as users. Got {len(who)} users and {len(what)} items."
            )
        distinct, rows = np.unique(self.data.users.index(who), return_inverse=True)
        given = model.predict(self._queries(distinct), rows, self.data.items.index(what))
        std = (
            pl.Series("std", given.std)
            if given.std is not None
            else pl.Series("std", [None] * len(who), pl.Float32)
        )
        return pl.DataFrame({"user_id": who, "item_id": what, "rating": given.mean, "std": std})

    def history(self, user: Any) -> pl.DataFrame:
        """What the log holds of a user, oldest first.

        A frame ``item_id`` and what there is of ``rating, weight, timestamp``; empty for an unknown user.
        """
        query = self.queries([user])
        columns = {"rating": query.values, "weight": query.weights, "timestamp": query.times}
        given = {name: values for name, values in columns.items() if values is not None}
        return pl.DataFrame({"item_id": self.data.items.raw(query.items), **given})

    def explain(self, user: Any, item: Any) -> pl.DataFrame:
        """What each item of the history adds to the score of ``item``: ``item_id, contribution``, largest first.

        Raises
        ------
        ParameterError
            A model that cannot take its scores apart.
        UnknownIdError
            An item that the bundle does not know.
        """
        model = self.pipeline.model
        if not isinstance(model, Explainer):
            raise ParameterError(
                f"The model {self.model_name!r} cannot take its scores apart. Train item-knn, ease or ials."
            )
        query = self.pipeline.weighting.queries(self.queries([user]))
        parts = model.contributions(
            query, np.zeros(1, dtype=np.int64), self.data.items.require(_listed([item]))
        )
        frame = pl.DataFrame({"item_id": self.data.items.raw(query.items), "contribution": parts})
        return frame.sort("contribution", descending=True, maintain_order=True)

    def item_labels(self, ids: pl.Series) -> pl.Series:
        """The titles of items by raw id, or the ids as text where the log came without titles."""
        features = self.data.item_features
        if features is None or "title" not in features.columns:
            return ids.cast(pl.String)
        at = pl.Series(self.data.items.index(ids))
        titles = features["title"].gather(at.set(at < 0, None))
        return titles.zip_with(titles.is_not_null(), ids.cast(pl.String))

    def with_policy(self, name: str, policy: Stateful) -> Bundle:
        """The same bundle with a policy for exploration, by its registered name; its items are the bundle's."""
        return replace(self, policy_name=name, policy=policy)

    def with_info(self, **info: Any) -> Bundle:
        """The same bundle with more to say in its manifest and card."""
        return replace(self, info={**self.info, **info})

    def _frame(self, ids: pl.Series, lists: TopK) -> pl.DataFrame:
        row, slot = np.nonzero(lists.items >= 0)
        names = self._source_names()
        return pl.DataFrame(
            {
                "user_id": ids.gather(pl.Series(row)),
                "item_id": self.data.items.raw(lists.items[row, slot]),
                "score": lists.scores[row, slot],
                "rank": (slot + 1).astype(np.int32),
                "source": pl.Series(lists.sources[row, slot]).replace_strict(
                    dict(enumerate(names)), return_dtype=pl.Enum(names)
                ),
            }
        )

    def _source_names(self) -> list[str]:
        return [self.model_name, f"{SOURCES[1]}:{self.fallback_name}"]

    def save(self, path: str | Path) -> Path:
        """Write the bundle as a directory; an older one there stays whole until the new one is complete.

        Raises
        ------
        BundleError
            Where ``path`` is something else than a bundle.
        StorageError
            Where the disk has no room or refuses.
        """
        parts = {"model": self.pipeline.model, "fallback": self.pipeline.fallback, "policy": self.policy}
        states = {name: _state(part) for name, part in parts.items() if part is not None}
        if (index := self.pipeline.index_state()) is not None:
            states["index"] = index
        bundle_format.save(Path(path), self.manifest(), states, self.data)
        return Path(path)

    def manifest(self) -> dict[str, Any]:
        """What the bundle says of itself, JSON-able."""
        data, pipeline = self.data, self.pipeline
        return {
            "format": bundle_format.FORMAT,
            "recsmith": __version__,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "model": _described(self.model_name, pipeline.model),
            "fallback": None
            if pipeline.fallback is None
            else _described(self.fallback_name, pipeline.fallback),
            "policy": None if self.policy is None else _described(self.policy_name, self.policy),
            "weighting": pipeline.weighting.model_dump(mode="json"),
            "index": pipeline.index,
            "data": {
                "name": data.name,
                "users": data.n_users,
                "items": data.n_items,
                "events": len(data),
                "rating_scale": data.rating_scale,
                "event_names": list(data.event_names),
                "last_time": data.last_time(),
                "notes": list(data.notes),
                "fingerprint": data.fingerprint(),
                "has_user_features": data.user_features is not None,
                "has_item_features": data.item_features is not None,
            },
            "info": dict(self.info),
        }

    @classmethod
    def load(
        cls, path: str | Path, registry: Registry, *, policies: Registry | None = None, mapped: bool = False
    ) -> Bundle:
        """Read a bundle after checking all of it.

        Parameters
        ----------
        registry
            From a model's name to its class: ``recsmith.models.registry.model_class``. ``recsmith.load_bundle``
            passes it.
        policies
            The same for a policy's name: ``recsmith.models.bandits.registry.policy_class``. None: a policy in the
            bundle is left out.
        mapped
            Let the arrays be pages of the bundle's files, which processes share. The files must stay as they are
            meanwhile: ``save`` puts a new bundle in the place of an old one without touching the old one's files.

        Raises
        ------
        BundleError
            Missing, cut short, changed, of a newer format, or holding a file that does not belong to it.
        MissingExtraError
            The bundle holds an index of the items and faiss is not installed.
        """
        manifest, states, data = bundle_format.load(Path(path), mapped=mapped)
        try:
            index, learned = states.pop("index", None), states.pop("policy", None)
            models = {part: _restored(registry, manifest[part], state) for part, state in states.items()}
            pipeline = Pipeline(
                model=models["model"],
                fallback=models.get("fallback"),
                weighting=Weighting.make("the bundle's weighting", **manifest["weighting"]),
                index=bool(manifest.get("index", False)),
                n_items=data.n_items,
            )
            if index is not None:
                pipeline.restore_index(index)
            fallback_name = manifest["fallback"]["name"] if "fallback" in models else None
            bundle = cls(manifest["model"]["name"], pipeline, data, fallback_name, manifest["info"])
            if learned is None or policies is None:
                return bundle
            described = manifest["policy"]
            return bundle.with_policy(described["name"], _restored(policies, described, learned))
        except (KeyError, TypeError, ValueError) as error:
            raise BundleError(f"{path}: the pipeline cannot be restored: {error} Train it again.") from error


def _restored(registry: Registry, described: Mapping[str, Any], state: State) -> Any:
    return registry(described["name"])(**described["config"]).restore(state)


def _described(name: str | None, model: Recommender) -> dict[str, Any]:
    return {"name": name, "config": model.config.model_dump(mode="json")}


def _state(model: Recommender) -> State:
    if not isinstance(model, Stateful):
        raise BundleError(f"{type(model).__name__} has no state() and restore(), so it cannot be saved.")
    return model.state()


def _listed(ids: Any) -> list[Any]:
    """A single id counts as a list of one."""
    return [ids] if isinstance(ids, str | bytes | int | np.integer) else list(ids)


def _column(ids: Any, known: IdMap, name: str) -> pl.Series:
    """Ids as they were asked for; where none says what it is, of the type of the known ones."""
    column = id_series(_listed(ids), name)
    return column.cast(known.ids.dtype) if column.dtype == pl.Null else column
