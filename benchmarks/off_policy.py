"""Off-policy estimates beside the Open Bandit Pipeline: the same logs, targets and predicted rewards for both.

``python benchmarks/off_policy.py`` runs all parts, ``python benchmarks/off_policy.py open-bandit`` one of

- ``open-bandit``: what Thompson sampling would have earned, from the log of the uniform policy, campaign "all", on
  resampled logs as in obp's ``examples/obd``; the error is against the mean reward of Thompson sampling's own log;
- ``synthetic``: 10,000 rounds, 30 actions, 5 features, ``beta = -3`` as in obp's ``examples/synthetic``;
- ``lists``: logged lists of three;
- ``coverage``: how often the 95 % interval of each estimator holds the true reward, without the peer
  (``harness/coverage.py``).

Predicted rewards are obp's (logistic regression, C = 100, three folds), so that the estimators are compared and not the
regressions; the column "own regression" has recsmith's. Where "recsmith" and "obp" stand beside one another, tau and
strength are 1; in the other columns the log chooses them, by SLOPE from obp's candidates, or by a rule from recsmith's.
Results go to ``runs/off_policy.json``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from rich.console import Console
from rich.table import Table

from recsmith.data.sources.open_bandit import N_POSITIONS, OpenBandit, load
from recsmith.evaluation.off_policy import (
    LoggedBandit,
    LoggedSlates,
    OffPolicyResult,
    cross_fitted,
    evaluate_policy,
    evaluate_slates,
    thompson_probabilities,
)

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.insert(0, str(HERE))

from harness.coverage import coverage_table, covered  # noqa: E402
from harness.environments import Peers  # noqa: E402
from harness.machine import machine  # noqa: E402
from harness.workers import Worker  # noqa: E402

_SECONDS = 600.0  # that the peer may take for one job
RESAMPLES = 100  # of an interval: obp's default
GIVEN = {"switch-dr": 1.0, "dros": 1.0}  # obp 0.4.1 does not choose these by itself
REG = 0.01  # of the own regression: C = 100
#: From which obp's examples let SLOPE choose.
CANDIDATES = (10.0, 50.0, 100.0, 500.0, 1000.0, 5000.0, 10_000.0, float("inf"))
Arrays = Mapping[str, Any]


class Obp:
    """The peer's runner."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def worker(self) -> Worker:
        """Started by the first job: not every part has one."""
        return Worker(Peers(HERE / "peers", ROOT / ".bench").command("obp"))

    def close(self) -> None:
        """End it, if it was started."""
        if "worker" in vars(self):
            self.worker.close()

    def ask(self, job: str, arrays: Arrays, **settings: Any) -> tuple[dict[str, Any], dict[str, float]]:
        """Output arrays and seconds."""
        np.savez(self.folder / "in.npz", **arrays)
        source, target = self.folder / "in.npz", self.folder / "out.npz"
        answer = self.worker.ask(job, source, target, settings, seconds=_SECONDS)
        with np.load(target) as file:
            return {name: file[name] for name in file.files}, answer["phases"]


def ours(arrays: Arrays, **options: Any) -> tuple[OffPolicyResult, float]:
    """Checks, estimates and intervals, and their seconds."""
    start = time.perf_counter()
    log = LoggedBandit(
        action=arrays["action"],
        reward=arrays["reward"],
        propensity=arrays["propensity"],
        n_actions=int(arrays["n_actions"]),
        position=arrays["position"],
        n_positions=arrays["rewards"].shape[2],
    )
    found = evaluate_policy(log, arrays["target"], rewards=arrays["rewards"], **options)
    return found, time.perf_counter() - start


def side_by_side(obp: Obp, arrays: Arrays) -> dict[str, Any]:
    """Both on the same arrays: values, largest difference, seconds of values and of values with intervals."""
    theirs, seconds = obp.ask(
        "estimate", arrays, tau=GIVEN["switch-dr"], strength=GIVEN["dros"], resamples=RESAMPLES
    )
    names = [str(name) for name in theirs["names"]]
    options = {"estimators": names, "parameters": {n: GIVEN[n] for n in names if n in GIVEN}}
    found, plain = ours(arrays, intervals="normal", **options)
    drawn, with_intervals = ours(arrays, resamples=RESAMPLES, **options)
    values = {n: float(v) for n, v in zip(names, theirs["values"], strict=True)}
    return {
        "ours": {n: found[n].value for n in names},
        "theirs": values,
        "difference": max(abs(found[n].value - values[n]) for n in names),
        "inside": {
            n: bool(one.low <= values[n] <= one.high) for n in names if (one := drawn[n].interval) is not None
        },
        "seconds": {
            "ours": plain,
            "theirs": seconds["estimate"],
            "ours, intervals": with_intervals,
            "theirs, intervals": seconds["estimate"] + seconds["intervals"],
        },
    }


