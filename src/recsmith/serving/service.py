"""The service without HTTP: what it knows, how it stays up to date, and how it answers."""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import TypeAlias

import numpy as np
import orjson

from recsmith.errors import RecsmithError, StorageError
from recsmith.serving.answers import Answer, ResponseCache
from recsmith.serving.control import Control
from recsmith.serving.deployment import Active, Assignment, Deployment
from recsmith.serving.dry_run import DryRun, dry_run
from recsmith.serving.events import NewEvent
from recsmith.serving.exploration import Explorer
from recsmith.serving.histories import Histories, History, Seen
from recsmith.serving.lists import Asked, Lister
from recsmith.serving.rules import Rules
from recsmith.serving.schemas import RecommendRequest
from recsmith.serving.settings import Settings
from recsmith.serving.shared import Shared
from recsmith.serving.store import Store
from recsmith.serving.sync import Sync
from recsmith.types import IntArray

Wanted: TypeAlias = tuple[RecommendRequest, Seen, Assignment | None]

log = logging.getLogger("recsmith.serving")
_NOBODY = Seen()


@dataclass(frozen=True, slots=True, eq=False)
class Told:
    """An answer, and those that shadows would have given."""

    answer: Answer
    shadows: Sequence[Answer] = ()
    cached: bool = False
    degraded: bool = False  #: made without what the store may know
    mark: int = 0  #: the change up to which it knows the store


