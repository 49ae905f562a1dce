"""Rules: what a shop wants of every list, read from YAML.

::

    rules:
      - exclude: {where: {genres: Horror}}
        when: {segment: [kids, family]}
      - already_bought: {events: [purchase], days: 90}
      - boost: {where: {label: new}, by: 1.2}
        name: new arrivals
      - freshness: {field: released, half_life_days: 30, weight: 0.2}
      - pin: {item: "1193", slot: 1}
      - at_most: {field: genres, n: 3}
      - diversity: {mmr: 0.8}

Items are hidden first (``only_available``, ``include``, ``exclude``, ``already_bought``). Then boosts and freshness
change the relevance of the candidates, pins take their places, and the rest is filled under caps and diversity.
``rule_schema`` lists the keys of each kind.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from reprlib import repr as shortened
from typing import Any, Self, TypeAlias
from weakref import WeakKeyDictionary

import numpy as np
import yaml
from pydantic import model_validator

from recsmith.config import Config
from recsmith.errors import ParameterError
from recsmith.serving.catalogue import Catalogue
from recsmith.serving.filters import Filter
from recsmith.serving.json_values import check_json
from recsmith.serving.rerank import SECONDS_A_DAY, Candidates, NamedRules, Reranked, Similarity, rerank
from recsmith.serving.rule_schema import Rule
from recsmith.topk import LONG
from recsmith.types import BoolArray, IntArray

ONLY_AVAILABLE = "only_available"  #: name of the rule that holds where none says otherwise
_DEEP, _DEEPER = 100, 4  # candidates of a list that is re-ranked: at least, and for each of its places
_DEEPER_LOOKS = 8  # for candidates that fit under the caps, before one of these is relaxed
_CONTEXTS_KEPT = 32  # sets of rules, for each catalogue, whose hidden items are kept

More: TypeAlias = Callable[[BoolArray], Candidates]
"""The best candidates among items (n_known,) of the bundle that are marked."""


@dataclass(frozen=True, slots=True, eq=False)
class _Prepared:
    """What the rules that hold say of a catalogue."""

    allowed: BoolArray  #: (n_items,) what a list may hold
    hidden: BoolArray | None  #: (n_known,) what it may not; None where that is nothing
    pinned: Mapping[str, int]  #: item index by id, -1 where nobody knows it


class Rules(Config):
    """A set of rules. ``Rules()`` hides what cannot be had, and nothing else."""

    rules: tuple[Rule, ...] = ()
    """In the order of the file."""

    @classmethod
    def read(cls, text: str, name: str = "rules") -> Self:
        """The rules of a YAML document; an empty one has none.

        Parameters
        ----------
        text
            The document, as in the module's docstring.
        name
            What messages call it: the name of the file.

        Raises
        ------
        ParameterError
            The document is no YAML or no list of rules, or a rule has an unknown key or a value that cannot be used.
            The message says which rule, counted from 1, and which key.
        """
        entries = enumerate(_entries(text, name), 1)
        rules = tuple(_rule(entry, f"rule {number} of {name}") for number, entry in entries)
        found = cls.make(name, rules=rules)
        try:
            check_json(found.model_dump(mode="json"))
        except ValueError as error:
            raise ParameterError(f"{name}: {error}.") from None
        return found

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if len(set(self.names)) < len(self.names):
            raise ValueError("rules with distinct names")
        return self

    @cached_property
    def names(self) -> tuple[str, ...]:
        """What traces call each rule."""
        return tuple(rule.name or f"{rule.kind} {number}" for number, rule in enumerate(self.rules, 1))

    @cached_property
    def pins(self) -> frozenset[str]:
        """Names of the rules that give an item its place."""
        return frozenset(
            name for name, rule in zip(self.names, self.rules, strict=True) if rule.pin is not None
        )

    @cached_property
    def context_fields(self) -> tuple[str, ...]:
        """The names in a request's context that rules look at, in order."""
        return tuple(sorted({name for rule in self.rules for name in rule.when}))

    @cached_property
    def version(self) -> str:
        """12 hexadecimal digits: equal for documents that say the same."""
        said = self.model_dump(mode="json", exclude_none=True)
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:12]

    def check(self, catalogue: Catalogue) -> None:
        """Refuse rules that do not fit a catalogue: before they are used, and before another bundle is.

        Raises
        ------
        ParameterError
            A rule looks at a field that no item has.
        """
        for field in sorted(frozenset().union(*(rule.fields for rule in self.rules))):
            catalogue.check_field(field)

    def depth(self, k: int, context: Mapping[str, Any]) -> int:
        """Candidates wanted for a list of ``k``: more than ``k`` only where a rule re-ranks."""
        if not any(rule.reranks for _, rule in self._holding(context)):
            return k
        return max(k, min(max(_DEEP, _DEEPER * k), LONG))

    def hidden(self, catalogue: Catalogue, context: Mapping[str, Any]) -> BoolArray | None:
        """(n_known,) the bundle's items that no list of this context may hold; None where there are none.

        It is the same array for the same catalogue and rules that hold, not to be written to.
        """
        return self._prepared(catalogue, context).hidden

    def hiding(self, catalogue: Catalogue, context: Mapping[str, Any]) -> Iterator[tuple[str, BoolArray]]:
        """Each rule that hides items for everybody, by name, with the items (n_items,) that it hides."""
        holding = self._holding(context)
        available = [(name, rule) for name, rule in holding if rule.only_available is not None]
        name, rule = available[-1] if available else (ONLY_AVAILABLE, None)
        if rule is None or rule.only_available:
            yield name, ~catalogue.available
        for name, rule in holding:
            if rule.include is not None and rule.filter is not None:
                yield name, ~catalogue.mask(rule.filter)
            elif rule.exclude is not None and rule.filter is not None:
                yield name, catalogue.mask(rule.filter)
            elif rule.exclude is not None and rule.exclude.items is not None:
                hidden = np.zeros(catalogue.n_items, dtype=np.bool_)
                found = catalogue.index(rule.exclude.items)
                hidden[found[found >= 0]] = True
                yield name, hidden

    def bought(
        self, items: IntArray, times: IntArray, events: Sequence[str], context: Mapping[str, Any], now: int
    ) -> IntArray:
        """The items of a user's history that ``already_bought`` rules hide from his list.

        Parameters
        ----------
        items, times, events
            (h,) item index, Unix seconds and kind of each event.
        context
            Of the request.
        now
            Unix seconds.
        """
        hidden = np.zeros(len(items), dtype=np.bool_)
        for _, rule in self._holding(context):
            if (had := rule.already_bought) is not None and had.hide:
                counts = np.array([event in had.events for event in events], dtype=np.bool_)
                hidden |= counts if had.days is None else counts & (times > now - had.days * SECONDS_A_DAY)
        return np.unique(items[hidden])

    def apply(
        self,
        k: int,
        candidates: Candidates,
        catalogue: Catalogue,
        context: Mapping[str, Any],
        *,
        withheld: IntArray | None = None,
        personal: IntArray | None = None,
        allowed: BoolArray | None = None,
        similarity: Similarity | None = None,
        now: int,
        more: More | None = None,
    ) -> Reranked:
        """The list of one request, and which rules acted: ``min(k, n)`` slots, where n candidates and pins are left.

        Parameters
        ----------
        k
            Length of the list, >= 1.
        candidates
            What the pipeline gave, best first; ``depth(k, context)`` of them where there are so many.
        context
            Of the request.
        withheld
            Item indices that this list must not hold, pinned or not: what the request excludes or ``bought`` gave. One
            that is no item hides nothing.
        personal
            The same of items that the user has had or does not want; a pin that shows ``always`` places them.
        allowed
            (n_items,) what the request's own filters let pass; None for everything.
        similarity
            From (c,) items of the bundle to their (c, c) similarities; None: ``diversity`` does nothing.
        now
            Unix seconds.
        more
            Where more candidates come from before a cap is relaxed; None: there are no more.

        Raises
        ------
        ParameterError
            A rule looks at a field that no item has.
        """
        if k < 1:
            raise ParameterError.of("the rules", "k", ">= 1", k)
        prepared = self._prepared(catalogue, context)
        may = prepared.allowed if allowed is None else prepared.allowed & allowed
        pinnable = _without(may, withheld)
        may = _without(pinnable, personal)
        holding = self._holding(context)
        for _ in range(_DEEPER_LOOKS):
            made = rerank(holding, k, candidates, catalogue, may, pinnable, prepared.pinned, similarity, now)
            if not made.full or more is None:
                break
            fitting = _without(may, candidates.items)
            for field, values in made.full.items():
                fitting = fitting & ~catalogue.having(field, sorted(values))
            further = more(fitting[: catalogue.n_known])
            if not (further.items >= 0).any():
                break
            candidates = candidates.followed_by(further)
        return made

    def _holding(self, context: Mapping[str, Any]) -> NamedRules:
        """The rules that hold for a request."""
        return [pair for pair in zip(self.names, self.rules, strict=True) if pair[1].holds(context)]

    @cached_property
    def _kept(self) -> WeakKeyDictionary[Catalogue, dict[tuple[str, ...], _Prepared]]:
        return WeakKeyDictionary()

    def _prepared(self, catalogue: Catalogue, context: Mapping[str, Any]) -> _Prepared:
        """What hides and pins, made once for each catalogue and set of rules that hold."""
        kept = self._kept.setdefault(catalogue, {})
        key = tuple(name for name, _ in self._holding(context))
        found = kept.get(key)
        if found is None:
            if len(kept) >= _CONTEXTS_KEPT:
                kept.clear()
            found = kept[key] = self._prepare(catalogue, context)
        return found

    def _prepare(self, catalogue: Catalogue, context: Mapping[str, Any]) -> _Prepared:
        allowed = ~catalogue.deleted
        for _, hidden in self.hiding(catalogue, context):
            allowed &= ~hidden
        known = ~allowed[: catalogue.n_known]
        for array in (allowed, known):
            array.setflags(write=False)
        ids = [rule.pin.item for rule in self.rules if rule.pin is not None and rule.pin.item is not None]
        pinned = dict(zip(ids, catalogue.index(ids).tolist(), strict=True))
        return _Prepared(allowed, known if known.any() else None, pinned)