def open_bandit(obp: Obp, runs: int) -> dict[str, Any]:
    """Resampled logs of the uniform policy; the truth is what Thompson sampling earned."""
    data, truth = load("random", "all"), float(load("bts", "all").rounds["reward"].mean())
    whole = _arrays(data)
    assert data.prior is not None
    pi = thompson_probabilities(*data.prior, n_positions=N_POSITIONS, draws=1_000_000, seed=12345)
    found = []
    for run in range(runs):
        rows = np.random.RandomState(run).choice(np.arange(len(whole["action"])), len(whole["action"]))
        log = {k: v[rows] if k in _PER_ROUND else v for k, v in whole.items()}
        predicted, fit = obp.ask("rewards", log)
        log |= {"rewards": predicted["rewards"], "target": np.tile(pi, (len(rows), 1, 1))}
        one = side_by_side(obp, log)
        certain = np.zeros_like(pi)
        certain[0, pi[0].argmax(axis=0), np.arange(N_POSITIONS)] = 1
        one["certain"] = side_by_side(obp, log | {"target": np.tile(certain, (len(rows), 1, 1))})
        one["own"] = _own(log, truth, pi)
        one["fit"] = {"theirs": fit["fit"], "ours": one["own"].pop("seconds")}
        found.append(_errors(one, truth))
    return {"truth": truth, "runs": found}


_PER_ROUND = ("action", "reward", "propensity", "position", "context")


def _arrays(data: OpenBandit) -> dict[str, Any]:
    """The log as arrays, with the features that obp makes of the tables."""
    codes = [pl.col(f"item_feature_{k}").rank("dense") - 1 for k in (1, 2, 3)]
    items = data.items.select(*codes, pl.col("item_feature_0")).to_numpy().astype(float)
    columns = {name: data.rounds[name].to_numpy() for name in ("action", "reward", "propensity", "position")}
    return {
        **columns,
        "context": data.context().to_numpy(),
        "action_context": items,
        "n_actions": np.array(len(items)),
    }


def _own(log: Arrays, truth: float, pi: Any) -> dict[str, Any]:
    """Relative errors with parameters that the log chooses, and with recsmith's own regression; its seconds."""
    bandit = LoggedBandit(
        **{name: log[name] for name in _PER_ROUND},
        n_actions=int(log["n_actions"]),
        n_positions=log["rewards"].shape[2],
    )
    start = time.perf_counter()
    predicted = cross_fitted(bandit, item_features=log["action_context"], reg=REG, seed=12345)
    seconds = time.perf_counter() - start
    given = {"clipped-ips": CANDIDATES, "switch-dr": CANDIDATES, "dros": CANDIDATES}
    ways: dict[str, dict[str, Any]] = {
        "own regression": {"rewards": predicted, "parameters": given},
        "obp's candidates": {"rewards": log["rewards"], "parameters": given},
        "slope": {"rewards": log["rewards"]},
        "mse": {"rewards": log["rewards"], "rule": "mse"},
    }
    found: dict[str, Any] = {"seconds": seconds}
    for way, options in ways.items():
        one = evaluate_policy(bandit, pi, intervals="normal", **options)
        found[way] = {e.estimator: abs(e.value / truth - 1) for e in one.estimates}
    return found


def _errors(one: dict[str, Any], truth: float) -> dict[str, Any]:
    for side in ("ours", "theirs"):
        one[f"error of {side}"] = {n: abs(v / truth - 1) for n, v in one[side].items()}
    return one


def synthetic(obp: Obp, runs: int) -> dict[str, Any]:
    """The data set of obp's later releases, made here; its policy and regression are those of the release in use."""
    found = []
    for run in range(runs):
        world = Synthetic(run)
        train, test = world.batch(10_000), world.batch(10_000)
        log = {name: test[name] for name in ("action", "reward", "propensity", "context")}
        log |= {f"train_{name}": train[name] for name in log}
        log |= {
            "action_context": np.eye(30),
            "n_actions": np.array(30),
            "position": np.zeros(10_000, dtype=int),
        }
        learned, fit = obp.ask("synthetic", log)
        log |= learned
        truth = float((test["expected"] * learned["target"][:, :, 0]).sum(axis=1).mean())
        one = side_by_side(obp, log)
        one["own"] = _own(log, truth, learned["target"])
        one["fit"] = {"theirs": fit["fit"], "ours": one["own"].pop("seconds")}
        found.append(_errors(one, truth))
    return {"runs": found}


class Synthetic:
    """obp's ``SyntheticBanditDataset`` with ``logistic_reward_function``, 30 actions, 5 features and beta = -3."""

    def __init__(self, seed: int) -> None:
        self.random, own = np.random.RandomState(seed), np.random.RandomState(seed)
        self.context, self.action = own.uniform(-1, 1, 6), own.uniform(-1, 1, 31)
        self.both, self.seed = own.uniform(-1, 1, (6, 31)), seed

    def batch(self, n: int) -> dict[str, Any]:
        """Rounds with the expected reward of every action."""
        features = self.random.normal(size=(n, 5))
        x, a = np.c_[np.ones(n), features], np.c_[np.ones(30), np.eye(30)]
        logits = (x @ self.context)[:, None] + a @ self.action + x @ self.both @ a.T
        expected = 1 / (1 + np.exp(-(logits - logits.mean()) / logits.std()))
        policy = np.exp(-3.0 * expected)
        policy /= policy.sum(axis=1, keepdims=True)
        drawn = np.random.RandomState(self.seed).uniform(size=n)  # the same for both logs, as obp draws them
        action = (policy.cumsum(axis=1) > drawn[:, None]).argmax(axis=1)
        rows = np.arange(n)
        return {
            "context": features,
            "action": action,
            "reward": self.random.binomial(1, expected[rows, action]),
            "propensity": policy[rows, action],
            "expected": expected,
        }


