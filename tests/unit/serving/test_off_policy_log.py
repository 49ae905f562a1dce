"""Another bundle judged by the service's log: what it would have shown at that moment, and no figure without chance."""

from __future__ import annotations

import json
from contextlib import closing

import numpy as np
import pytest
from tests.conftest import build

from recsmith.errors import DataError
from recsmith.experiment.train import train
from recsmith.serving.events import Exposure, NewEvent
from recsmith.serving.logged import events, rewarded, slots
from recsmith.serving.off_policy import ServiceLog, estimate, would_show
from recsmith.serving.retrain import retrain
from recsmith.serving.settings import SIGNALS
from recsmith.serving.store import Store

ITEMS = ["a", "b", "c", "d"]  # from the most to the least popular


@pytest.fixture(scope="module")
def bundle():
    """Popularity: a 4, b 3, c 2, d 1."""
    return train("popular", timed([(f"u{n}", item) for n in range(4) for item in ITEMS[: 4 - n]]))


def timed(pairs):
    """A log of pairs, the n-th at second n."""
    return build([user for user, _ in pairs], [item for _, item in pairs], times=range(len(pairs)))


@pytest.fixture
def store(tmp_path):
    with closing(Store.open(f"sqlite:///{tmp_path}/events.db")) as opened:
        yield opened


def show(store, recomm_id, user, items, chances, at=100, shadow=False, share=1.0):
    listed = [
        {
            "item_id": item,
            "score": 1.0,
            "rank": rank,
            "source": "ease",
            "propensity": p and share * p,
            "chance": p,
        }
        for rank, (item, p) in enumerate(zip(items, chances, strict=True), 1)
    ]
    store.log_exposures([Exposure(recomm_id, user, "m@1", None, None, shadow, at, json.dumps(listed))])


def act(store, user, item, at, recomm_id=None, kind="click"):
    store.add_events([NewEvent(f"{user}-{item}-{at}", user, item, kind, None, at, recomm_id)])


def log_of(store, **worth):
    return rewarded(slots(store), events(store), worth or {"click": 1.0})


def test_what_a_bundle_would_have_shown(bundle, store):
    """New users get a, b, c; who liked a before the answer gets b, c, d; what came after it does not count."""
    show(store, "r1", "new", ["a", "c", "b"], [0.5] * 3, at=100)
    act(store, "new", "a", at=150, kind="like")
    show(store, "r2", "new", ["b", "c"], [0.5] * 2, at=200)
    show(store, "r3", "", ["a", "nowhere"], [0.5] * 2, at=300)
    found = would_show(bundle, ServiceLog.of(log_of(store)).slots, store)
    assert found.tolist() == [1, 0, 0, 1, 1, 1, 0]


def test_a_lists_own_policy_earns_what_it_earned(bundle, store):
    for n in range(6):
        show(store, f"r{n}", f"new{n}", ["a", "b"], [1.0, 1.0], at=100 + n)
        act(store, f"new{n}", "ab"[n % 2], at=110 + n, recomm_id=f"r{n}")
    found = estimate(log_of(store), bundle, store)
    assert found["ips"].value == found.logged.value == pytest.approx(0.5)
    assert found.notes[0] == "The bundle would have shown 100.0% of the 12 places as they were."
    whole = estimate(log_of(store), bundle, store, per_list=True)
    assert whole["slate-ips"].value == pytest.approx(1.0)
    assert whole.per == "list"


def test_no_chance_no_figure(bundle, store):
    for n in range(6):
        show(store, f"r{n}", f"new{n}", ["a", "d"], [1.0, 1.0])
    with pytest.raises(DataError, match=r"No overlap: 50.0% .* certain \(propensity 1\)"):
        estimate(log_of(store), bundle, store)
    with pytest.raises(DataError, match=r"No overlap: 100\.0%"):
        estimate(log_of(store), bundle, store, per_list=True)
    with pytest.raises(DataError, match="no place that a policy filled"):
        estimate(log_of(store), bundle, store, explored=True)


def test_places_that_chance_filled(bundle, store):
    """The second place is drawn: b or c with 1/2 each. Half of those who see b click it, nobody clicks c."""
    for n in range(400):
        drawn = "bc"[n % 2]
        show(store, f"r{n}", f"new{n}", ["d", drawn], [1.0, 0.5], at=100 + n)
        if n % 4 == 0:
            act(store, f"new{n}", "b", at=101 + n, recomm_id=f"r{n}")
    found = estimate(log_of(store), bundle, store, explored=True)
    assert found["ips"].value == pytest.approx(0.5)
    assert found["snips"].value == pytest.approx(0.5)
    assert found.logged.value == pytest.approx(0.25)
    assert found.overlap.mean == pytest.approx(1.0)
    worth = estimate(log_of(store, click=10.0), bundle, store, explored=True)
    assert worth["ips"].value == pytest.approx(5.0)


