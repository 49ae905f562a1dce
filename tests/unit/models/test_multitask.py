"""Several tasks at once: what they are, what their labels say, whose lists are given, how losses are weighed."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from tests.conftest import build

from recsmith.data.dataset import Dataset
from recsmith.data.schema import Log
from recsmith.errors import DataError, ParameterError
from recsmith.models.multitask.model import MMoE, SharedBottom
from recsmith.models.multitask.tasks import labels, task_names


@pytest.fixture(scope="module")
def shop() -> Dataset:
    """Everybody looks at items of both colours, and buys those of his own."""
    rows = []
    for u in range(60):
        for i in np.random.default_rng(u).permutation(20)[:10]:
            rows.append((u, int(i), "view"))
            if (u + i) % 2 == 0:
                rows.append((u, int(i), "buy"))
    frame = pl.DataFrame(rows, schema=["user_id", "item_id", "event"], orient="row")
    return Dataset.from_log(Log(interactions=frame, name="shop"))


def test_tasks_are_kinds_of_events_or_of_ratings(shop, checkerboard):
    assert task_names(shop, None) == ["buy", "view"]
    assert task_names(checkerboard, None) == ["rating", "liked", "watched"]
    assert task_names(checkerboard, ("watched",)) == ["watched"]
    with pytest.raises(ParameterError, match="buy"):
        task_names(shop, ("buyy",))


def test_labels_by_hand():
    data = build(["a", "a", "b"], [1, 2, 1], [5, 2, 4])
    pairs = data.matrix("ones")
    found = labels(data, ["rating", "liked", "watched"], 4.0, pairs.indptr, pairs.indices)
    np.testing.assert_array_equal(found, [[5, 1, 1], [2, 0, 1], [4, 1, 1]])


def test_who_only_looked_is_no_example_of_buying(shop):
    pairs = shop.matrix("ones")
    found = labels(shop, ["buy", "view"], 4.0, pairs.indptr, pairs.indices)
    user = np.repeat(np.arange(60), np.diff(pairs.indptr))
    bought = (shop.users.ids.to_numpy()[user] + shop.items.ids.to_numpy()[pairs.indices]) % 2 == 0
    np.testing.assert_array_equal(found[:, 0], np.where(bought, 1, np.nan))
    assert (found[:, 1] == 1).all()


@pytest.mark.parametrize("model", [SharedBottom, MMoE])
def test_each_task_has_lists_of_its_own(model, shop):
    fitted = model(epochs=40, batch_size=64, learning_rate=5e-3).fit(shop, rng=0)
    assert fitted.sizes_["answer"] == "buy"
    queries = shop.queries()
    colour = (shop.users.ids.to_numpy()[:, None] + shop.items.ids.to_numpy()) % 2 == 0
    unseen = shop.matrix("ones").toarray() == 0
    gap = {}
    for task in ("buy", "view"):
        scores = fitted.answering(task).score(queries)
        gap[task] = scores[colour & unseen].mean() - scores[~colour & unseen].mean()
    assert gap["buy"] > 1
    assert gap["buy"] > gap["view"] + 1
    with pytest.raises(ParameterError, match="view"):
        fitted.answering("vieww")
    with pytest.raises(DataError, match="rating"):
        fitted.predict(queries, np.array([0]), np.array([0]))


def test_a_weight_of_zero_leaves_a_task_unlearned(shop):
    fitted = SharedBottom(epochs=3, weights={"view": 0.0}).fit(shop)
    assert (fitted.module_.bias.weight[:, 1] == 0).all()
    assert (fitted.module_.bias.weight[:, 0] != 0).any()


def test_uncertain_tasks_weigh_less():
    """A rating that is chance is uncertain; its loss is weighed down, that of one that is sure is not."""
    rng = np.random.default_rng(0)
    users, items = np.repeat(np.arange(60), 10), np.concatenate([rng.permutation(20)[:10] for _ in range(60)])
    learned = {}
    for name, ratings in (("chance", rng.choice([1, 5], 600)), ("sure", np.full(600, 3))):
        data = build(users, items, ratings)
        model = SharedBottom(
            tasks=("rating", "watched"), weighting="uncertainty", learning_rate=0.01, epochs=20
        )
        learned[name] = float(model.fit(data).module_.log_variance.detach()[0])
    assert learned["chance"] > learned["sure"] + 0.5
