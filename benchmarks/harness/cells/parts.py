"""Parts of the way: top-k from given factors, and the metrics of given lists."""

from __future__ import annotations

from harness import data, quality
from harness.cell import Cell, Side


def cells() -> list[Cell]:
    """The cells of this kind."""
    return [
        Cell(
            name="recommend-gowalla",
            what="top 20 of all 29,858 users from the same factors, d = 64, seen items hidden",
            data="Gowalla",
            inputs=lambda: [data.gowalla_factors()],
            judge=quality.of_lists,
            sides={
                "recsmith": Side("recommend", {"k": 20}),
                "implicit": Side("recommend", {"k": 20}),
            },
            decides="recommend",
            wanted=0.85,
        ),
        Cell(
            name="metrics-gowalla",
            what="precision, recall, NDCG, MAP, MRR and hit rate of those lists, at 20",
            data="Gowalla",
            inputs=lambda: [data.gowalla_answers()],
            judge=quality.of_metrics,
            sides={
                "recsmith": Side("metrics", {"k": 20}),
                "rectools": Side("metrics", {"k": 20}, "MAP by another divisor"),
                "lenskit": Side(
                    "metrics",
                    {"k": 20},
                    "no MAP by that name; NDCG divides by the ideal list of all test items",
                ),
            },
            decides="metrics",
        ),
    ]
