from __future__ import annotations

from contextlib import contextmanager

import pytest

from recsmith.data.load import load
from recsmith.experiment import quickstart as module
from recsmith.experiment.quickstart import Entrant, quickstart


@pytest.fixture
def few(monkeypatch):
    rankers = (
        Entrant("popular", "popular"),
        Entrant("ease, recency", "ease", {"reg": (10, 100), "half_life": (3, 10)}),
    )
    monkeypatch.setattr(module, "RANKERS", rankers)
    monkeypatch.setattr(module, "RATERS", (Entrant("rating-baseline", "rating-baseline"),))


@pytest.fixture(scope="module")
def data():
    return load("synthetic:users=150,items=60,events=6000,rating=1,seed=2")


def test_a_first_run(few, data):
    labels = []

    @contextmanager
    def watch(label):
        labels.append(label)
        yield type("Silent", (), {"progress": lambda *_, **__: False})()

    found = quickstart(data, watch=watch)
    assert [report.model for report in found.ranking] == ["popular", "ease, recency"]
    assert [report.model for report in found.rating] == ["rating-baseline"]
    assert labels == [
        "popular",
        "ease, recency",
        "rating-baseline",
        f"{found.chosen} on all data",
        f"{found.chosen}: fold-in against refit",
    ]
    values = {
        name: choice.best.value for name, choice in found.choices.items() if name.startswith("ranking/")
    }
    assert f"ranking/{found.chosen}" == max(values, key=values.get)
    assert len(found.bundle.data) == len(data)
    assert found.bundle.info["metrics"]["split"] == found.split.name
    assert found.as_dict()["ranking"][0]["rank"] == 1


def test_validation_never_sees_the_test_events(few, data, monkeypatch):
    seen = []
    choose = module.choose
    monkeypatch.setattr(module, "choose", lambda *a, **k: seen.append(a[2]) or choose(*a, **k))
    split = quickstart(data).split
    held_out = len(data) - len(split.train)
    for trial in seen:
        assert len(trial.train) + len(trial.truth.items) == len(split.train) == len(data) - held_out


def test_the_same_seed_gives_the_same_figures(few, data):
    first, second = (quickstart(data, seed=3) for _ in range(2))
    assert [r.means for r in first.ranking] == [r.means for r in second.ranking]


def test_without_ratings_there_is_one_leaderboard(few):
    found = quickstart(load("synthetic:users=150,items=60,events=6000,seed=2"))
    assert found.rating == ()
    assert found.as_dict()["rating"] == []
