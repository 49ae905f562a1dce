"""Lists: weights by hand, all estimators right where their assumption holds, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from recsmith.errors import DataError, ParameterError
from recsmith.evaluation.off_policy import SLATE_ESTIMATORS, LoggedSlates, evaluate_slates

TWO = {
    "slate": [7, 7, 3],  # a list of two, one of one, out of order
    "position": [1, 0, 0],
    "reward": [1.0, 2.0, 4.0],
    "propensity": [0.5, 0.25, 0.5],
    "target": [1.0, 0.5, 0.25],
}


def test_values_by_hand():
    """List 7: weights 2 at the top, then 2 * 2 = 4; list 3: 1/2."""
    found = evaluate_slates(LoggedSlates(**TWO))
    assert found["slate-ips"].value == pytest.approx((4 * (2 + 1) + 0.5 * 4) / 2)
    assert found["independent-ips"].value == pytest.approx((2 * 2 + 2 * 1 + 0.5 * 4) / 2)
    assert found["interaction-ips"].value == pytest.approx((2 * 2 + 4 * 1 + 0.5 * 4) / 2)
    assert found.logged.value == pytest.approx(7 / 2)
    assert found.per == "list"
    assert found.overlap.rounds == 2
    assert found.overlap.largest == 4


def test_marginals_are_the_independent_estimators():
    log = LoggedSlates(**TWO, logged_marginal=[0.5, 0.5, 0.5], target_marginal=[0.5, 0.5, 0.5])
    assert evaluate_slates(log)["independent-ips"].value == pytest.approx(7 / 2)
    assert evaluate_slates(log)["slate-ips"].value == evaluate_slates(LoggedSlates(**TWO))["slate-ips"].value


def test_cascade_doubly_robust():
    """A prediction that is right leaves no residual; a prediction of nothing is interaction IPS."""
    nothing = LoggedSlates(**TWO, predicted=[0.0, 0.0, 0.0], expected=[0.0, 0.0, 0.0])
    by_weights = evaluate_slates(LoggedSlates(**TWO))["interaction-ips"].value
    assert evaluate_slates(nothing)["cascade-dr"].value == pytest.approx(by_weights)
    some = LoggedSlates(**TWO, predicted=[1.0, 1.5, 4.0], expected=[0.5, 3.0, 3.5])
    # list 7: 2 * (2 - 1.5) + 1 * 3 + 4 * (1 - 1) + 2 * 0.5; list 3: 0 + 3.5
    assert evaluate_slates(some)["cascade-dr"].value == pytest.approx((1 + 3 + 0 + 1 + 3.5) / 2)
    assert [e.estimator for e in evaluate_slates(some).estimates] == list(SLATE_ESTIMATORS)
    with pytest.raises(ParameterError, match="predicted and expected"):
        evaluate_slates(LoggedSlates(**TWO), estimators=["cascade-dr"])


def world(seed, n=2000):
    """Two slots out of three items, drawn one after the other; a click depends on the item and on those above."""
    rng = np.random.default_rng(seed)
    logging, target = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.3, 0.5])
    worth = np.array([0.2, 0.5, 0.9])
    first = rng.choice(3, n, p=logging)
    left = np.where(np.arange(3) == first[:, None], 0.0, logging)
    left /= left.sum(axis=1, keepdims=True)
    second = (left.cumsum(axis=1) > rng.random(n)[:, None]).argmax(axis=1)
    under = np.where(np.arange(3) == first[:, None], 0.0, target)
    under /= under.sum(axis=1, keepdims=True)
    rows = np.arange(n)
    mean = np.stack([worth[first], worth[second] * (1 - 0.5 * worth[first])], axis=1)
    truth = sum(
        target[a]
        * (
            worth[a]
            + sum(target[b] / (1 - target[a]) * worth[b] * (1 - 0.5 * worth[a]) for b in {0, 1, 2} - {a})
        )
        for a in range(3)
    )
    log = LoggedSlates(
        slate=np.repeat(rows, 2),
        position=np.tile([0, 1], n),
        reward=(rng.random((n, 2)) < mean).astype(float).ravel(),
        propensity=np.stack([logging[first], left[rows, second]], axis=1).ravel(),
        target=np.stack([target[first], under[rows, second]], axis=1).ravel(),
    )
    return log, truth


def test_unbiased_under_a_cascade():
    values = {name: [] for name in ("slate-ips", "interaction-ips")}
    covered = 0
    for seed in range(100):
        log, truth = world(seed)
        found = evaluate_slates(log, intervals="normal", estimators=list(values))
        for name, listed in values.items():
            listed.append(found[name].value)
        covered += found["interaction-ips"].interval.low <= truth <= found["interaction-ips"].interval.high
    for listed in values.values():
        assert abs(np.mean(listed) - truth) < 4 * np.std(listed) / 10
    assert np.std(values["interaction-ips"]) < np.std(values["slate-ips"])
    assert 88 <= covered <= 100


def test_the_order_of_rows_does_not_matter():
    log, _ = world(1, n=50)
    order = np.random.default_rng(0).permutation(100)
    columns = ("slate", "position", "reward", "propensity", "target")
    shuffled = LoggedSlates(**{name: getattr(log, name)[order] for name in columns})
    assert evaluate_slates(shuffled).as_dict() == evaluate_slates(log).as_dict()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"propensity": [0.5, 0.0, 0.5]}, "propensity must be in .*Row 2"),
        ({"target": [1.0, 1.1, 0.5]}, "target must be in .*Row 2"),
        ({"reward": [np.nan, 0, 0]}, "reward must be finite. Row 1"),
        ({"position": [0, 0, 0]}, "List 7 has position 0 more than once"),
        ({"position": [-1, 0, 0]}, "position must be >= 0. Row 1"),
        ({"reward": [0.0]}, "3 slots, but reward has 1"),
        ({"logged_marginal": [0.0, 1.0, 1.0]}, "logged_marginal must be in"),
        ({name: [] for name in TWO}, "no slot"),
    ],
)
def test_a_wrong_log_is_refused(changes, said):
    with pytest.raises(DataError, match=said):
        LoggedSlates(**TWO | changes)


def test_lists_that_the_target_never_makes():
    log = LoggedSlates(**TWO | {"target": [0.0, 1.0, 0.0]})
    with pytest.raises(DataError, match="none of the 2 lists as they were"):
        evaluate_slates(log)
    assert evaluate_slates(log, estimators=["independent-ips"])["independent-ips"].value == pytest.approx(4.0)
    with pytest.raises(ParameterError, match="estimator of lists"):
        evaluate_slates(log, estimators=["ips"])


def test_lists_without_chance_have_no_overlap():
    log = LoggedSlates(**TWO | {"propensity": [1.0, 0.5, 1.0], "target": [1.0, 0.5, 0.0]})
    with pytest.raises(DataError, match=r"50\.0% of the target's probability"):
        evaluate_slates(log)
    found = evaluate_slates(log, most_outside=0.5, estimators=["interaction-ips"])
    assert any("50.0% of the target's probability" in note for note in found.notes)
