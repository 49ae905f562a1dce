"""Items over HTTP: what is not given stays as it is, and two who write at once lose nothing."""

from __future__ import annotations

import threading

import pytest
from tests.unit.serving.live import ids, save, served

from recsmith.errors import ParameterError
from recsmith.serving.events import Item, ItemChange
from recsmith.serving.store import Store


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    bundle = save(tmp_path_factory.mktemp("bundles"), "first", reg=50)
    with served(bundle, tmp_path_factory.mktemp("store")) as client:
        yield client


def post(client, item, **given):
    assert client.post("/items", json={"items": [{"item_id": item, **given}]}).status_code == 200


def known(client, item):
    found = client.get(f"/items/{item}")
    return found.json() if found.status_code == 200 else None


def test_a_change_of_price_leaves_a_sold_out_item_out(client):
    post(client, "i1", available=False)
    post(client, "i1", metadata={"price": 5})
    found = known(client, "i1")
    assert (found["available"], found["metadata"]["price"], found["metadata"]["title"]) == (
        False,
        5,
        "Title 1",
    )
    assert "i1" not in ids(client.post("/recommend", json={"user_id": "x", "num_recommendations": 40}))


def test_what_is_sold_out_keeps_its_metadata(client):
    post(client, "fresh", metadata={"title": "Fresh", "price": 1})
    post(client, "fresh", available=False)
    post(client, "fresh", metadata={"price": 2, "title": None})
    found = known(client, "fresh")
    assert (found["available"], found["metadata"]) == (False, {"price": 2})


def test_put_replaces_patch_changes_and_delete_takes_away(client):
    assert client.put("/items/i2", json={"metadata": {"title": "Two"}}).status_code == 200
    assert known(client, "i2")["metadata"] == {"title": "Two"}  # and none of the bundle's genres
    assert client.patch("/items/i2", json={"available": False}).status_code == 200
    assert client.patch("/items/i2", json={"metadata": {"price": 3}}).status_code == 200
    found = known(client, "i2")
    assert (found["available"], found["metadata"]) == (False, {"title": "Two", "price": 3})
    assert client.patch("/items/nobody", json={"available": False}).status_code == 404
    assert client.delete("/items/nobody").status_code == 404


def test_a_deleted_item_is_in_no_list_and_not_found_until_it_is_written_again(client):
    ask = {"user_id": "y", "num_recommendations": 40, "include_seen": True}
    client.put("/admin/rules", json={"text": "rules: [{only_available: false}, {pin: {item: i3, slot: 1}}]"})
    assert ids(client.post("/recommend", json=ask))[0] == "i3"
    assert client.delete("/items/i3").json() == {"status": "deleted", "item_id": "i3"}
    assert known(client, "i3") is None
    assert "i3" not in ids(client.post("/recommend", json=ask))
    assert "i3" not in [
        i["item_id"] for i in client.get("/items", params={"text": "Title 3"}).json()["items"]
    ]
    assert client.patch("/items/i3", json={"available": True}).status_code == 404
    assert client.delete("/items/i3").status_code == 404
    post(client, "i3", metadata={"price": 1})
    assert known(client, "i3")["metadata"] == {"title": "Title 3", "genres": "Horror", "price": 1}
    assert ids(client.post("/recommend", json=ask))[0] == "i3"
    client.put("/admin/rules", json={"text": "rules: []"})


def test_search_finds_new_items_and_new_titles(client):
    post(client, "brand-new", metadata={"title": "A Strange Lamp"})
    post(client, "untitled-lamp")
    post(client, "i5", metadata={"title": "Lampion"})
    found = client.get("/items", params={"text": "LAMP"}).json()["items"]
    assert {i["item_id"] for i in found} == {"i5", "brand-new", "untitled-lamp"}
    assert found[0]["item_id"] == "i5"  # the only one that was taken before
    assert [i["item_id"] for i in client.get("/items", params={"text": "title 5"}).json()["items"]] == []


def test_roles():
    from recsmith.serving.access import needed

    assert {needed(method, "/items/a") for method in ("PUT", "PATCH", "DELETE")} == {"writer"}
    assert needed("DELETE", "/users/a") == "admin"


def test_two_who_merge_at_once_lose_nothing(url):
    stores = [Store.open(url) for _ in range(2)]
    stores[0].upsert_items([Item("a", {"title": "A"}, True)])

    def write(number):
        for n in range(20):
            stores[number].merge_items([ItemChange("a", {f"f{number}-{n}": n})])

    threads = [threading.Thread(target=write, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stores[1].merge_items([ItemChange("a", available=False), ItemChange("a", {"title": None})])
    (found,) = stores[0].items(["a"])
    for store in stores:
        store.close()
    assert found.available is False
    assert found.metadata == {
        "title": None,
        **{f"f{number}-{n}": n for number in range(2) for n in range(20)},
    }


def test_metadata_does_not_grow_without_end(store):
    for n in range(6):
        store.merge_items([ItemChange("a", {f"f{n}": "x" * 10_000})])
    with pytest.raises(ParameterError, match="at most 65536 bytes of JSON"):
        store.merge_items([ItemChange("a", {"f6": "x" * 10_000})])
    (found,) = store.items(["a"])
    assert len(found.metadata) == 6
