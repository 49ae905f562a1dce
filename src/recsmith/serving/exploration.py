"""Places of a list that a policy fills: what it shows, what it learns from, and how workers agree on what it knows.

What is known of the items is one setting in the store, by raw id, so that it outlives a retraining. A worker learns
from exposures that are old enough: an item that a policy showed brought the reward of the events that echo its answer,
or nothing. The number of the newest exposure that was learned from stands beside the counts, and both are replaced
together, by a worker who began where they are: so each exposure counts once, and the others follow by ``changes``.
"""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import orjson

from recsmith.bundle import Bundle
from recsmith.models.bandits.explore import Exploration
from recsmith.models.bandits.means import ArmMeans
from recsmith.models.bandits.policy import BasePolicy
from recsmith.models.bandits.registry import create_policy
from recsmith.serving.events import EXPLORE, LoggedExposure
from recsmith.serving.settings import ExplorationSettings
from recsmith.serving.store import Store
from recsmith.types import FloatArray, IntArray, Queries, State

EXPLORED = "exploration"  #: name of what the store keeps of it
_AT_ONCE = 2000  # exposures learned from in one go


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """What was learned of the items up to an exposure; never changed, but replaced as a whole."""

    mark: int  #: ``seq`` of the newest exposure that was learned from
    items: Mapping[str, int]  #: raw id -> row of the arrays
    counts: IntArray  #: (n,) int64 rewards of each item
    sums: FloatArray  #: (n,) float64 their sum

    @classmethod
    def begin(cls, mark: int, bundle: Bundle) -> Self:
        """What the policy in a bundle has learned, or nothing."""
        if not isinstance(bundle.policy, ArmMeans):
            return cls(mark, {}, np.zeros(0, dtype=np.int64), np.zeros(0))
        shown = np.flatnonzero(bundle.policy.counts_[: bundle.data.n_items])
        ids = [str(item) for item in bundle.data.items.raw(shown)]
        return cls(
            mark,
            {item: row for row, item in enumerate(ids)},
            bundle.policy.counts_[shown],
            bundle.policy.sums_[shown],
        )

    @classmethod
    def read(cls, told: Mapping[str, Any]) -> Self:
        """What ``told`` gave."""
        items = {item: row for row, item in enumerate(told["items"])}
        return cls(
            told["mark"], items, np.array(told["counts"], dtype=np.int64), np.array(told["sums"], float)
        )

    def told(self) -> dict[str, Any]:
        """Plain values for the store."""
        return {
            "mark": self.mark,
            "items": list(self.items),
            "counts": self.counts.tolist(),
            "sums": self.sums.tolist(),
        }

    def policy(self, settings: ExplorationSettings) -> BasePolicy[Any]:
        """A policy that knows it."""
        policy = create_policy(settings.policy, **settings.parameters)
        return policy.restore(State({"counts_": self.counts, "sums_": self.sums}))

    def after(
        self, mark: int, items: Sequence[str], rewards: Sequence[float], settings: ExplorationSettings
    ) -> Known:
        """The same with the rewards of items that were shown up to the exposure ``mark``."""
        rows = dict(self.items)
        shown = np.array([rows.setdefault(item, len(rows)) for item in items], dtype=np.int64)
        policy = self.policy(settings)
        policy.update(_nobody(len(items)), shown, np.array(rewards))
        arrays = policy.state().arrays
        return Known(mark, rows, arrays["counts_"], arrays["sums_"])


