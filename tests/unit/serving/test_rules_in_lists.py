"""Rules in the service's lists: hidden items are nowhere, and a cap is relaxed only where nothing else fits."""

from __future__ import annotations

from collections import Counter

import numpy as np
import polars as pl
import pytest
from tests.unit.serving.live import ids, served

from recsmith.data.dataset import Dataset
from recsmith.data.schema import Log
from recsmith.experiment.train import train

N_POP, N_RARE = 200, 7


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    """200 items of one genre that everybody takes, and seven of other genres that hardly anybody takes."""
    rng = np.random.default_rng(0)
    users, items = [], []
    for user in range(80):
        items += [f"pop{i}" for i in rng.choice(N_POP, 20, replace=False)]
        users += [f"u{user}"] * 20
    users += [f"u{n}" for n in range(N_RARE)]
    items += [f"rare{n}" for n in range(N_RARE)]
    names = [f"pop{i}" for i in range(N_POP)] + [f"rare{i}" for i in range(N_RARE)]
    catalogue = pl.DataFrame(
        {"item_id": names, "genre": ["Pop"] * N_POP + [f"Rare {i}" for i in range(N_RARE)], "title": names}
    )
    log = pl.DataFrame({"user_id": users, "item_id": items, "timestamp": np.arange(len(users))})
    data = Dataset.from_log(Log(interactions=log, items=catalogue, name="shop"))
    folder = tmp_path_factory.mktemp("rules")
    bundle = train("ease", data, reg=50).save(folder / "bundles" / "first")
    with served(bundle, folder) as client:
        yield client


@pytest.fixture
def rules(client):
    """Sets rules for the time of a test."""
    yield lambda text: client.put("/admin/rules", json={"text": f"rules: [{text}]"}).raise_for_status()
    client.put("/admin/rules", json={"text": "rules: []"})


def listed(client, user, **more):
    answer = client.post("/recommend", json={"user_id": user, "num_recommendations": 10, **more})
    genres = Counter(place["metadata"]["genre"] for place in answer.json()["recommendations"])
    return ids(answer), genres, answer.json()["explanation"]


@pytest.mark.parametrize("context", [{}, {"recent_items": ["pop1", "pop2"]}])
def test_a_cap_holds_while_items_that_fit_are_left(client, rules, context):
    rules("at_most: {field: genre, n: 3}")
    for user in ("u10", "u11", "u70", "nobody"):
        items, genres, said = listed(client, user, context=context)
        assert len(set(items)) == 10
        assert genres["Pop"] == 3
        assert max(genres.values()) == 3
        assert "relaxed" not in said
    items, _, _ = listed(client, "u3", include_seen=True)
    assert "rare3" in items


def test_a_cap_that_is_relaxed_is_named(client, rules):
    rules("{at_most: {field: genre, n: 2}, name: variety}")
    items, genres, said = listed(client, "u10")
    assert (len(items), genres["Pop"]) == (10, 3)
    assert "The rule 'variety' was relaxed" in said
    _, genres, said = listed(client, "u10", filters={"genre": "Pop"})
    assert (genres["Pop"], "was relaxed" in said) == (10, True)
    _, genres, said = listed(client, "u10", exclude_items=["rare0"], num_recommendations=8)
    assert (genres["Pop"], "was relaxed" in said) == (2, False)


def test_a_dry_run_looks_as_deep_as_the_service(client, rules):
    rules("at_most: {field: genre, n: 3}")
    listed(client, "u20")
    store = client.app.state.runtime.store
    while not any(e.user_id == "u20" for e in store.latest_exposures(1)):
        listed(client, "u20")
    told = client.post(
        "/admin/rules/dry-run",
        params={"requests": 1},
        json={"text": "rules: [at_most: {field: genre, n: 3}]"},
    )
    assert (told.json()["requests"], told.json()["changes"]) == (1, [])


def test_similar_items_are_those_that_may_be_in_a_list(client, rules):
    def alike():
        found = client.get("/similar/pop1", params={"num_similar": 20}).json()["similar_items"]
        return [place["item_id"] for place in found]

    all_items = alike()
    assert len(all_items) == 20
    gone = all_items[::2]
    client.post("/items", json={"items": [{"item_id": item, "available": False} for item in gone]})
    left = alike()
    assert not set(left) & set(gone)
    assert (len(left), left[:10]) == (20, all_items[1::2])
    rules(f"exclude: {{items: [{left[0]}]}}")
    assert left[0] not in alike()
    client.delete(f"/items/{left[1]}")
    assert left[1] not in alike()
    client.post("/items", json={"items": [{"item_id": item, "available": True} for item in (*gone, left[1])]})
