"""From requests and histories to answers: ``recommend.py``, then the rules, then words and JSON."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import orjson

from recsmith.protocols import Embedder, ItemSimilarity
from recsmith.recommend import TopK
from recsmith.serving.answers import Answer
from recsmith.serving.deployment import Assignment, Deployment
from recsmith.serving.dry_run import LoggedRequest
from recsmith.serving.explain import reasons, sentence
from recsmith.serving.exploration import Explorer
from recsmith.serving.filters import Filter
from recsmith.serving.histories import History
from recsmith.serving.new_users import is_new
from recsmith.serving.rerank import RULE, Candidates, Similarity, Slot, relaxed
from recsmith.serving.rules import Rules
from recsmith.serving.schemas import RecommendRequest
from recsmith.types import BoolArray, FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class Asked:
    """A request with the evidence for it."""

    request: RecommendRequest
    history: History
    bought: IntArray | None = None  #: (b,) items that ``already_bought`` hides
    assigned: Assignment | None = None  #: where the user stands in an experiment

    @cached_property
    def context(self) -> dict[str, Any]:
        """What rules may look at."""
        return self.request.context.model_dump()


@dataclass(frozen=True, eq=False)
class Lister:
    """Makes the lists of one bundle under one set of rules."""

    deployment: Deployment
    rules: Rules
    now: float
    explorer: Explorer | None = None  #: fills some of the places

    def answers(self, asked: Sequence[Asked]) -> list[Answer]:
        """An answer for each request; those that may hold the same items are scored together."""
        groups: dict[Any, list[int]] = defaultdict(list)
        limits = [
            (self._passed(one.request), self.rules.hidden(self.deployment.catalogue, one.context))
            for one in asked
        ]
        for row, (passed, hidden) in enumerate(limits):
            key = None if passed is None else passed.tobytes()
            groups[asked[row].request.include_seen, id(hidden), key].append(row)
        out: list[Answer | None] = [None] * len(asked)
        for rows in groups.values():
            answers = self._together([asked[r] for r in rows], *limits[rows[0]])
            for row, answer in zip(rows, answers, strict=True):
                out[row] = answer
        return out  # type: ignore[return-value]

    def obstacles(self, one: Asked, item: int) -> list[str]:
        """What keeps an item out of a list, in words."""
        catalogue, found = self.deployment.catalogue, []
        if item in one.history.items or item in one.history.seen:
            found.append("The history holds it already.")
        if item in one.history.hidden:
            found.append("The user skipped it, or said that he does not like it.")
        if one.bought is not None and item in one.bought:
            found.append("It was bought, and a rule hides what was.")
        for name, hidden in self.rules.hiding(catalogue, one.context):
            if hidden[item]:
                found.append(f"The rule {name!r} leaves it out.")
        return found

    def standing(self, one: Asked, item: int) -> dict[str, Any]:
        """Score of an item that the model knows, and its place in the order of all; None without evidence."""
        pipeline = self.deployment.bundle.pipeline
        scores = pipeline.model.score(pipeline.weighting.queries(self.deployment.queries([one.history])))[0]
        score = float(scores[item])
        if score != score:
            return {"score": None, "rank": None, "of": len(scores)}
        return {"score": score, "rank": int((scores > score).sum()) + 1, "of": len(scores)}

    def logged(self, one: Asked, depth: int) -> LoggedRequest:
        """A request with the candidates that rules choose from, of which none has hidden any."""
        (withheld,) = self._excluded([one])
        outside = np.concatenate([withheld, _outside(one)])
        lists = self.deployment.bundle.pipeline.recommend(
            self.deployment.queries([one.history]),
            depth,
            exclude_each=(np.array([0, len(outside)]), outside.astype(np.int64)),
        )
        return LoggedRequest(
            user=one.request.user_id or "",
            k=one.request.num_recommendations,
            now=int(self.now),
            candidates=Candidates(lists.items[0], lists.scores[0], lists.sources[0]),
            context=one.context,
            withheld=withheld,
            personal=_personal(one),
            more=lambda fitting: self._more(one, fitting, depth),
        )

    def _more(self, one: Asked, fitting: BoolArray, depth: int) -> Candidates:
        """The best candidates of a request among items (n_known,) of the bundle."""
        lists = self.deployment.bundle.pipeline.recommend(
            self.deployment.queries([one.history]), depth, filter_seen=False, include=np.flatnonzero(fitting)
        )
        return Candidates(lists.items[0], lists.scores[0], lists.sources[0])

    def _passed(self, request: RecommendRequest) -> BoolArray | None:
        """(n_items,) what the filters and ``include_items`` let pass; None for everything."""
        catalogue = self.deployment.catalogue
        passed: BoolArray | None = None
        if request.filters:
            passed = catalogue.mask(Filter.parse(request.filters))
        if request.include_items is not None:
            named = np.zeros(catalogue.n_items, dtype=np.bool_)
            index = catalogue.index(request.include_items)
            named[index[index >= 0]] = True
            passed = named if passed is None else passed & named
        return passed

    def _excluded(self, asked: Sequence[Asked]) -> list[IntArray]:
        """Items that each request, or ``already_bought``, leaves out; an index of -1 is nobody's."""
        named = [one.request.exclude_items for one in asked]
        index = self.deployment.catalogue.index(list(itertools.chain(*named)))
        excluded = np.split(index, np.cumsum([len(ids) for ids in named[:-1]]))
        return [
            ids if one.bought is None else np.concatenate([ids, one.bought])
            for ids, one in zip(excluded, asked, strict=True)
        ]

    def _together(
        self, asked: Sequence[Asked], passed: BoolArray | None, hidden: BoolArray | None
    ) -> list[Answer]:
        """Answers to requests with the same limits: (n_items,) what may be in a list, (n_known,) what must not."""
        include = exclude = None
        if passed is not None:
            known = passed[: self.deployment.catalogue.n_known]
            include = np.flatnonzero(known if hidden is None else known & ~hidden)
        elif hidden is not None:
            exclude = np.flatnonzero(hidden)
        lengths = [self.rules.depth(one.request.num_recommendations, one.context) for one in asked]
        withheld = self._excluded(asked)
        outside = [np.concatenate([ids, _outside(one)]) for ids, one in zip(withheld, asked, strict=True)]
        k = max(lengths) if self.explorer is None else max(*lengths, self.explorer.settings.candidates)
        lists = TopK.empty(len(asked), k)
        left = list(range(len(asked)))
        if passed is None:
            left = [row for row in left if not self._cut(lists, row, asked[row], outside[row], hidden)]
        if left:
            some = self._ranked(
                [asked[row] for row in left], k, include, exclude, [outside[row] for row in left]
            )
            lists.items[left], lists.scores[left], lists.sources[left] = some.items, some.scores, some.sources
        out = []
        for row, (one, length) in enumerate(zip(asked, lengths, strict=True)):
            slots = self._slots(one, lists, row, length, withheld[row], passed)
            out.append(self._answer(one, *self._explored(one, slots, lists, row)))
        return out

    def _ranked(
        self,
        asked: Sequence[Asked],
        k: int,
        include: IntArray | None,
        exclude: IntArray | None,
        outside: Sequence[IntArray],
    ) -> TopK:
        """The best items of each request; ``outside`` are those that its list must not hold."""
        bounds = np.zeros(len(asked) + 1, dtype=np.int64)
        np.cumsum([len(items) for items in outside], out=bounds[1:])
        return self.deployment.bundle.pipeline.recommend(
            self.deployment.queries([one.history for one in asked]),
            k,
            filter_seen=not asked[0].request.include_seen,
            include=include,
            exclude=exclude,
            exclude_each=(bounds, np.concatenate(outside).astype(np.int64)) if bounds[-1] else None,
        )

    def _cut(self, lists: TopK, row: int, one: Asked, outside: IntArray, hidden: BoolArray | None) -> bool:
        """Fill the list of a new user from the ranking that there is for all of them; whether it could be."""

        def make(depth: int) -> TopK:
            exclude = None if hidden is None else np.flatnonzero(hidden)
            return self._ranked([one], depth, None, exclude, [outside[:0]])

        return is_new(one.history) and self.deployment.rankings.fill(lists, row, outside, hidden, make)

    def _explored(
        self, one: Asked, slots: list[Slot], lists: TopK, row: int
    ) -> tuple[list[Slot], Sequence[float | None]]:
        """The list with what the policy put into its places, and the propensities of these; None in the others."""
        if self.explorer is None or not one.request.explore or not slots:
            return slots, [None] * len(slots)
        held = {slot.item for slot in slots}
        items, scores, sources = lists.items[row], lists.scores[row], lists.sources[row]
        room = max(self.explorer.settings.candidates - len(slots), 0)
        behind = [at for at, item in enumerate(items.tolist()) if item >= 0 and item not in held][:room]
        pool = [*slots, *(Slot(int(items[at]), float(scores[at]), int(sources[at])) for at in behind)]
        ids = [item_id for item_id, _ in self.deployment.shown([slot.item for slot in pool])]
        fixed = {place for place, slot in enumerate(slots) if not self.rules.pins.isdisjoint(slot.rules)}
        filled = self.explorer.fill(ids, len(slots), fixed)
        return [pool[at] for at, _ in filled], [chance for _, chance in filled]

    def _answer(self, one: Asked, slots: Sequence[Slot], chances: Sequence[float | None]) -> Answer:
        shown = self.deployment.shown([slot.item for slot in slots])
        sources = [
            self._source(slot) if chance is None or self.explorer is None else self.explorer.source
            for slot, chance in zip(slots, chances, strict=True)
        ]
        entries: list[dict[str, Any]] = [
            {
                "item_id": item_id,
                "score": None if slot.score != slot.score else slot.score,
                "rank": rank,
                "source": source,
                "metadata": metadata,
            }
            for rank, ((item_id, metadata), slot, source) in enumerate(
                zip(shown, slots, sources, strict=True), 1
            )
        ]
        if one.request.explain:
            found = reasons(self.deployment, one.history, [slot.item for slot in slots])
            for entry, slot, why in zip(entries, slots, found, strict=True):
                entry["reasons"] = why
                entry["reason"] = sentence(why, entry["source"])
                entry["trace"] = {"adjusted": slot.adjusted, "rules": list(slot.rules)}
        chosen = 1.0 if one.assigned is None else one.assigned.propensity
        exposed = [
            {"item_id": e["item_id"], "score": e["score"], "rank": e["rank"], "source": e["source"],
             "propensity": chosen * (1.0 if chance is None else chance), "chance": 1.0 if chance is None else chance}
            for e, chance in zip(entries, chances, strict=True)
        ]  # fmt: skip
        return Answer(
            recommendations=orjson.dumps(entries),
            explanation=self._explanation(one, slots, sources),
            shown=orjson.dumps(exposed).decode(),
            model_version=self.deployment.version,
            experiment=None if one.assigned is None else one.assigned.experiment,
            variant=None if one.assigned is None else one.assigned.variant,
        )

    def _slots(
        self, one: Asked, lists: TopK, row: int, length: int, withheld: IntArray, passed: BoolArray | None
    ) -> list[Slot]:
        k = one.request.num_recommendations
        n = int((lists.items[row, :length] >= 0).sum())
        items, scores, sources = lists.items[row, :n], lists.scores[row, :n], lists.sources[row, :n]
        if not self.rules.rules:
            triples = zip(items[:k].tolist(), scores[:k].tolist(), sources[:k].tolist(), strict=True)
            return [Slot(item, score, source) for item, score, source in triples]
        return self.rules.apply(
            k,
            Candidates(items, scores, sources),
            self.deployment.catalogue,
            one.context,
            withheld=withheld,
            personal=_personal(one),
            allowed=passed,
            similarity=self.similarity,
            now=int(self.now),
            more=lambda fitting: self._more(one, fitting, length),
        ).slots

    def _source(self, slot: Slot) -> str:
        return f"rule:{slot.rules[-1]}" if slot.source == RULE else self.deployment.source(slot.source)

    @cached_property
    def similarity(self) -> Similarity | None:
        """(p, p) likeness of p items, where the model knows it."""
        model = self.deployment.bundle.pipeline.model
        if isinstance(model, Embedder):
            table = model.embed_items()

            def cosines(items: IntArray) -> FloatArray:
                vectors = np.nan_to_num(table[items])
                vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
                return np.asarray(vectors @ vectors.T)

            return cosines
        if isinstance(model, ItemSimilarity):
            return lambda items: np.nan_to_num(model.similar(items)[:, items])
        return None

    def _explanation(self, one: Asked, slots: Sequence[Slot], sources: Sequence[str]) -> str:
        events = len(one.history.items)
        model = self.deployment.bundle.model_name
        if any(source == model for source in sources):
            words = f"From {events} event{'s' * (events != 1)} of the history, by the model {model!r}."
        elif events and events < (least := self.deployment.bundle.pipeline.weighting.min_events):
            words = f"The history has {events} of the {least} events that this bundle asks for; the fallback answers."
        elif events:
            words = f"The model {model!r} has no evidence in this history; the fallback answers."
        else:
            words = "Nothing is known of this user yet; the fallback answers."
        for name in relaxed(slots):
            words += f" The rule {name!r} was relaxed: too few items that fit are left."
        k = one.request.num_recommendations
        if len(sources) < k:
            words += f" {len(sources)} of {k}: no more are left once seen, excluded and filtered items are removed."
        return words


def _outside(one: Asked) -> IntArray:
    """Items beside those of the history that a user has had or does not want, as far as the request leaves them out."""
    history = one.history
    return history.hidden if one.request.include_seen else np.concatenate([history.hidden, history.seen])


def _personal(one: Asked) -> IntArray:
    """The same with those of the history."""
    return _outside(one) if one.request.include_seen else np.concatenate([_outside(one), one.history.items])
