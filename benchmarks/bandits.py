"""Policies: LinUCB's speed beside the textbook, regret in worlds with a known best item, replay on Open Bandit.

``python benchmarks/bandits.py`` writes ``runs/bandits.json``; ``--part speed|worlds|replay`` runs one of the three.
Parameters are chosen in worlds of their own; all policies then meet the same 20 others.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from recsmith.data.sources.open_bandit import CAMPAIGNS, N_POSITIONS, load
from recsmith.evaluation.replay import Learner, replay
from recsmith.evaluation.simulation import BernoulliWorld, LinearWorld, World, simulate
from recsmith.models.bandits.registry import create_policy
from recsmith.parallel import single_threaded_blas
from recsmith.tables import Table
from recsmith.types import FloatArray, IntArray, Queries

console = Console(width=140)
ARMS, WIDTH = 1000, 64  # of the test of speed
WORLDS, CHOOSING, ROUNDS, TOGETHER, DRAWS = 20, 10, 10_000, 10, 20
REPLAYED = ("epsilon-greedy", "linear-epsilon-greedy", "ucb1", "linucb", "thompson", "linear-thompson")

#: What each policy is chosen from.
GRID: Mapping[str, Sequence[Mapping[str, Any]]] = {
    "epsilon-greedy": [{"epsilon": e} for e in (0.02, 0.05, 0.1, 0.2)],
    "linear-epsilon-greedy": [{"epsilon": e} for e in (0.02, 0.05, 0.1, 0.2)],
    "ucb1": [{"width": w} for w in (0.005, 0.02, 0.1, 0.5, 2.0)],
    "linucb": [{"alpha": a} for a in (0.1, 0.25, 0.5, 1.0, 1.5)],
    "hybrid-linucb": [{"alpha": a} for a in (0.1, 0.25, 0.5, 1.0, 1.5)],
    "thompson": [{"failures": b} for b in (1.0, 4.0, 10.0, 100.0, 300.0, 1000.0)],
    "linear-thompson": [{"noise": v} for v in (0.02, 0.05, 0.1, 0.25, 0.5)],
}


class Textbook:
    """Algorithm 1 of Li et al. (2010) as it is printed: a matrix and an inverse for each arm in each call."""

    def __init__(self, alpha: float) -> None:
        self.alpha = alpha
        self.a = [np.eye(WIDTH) for _ in range(ARMS)]
        self.b = [np.zeros(WIDTH) for _ in range(ARMS)]

    def choose(self, x: FloatArray) -> int:
        """The arm with the largest bound."""
        bounds = np.empty(ARMS)
        for arm in range(ARMS):
            inverse = np.linalg.inv(self.a[arm])
            theta = inverse @ self.b[arm]
            bounds[arm] = theta @ x + self.alpha * np.sqrt(x @ inverse @ x)
        return int(bounds.argmax())

    def update(self, x: FloatArray, arm: int, reward: float) -> None:
        """Take in a reward."""
        self.a[arm] += np.outer(x, x)
        self.b[arm] += reward * x


def asked(contexts: FloatArray) -> Queries:
    """Requests without a history."""
    n = len(contexts)
    return Queries(
        users=np.full(n, -1, dtype=np.int32),
        offsets=np.zeros(n + 1, dtype=np.int64),
        items=np.zeros(0, dtype=np.int32),
        context=contexts.astype(np.float32),
    )


def moments(n: int, rng: np.random.Generator) -> FloatArray:
    """(n, WIDTH) float32 contexts of length about 1."""
    return (rng.standard_normal((n, WIDTH)) / np.sqrt(WIDTH)).astype(np.float32)


def both(weights: FloatArray, rng: np.random.Generator) -> tuple[Any, Textbook]:
    """Ours and the textbook's after five rewards of each arm."""
    ours, textbook = create_policy("linucb", alpha=0.5, intercept=False), Textbook(0.5)
    past, arms = moments(5 * ARMS, rng), np.tile(np.arange(ARMS), 5)
    rewards = np.einsum("ij,ij->i", past, weights[arms]) + rng.normal(0, 0.1, len(arms))
    ours.update(asked(past), arms, rewards)
    for x, arm, reward in zip(past.astype(np.float64), arms, rewards, strict=True):
        textbook.update(x, int(arm), float(reward))
    return ours, textbook