def test_what_is_left_out(store):
    show(store, "r1", "ann", ["a"], [0.5])
    show(store, "r1", "ann", ["b"], [0.5], shadow=True)
    show(store, "r2", "", ["b"], [0.5])
    show(store, "r3", "", ["b"], [None])
    log = ServiceLog.of(log_of(store))
    assert (log.slots["recomm_id"].to_list(), log.left_out) == (["r1", "r2"], 1)
    bandit = log.bandit()
    assert np.array_equal(bandit.action, [0, 1])
    assert len(set(bandit.unit.tolist())) == 2
    with pytest.raises(DataError, match="no place that was shown"):
        ServiceLog.of(rewarded(slots(store, since=1000), events(store), {"click": 1}))


def test_the_share_of_a_variant_counts_once_in_a_list(bundle, store):
    """Half of the users get the bundle's own lists; three of four of these are clicked, of the others none."""
    for n in range(40):
        own = n % 2 == 0
        show(store, f"r{n}", f"new{n}", ["a", "b"] if own else ["c", "d"], [1.0, 1.0], at=100 + n, share=0.5)
        if own and n % 8:
            act(store, f"new{n}", "a", at=200 + n, recomm_id=f"r{n}")
    whole = estimate(log_of(store), bundle, store, per_list=True)
    assert whole["slate-ips"].value == pytest.approx(0.75)
    assert whole.overlap.mean == pytest.approx(1.0)
    with pytest.raises(DataError, match="no place that a policy filled"):
        estimate(log_of(store), bundle, store, explored=True)


def test_what_was_erased_is_not_asked_for(store):
    pairs = [("u0", "a")] * 3 + [("u1", "b")] * 2 + [("u2", "c")]
    bundle = train("popular", timed(pairs))
    store.erase("u0")
    show(store, "r1", "u0", ["a"], [0.5], at=2_000_000_000)
    show(store, "r2", "u1", ["a"], [0.5], at=2_000_000_000)
    assert would_show(bundle, ServiceLog.of(log_of(store)).slots, store).tolist() == [1, 1]


def explored_log(store, start, n):
    """The second place is drawn, b or c with 1/2 each; half of those who see b click it. Others like a, unprompted."""
    for row in range(start, start + n):
        act(store, f"fan{row}", "a", at=100 + 2 * row, kind="like")
        show(store, f"r{row}", f"new{row}", ["d", "bc"[row % 2]], [1.0, 0.5], at=100 + 2 * row)
        if row % 4 == 0:
            act(store, f"new{row}", "b", at=101 + 2 * row, recomm_id=f"r{row}")


def test_a_bundle_is_not_evaluated_by_rewards_that_it_has_learned(bundle, store):
    """Retrained on the clicks of the log, it holds the clicked items as seen; a bundle of before earns .5."""
    explored_log(store, 0, 400)
    retrained = retrain(bundle, store, SIGNALS).bundle
    log = log_of(store)
    with pytest.raises(DataError, match=r"All 400 places .* learned from their rewards.*--in-sample"):
        estimate(log, retrained, store, explored=True)
    found = estimate(log, retrained, store, explored=True, in_sample=True)
    assert found["ips"].value == pytest.approx(0.5, abs=0.01)
    assert any("it has learned from their rewards, so the estimate is optimistic" in n for n in found.notes)
    assert found["ips"].value == pytest.approx(estimate(log, bundle, store, explored=True)["ips"].value)


def test_answers_after_a_bundles_newest_event_evaluate_it(bundle, store):
    explored_log(store, 0, 40)
    retrained = retrain(bundle, store, SIGNALS).bundle
    explored_log(store, 40, 400)
    found = estimate(log_of(store), retrained, store, explored=True)
    assert found.overlap.rounds == 400
    assert found["ips"].value == pytest.approx(0.5, abs=0.01)
    assert any(
        note.startswith("40 places that were shown up to 1970-01-01 00:02:58 UTC") for note in found.notes
    )


def test_a_bundle_without_times_is_refused(store):
    untimed = train("popular", build(["u1", "u1", "u2"], ["a", "b", "a"]))
    explored_log(store, 0, 40)
    with pytest.raises(DataError, match="has no times"):
        estimate(log_of(store), untimed, store)
    with pytest.raises(DataError, match="has no times"):
        would_show(untimed, ServiceLog.of(log_of(store)).slots, store)
