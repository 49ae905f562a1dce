"""Lists of users of whom nothing is known: made once, and the same as offline."""

from __future__ import annotations

import numpy as np
import pytest
from tests.unit.serving.live import N_ITEMS, ids, save, served

from recsmith.bundle import Bundle
from recsmith.models.registry import model_class
from recsmith.recommend import Pipeline


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return save(tmp_path_factory.mktemp("new-users"), "first", reg=50)


def asked(client, user, **about):
    return client.post("/recommend", json={"user_id": user, **about})


def test_one_ranking_serves_all_new_users_whatever_they_exclude(bundle, tmp_path, monkeypatch):
    offline, rng = Bundle.load(bundle, model_class), np.random.default_rng(0)
    calls, recommend = [], Pipeline.recommend
    with served(bundle, tmp_path) as client:
        monkeypatch.setattr(
            Pipeline, "recommend", lambda self, *a, **k: calls.append(1) or recommend(self, *a, **k)
        )
        found = []
        for n in range(30):
            excluded = [f"i{i}" for i in rng.choice(N_ITEMS, n, replace=False)] + ["no such item"]
            found.append((excluded, ids(asked(client, f"new-{n}", exclude_items=excluded))))
    assert len(calls) <= 1
    for excluded, listed in found:
        assert listed == offline.recommend_for([], 10, exclude=excluded)["item_id"].to_list()


def test_a_new_user_who_skips_an_item_does_not_get_it_again(bundle, tmp_path):
    with served(bundle, tmp_path) as client:
        first, *others = ids(asked(client, "skips"))
        client.post("/feedback", json={"user_id": "skips", "item_id": first, "feedback": "skip"})
        assert ids(asked(client, "skips"))[: len(others)] == others


def test_what_is_taken_out_or_hidden_by_a_rule_is_in_no_list_of_a_new_user(bundle, tmp_path):
    rules = tmp_path / "rules.yaml"
    rules.write_text("rules:\n  - {exclude: {where: {genres: Horror}}, when: {segment: kids}}\n")
    with served(bundle, tmp_path, rules=rules) as client:
        everything = ids(asked(client, "a", num_recommendations=N_ITEMS))
        kids = ids(asked(client, "b", num_recommendations=N_ITEMS, context={"segment": "kids"}))
        assert kids == [item for item in everything if int(item[1:]) % 4 != 3]
        client.post("/items", json={"items": [{"item_id": everything[0], "available": False}]})
        assert ids(asked(client, "c", num_recommendations=N_ITEMS)) == everything[1:]
        assert ids(asked(client, "d", num_recommendations=3)) == everything[1:4]


def test_lists_of_new_users_that_a_model_makes_are_its_own(tmp_path):
    offline = Bundle.load(save(tmp_path, "popular", "popular"), model_class)
    with served(tmp_path / "popular", tmp_path) as client:
        answer = asked(client, "new", exclude_items=["i1", "i2"])
    assert {place["source"] for place in answer.json()["recommendations"]} == {"popular"}
    assert ids(answer) == offline.recommend_for([], 10, exclude=["i1", "i2"])["item_id"].to_list()