def speed(turns: int, calls: int) -> dict[str, Any]:
    """Choice and update of both in turns of some calls: the other's matrices are out of the caches after the first."""
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((ARMS, WIDTH)) / np.sqrt(WIDTH)
    ours, textbook = both(weights, rng)
    every = np.arange(ARMS, dtype=np.int32)[None]
    seconds: dict[str, list[float]] = {"ours": [], "textbook": []}
    same = 0
    for _ in range(turns):
        contexts, chosen = moments(calls, rng), []
        for x in contexts:
            start = time.perf_counter()
            arm = int(ours.choose(asked(x[None]), every, 1, rng=rng)[0, 0])
            ours.update(asked(x[None]), np.array([arm]), np.array([weights[arm] @ x]))
            seconds["ours"].append(time.perf_counter() - start)
            chosen.append(arm)
        with single_threaded_blas():
            for x, arm in zip(contexts.astype(np.float64), chosen, strict=True):
                start = time.perf_counter()
                printed = textbook.choose(x)
                textbook.update(x, printed, float(weights[printed] @ x))
                seconds["textbook"].append(time.perf_counter() - start)
                same += arm == printed
    medians = {name: 1000 * float(np.median(times)) for name, times in seconds.items()}
    ratio = medians["textbook"] / medians["ours"]
    return {"calls": turns * calls, "same": same, "ms": medians, "ratio": ratio}


def worlds() -> dict[str, tuple[str, Sequence[World]]]:
    """Worlds to choose parameters in, and others to compare in, each kind with the policy to compare with."""

    def bernoulli(seed: int) -> World:
        return BernoulliWorld(np.random.default_rng([1, seed]).beta(2, 8, 20))

    def linear(seed: int) -> World:
        return LinearWorld.random(20, 8, np.random.default_rng([2, seed]))

    every = range(CHOOSING + WORLDS)
    return {
        "20 items, one chance each": ("epsilon-greedy", [*map(bernoulli, every)]),
        "20 items, linear in 8": ("linear-epsilon-greedy", [*map(linear, every)]),
    }


def maker(name: str, parameters: Mapping[str, Any]) -> Callable[[], Learner]:
    """What makes a new policy."""
    return lambda: create_policy(name, **parameters)


def chosen(some: Sequence[World], rounds: int, together: int) -> dict[str, Mapping[str, Any]]:
    """The parameters of each policy that lose the least in some worlds."""
    out = {}
    for name, grid in GRID.items():
        tried = {str(n): maker(name, parameters) for n, parameters in enumerate(grid)}
        means = simulate(tried, some, rounds, reference="0", together=together).means
        out[name] = grid[int(min(means, key=means.__getitem__))]
    return out


def show_regret(
    title: str, some: Sequence[World], rounds: int, together: int, reference: str = "epsilon-greedy"
) -> dict[str, Any]:
    """All policies in the worlds behind those that their parameters were chosen in."""
    parameters = chosen(some[:CHOOSING], rounds, together)
    makers = {name: maker(name, given) for name, given in parameters.items()}
    found = simulate(makers, some[CHOOSING:], rounds, reference=reference, together=together, seed=1)
    console.print(f"{title}; parameters {parameters}")
    console.print(found)
    return {"parameters": parameters, **found.as_dict()}


def logged(campaign: str) -> tuple[Queries, IntArray, FloatArray, FloatArray, int]:
    """Contexts, actions, rewards and propensities of a campaign's random log, and the number of its items."""
    log = load("random", campaign)
    positions = np.eye(N_POSITIONS)[log.rounds["position"].to_numpy()][:, 1:]
    contexts = np.column_stack([log.context().to_numpy(), positions])
    columns = (log.rounds[name].to_numpy() for name in ("action", "reward", "propensity"))
    actions, rewards, propensities = columns
    return asked(contexts), actions, rewards.astype(np.float64), propensities, log.items.height


