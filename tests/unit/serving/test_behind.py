"""A worker that cannot load what another one activated says so, and follows as soon as it can."""

from __future__ import annotations

import pytest
from tests.unit.serving.live import ids, save, served, wait_for

from recsmith.serving.activation import ACTIVE, activated, alone
from recsmith.serving.store import Store


@pytest.fixture
def first(tmp_path):
    save(tmp_path / "bundles", "second", "popular")
    return save(tmp_path / "bundles", "first", reg=50)


def activated_while_away(store, first):
    """What another worker's activation of ``second`` leaves in the store; the folder is not seen by this one.

    Gives the version, and a function that puts the folder back.
    """
    second = first.with_name("second")
    state = activated(alone(first), second, end_ab_test=False)
    aside = second.with_name(".second")
    second.rename(aside)
    store.set_setting(ACTIVE, state)
    return state["version"], lambda: aside.rename(second)


def health(client):
    return client.get("/health").json()


def test_a_bundle_that_is_missing_for_a_moment_is_loaded_when_it_is_back(first, tmp_path):
    with served(first, tmp_path) as client:
        before = health(client)["model_version"]
        version, put_back = activated_while_away(client.app.state.runtime.store, first)
        wait_for(lambda: health(client)["status"] == "degraded")
        said = client.get("/health/ready")
        assert said.status_code == 200
        assert said.json()["model_version"] == before
        assert said.json()["wanted"] == {"model_version": version, "ab_test": None}
        assert str(tmp_path) not in said.text
        assert "second" in client.get("/admin/bundles").json()["behind"]["reason"]
        assert ids(client.post("/recommend", json={"user_id": "u1"}))
        put_back()
        wait_for(lambda: health(client)["model_version"] == version)
        assert (health(client)["status"], "wanted" in health(client)) == ("ok", False)
        assert "behind" not in client.get("/admin/bundles").json()


def test_what_is_activated_later_is_followed_instead(first, tmp_path):
    with served(first, tmp_path) as client:
        activated_while_away(client.app.state.runtime.store, first)
        wait_for(lambda: health(client)["status"] == "degraded")
        save(first.parent, "third", "popular")
        done = client.post("/admin/bundles/third/activate")
        assert done.status_code == 200
        assert health(client)["model_version"] == done.json()["model_version"]
        assert health(client)["status"] == "ok"


def test_a_worker_that_starts_without_the_bundle_follows_too(first, tmp_path):
    store = Store.open(f"sqlite:///{tmp_path}/events.db")
    version, put_back = activated_while_away(store, first)
    store.close()
    with served(first, tmp_path) as client:
        assert health(client)["status"] == "degraded"
        assert health(client)["model_version"].startswith("first@")
        put_back()
        wait_for(lambda: health(client)["model_version"] == version)