def lists(obp: Obp, runs: int) -> dict[str, Any]:
    """5,000 lists of three with random probabilities for each slot."""
    found = []
    for run in range(runs):
        rng = np.random.default_rng(run)
        logged, target = rng.uniform(0.3, 1, (2, 5000, 3))
        reward = rng.integers(0, 2, (5000, 3)).astype(float)
        slate, position = np.repeat(np.arange(5000), 3), np.tile(np.arange(3), 5000)
        cascades = {"cascade": logged.cumprod(axis=1), "target_cascade": target.cumprod(axis=1)}
        arrays = {n: c.ravel() for n, c in cascades.items()}
        for name, whole in (("whole", "cascade"), ("target_whole", "target_cascade")):
            arrays[name] = np.repeat(cascades[whole][:, -1], 3)
        arrays |= {"marginal": logged.ravel(), "target_marginal": target.ravel(), "reward": reward.ravel()}
        theirs, seconds = obp.ask("slates", arrays | {"slate": slate, "position": position})
        start = time.perf_counter()
        log = LoggedSlates(
            slate=slate, position=position, reward=reward.ravel(), propensity=logged.ravel(), target=target.ravel()
        )  # fmt: skip
        own = evaluate_slates(log, intervals="normal")
        plain = time.perf_counter() - start
        values = [one.value for one in own.estimates]
        found.append({
            "difference": float(np.abs(np.array(values) - theirs["values"]).max()),
            "seconds": {"ours": plain, "theirs": seconds["estimate"]},
        })  # fmt: skip
    return {"runs": found}


PARTS: Mapping[str, tuple[Callable[[Obp, int], dict[str, Any]], int]] = {
    "open-bandit": (open_bandit, 30),
    "synthetic": (synthetic, 20),
    "lists": (lists, 5),
    "coverage": (lambda _, runs: covered(runs), 1000),
}


def show(name: str, result: Mapping[str, Any], console: Console) -> None:
    """Errors by estimator, the largest difference, and how many times faster."""
    if name == "coverage":
        console.print(coverage_table(result["cells"]))
        return
    runs = result["runs"]
    console.print(
        f"\n{name}: {len(runs)} runs, largest difference {max(one['difference'] for one in runs):.1e}"
    )
    if "certain" in runs[0]:
        away = max(one["certain"]["difference"] for one in runs)
        console.print(f"a target without chance (replay included): largest difference {away:.1e}")
    times = {side: statistics.median(one["seconds"][side] for one in runs) for side in runs[0]["seconds"]}
    console.print(", ".join(f"{side} {1000 * seconds:.1f} ms" for side, seconds in times.items()))
    for kind in ("", ", intervals"):
        if f"ours{kind}" in times:
            console.print(f"times faster{kind}: {times[f'theirs{kind}'] / times[f'ours{kind}']:.1f}")
    if "fit" in runs[0]:
        fits = {side: statistics.median(one["fit"][side] for one in runs) for side in ("ours", "theirs")}
        console.print(f"regression: ours {fits['ours']:.2f} s, theirs {fits['theirs']:.2f} s")
    if "own" not in runs[0]:
        return
    ways = list(runs[0]["own"])
    table = Table("relative error", "recsmith", "obp", *ways, "sd")
    for one in runs[0]["own"]["slope"]:
        columns = [[run[f"error of {side}"].get(one) for run in runs] for side in ("ours", "theirs")]
        columns += [[run["own"][way][one] for run in runs] for way in ways]
        cells = ["" if None in values else f"{statistics.mean(values):.4f}" for values in columns]
        spread = columns[3]
        table.add_row(one, *cells, f"{statistics.stdev(spread):.4f}" if len(spread) > 1 else "")
    console.print(table)


def main() -> None:
    """The parts that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--runs", type=int, help="instead of the part's own number")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "off_policy.json")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no part named {', '.join(sorted(unknown))}; known: {', '.join(PARTS)}")
    results = json.loads(options.out.read_text()) if options.out.exists() else {}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    console = Console(width=140)
    with tempfile.TemporaryDirectory() as folder:
        obp = Obp(Path(folder))
        for name in options.parts or PARTS:
            run, count = PARTS[name]
            run(obp, 1)  # compiles
            results[name] = {"machine": machine(), **run(obp, options.runs or count)}
            options.out.write_text(json.dumps(results, indent=1))
            show(name, results[name], console)
        obp.close()


if __name__ == "__main__":
    main()
