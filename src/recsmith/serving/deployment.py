"""Bundles that are answered from, and which one answers whom."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import numpy as np
import orjson
from pydantic import Field
from scipy import sparse

from recsmith.bundle import USERS_AT_ONCE, Bundle
from recsmith.bundle_format import MANIFEST, read_manifest
from recsmith.config import Config
from recsmith.errors import BundleError, ConflictError, ParameterError, UnknownIdError
from recsmith.models.bandits.registry import policy_class
from recsmith.models.registry import model_class
from recsmith.serving.catalogue import Catalogue, Upserts
from recsmith.serving.histories import History, Reader, Seen, queries
from recsmith.serving.new_users import Rankings
from recsmith.serving.schemas import BUNDLE_NAME, BundleName
from recsmith.serving.settings import Signal
from recsmith.types import Queries

_NAME = re.compile(BUNDLE_NAME)
_BUCKETS = 10_000
_MOST_SHOWN = 200_000  # items whose JSON is kept


@dataclass(frozen=True, slots=True, eq=False)
class Deployment:
    """A loaded bundle with what answers are made of."""

    name: str
    version: str  #: name and the beginning of the SHA-256 of its manifest
    path: Path
    bundle: Bundle
    catalogue: Catalogue
    reader: Reader
    items_version: int = 0  #: changes of items that are in the catalogue
    contexts: Any = None  #: (n_users + 1, d) CSR as ``_contexts`` makes it; None for a model that takes none
    rankings: Rankings = field(default_factory=Rankings)  #: for new users
    _shown: dict[int, tuple[str, orjson.Fragment]] = field(default_factory=dict)  #: of the items shown lately

    @classmethod
    def load(
        cls, path: Path, upserts: Upserts, items_version: int, signals: Mapping[str, Signal]
    ) -> Deployment:
        """Read a bundle and try one request.

        Raises
        ------
        BundleError
            Missing, damaged, or one that cannot answer.
        """
        bundle = Bundle.load(path, model_class, policies=policy_class, mapped=True)
        try:
            bundle.recommend_for([], k=1)
        except ParameterError as error:
            raise BundleError(f"{path} cannot be served: {error}") from error
        return cls(
            name=path.name,
            version=version_of(path),
            path=path,
            bundle=bundle,
            catalogue=Catalogue.of(bundle.data, upserts),
            reader=Reader(bundle.data, signals),
            items_version=items_version,
            contexts=_contexts(bundle),
        )

    def with_items(self, changed: Upserts, version: int) -> Deployment:
        """The same bundle beside a catalogue in which items have changed."""
        catalogue = self.catalogue.with_upserts(changed)
        return replace(self, catalogue=catalogue, items_version=version, rankings=Rankings(), _shown={})

    def histories(self, users: Sequence[str | None], seen: Sequence[Seen]) -> list[History]:
        """The evidence of users by raw id, with the indices of the catalogue: what was added counts, too."""
        index = self.bundle.data.users.index([user or "" for user in users])
        key = self.version, self.catalogue.n_items
        return self.reader.read(index, seen, key, self.catalogue.index_with_deleted)

    def session(self, history: History, items: Sequence[str], now: int) -> History:
        """``history`` and items that were looked at in this session; see ``Reader.session``."""
        return self.reader.session(history, items, now, self.catalogue.index_with_deleted)

    def queries(self, histories: Sequence[History]) -> Queries:
        """Requests with these histories, as the bundle itself would make them."""
        found = queries(histories)
        return found if self.contexts is None else found.replace(context=self.contexts[found.users].toarray())

    def shown(self, items: Sequence[int]) -> list[tuple[str, orjson.Fragment]]:
        """Raw id and metadata as JSON of items; safe to call from many threads."""
        with suppress(KeyError):
            return [self._shown[item] for item in items]
        found = {item: self._shown.get(item) for item in items}
        missing = [item for item, known in found.items() if known is None]
        made = {
            item: (raw, orjson.Fragment(orjson.dumps(self.catalogue.metadata(item))))
            for item, raw in zip(missing, self.ids(missing), strict=True)
        }
        if len(self._shown) > _MOST_SHOWN:
            self._shown.clear()
        self._shown.update(made)
        return [found[item] or made[item] for item in items]

    def metadata(self, item: int) -> orjson.Fragment:
        """What is known of an item, as JSON."""
        return self.shown([item])[0][1]

    def ids(self, items: Sequence[int]) -> list[str]:
        """Raw ids of items."""
        return self.catalogue.raw(np.asarray(items, dtype=np.int64))

    def source(self, code: int) -> str:
        """The name of a source of ``TopK``."""
        return self.bundle.model_name if code == 0 else f"fallback:{self.bundle.fallback_name}"

    def require_item(self, item: str) -> int:
        """Index of an item by its raw id.

        Raises
        ------
        UnknownIdError
            The catalogue does not hold it.
        """
        index = int(self.catalogue.index([item])[0])
        if index < 0:
            raise UnknownIdError(
                f"There is no item {item!r} in the catalogue of {self.name}. Add it by POST /items, or look up its id."
            )
        return index

    def search(self, text: str, limit: int) -> list[int]:
        """Items whose title, or else id, holds ``text``, whatever the case, the most often taken first."""
        catalogue, counts = self.catalogue, np.zeros(self.catalogue.n_items, dtype=np.int64)
        counts[: catalogue.n_known] = self.bundle.data.item_counts()
        order = np.argsort(-counts, kind="stable")
        found = catalogue.labelled(text) if text else ~catalogue.deleted
        return [int(item) for item in order[found[order]][:limit]]

    def title(self, item: int) -> str:
        """The title of an item, or its id."""
        known = self.catalogue.metadata(item)
        return str(known.get("title") or self.ids([item])[0])


def _contexts(bundle: Bundle) -> Any:
    """(n_users + 1, d) float32 CSR of ``Queries.context`` by user index, the last row of one who is not known.

    To encode a row takes milliseconds, as it does to encode thousands.
    """
    blocks = []
    for start in range(0, bundle.data.n_users + 1, USERS_AT_ONCE):
        users = np.arange(start, min(start + USERS_AT_ONCE, bundle.data.n_users + 1), dtype=np.int32)
        users[users == bundle.data.n_users] = -1
        context = bundle.with_context(bundle.data.queries(users)).context
        if context is None:
            return None
        blocks.append(sparse.csr_array(context))
    return sparse.vstack(blocks, format="csr")


def version_of(path: Path) -> str:
    """Name of a bundle and the beginning of its manifest's SHA-256."""
    digest = hashlib.sha256((path / MANIFEST).read_bytes()).hexdigest()
    return f"{path.name}@{digest[:12]}"