class Service:
    """Answers from an active bundle, the store's events and the rules.

    Many threads may answer. What is known is read and brought up to date by one at a time; lists are made side by
    side, each from what was known when it was begun.
    """

    def __init__(self, store: Store, settings: Settings, bundle: Path, shared: Shared | None = None) -> None:
        """``bundle`` answers, unless the store says that an administrator activated another one since it was served.

        Raises
        ------
        BundleError
            The bundle is damaged.
        StorageError
            The store cannot be reached.
        """
        self.store, self.settings, self.shared = store, settings, shared
        mark = store.mark()
        self._histories = Histories(store, settings.users_in_memory, settings.history_length)
        self.cache = ResponseCache(settings.cache_bytes, settings.answers_seconds)
        self._one_at_a_time = threading.RLock()
        self.control = Control(store, settings, bundle, mark)
        explored = settings.exploration
        self.explorer = None if explored is None else Explorer(store, explored, self.active.main.bundle)
        if explored is not None and (strange := sorted(set(explored.reward) - set(settings.signals))):
            log.warning("exploration is rewarded by events that are no signal here: %s", ", ".join(strange))
        self.sync = Sync(store, self._histories, self.control, self.explorer, mark)

    @property
    def degraded(self) -> str | None:
        """Why answers may be behind; None while all is well."""
        return self.sync.behind

    @property
    def active(self) -> Active:
        """What answers now."""
        return self.control.active

    @property
    def rules(self) -> Rules:
        """The rules that are followed now."""
        return self.control.rules

    # --- asking ---------------------------------------------------------------------------------------------

    def answer(self, requests: Sequence[RecommendRequest]) -> list[Told | Exception]:
        """A list for each request, or what is wrong with it."""
        with self._one_at_a_time:
            self.sync.refresh()
            active, rules, now = self.active, self.rules, time.time()
            seen = self._seen([r.user_id for r in requests])
        out: list[Told | Exception | None] = [None] * len(requests)
        groups: dict[str, list[int]] = defaultdict(list)
        chosen = [active.choose(r.user_id) for r in requests]
        for row, (deployment, _) in enumerate(chosen):
            groups[deployment.version].append(row)
        for rows in groups.values():
            deployment = chosen[rows[0]][0]
            keys = {r: self._key(requests[r], seen[r], deployment, rules, chosen[r][1]) for r in rows}
            found = self._found([key for key in keys.values() if key is not None])
            missing = [r for r in rows if (key := keys[r]) is None or key not in found]
            wanted = [(requests[r], seen[r], chosen[r][1]) for r in missing]
            answers = self._made(deployment, rules, now, wanted, self.explorer)
            made = dict(zip(missing, answers, strict=True))
            for r in rows:
                answer = made[r] if r in made else found[keys[r]]  # type: ignore[index]
                out[r] = answer if isinstance(answer, Exception) else self._told(answer, cached=r not in made)
            new = ((keys[r], answer) for r, answer in made.items())
            self._keep({key: one for key, one in new if key is not None and isinstance(one, Answer)})
        told: list[Told | Exception] = out  # type: ignore[assignment]
        return self._shadowed(told, requests, seen, active, rules, now) if active.shadows() else told

    def kept(self, request: RecommendRequest) -> Told | None:
        """An answer that is in memory and up to date; None where that takes longer to know than microseconds."""
        if not self._one_at_a_time.acquire(blocking=False):
            return None
        try:
            if not self.store.unchanged(self.sync.mark) or self.active.shadows():
                return None
            seen = _NOBODY if request.user_id is None else self._histories.peek(request.user_id)
            if seen is None:
                return None
            deployment, assigned = self.active.choose(request.user_id)
            key = self._key(request, seen, deployment, self.rules, assigned)
            answer = None if key is None else self.cache.get(key)
            return None if answer is None else self._told(answer, cached=True)
        except StorageError:
            return None
        finally:
            self._one_at_a_time.release()

    def _told(self, answer: Answer, *, cached: bool) -> Told:
        return Told(answer, cached=cached, degraded=self.degraded is not None, mark=self.sync.mark)

    def history(self, user: str, deployment: Deployment | None = None) -> tuple[History, Seen]:
        """What is known of a user, in the index space of a bundle, and his events in the store."""
        with self._one_at_a_time:
            self.refresh()
            deployment = deployment or self.active.choose(user)[0]
            (seen,) = self._seen([user])
            return deployment.histories([user], [seen])[0], seen

    def asked(self, request: RecommendRequest) -> tuple[Lister, Asked]:
        """What a list for a request is made with; for explanations."""
        with self._one_at_a_time:
            self.refresh()
            deployment, assigned = self.active.choose(request.user_id)
            (seen,) = self._seen([request.user_id])
            rules = self.rules
            (one,) = self._asked(deployment, [(request, seen, assigned)], rules)
            return Lister(deployment, rules, time.time()), one

    def _seen(self, users: Sequence[str | None]) -> list[Seen]:
        known = [user for user in users if user is not None]
        found = dict(zip(known, self.sync.seen(known), strict=True))
        return [_NOBODY if user is None else found[user] for user in users]

    def _asked(
        self,
        deployment: Deployment,
        wanted: Sequence[Wanted],
        rules: Rules,
    ) -> list[Asked]:
        histories = deployment.histories([r.user_id for r, _, _ in wanted], [s for _, s, _ in wanted])
        out = []
        for (request, seen, assigned), history in zip(wanted, histories, strict=True):
            if request.context.recent_items:
                history = deployment.session(history, request.context.recent_items, int(time.time()))
            bought = self._bought(deployment, request, seen, rules)
            out.append(Asked(request, history, bought, assigned))
        return out

    def _bought(
        self, deployment: Deployment, request: RecommendRequest, seen: Seen, rules: Rules
    ) -> IntArray | None:
        """Items that a rule hides since the user has had them; None where no rule asks."""
        if not any(rule.already_bought is not None for rule in rules.rules):
            return None
        events = (*seen.older, *seen.events)
        items = deployment.catalogue.index([e.item_id for e in events])
        times = np.array([e.timestamp for e in events], dtype=np.int64)
        kinds = [e.event_type for e in events]
        return rules.bought(items, times, kinds, request.context.model_dump(), int(time.time()))

    def _made(
        self,
        deployment: Deployment,
        rules: Rules,
        now: float,
        wanted: Sequence[Wanted],
        explorer: Explorer | None = None,
    ) -> list[Answer | Exception]:
        """New answers; where one request is at fault the others are made without it."""
        if not wanted:
            return []
        try:
            lister = Lister(deployment, rules, now, explorer)
            return list(lister.answers(self._asked(deployment, wanted, rules)))
        except RecsmithError as error:
            if len(wanted) == 1:
                return [error]
        return [self._made(deployment, rules, now, [one], explorer)[0] for one in wanted]

    def _key(
        self,
        request: RecommendRequest,
        seen: Seen,
        deployment: Deployment,
        rules: Rules,
        assigned: Assignment | None,
    ) -> bytes | None:
        """A digest of what an answer depends on; None: it is made anew each time."""
        explored = self.explorer is not None and request.explore
        if request.explain or explored or not self.settings.cache_bytes:
            return None
        context = request.context.model_extra or {}
        parts = (
            request.user_id, seen.version, seen.erased, deployment.version, deployment.items_version, rules.version,
            assigned, request.num_recommendations, request.exclude_items, request.include_seen, request.include_items,
            request.filters, request.context.recent_items,
            [(name, context[name]) for name in rules.context_fields if name in context],
        )  # fmt: skip
        return blake2b(repr(parts).encode("utf-8", "surrogatepass"), digest_size=20).digest()

    def _found(self, keys: Sequence[bytes]) -> dict[bytes, Answer]:
        """Answers that are cached, here or by another worker."""
        found = {key: answer for key in keys if (answer := self.cache.get(key)) is not None}
        missing = [key for key in dict.fromkeys(keys) if key not in found]
        if missing and self.shared is not None:
            for key, answer in zip(missing, self.shared.get(missing), strict=True):
                if answer is not None:
                    found[key] = answer
                    self.cache.put(key, answer)
        return found

    def _keep(self, answers: Mapping[bytes, Answer]) -> None:
        for key, answer in answers.items():
            self.cache.put(key, answer)
        if answers and self.shared is not None:
            self.shared.put(answers, self.settings.answers_seconds)

    def _shadowed(
        self,
        told: Sequence[Told | Exception],
        requests: Sequence[RecommendRequest],
        seen: Sequence[Seen],
        active: Active,
        rules: Rules,
        now: float,
    ) -> list[Told | Exception]:
        """The same with what the shadows would have answered."""
        out = list(told)
        for deployment, assigned in active.shadows():
            wanted = [(r, s, assigned) for r, s in zip(requests, seen, strict=True)]
            made = self._made(deployment, rules, now, wanted)
            for row, answer in enumerate(made):
                one = out[row]
                if isinstance(one, Told) and isinstance(answer, Answer):
                    out[row] = replace(one, shadows=(*one.shadows, answer))
        return out

    @property
    def event_types(self) -> frozenset[str]:
        """Types of events that something is made of: signals, rewards of exploration, and what rules look at."""
        explored = self.settings.exploration
        ruled = (r.already_bought.events for r in self.rules.rules if r.already_bought is not None)
        rewarded = () if explored is None else explored.reward
        return frozenset(self.settings.signals).union(rewarded, *ruled)

    # --- staying up to date ---------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Take in what was committed since the last call; where the store is out of reach, go on with what is known."""
        with self._one_at_a_time:
            self.sync.refresh()
        self.control.look()

    def recover(self) -> None:
        """Catch up where the store could not be read; answers go on meanwhile."""
        self.sync.recover(self._one_at_a_time)

    def learn(self) -> None:
        """Let the policy that fills places learn what they brought; where the store is out of reach it learns later."""
        if self.explorer is not None:
            with suppress(StorageError):
                while self.explorer.learn(time.time(), time.monotonic()):
                    pass

    def dry_run(self, text: str, requests: int) -> DryRun:
        """What other rules would change in the latest lists that were answered; nothing is changed.

        Raises
        ------
        ParameterError
            The text is no set of rules, or one that does not fit the catalogue.
        """
        new = Rules.read(text, "the rules")
        deployment = self.active.main
        logged = []
        for exposure in self.store.latest_exposures(requests):
            k = max(len(orjson.loads(exposure.items)), 1)
            request = RecommendRequest(user_id=exposure.user_id or None, num_recommendations=k)
            lister, one = self.asked(request)
            logged.append(
                lister.logged(one, max(new.depth(k, one.context), self.rules.depth(k, one.context)))
            )
        return dry_run(new, self.rules, logged, deployment.catalogue, Lister(deployment, new, 0).similarity)

    def record(self, events: Sequence[NewEvent]) -> list[bool]:
        """Store events; see ``Store.add_events``."""
        return self.store.add_events(events)
