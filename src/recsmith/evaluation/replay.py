"""What a learning policy would have earned, from a log whose actions were drawn evenly.

L. Li, W. Chu, J. Langford, X. Wang, "Unbiased Offline Evaluation of Contextual-bandit-based News Article Recommendation
Algorithms", WSDM 2011, algorithm 2: a round counts where the policy chooses what was logged, and only then the policy
learns from it. As the log was drawn evenly, the rounds that count are a fair sample, whatever was learned before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from recsmith.errors import DataError, ParameterError
from recsmith.evaluation.significance import Interval, Sample, intervals
from recsmith.tables import Table
from recsmith.types import FloatArray, IntArray, Queries


class Learner(Protocol):
    """What is replayed: a policy that is not asked how likely its choices were."""

    def choose(self, queries: Queries, candidates: IntArray, k: int, *, rng: np.random.Generator) -> IntArray:
        """(n, k) items."""
        ...

    def update(self, queries: Queries, items: IntArray, rewards: FloatArray) -> None:
        """Learn from what the chosen items brought."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Replay:
    """The rounds of a log in which a policy chose what was logged."""

    policy: str
    rounds: int  #: of the log
    rows: IntArray  #: (t,) int64 the rounds that counted, in order
    rewards: FloatArray  #: (t,) float64 what they brought
    logged: float  #: mean reward of all rounds of the log
    level: float
    interval: Interval  #: bootstrap over the rounds that counted, as if they were independent; one run of one policy

    @property
    def reward(self) -> float:
        """Mean reward of the rounds that counted; NaN without any."""
        return Sample.of_users(self.rewards).estimate()

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; NaN is None."""
        values = {"reward": self.reward, "low": self.interval.low, "high": self.interval.high}
        return {
            "policy": self.policy,
            "rounds": self.rounds,
            "matches": len(self.rows),
            "logged": self.logged,
            "level": self.level,
            **{name: None if np.isnan(value) else value for name, value in values.items()},
        }

    def __rich__(self) -> Table:
        columns = ("policy", "reward", f"{100 * self.level:g} %", "matches", "logged")
        row = (self.policy, self.reward, list(self.interval), len(self.rows), self.logged)
        return Table(f"Replay of {self.rounds:,} rounds", columns, [row], numbers=columns[1:])


def replay(
    policy: Learner,
    queries: Queries,
    actions: IntArray,
    rewards: FloatArray,
    candidates: IntArray,
    *,
    propensities: FloatArray | None = None,
    name: str | None = None,
    level: float = 0.95,
    seed: int = 0,
) -> Replay:
    """Let a policy learn from a log of evenly drawn actions, and judge it by the rounds in which it agreed.

    Between two agreements the policy does not change, so it is asked for as many rounds at once as there are
    candidates; its choices for rounds behind an agreement are thrown away and made anew.

    Parameters
    ----------
    policy
        It learns: give a new one.
    queries
        (n,) rounds of the log in order, with the context that the policy wants.
    actions, rewards
        (n,) item that was shown, and what it brought.
    candidates
        (m,) or (n, m) items from which the log drew, in each round every one with probability 1 / m.
    propensities
        (n,) of the log, where they are known: they are checked to be even.
    seed
        Of the policy's choices.

    Raises
    ------
    DataError
        Propensities that are not even, or an action that is no candidate.
    ParameterError
        No rounds, lengths that differ, or a ``level`` outside (0, 1).
    """
    actions, rewards = np.asarray(actions), np.asarray(rewards, dtype=np.float64)
    offered = np.broadcast_to(candidates, (len(queries), np.shape(candidates)[-1]))
    _check(queries, actions, rewards, offered, propensities)
    rng, rows = np.random.default_rng(seed), []
    start, step = 0, offered.shape[1]
    while start < len(actions):
        block = slice(start, min(start + step, len(actions)))
        chosen = policy.choose(queries.take(block), offered[block], 1, rng=rng)[:, 0]
        agreed = np.flatnonzero(chosen == actions[block])
        if not len(agreed):
            start = block.stop
            continue
        row = start + int(agreed[0])
        one = slice(row, row + 1)
        policy.update(queries.take(one), actions[one], rewards[one])
        rows.append(row)
        start = row + 1
    found = np.array(rows, dtype=np.int64)
    return Replay(
        policy=name or type(policy).__name__,
        rounds=len(actions),
        rows=found,
        rewards=rewards[found],
        logged=float(rewards.mean()),
        level=level,
        interval=intervals({"reward": Sample.of_users(rewards[found])}, level=level)["reward"],
    )


def _check(
    queries: Queries,
    actions: IntArray,
    rewards: FloatArray,
    candidates: IntArray,
    propensities: FloatArray | None,
) -> None:
    n = len(queries)
    if not n:
        raise ParameterError.of("replay", "queries", "at least one round", n)
    for name, array in (("actions", actions), ("rewards", rewards), ("propensities", propensities)):
        if array is not None and np.shape(array) != (n,):
            raise ParameterError.of("replay", name, f"of shape ({n},)", np.shape(array))
    if not np.isfinite(rewards).all():
        raise DataError(
            f"The reward of round {int(np.flatnonzero(~np.isfinite(rewards))[0])} is not a number."
        )
    strange = np.flatnonzero(~(candidates == actions[:, None]).any(axis=1))
    if len(strange):
        row = int(strange[0])
        raise DataError(f"The action {int(actions[row])} of round {row} is none of its candidates.")
    if propensities is not None and not np.allclose(propensities, 1 / candidates.shape[1], rtol=1e-3):
        wrong = ~np.isclose(propensities, 1 / candidates.shape[1], rtol=1e-3)
        row = int(np.flatnonzero(wrong)[0])
        raise DataError(
            f"Replay wants a log that was drawn evenly: each propensity 1 / {candidates.shape[1]}. "
            f"Got {float(np.asarray(propensities)[row]):g} in round {row}. Use an estimator that weighs instead."
        )