def replayed(campaign: str, draws: int) -> dict[str, Any]:
    """Mean reward of each policy in rounds drawn with replacement from the log, and its gain over epsilon-greedy."""
    queries, actions, rewards, propensities, n_items = logged(campaign)
    every = np.arange(n_items, dtype=np.int32)
    figures: dict[str, list[float]] = {name: [] for name in REPLAYED}
    matches = []
    for draw in range(draws):
        rows = np.random.default_rng(draw).integers(0, len(actions), len(actions))  # in no order: twins apart
        part = (queries.take(rows), actions[rows], rewards[rows], every)
        for name in REPLAYED:
            found = replay(create_policy(name), *part, propensities=propensities[rows], seed=draw)
            figures[name].append(found.reward)
            matches.append(len(found.rows))
    drawn = {name: np.array(values) for name, values in figures.items()}
    out: dict[str, Any] = {
        "rounds": len(actions),
        "logged": rewards.mean(),
        "matches": float(np.mean(matches)),
    }
    for name, values in drawn.items():
        gain = values - drawn["epsilon-greedy"]
        out[name] = {
            "reward": values.mean(), "interval": np.quantile(values, [0.025, 0.975]).tolist(),
            "gain": gain.mean(), "gain_interval": np.quantile(gain, [0.025, 0.975]).tolist(),
        }  # fmt: skip
    return out


def rates(campaign: str) -> World:
    """A world with the click rates of a campaign's random log."""
    _, actions, rewards, _, n_items = logged(campaign)
    shown = np.bincount(actions, minlength=n_items)
    return BernoulliWorld(np.bincount(actions, weights=rewards, minlength=n_items) / np.maximum(shown, 1))


def show_replay(campaign: str, found: Mapping[str, Any]) -> None:
    """A table of ``replayed``."""
    columns = ("policy", "clicks per 1,000", "95 %", "less epsilon-greedy's", "95 % ")
    rows = [
        (name, f"{1000 * f['reward']:.2f}", _per_thousand(f["interval"]), f"{1000 * f['gain']:+.2f}",
         _per_thousand(f["gain_interval"]))
        for name, f in found.items() if isinstance(f, dict)
    ]  # fmt: skip
    title = (
        f"Open Bandit, campaign {campaign}: {found['rounds']:,} rounds, {found['matches']:.0f} count, "
        f"random has {1000 * found['logged']:.2f}"
    )
    console.print(Table(title, columns, rows, numbers=columns[1:]))


def _per_thousand(bounds: Sequence[float]) -> str:
    return f"{1000 * bounds[0]:.2f} to {1000 * bounds[1]:.2f}"


def main() -> None:
    """Run the parts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", choices=("speed", "worlds", "replay", "all"), default="all")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="In the worlds.")
    parser.add_argument("--out", type=Path, default=Path("runs") / "bandits.json")
    options = parser.parse_args()
    results: dict[str, Any] = {}
    if options.part in ("speed", "all"):
        results["speed"] = found = speed(6, 10)
        title = (
            f"LinUCB, {ARMS:,} arms x {WIDTH} features, choice and update: x{found['ratio']:.0f}, "
            f"{found['same']} of {found['calls']} choices alike"
        )
        console.print(Table(title, ("", "ms"), list(found["ms"].items()), numbers=("ms",)))
    if options.part in ("worlds", "all"):
        for title, (reference, some) in worlds().items():
            results[title] = show_regret(title, some, options.rounds, TOGETHER, reference)
    if options.part in ("replay", "all"):
        for name in CAMPAIGNS:
            results[f"replay {name}"] = found = replayed(name, DRAWS)
            show_replay(name, found)
        title = "80 items with the click rates of Open Bandit's random log"
        results[title] = show_regret(title, [rates("all")] * (CHOOSING + WORLDS), 50_000, 100)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(results, indent=1), encoding="utf-8")
    console.print(f"Written to {options.out}")


if __name__ == "__main__":
    main()
