"""Memory of lists for everybody: top 10 for 200,000 users x 200,000 items at d = 64.

Compares what the process used with the estimate that ``--dry-run`` gives and with the bound that holds:
the factors, the events, the lists, and the memory setting. ``python benchmarks/memory.py --help``.
"""

from __future__ import annotations

import argparse
import json

import numpy as np
import polars as pl

from recsmith import estimate
from recsmith.data.dataset import Dataset
from recsmith.data.ids import IdMap
from recsmith.models.factorization.ials import ImplicitALS
from recsmith.recommend import Pipeline
from recsmith.resources import measure, resident_mb


def main() -> None:
    """Draw factors, estimate, recommend, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--users", type=int, default=200_000)
    parser.add_argument("--items", type=int, default=200_000)
    parser.add_argument("--events", type=int, default=4_000_000)
    parser.add_argument("--size", type=int, default=64, help="length of the factor vectors")
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--memory-mb", type=int, default=512)
    options = parser.parse_args()

    rng = np.random.default_rng(0)
    data = Dataset.build(
        users=IdMap(pl.Series(np.arange(options.users)), "user"),
        items=IdMap(pl.Series(np.arange(options.items)), "item"),
        user=rng.integers(options.users, size=options.events).astype(np.int32),
        item=rng.integers(options.items, size=options.events).astype(np.int32),
    )
    model = ImplicitALS(embedding_size=options.size)
    model.user_factors_ = rng.standard_normal((options.users, options.size), dtype=np.float32)
    model.item_factors_ = rng.standard_normal((options.items, options.size), dtype=np.float32)
    model.gram_ = model.item_factors_.T @ model.item_factors_
    pipeline = Pipeline(model=model, n_items=options.items, memory_mb=options.memory_mb)

    estimate.calibrate()
    cost = estimate.recommend_cost(model, data.shape, options.users, options.k, options.memory_mb)
    expected = estimate.of_cost(cost)
    before = resident_mb() or 0.0
    with measure() as usage:
        pipeline.recommend(data.queries(), options.k)
    peak = usage.peak_mb or 0.0
    print(
        json.dumps(
            {
                "estimated_seconds": expected.seconds,
                "seconds": usage.seconds,
                "estimated_peak_mb": expected.memory_mb,
                "peak_mb": peak,
                "before_mb": before,
                "growth_mb": peak - before,
                "bound_mb": options.memory_mb,
                "factors_mb": (options.users + options.items) * options.size * 4 / 2**20,
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
