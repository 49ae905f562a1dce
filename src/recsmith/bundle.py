"""A trained recommender as one object, in memory and on disk.

On disk it is a directory of arrays and JSON; loading never runs code from it::

    manifest.json           format, model, config, data, metrics, size and SHA-256 of every other file
    arrays.safetensors      what the model and its fallback learned
    seen.safetensors        the training events, in index space
    users.parquet           user ids and features, in index order
    items.parquet           item ids and features, in index order
    README.md               the model card
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from recsmith.card import model_card
from recsmith.data.dataset import Dataset
from recsmith.data.ids import IdMap
from recsmith.data.weighting import Weighting
from recsmith.errors import BundleError, ParameterError
from recsmith.protocols import Explainer, ItemSimilarity, Recommender
from recsmith.recommend import SOURCES, Pipeline, TopK
from recsmith.types import IntArray, Queries, State
from recsmith.version import __version__

FORMAT = 1
MANIFEST = "manifest.json"
FILES = ("arrays.safetensors", "seen.safetensors", "users.parquet", "items.parquet", "README.md")
_EVENT_COLUMNS = ("user", "item", "row", "value", "weight", "time", "event")
_USERS_AT_ONCE = 16_384

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

    def queries(self, users: Sequence[Any] | None = None) -> Queries:
        """Requests of users by raw id (None = all of the log), each with its whole history."""
        return self.data.queries(None if users is None else self.data.users.index(_listed(users)))

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
        lists = self.lists(self.queries(users), k, filter_seen=filter_seen, items=items, exclude=exclude, progress=progress)
        ids = self.data.users.ids if users is None else pl.Series("user_id", _listed(users))
        return self._frame(ids, lists)

    def recommend_batches(self, k: int = 10, *, filter_seen: bool = True, size: int = _USERS_AT_ONCE) -> Iterator[pl.DataFrame]:
        """``recommend`` for every user of the log, ``size`` users a frame: memory does not grow with the log."""
        for start in range(0, self.data.n_users, size):
            ids = self.data.users.ids.slice(start, size)
            who = np.arange(start, start + len(ids), dtype=np.int32)
            yield self._frame(ids, self.pipeline.recommend(self.data.queries(who), k, filter_seen=filter_seen))

    def recommend_for(self, items: Sequence[Any], k: int = 10, *, filter_seen: bool = True) -> pl.DataFrame:
        """A list for somebody unknown who touched ``items`` (raw ids, oldest first): ``item_id, score, rank, source``."""
        history = self.data.items.require(_listed(items))
        query = Queries(users=np.array([-1], dtype=np.int32), offsets=np.array([0, len(history)]), items=history)
        if self.data.value is not None and self.data.rating_scale is not None:
            query = query.replace(values=np.full(len(history), self.data.rating_scale[1], dtype=np.float32))
        lists = self.pipeline.recommend(query, k, filter_seen=filter_seen)
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
        if k < 1:
            raise ParameterError.of("similar", "k", ">= 1", k)
        if not isinstance(self.pipeline.model, ItemSimilarity):
            raise ParameterError(f"The model {self.model_name!r} knows no similarity of items. Train item-knn, ease or ials.")
        asked = self.data.items.require(_listed(items))
        scores = np.array(self.pipeline.model.similar(asked), dtype=np.float32)
        scores[np.arange(len(asked)), asked] = np.nan
        order = np.argsort(-np.nan_to_num(scores, nan=-np.inf), axis=1, kind="stable")[:, :k]
        picked = np.take_along_axis(scores, order, axis=1)
        row, column = np.nonzero(np.isfinite(picked))
        return pl.DataFrame(
            {
                "item_id": self.data.items.raw(asked[row]),
                "similar_id": self.data.items.raw(order[row, column]),
                "similarity": picked[row, column],
                "rank": (column + 1).astype(np.int32),
            }
        )

    def history(self, user: Any) -> pl.DataFrame:
        """What the log holds of a user, oldest first: ``item_id`` and what there is of ``rating, weight, timestamp``."""
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
            raise ParameterError(f"The model {self.model_name!r} cannot take its scores apart. Train item-knn, ease or ials.")
        query = self.pipeline.weighting.queries(self.queries([user]))
        parts = model.contributions(query, np.zeros(1, dtype=np.int64), self.data.items.require(_listed([item])))
        frame = pl.DataFrame({"item_id": self.data.items.raw(query.items), "contribution": parts})
        return frame.sort("contribution", descending=True, maintain_order=True)

    def item_labels(self, ids: pl.Series) -> pl.Series:
        """The titles of items by raw id, or the ids as text where the log came without titles."""
        features = self.data.item_features
        if features is None or "title" not in features.columns:
            return ids.cast(pl.String)
        titles = features["title"].gather(pl.Series(self.data.items.index(ids)))
        return titles.zip_with(titles.is_not_null(), ids.cast(pl.String))

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
        """Write the bundle; an older one at ``path`` stays whole until the new one is complete.

        Raises
        ------
        BundleError
            Where ``path`` is something else than a bundle, or the disk has no room.
        """
        target = Path(path)
        if target.exists() and not (target / MANIFEST).is_file():
            raise BundleError(f"{target} exists and is not a bundle. Choose another path or move it away.")
        target.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent))
        try:
            self._write(work)
            _publish(work, target)
        except OSError as error:
            raise BundleError(
                f"The bundle could not be written to {target}: {error.strerror or error}. "
                "Nothing there was changed; free some space or choose another path."
            ) from error
        finally:
            shutil.rmtree(work, ignore_errors=True)
        return target

    def _write(self, folder: Path) -> None:
        data, pipeline = self.data, self.pipeline
        arrays: dict[str, np.ndarray[Any, Any]] = {}
        values = {"model": _flatten(pipeline.model.state(), "model", arrays)}  # type: ignore[attr-defined]
        if pipeline.fallback is not None:
            values["fallback"] = _flatten(pipeline.fallback.state(), "fallback", arrays)  # type: ignore[attr-defined]
        save_file(arrays, folder / "arrays.safetensors")
        columns = {name: getattr(data, name) for name in _EVENT_COLUMNS}
        save_file({n: np.ascontiguousarray(c) for n, c in columns.items() if c is not None}, folder / "seen.safetensors")
        _id_table(data.users, data.user_features, "user_id").write_parquet(folder / "users.parquet")
        _id_table(data.items, data.item_features, "item_id").write_parquet(folder / "items.parquet")
        manifest = self.manifest()
        (folder / "README.md").write_text(model_card(manifest), encoding="utf-8")
        manifest["state"] = values
        manifest["files"] = {name: _digest(folder / name) for name in FILES}
        (folder / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        for name in (*FILES, MANIFEST):
            _sync(folder / name)
        _sync(folder)

    def manifest(self) -> dict[str, Any]:
        """What the manifest and ``info`` say, without file sums and state."""
        data, pipeline = self.data, self.pipeline
        fallback = pipeline.fallback
        return {
            "format": FORMAT,
            "recsmith": __version__,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "model": {"name": self.model_name, "config": pipeline.model.config.model_dump(mode="json")},
            "fallback": None
            if fallback is None
            else {"name": self.fallback_name, "config": fallback.config.model_dump(mode="json")},
            "weighting": pipeline.weighting.model_dump(mode="json"),
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
    def load(cls, path: str | Path, registry: Registry) -> Bundle:
        """Read a bundle after checking all of it.

        Parameters
        ----------
        registry
            From a model name to its class: ``recsmith.models.registry.model_class``. ``recsmith.load_bundle``
            passes it.

        Raises
        ------
        BundleError
            Missing, cut short, changed, of a newer format, or holding a file that does not belong to it.
        """
        folder = _located(Path(path))
        manifest = read_manifest(folder)
        _verify(folder, manifest["files"])
        try:
            data = _read_data(folder, manifest["data"])
            arrays = load_file(folder / "arrays.safetensors")
            pipeline = Pipeline(
                model=_restored(registry, manifest["model"], arrays, manifest["state"]["model"], "model"),
                fallback=None
                if manifest["fallback"] is None
                else _restored(registry, manifest["fallback"], arrays, manifest["state"]["fallback"], "fallback"),
                weighting=Weighting.make("the bundle's weighting", **manifest["weighting"]),
                n_items=data.n_items,
            )
        except (KeyError, ValueError, SafetensorError, pl.exceptions.PolarsError) as error:
            if isinstance(error, ParameterError | BundleError):
                raise
            raise BundleError(f"{folder} does not fit together: {error}. Train it again.") from error
        fallback = manifest["fallback"]
        return cls(manifest["model"]["name"], pipeline, data, None if fallback is None else fallback["name"], manifest["info"])


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a bundle, its format checked.

    Raises
    ------
    BundleError
        No bundle there, not JSON, or a format that this version does not read.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        version = manifest["format"]
    except FileNotFoundError:
        raise BundleError(f"{folder} is not a bundle: it has no {MANIFEST}. Wanted a folder that 'train' wrote.") from None
    except (ValueError, KeyError, TypeError) as error:
        raise BundleError(f"{folder / MANIFEST} is damaged ({error}). Restore a copy or train again.") from error
    if not isinstance(version, int) or version > FORMAT:
        raise BundleError(f"{folder} has bundle format {version}; this recsmith reads up to {FORMAT}. Upgrade recsmith.")
    missing = {"files", "model", "fallback", "weighting", "data", "state", "info"} - set(manifest)
    if missing:
        raise BundleError(f"{folder / MANIFEST} lacks {', '.join(sorted(missing))}. Restore a copy or train again.")
    return dict(manifest)


def _listed(ids: Any) -> list[Any]:
    """A single id counts as a list of one."""
    return [ids] if isinstance(ids, str | bytes | int | np.integer) else list(ids)


def _flatten(state: State, prefix: str, arrays: dict[str, Any]) -> dict[str, Any]:
    """Arrays into ``arrays`` under ``prefix/name``; returns the JSON part."""
    arrays |= {f"{prefix}/{name}": np.ascontiguousarray(value) for name, value in state.arrays.items()}
    parts = {name: _flatten(part, f"{prefix}/{name}", arrays) for name, part in state.parts.items()}
    return {"values": dict(state.values), "arrays": sorted(state.arrays), "parts": parts}


def _unflatten(values: Mapping[str, Any], prefix: str, arrays: Mapping[str, Any]) -> State:
    own = {name: arrays[f"{prefix}/{name}"] for name in values["arrays"]}
    parts = {name: _unflatten(part, f"{prefix}/{name}", arrays) for name, part in values["parts"].items()}
    return State(own, values["values"], parts)


def _restored(
    registry: Registry, entry: Mapping[str, Any], arrays: Mapping[str, Any], values: Mapping[str, Any], prefix: str
) -> Recommender:
    model = registry(entry["name"])(**entry["config"])
    model.restore(_unflatten(values, prefix, arrays))
    return model  # type: ignore[no-any-return]


def _id_table(ids: IdMap, features: pl.DataFrame | None, key: str) -> pl.DataFrame:
    return pl.DataFrame({key: ids.ids}) if features is None else features


def _read_data(folder: Path, about: Mapping[str, Any]) -> Dataset:
    users, items = pl.read_parquet(folder / "users.parquet"), pl.read_parquet(folder / "items.parquet")
    columns: dict[str, IntArray | None] = {**dict.fromkeys(_EVENT_COLUMNS), **load_file(folder / "seen.safetensors")}
    user_ids = IdMap(users["user_id"], "user")
    scale = about["rating_scale"]
    return Dataset(
        users=user_ids,
        items=IdMap(items["item_id"], "item"),
        **columns,  # type: ignore[arg-type]
        event_names=tuple(about["event_names"]),
        user_features=users if about["has_user_features"] else None,
        item_features=items if about["has_item_features"] else None,
        rating_scale=None if scale is None else (scale[0], scale[1]),
        name=about["name"],
        notes=tuple(about["notes"]),
        offsets=np.searchsorted(np.asarray(columns["user"]), np.arange(len(user_ids) + 1)).astype(np.int64),
    )


def _previous(target: Path) -> Path:
    return target.with_name(f".{target.name}.previous")


def _publish(work: Path, target: Path) -> None:
    """Put a complete folder in place of an old one. A crash in between leaves the old one where ``load`` finds it."""
    previous = _previous(target)
    if target.exists():
        shutil.rmtree(previous, ignore_errors=True)
        target.rename(previous)
    try:
        work.rename(target)
    except OSError:
        if previous.exists():
            previous.rename(target)
        raise
    _sync(target.parent)
    shutil.rmtree(previous, ignore_errors=True)


def _located(path: Path) -> Path:
    """``path``, or the older bundle that a crash in the middle of a save left beside it."""
    if not path.exists() and _previous(path).exists():
        return _previous(path)
    return path


def _verify(folder: Path, files: Mapping[str, Mapping[str, Any]]) -> None:
    strangers = sorted({p.name for p in folder.iterdir()} - {*FILES, MANIFEST})
    if strangers:
        raise BundleError(
            f"{folder} holds {', '.join(strangers)}, which is no part of a bundle. Arrays and JSON are all that "
            "recsmith loads, never a pickle; remove the file if it is yours."
        )
    for name in FILES:
        file = folder / name
        if name not in files or not file.is_file():
            raise BundleError(f"{folder} is incomplete: {name} is missing. Restore a copy or train again.")
        found, wanted = _digest(file), files[name]
        if found["bytes"] != wanted.get("bytes"):
            raise BundleError(f"{file} has {found['bytes']} bytes where {wanted.get('bytes')} were written: it was cut short.")
        if found["sha256"] != wanted.get("sha256"):
            raise BundleError(f"{file} was changed after it was written (its SHA-256 differs). Restore a copy or train again.")


def _digest(file: Path) -> dict[str, Any]:
    with file.open("rb") as stream:
        return {"bytes": file.stat().st_size, "sha256": hashlib.file_digest(stream, "sha256").hexdigest()}


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