VariantName: TypeAlias = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$")]
"""Of an experiment or a variant: no control characters, since the log of exposures holds it."""


class Variant(Config):
    """A bundle in an experiment."""

    bundle: BundleName
    """Name of a bundle."""
    share: float = Field(default=1.0, ge=0)
    """Part of the users, relative to the other variants', >= 0; a shadow needs none."""
    shadow: bool = False
    """Answers are made and logged, and not shown."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """Where a user stands in an experiment."""

    experiment: str
    variant: str
    propensity: float = 1.0  #: with which anybody is in this variant


class Experiment(Config):
    """Two or more bundles side by side; who sees which depends on the name of the experiment and the user alone."""

    name: VariantName
    variants: dict[VariantName, Variant] = Field(min_length=1)

    def assign(self, user: str) -> Assignment:
        """The variant of a user."""
        shown = {name: v.share for name, v in self.variants.items() if not v.shadow and v.share > 0}
        total = sum(shown.values())
        digest = hashlib.sha256(f"{self.name}\0{user}".encode()).digest()
        place = int.from_bytes(digest[:8], "big") % _BUCKETS / _BUCKETS * total
        for name, share in shown.items():
            place -= share
            if place < 0:
                return Assignment(self.name, name, share / total)
        return Assignment(self.name, name, share / total)


@dataclass(frozen=True, slots=True)
class Active:
    """What answers now: one bundle, or those of an experiment. Replaced as a whole, never changed."""

    main: Deployment
    experiment: Experiment | None = None
    others: Mapping[str, Deployment] = field(default_factory=dict)  #: by name of the bundle

    def choose(self, user: str | None) -> tuple[Deployment, Assignment | None]:
        """The deployment that answers a user, and where he stands in the experiment."""
        if self.experiment is None or user is None:
            return self.main, None
        assigned = self.experiment.assign(user)
        return self.others[self.experiment.variants[assigned.variant].bundle], assigned

    def shadows(self) -> Sequence[tuple[Deployment, Assignment]]:
        """Variants that are logged and not shown."""
        if self.experiment is None:
            return ()
        return [
            (self.others[variant.bundle], Assignment(self.experiment.name, name))
            for name, variant in self.experiment.variants.items()
            if variant.shadow
        ]

    def deployments(self) -> list[Deployment]:
        """All bundles in use, each once."""
        return list({d.version: d for d in (self.main, *self.others.values())}.values())


def located(folder: Path | None, name: str) -> Path:
    """The bundle ``name`` in a folder of bundles.

    Raises
    ------
    ParameterError
        A name that is none, or a service without such a folder.
    BundleError
        No bundle there.
    """
    if folder is None:
        raise ConflictError("This service has no folder of bundles. Start it with --bundles FOLDER.")
    if not _NAME.fullmatch(name):
        raise ParameterError.of(
            "bundles", "name", "letters, digits, '.', '_' and '-', at most 100", name[:200]
        )
    path = folder / name
    read_manifest(path)
    return path


def listed(folder: Path | None) -> list[dict[str, Any]]:
    """What the bundles of a folder say of themselves; broken ones with the reason."""
    if folder is None or not folder.is_dir():
        return []
    found = []
    for path in sorted(folder.iterdir()):
        if not path.is_dir() or not _NAME.fullmatch(path.name):
            continue
        try:
            manifest = read_manifest(path)
            found.append(
                {
                    "name": path.name,
                    "version": version_of(path),
                    "model": manifest["model"]["name"],
                    "created": manifest.get("created"),
                    "data": {key: manifest["data"][key] for key in ("name", "users", "items", "events")},
                }
            )
        except BundleError as error:
            found.append({"name": path.name, "error": str(error)})
    return found
