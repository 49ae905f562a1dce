"""Evaluation, a bundle in memory, a bundle from disk and bulk output give the same lists: one path."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from recsmith.bundle import Bundle
from recsmith.data.split_by_name import parse
from recsmith.evaluation.answers import rank
from recsmith.experiment.train import load_bundle, make_pipeline
from recsmith.models.registry import MODELS, model_class
from tests.conftest import build

K = 10
RANKING = [name for name in MODELS if hasattr(model_class(name), "score")]


@pytest.fixture(scope="module")
def log():
    """200 users with text ids, some with a single event, some coming late."""
    rng = np.random.default_rng(5)
    users = np.concatenate([np.repeat(np.arange(180), 9), np.arange(180, 200)])
    items = (rng.zipf(1.5, size=len(users)) * 3 + users % 3) % 60
    order = rng.permutation(len(users))
    times = 1_500_000_000 + np.arange(len(users)) * 977
    return build(
        [f"user/{u}" for u in users[order]],
        [f"item {i}" for i in items[order]],
        rng.integers(1, 6, len(users)),
        times,
        name="shop",
    )


def lists(frame: pl.DataFrame, users) -> list[list[str]]:
    found = dict(frame.group_by("user_id", maintain_order=True).agg("item_id").iter_rows())
    return [found.get(u, []) for u in users]


@pytest.mark.parametrize("half_life", [None, 3])
@pytest.mark.parametrize("way", ["user-time", "global-time", "random"])
@pytest.mark.parametrize("name", RANKING)
def test_evaluated_lists_are_the_recommended_ones(name, way, half_life, log, tmp_path):
    split = parse(way).split(log)[0]
    split = replace(split, queries=split.queries.replace(at=None))  # a bundle is asked without a moment
    cls = model_class(name)
    own = "half_life" in cls.config_class.model_fields or cls.weighs_history
    parameters = {} if half_life is None or own else {"half_life": half_life}
    fitted = make_pipeline(name, **parameters).fit(split.train, rng=0)
    ranked = rank(fitted, split, [f"ndcg@{K}"])
    users = split.user_ids.to_list()
    evaluated = [[split.train.items.ids[int(i)] for i in row if i >= 0] for row in ranked.top.items]

    bundle = Bundle(name, fitted, split.train, None if fitted.fallback is None else "popular")
    judged = [users[int(r)] for r in ranked.rows]
    assert lists(bundle.recommend(judged, K), judged) == evaluated

    loaded = load_bundle(bundle.save(tmp_path / "b"))
    assert loaded.recommend(judged, K).equals(bundle.recommend(judged, K))

    everybody = pl.concat(loaded.recommend_batches(K, size=64))
    known = [u for u in judged if u in set(split.train.users.ids)]
    assert lists(everybody, known) == lists(bundle.recommend(known, K), known)

    # a product of one row may round otherwise than that of many: ranks may swap where scores agree to 1e-5
    alone = pl.concat([loaded.recommend([u], K) for u in judged[:20]])
    together = loaded.recommend(judged[:20], K)
    assert alone.select("user_id", "rank", "source").equals(together.select("user_id", "rank", "source"))
    scale = 1e-6 * max(1.0, np.abs(together["score"]).max())
    np.testing.assert_allclose(alone["score"], together["score"], rtol=1e-5, atol=scale)
