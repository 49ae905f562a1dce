"""An experiment from the service to the verdict: answers, feedback, the log, ``analyze``."""

from __future__ import annotations

from contextlib import closing

import numpy as np
from tests.unit.serving.live import save, served

from recsmith.evaluation.experiments import Metric, analyze
from recsmith.serving.deployment import Experiment
from recsmith.serving.logged import events, shares, slots, units
from recsmith.serving.store import Store

USERS = 300


def test_the_better_bundle_is_found_by_its_clicks(tmp_path):
    """Users click on items of their parity; EASE knows it, most popular does not. A shadow is nobody's variant."""
    bundles = tmp_path / "bundles"
    good, _ = save(bundles, "good"), save(bundles, "popular", "popular")
    variants = {
        "old": {"bundle": "popular"},
        "new": {"bundle": "good"},
        "shadow": {"bundle": "good", "shadow": True},
    }
    with served(good, tmp_path) as client:
        assert (
            client.put("/admin/experiment", json={"name": "autumn", "variants": variants}).status_code < 300
        )
        rng = np.random.default_rng(0)
        feedback = []
        for n in range(USERS):
            own = [f"i{i}" for i in rng.choice(np.arange(n % 2, 40, 2), 3, replace=False)]
            asked = {"user_id": f"visitor-{n}", "num_recommendations": 4, "context": {"recent_items": own}}
            answer = client.post("/recommend", json=asked).json()
            assert (
                answer["variant"]
                == Experiment(name="autumn", variants=variants).assign(f"visitor-{n}").variant
            )
            feedback += [
                {"user_id": f"visitor-{n}", "item_id": place["item_id"], "event_type": "click",
                 "recomm_id": answer["recomm_id"]}
                for place in answer["recommendations"] if int(place["item_id"][1:]) % 2 == n % 2
            ]  # fmt: skip
        assert client.post("/events", json={"events": feedback}).json()["stored"] == len(feedback)
    with closing(Store.open(f"sqlite:///{tmp_path}/events.db")) as store:
        shown = slots(store)
        found = units(shown, events(store))
        result = analyze(
            found.frame, [Metric.ratio("clicks", "slots")], control="old", shares=shares(store, "autumn")
        )
    assert shown.filter("shadow").height == USERS * 4
    assert (found.switched, found.frame.height) == (0, USERS)
    assert found.frame["clicks"].sum() == len(feedback)
    assert set(shown.filter(~shown["shadow"])["propensity"]) == {0.5}
    assert not result.sample_ratio.broken
    row = result.row("clicks/slots", "new")
    assert row.verdict == "better"