def _without(mask: BoolArray, items: IntArray | None) -> BoolArray:
    """The mask without some items; an index that is no item takes nothing away."""
    if items is None or not len(items):
        return mask
    out = mask.copy()
    out[items[(items >= 0) & (items < len(mask))]] = False
    return out


def _entries(text: str, name: str) -> Sequence[Any]:
    """The list under ``rules`` of a YAML document."""
    try:
        document = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        first = (str(error).splitlines() or ["nothing can be read"])[0]
        raise ParameterError(f"{name} is not YAML: {first}. Correct the document.") from None
    if document is None:
        return []
    if (
        not isinstance(document, Mapping)
        or set(document) != {"rules"}
        or not isinstance(document["rules"], list)
    ):
        raise ParameterError(
            f"{name} must be a list under the key 'rules'. Got {shortened(document)} instead."
        )
    return document["rules"]


def _rule(entry: object, owner: str) -> Rule:
    """One rule of a document, checked."""
    if not isinstance(entry, Mapping):
        raise ParameterError(f"{owner} must be a kind with its values. Got {shortened(entry)} instead.")
    for key in entry:
        if key not in Rule.model_fields:
            raise ParameterError.unknown(f"key in {owner}", str(key), Rule.model_fields)
    rule = Rule.make(owner, **entry)
    about = getattr(rule, rule.kind)
    if getattr(about, "where", None) is not None:
        Filter.parse(about.where, f"'{rule.kind}.where' of {owner}")
    return rule