class Explorer:
    """Fills places, and learns what they brought."""

    def __init__(self, store: Store, settings: ExplorationSettings, bundle: Bundle) -> None:
        """Begin with what the store knows, or else with what the policy of ``bundle`` does.

        Raises
        ------
        ParameterError
            A parameter that the policy does not have.
        StorageError
            The store cannot be reached.
        """
        create_policy(settings.policy, **settings.parameters)
        self.settings, self.source = settings, EXPLORE + settings.policy
        self._store, self._rng = store, np.random.default_rng()
        self._swap = threading.Lock()
        begin = Known.begin(store.newest_exposure(), bundle)
        store.revise_setting(EXPLORED, lambda told: begin.told() if told is None else None)
        told = Known.read(store.settings()[EXPLORED])
        self._now = told, told.policy(settings)
        self._looked = told.mark  # newest exposure that was looked at
        self._begun = store.newest_exposure()
        self._met: deque[tuple[float, int]] = (
            deque()
        )  # when, by the clock of ``learn``, which exposure was the newest
        self._waited = 0  # newest exposure that has waited long enough under the eyes of this worker

    def fill(self, ids: Sequence[str], k: int, fixed: Collection[int]) -> list[tuple[int, float | None]]:
        """What stands in each of ``k`` places of a list.

        Parameters
        ----------
        ids
            Raw ids of the list and of the candidates behind it, distinct, at least ``k``.
        fixed
            Places, from 0, that the policy must leave as they are.

        Returns
        -------
        list of (int, float or None)
            For each place the index into ``ids``, and the propensity where the policy filled it.
        """
        known, policy = self._now
        arms = {known.items.get(item, len(known.items) + n): n for n, item in enumerate(ids)}
        own = np.flatnonzero(Exploration(policy, self.settings.slots).own(k))
        places = tuple(int(place) + 1 for place in own if place not in fixed)
        if not places:
            return [(n, None) for n in range(k)]
        candidates = np.array([list(arms)], dtype=np.int32)
        found = Exploration(policy, places).lists(_nobody(1), candidates, k, rng=self._rng)
        return [
            (arms[arm], chance if mine else None)
            for arm, chance, mine in zip(
                found.items[0].tolist(), found.propensities[0].tolist(), found.explored[0], strict=True
            )
        ]

    def learn(self, now: float, clock: float) -> bool:
        """Learn from exposures that have waited long enough; whether there were any, and nobody else was faster.

        How long one has waited is counted from the first look after it, so a clock that jumps neither holds up learning
        nor ends the wait. Those that were there before this worker may also have waited by their own time.

        Parameters
        ----------
        now
            Unix seconds.
        clock
            Seconds of a clock that never jumps, ``time.monotonic()``.

        Raises
        ------
        StorageError
            The store cannot be reached; nothing was learned.
        """
        known, _ = self._now
        self._wait(clock)
        rows = self._store.exposures(max(known.mark, self._looked), _AT_ONCE)
        last = now - self.settings.wait_seconds
        ripe = list(
            itertools.takewhile(
                lambda row: row.seq <= self._waited or (row.seq <= self._begun and row.timestamp <= last),
                rows,
            )
        )
        shown = _explored(ripe)
        if not shown:
            self._looked = ripe[-1].seq if ripe else self._looked
            return False
        rewards = self._rewards(shown)
        new = known.after(ripe[-1].seq, [item for _, _, item in shown], rewards, self.settings)
        if not self._store.revise_setting(
            EXPLORED, lambda told: new.told() if told is not None and told["mark"] == known.mark else None
        ):
            return False
        self._put(new)
        return True

    def _wait(self, clock: float) -> None:
        """Note which exposure is the newest now, and up to which one the wait is over."""
        newest = self._store.newest_exposure()
        if newest > (self._met[-1][1] if self._met else self._waited):
            self._met.append((clock, newest))
        while self._met and self._met[0][0] <= clock - self.settings.wait_seconds:
            self._waited = self._met.popleft()[1]

    def take(self, told: Mapping[str, Any]) -> None:
        """Follow what another worker learned."""
        value = told.get(EXPLORED)
        if value is not None and value["mark"] != self._now[0].mark:
            self._put(Known.read(value))

    def _put(self, known: Known) -> None:
        with self._swap:
            if known.mark > self._now[0].mark:
                self._now = known, known.policy(self.settings)

    def _rewards(self, shown: Sequence[tuple[str, str, str]]) -> list[float]:
        """What was done with items that were shown: (recomm_id, user id, item id)."""
        worth: dict[tuple[str, str, str], float] = {}
        for recomm_id, user, item, kind in self._store.reactions(
            list({recomm_id for recomm_id, _, _ in shown})
        ):
            reward = self.settings.reward.get(kind, 0.0)
            for who in (user, ""):  # a list for nobody by name is everybody's
                key = (recomm_id, who, item)
                worth[key] = max(worth.get(key, 0.0), reward)
        return [worth.get(one, 0.0) for one in shown]


def _explored(rows: Sequence[LoggedExposure]) -> list[tuple[str, str, str]]:
    """Places that a policy filled, in lists that were shown: (recomm_id, user id, item id)."""
    return [
        (row.recomm_id, row.user_id, slot["item_id"])
        for row in rows
        if not row.shadow
        for slot in orjson.loads(row.items)
        if slot["source"].startswith(EXPLORE)
    ]


def _nobody(n: int) -> Queries:
    """Requests of which the policy need know nothing."""
    return Queries(
        users=np.full(n, -1, dtype=np.int32),
        offsets=np.zeros(n + 1, dtype=np.int64),
        items=np.zeros(0, dtype=np.int32),
    )
