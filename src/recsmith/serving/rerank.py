"""From the candidates of one request to its list: boosts, pins, caps and diversity, in this order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from recsmith.recommend import SOURCES
from recsmith.serving.catalogue import Catalogue
from recsmith.serving.diversity import MarginalRelevance
from recsmith.serving.rule_schema import Rule
from recsmith.types import BoolArray, FloatArray, IntArray

SLOT_SOURCES = (*SOURCES, "rule")
"""Where the item of a slot comes from: ``Slot.source`` is an index into it."""

RULE = SLOT_SOURCES.index("rule")
RELAXED = " (relaxed)"  #: behind the name of a cap that a slot breaks, since the list would else be short

Similarity: TypeAlias = Callable[[IntArray], FloatArray]
"""From (c,) items to their (c, c) similarities."""

NamedRules: TypeAlias = Sequence[tuple[str, Rule]]

SECONDS_A_DAY = 86_400


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """What ``Pipeline.recommend`` gave for one request, best first. Entries with item -1 are passed over."""

    items: IntArray  #: (c,) distinct item indices
    scores: FloatArray  #: (c,) the model's scores, or the fallback's
    sources: IntArray  #: (c,) index into ``SOURCES``

    def followed_by(self, further: Candidates) -> Candidates:
        """These and then ``further``."""
        return Candidates(
            np.append(self.items, further.items),
            np.append(self.scores, further.scores),
            np.append(self.sources, further.sources),
        )


@dataclass(frozen=True, slots=True)
class Slot:
    """One place of a list."""

    item: int  #: item index
    score: float  #: the model's; NaN for an item that was no candidate
    source: int  #: index into ``SLOT_SOURCES``
    adjusted: float | None = None  #: relevance after the rules that change it; None where there are none
    rules: tuple[str, ...] = ()  #: names of the rules that changed its relevance, moved it or placed it


@dataclass(frozen=True, slots=True, eq=False)
class Reranked:
    """A list with what was done to it."""

    slots: list[Slot]
    acted: frozenset[str]  #: names of the rules that changed a relevance, placed, moved or left out an item
    full: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Where caps were relaxed to fill the list: values by field of which the list may hold no more."""


def rerank(
    rules: NamedRules,
    k: int,
    candidates: Candidates,
    catalogue: Catalogue,
    allowed: BoolArray,
    pinnable: BoolArray,
    pinned: Mapping[str, int],
    similarity: Similarity | None,
    now: int,
) -> Reranked:
    """The list of one request.

    Parameters
    ----------
    rules
        Those that hold for the request, in the order of the file.
    k
        Length of the list, >= 1.
    allowed
        (n_items,) what the list may hold.
    pinnable
        (n_items,) what a pin that shows ``always`` may place.
    pinned
        Item index by id, for the rules that pin an id; -1 where nobody knows it.
    similarity
        None where nothing is known: diversity then does nothing.
    now
        Unix seconds.
    """
    pool = _Pool(candidates, allowed)
    pool.adjust(rules, catalogue, now)
    pins = _place(rules, k, pool, catalogue, allowed, pinnable, pinned)
    chosen, full = _choose(rules, k - len(pins), pool, pins, catalogue, similarity)
    rest = iter(chosen)
    slots = []
    for place in range(k):
        if place in pins:
            slots.append(pool.pinned(pins[place]))
        elif (at := next(rest, None)) is not None:
            slots.append(pool.slot(at))
    return Reranked(slots, frozenset(pool.acted), full)


def relaxed(slots: Sequence[Slot]) -> list[str]:
    """Names of the caps that a list breaks, since it would else be short."""
    names = (name for slot in slots for name in slot.rules if name.endswith(RELAXED))
    return list(dict.fromkeys(name.removesuffix(RELAXED) for name in names))


@dataclass(frozen=True, slots=True)
class _Pin:
    """An item with a fixed place."""

    item: int
    at: int  #: its place in the pool, -1 where it is no candidate
    name: str  #: of the rule


class _Pool:
    """The candidates that may be shown, and what the rules did to each."""

    def __init__(self, candidates: Candidates, allowed: BoolArray) -> None:
        kept = candidates.items >= 0
        kept[kept] = allowed[candidates.items[kept]]
        self.items = candidates.items[kept]
        self.scores = candidates.scores[kept]
        self.sources = candidates.sources[kept]
        self.relevance: FloatArray = 1 - np.arange(len(self.items)) / max(len(self.items), 1)
        self.adjusted = False
        self.names: list[list[str]] = [[] for _ in self.items]
        self.acted: set[str] = set()

    def adjust(self, rules: NamedRules, catalogue: Catalogue, now: int) -> None:
        """Boosts and freshness, in the order of the file."""
        for name, rule in rules:
            if rule.boost is not None and rule.filter is not None:
                factor = np.where(catalogue.mask(rule.filter)[self.items], rule.boost.by, 1.0)
                changed = self.relevance * factor
            elif rule.freshness is not None:
                days = (now - catalogue.moments(rule.freshness.field)[self.items]) / SECONDS_A_DAY
                left = 0.5 ** (np.maximum(days, 0) / rule.freshness.half_life_days)
                changed = self.relevance + rule.freshness.weight * np.nan_to_num(left, nan=0.0)
            else:
                continue
            for at in np.flatnonzero(changed != self.relevance).tolist():
                self.mark(at, name)
            self.relevance, self.adjusted = changed, True

    def mark(self, at: int, name: str) -> None:
        """A rule did something to a candidate."""
        self.names[at].append(name)
        self.acted.add(name)

    def slot(self, at: int) -> Slot:
        """A candidate in the list."""
        adjusted = float(self.relevance[at]) if self.adjusted else None
        return Slot(
            int(self.items[at]),
            float(self.scores[at]),
            int(self.sources[at]),
            adjusted,
            tuple(self.names[at]),
        )

    def pinned(self, pin: _Pin) -> Slot:
        """A pinned item in the list."""
        self.acted.add(pin.name)
        if pin.at < 0:
            return Slot(pin.item, float("nan"), RULE, rules=(pin.name,))
        self.mark(pin.at, pin.name)
        return self.slot(pin.at)


