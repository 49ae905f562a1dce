"""Worlds whose best choice is known, and what policies lose in them by not knowing it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np

from recsmith.errors import ParameterError
from recsmith.evaluation.replay import Learner
from recsmith.evaluation.significance import Interval, Sample, holm, intervals, paired_p
from recsmith.tables import Table
from recsmith.types import FloatArray, Queries


class World(Protocol):
    """Contexts, and the chance of each item to be taken in each of them."""

    n_items: int

    def contexts(self, rounds: int, rng: np.random.Generator) -> FloatArray:
        """(rounds, d) float32."""
        ...

    def means(self, contexts: FloatArray) -> FloatArray:
        """(rounds, n_items) float64 chance of a reward of 1, in [0, 1]."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class BernoulliWorld:
    """Every item has one chance, whoever asks. Contexts are a single 0, which says nothing."""

    chances: FloatArray  #: (n_items,) in [0, 1]

    def __post_init__(self) -> None:
        given = np.asarray(self.chances, dtype=np.float64)
        if given.ndim != 1 or not len(given) or not ((given >= 0) & (given <= 1)).all():
            raise ParameterError.of("BernoulliWorld", "chances", "one or more in [0, 1]", self.chances)

    @property
    def n_items(self) -> int:
        """Number of items."""
        return len(self.chances)

    def contexts(self, rounds: int, rng: np.random.Generator) -> FloatArray:
        """(rounds, 1) zeros."""
        return np.zeros((rounds, 1), dtype=np.float32)

    def means(self, contexts: FloatArray) -> FloatArray:
        """(rounds, n_items) the same chances in every round."""
        return np.broadcast_to(np.asarray(self.chances, dtype=np.float64), (len(contexts), self.n_items))


