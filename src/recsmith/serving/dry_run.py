"""What another set of rules would change in lists that were logged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from recsmith.serving.catalogue import Catalogue
from recsmith.serving.rerank import Candidates, Similarity, Slot
from recsmith.serving.rules import More, Rules
from recsmith.types import IntArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LoggedRequest:
    """A request that was answered, with candidates that no rule has hidden any of."""

    user: str
    k: int  #: length of the list
    now: int  #: Unix seconds
    candidates: Candidates  #: deep enough for both sets of rules: see ``Rules.depth``
    context: Mapping[str, Any] = field(default_factory=dict)
    withheld: IntArray | None = None  #: as ``Rules.apply`` takes it
    personal: IntArray | None = None  #: likewise
    more: More | None = None  #: likewise


@dataclass(frozen=True, slots=True)
class Change:
    """One list under the new rules against the same under the old. Items by id, slots from 1."""

    user: str
    came: tuple[str, ...]  #: in the new list only, in its order
    gone: tuple[str, ...]  #: in the old list only, in its order
    moved: tuple[tuple[str, int, int], ...]  #: in both: item, old slot, new slot


@dataclass(frozen=True, slots=True)
class DryRun:
    """What would change."""

    requests: int  #: that were looked at
    changes: tuple[Change, ...]  #: one for each list that would be another, in the order of the requests
    acted: Mapping[str, int]  #: requests in which each new rule did something; ``already_bought`` acts before

    @property
    def share(self) -> float:
        """Share of the lists that would be another, 0 .. 1."""
        return len(self.changes) / self.requests if self.requests else 0.0


def dry_run(
    new: Rules,
    old: Rules,
    logged: Iterable[LoggedRequest],
    catalogue: Catalogue,
    similarity: Similarity | None = None,
) -> DryRun:
    """Apply two sets of rules to logged requests and compare the lists.

    Parameters
    ----------
    new, old
        The rules that might come and those that hold.
    logged
        The requests. They are read once, one by one.
    catalogue
        The items as they are now.
    similarity
        As ``Rules.apply`` takes it.

    Raises
    ------
    ParameterError
        A rule looks at a field that no item has.
    """
    new.check(catalogue)
    requests, changes, acted = 0, [], Counter(dict.fromkeys(new.names, 0))
    for request in logged:
        requests += 1
        before, after = (_applied(rules, request, catalogue, similarity) for rules in (old, new))
        if (change := _change(request.user, before[0], after[0], catalogue)) is not None:
            changes.append(change)
        acted.update(after[1])
    return DryRun(requests, tuple(changes), dict(acted))


def _applied(
    rules: Rules, request: LoggedRequest, catalogue: Catalogue, similarity: Similarity | None
) -> tuple[list[Slot], set[str]]:
    """The list, and the names of the rules that did something to it or to its candidates."""
    result = rules.apply(
        request.k,
        request.candidates,
        catalogue,
        request.context,
        withheld=request.withheld,
        personal=request.personal,
        more=request.more,
        similarity=similarity,
        now=request.now,
    )
    items = request.candidates.items
    present = items[items >= 0]
    hid = {name for name, hidden in rules.hiding(catalogue, request.context) if hidden[present].any()}
    return result.slots, hid | result.acted


def _change(user: str, before: list[Slot], after: list[Slot], catalogue: Catalogue) -> Change | None:
    """What is different; None where nothing is."""
    old = {slot.item: place for place, slot in enumerate(before, 1)}
    new = {slot.item: place for place, slot in enumerate(after, 1)}
    if old == new:
        return None
    ids = dict(zip([*old, *new], catalogue.raw(np.array([*old, *new])), strict=True))
    return Change(
        user,
        tuple(ids[item] for item in new if item not in old),
        tuple(ids[item] for item in old if item not in new),
        tuple((ids[item], old[item], new[item]) for item in new if old.get(item, new[item]) != new[item]),
    )