def _place(
    rules: NamedRules,
    k: int,
    pool: _Pool,
    catalogue: Catalogue,
    allowed: BoolArray,
    pinnable: BoolArray,
    pinned: Mapping[str, int],
) -> dict[int, _Pin]:
    """The pins by place, from 0: an earlier rule goes first, a later one takes the next free place."""
    pins: dict[int, _Pin] = {}
    for name, rule in rules:
        if rule.pin is None:
            continue
        place = next((p for p in range(rule.pin.slot - 1, k) if p not in pins), None)
        if place is None:
            continue
        free = pinnable if rule.pin.always else allowed
        if pins:
            free = free.copy()
            free[[pin.item for pin in pins.values()]] = False
        if rule.filter is not None:
            item, at = _best_of(catalogue.mask(rule.filter) & free, pool)
        else:
            item, at = _found(pinned[str(rule.pin.item)], free, pool)
        if item >= 0:
            pins[place] = _Pin(item, at, name)
    return pins


def _found(item: int, free: BoolArray, pool: _Pool) -> tuple[int, int]:
    """An item and its place in the pool; -1 where it has none, or must not be shown."""
    if item < 0 or not free[item]:
        return -1, -1
    return item, int(np.append(np.flatnonzero(pool.items == item), -1)[0])


def _best_of(wanted: BoolArray, pool: _Pool) -> tuple[int, int]:
    """The best candidate of the items (n_items,) that are marked, or else the newest of them; -1 where none is."""
    among = wanted[pool.items]
    if among.any():
        at = int(np.where(among, pool.relevance, -np.inf).argmax())
        return int(pool.items[at]), at
    return int(np.append(-1, np.flatnonzero(wanted))[-1]), -1


class _Caps:
    """How many items of each value the list has, against what it may have."""

    def __init__(self, rules: NamedRules, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._caps = [
            (name, rule.at_most, Counter[str]()) for name, rule in rules if rule.at_most is not None
        ]

    def broken(self, item: int) -> list[str]:
        """Names of the caps that the item would break."""
        return [
            name
            for name, cap, counts in self._caps
            if any(counts[value] >= cap.n for value in self._catalogue.values(cap.field, item))
        ]

    def full(self) -> dict[str, frozenset[str]]:
        """Values by field of which the list may hold no more."""
        out: dict[str, frozenset[str]] = {}
        for _, cap, counts in self._caps:
            values = frozenset(value for value, count in counts.items() if count >= cap.n)
            out[cap.field] = out.get(cap.field, frozenset()) | values
        return out

    def add(self, item: int) -> None:
        """The item is in the list."""
        for _, cap, counts in self._caps:
            counts.update(self._catalogue.values(cap.field, item))


def _choose(
    rules: NamedRules,
    room: int,
    pool: _Pool,
    pins: Mapping[int, _Pin],
    catalogue: Catalogue,
    similarity: Similarity | None,
) -> tuple[list[int], dict[str, frozenset[str]]]:
    """Candidates for the places without a pin, in order, and ``Reranked.full``. Pins count for caps and diversity."""
    ranking, diversity = _ranking(rules, pool, similarity)
    caps = _Caps(rules, catalogue)
    left = np.ones(len(pool.items), dtype=np.bool_)
    for pin in pins.values():
        caps.add(pin.item)
        if pin.at >= 0:
            left[pin.at] = False
            ranking.take(pin.at)
    chosen: list[int] = []
    passed: list[tuple[int, list[str]]] = []
    while len(chosen) < room and (at := ranking.best()) >= 0:
        if broken := caps.broken(int(pool.items[at])):
            passed.append((at, broken))
            ranking.drop(at)
        else:
            if diversity is not None and pool.relevance[at] < pool.relevance[left].max():
                pool.mark(at, diversity)
            caps.add(int(pool.items[at]))
            ranking.take(at)
            chosen.append(at)
        left[at] = False
    pool.acted.update(name for _, broken in passed for name in broken)
    full = caps.full() if passed and len(chosen) < room else {}
    for at, broken in passed[: room - len(chosen)]:
        pool.names[at].extend(name + RELAXED for name in broken)
        chosen.append(at)
    return chosen, full


def _ranking(
    rules: NamedRules, pool: _Pool, similarity: Similarity | None
) -> tuple[MarginalRelevance, str | None]:
    """The order in which candidates are taken, and the name of the rule that makes it another than relevance's."""
    found = [(name, rule.diversity.mmr) for name, rule in rules if rule.diversity is not None]
    if not found or similarity is None or not len(pool.items):
        return MarginalRelevance(pool.relevance), None
    name, weight = found[-1]
    return MarginalRelevance(pool.relevance, similarity(pool.items), weight), name