@dataclass(frozen=True, slots=True, eq=False)
class LinearWorld:
    """An item's chance is ``(1 + x' w) / 2`` for contexts x and weights w of length 1."""

    weights: FloatArray  #: (n_items, d), rows of length <= 1

    def __post_init__(self) -> None:
        given = np.asarray(self.weights)
        if given.ndim != 2 or not len(given) or not (np.linalg.norm(given, axis=1) <= 1 + 1e-6).all():
            raise ParameterError.of("LinearWorld", "weights", "(n_items, d), rows of length <= 1", given)

    @classmethod
    def random(cls, n_items: int, width: int, rng: np.random.Generator) -> Self:
        """Weights in all directions alike."""
        return cls(_directions(n_items, width, rng))

    @property
    def n_items(self) -> int:
        """Number of items."""
        return len(self.weights)

    def contexts(self, rounds: int, rng: np.random.Generator) -> FloatArray:
        """(rounds, d) of length 1, in all directions alike."""
        return _directions(rounds, self.weights.shape[1], rng).astype(np.float32)

    def means(self, contexts: FloatArray) -> FloatArray:
        """(rounds, n_items)."""
        return np.clip((1 + np.asarray(contexts, dtype=np.float64) @ self.weights.T) / 2, 0, 1)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Regret:
    """What policies lost in the same worlds against always choosing the best item."""

    rounds: int
    level: float
    reference: str
    curves: Mapping[str, FloatArray]  #: policy -> (worlds, rounds) float64 sum of what was lost so far
    intervals: Mapping[str, Interval]  #: of the mean regret at the end, bootstrap over worlds
    differences: Mapping[str, Interval]  #: of the mean regret less the reference's, in the same worlds
    p: Mapping[str, float]  #: paired t test against the reference, corrected by Holm

    @property
    def means(self) -> dict[str, float]:
        """Mean regret at the end."""
        return {name: float(curve[:, -1].mean()) for name, curve in self.curves.items()}

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON, without the curves."""
        found = self.means
        return {
            "rounds": self.rounds,
            "worlds": len(self.curves[self.reference]),
            "level": self.level,
            "reference": self.reference,
            "policies": {
                name: {
                    "regret": mean,
                    "interval": list(self.intervals[name]),
                    "difference": mean - found[self.reference],
                    "difference_interval": list(self.differences[name]),
                    "p": self.p.get(name),
                }
                for name, mean in found.items()
            },
        }

    def __rich__(self) -> Table:
        bound = f"{100 * self.level:g} %"
        columns = ("policy", "regret", bound, f"less {self.reference}'s", f"{bound} ", "p (Holm)")
        found = self.means
        rows = [
            (name, mean, _written(self.intervals[name]), mean - found[self.reference],
             _written(self.differences[name]), self.p.get(name))
            for name, mean in sorted(found.items(), key=lambda pair: pair[1])
        ]  # fmt: skip
        title = f"Regret after {self.rounds:,} rounds in {len(self.curves[self.reference])} worlds"
        return Table(title, columns, rows, numbers=columns[1:])


def simulate(
    policies: Mapping[str, Callable[[], Learner]],
    worlds: Sequence[World],
    rounds: int,
    *,
    reference: str,
    together: int = 1,
    level: float = 0.95,
    seed: int = 0,
) -> Regret:
    """Let policies learn in worlds, each from the beginning in every one.

    In a world all policies meet the same contexts, and an item that several of them choose in a round brings them the
    same reward.

    Parameters
    ----------
    policies
        What makes a new policy, by name.
    worlds
        Two or more: intervals are over them.
    rounds
        In each world, >= 1.
    reference
        The policy that the others are compared with.
    together
        Rounds that are answered before the policy learns of them, >= 1.

    Raises
    ------
    ParameterError
        Fewer than two worlds, an unknown reference, or a number that is too small.
    """
    if reference not in policies:
        raise ParameterError.unknown("policy of this simulation", reference, policies)
    for name, given, least in (("worlds", len(worlds), 2), ("rounds", rounds, 1), ("together", together, 1)):
        if given < least:
            raise ParameterError.of("simulate", name, f">= {least}", given)
    lost = {
        name: np.array([_lost(make(), world, rounds, together, [seed, w]) for w, world in enumerate(worlds)])
        for name, make in policies.items()
    }
    samples = {name: Sample.of_users(steps.sum(axis=1)) for name, steps in lost.items()}
    others = [name for name in policies if name != reference]
    p = holm([paired_p(samples[name], samples[reference], test="t") for name in others])
    return Regret(
        rounds=rounds,
        level=level,
        reference=reference,
        curves={name: steps.cumsum(axis=1) for name, steps in lost.items()},
        intervals=intervals(samples, level=level, seed=seed),
        differences=intervals(samples, against=reference, level=level, seed=seed),
        p=dict(zip(others, p, strict=True)),
    )


def _lost(policy: Learner, world: World, rounds: int, together: int, seed: Sequence[int]) -> FloatArray:
    """(rounds,) chance of the best item less that of the chosen one."""
    rng, own = np.random.default_rng([*seed, 0]), np.random.default_rng([*seed, 1])
    contexts = world.contexts(rounds, rng)
    means = world.means(contexts)
    taken = rng.random(means.shape) < means
    asked = Queries(
        users=np.full(rounds, -1, dtype=np.int32),
        offsets=np.zeros(rounds + 1, dtype=np.int64),
        items=np.zeros(0, dtype=np.int32),
        context=contexts,
    )
    every = np.arange(world.n_items, dtype=np.int32)
    chosen = np.empty(rounds, dtype=np.int64)
    for start in range(0, rounds, together):
        block = slice(start, min(start + together, rounds))
        part = asked.take(block)
        items = policy.choose(part, np.broadcast_to(every, (len(part), len(every))), 1, rng=own)[:, 0]
        policy.update(part, items, taken[np.arange(block.start, block.stop), items].astype(np.float64))
        chosen[block] = items
    return np.asarray(means.max(axis=1) - means[np.arange(rounds), chosen])


def _directions(n: int, width: int, rng: np.random.Generator) -> FloatArray:
    found = rng.standard_normal((n, width))
    return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True))


def _written(interval: Interval) -> str:
    return f"{interval.low:.1f} to {interval.high:.1f}"
