"""Estimators equal their formulas, are unbiased where they promise it, and say where the log cannot speak."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from scipy import stats

from recsmith import parallel
from recsmith.errors import DataError, ParameterError
from recsmith.evaluation.off_policy import (
    ESTIMATORS,
    LoggedBandit,
    Rounds,
    evaluate_policy,
    thompson_probabilities,
    tuned,
)

PARAMETERS = {"clipped-ips": 2.0, "switch-dr": 2.0, "dros": 3.0}


def bandit(n=300, n_actions=4, n_positions=2, seed=0):
    """A log with its target and a crude prediction of rewards."""
    rng = np.random.default_rng(seed)
    logging = rng.dirichlet(np.full(n_actions, 5.0), size=n)
    target = rng.dirichlet(np.full(n_actions, 2.0), size=(n, n_positions)).swapaxes(1, 2)
    position = rng.integers(0, n_positions, n)
    action = (logging.cumsum(axis=1) > rng.random(n)[:, None]).argmax(axis=1)
    rewards = rng.random((n, n_actions, n_positions))
    log = LoggedBandit(
        action=action,
        reward=(rng.random(n) < rewards[np.arange(n), action, position]).astype(float),
        propensity=logging[np.arange(n), action],
        n_actions=n_actions,
        position=position,
        n_positions=n_positions,
    )
    return log, target, np.clip(rewards + rng.normal(0, 0.2, rewards.shape), 0, 1)


def by_the_formula(log, target, rewards):
    """Every estimator as its paper writes it, round by round."""
    w, r, q, m, agree = [], [], [], [], []
    for i in range(len(log)):
        a, k = log.action[i], log.positions[i]
        agree.append(target[i, a, k])
        w.append(target[i, a, k] / log.propensity[i])
        r.append(log.reward[i])
        q.append(rewards[i, a, k])
        m.append(sum(target[i, b, k] * rewards[i, b, k] for b in range(log.n_actions)))
    w, r, q, m, agree = map(np.array, (w, r, q, m, agree))
    return {
        "replay": (agree * r).sum() / agree.sum(),
        "ips": (w * r).mean(),
        "snips": (w * r).sum() / w.sum(),
        "clipped-ips": (np.minimum(w, 2.0) * r).mean(),
        "dm": m.mean(),
        "dr": (m + w * (r - q)).mean(),
        "sndr": m.mean() + (w * (r - q)).sum() / w.sum(),
        "switch-dr": (m + w * (w <= 2.0) * (r - q)).mean(),
        "dros": (m + 3.0 * w / (w**2 + 3.0) * (r - q)).mean(),
    }


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.integers(2, 6), st.integers(1, 3))
def test_every_estimator_equals_its_formula(seed, n_actions, n_positions):
    log, target, rewards = bandit(40, n_actions, n_positions, seed)
    found = evaluate_policy(
        log, target, rewards=rewards, parameters=PARAMETERS, intervals="normal", most_outside=1
    )
    wanted = by_the_formula(log, target, rewards)
    assert [one.estimator for one in found.estimates] == list(ESTIMATORS) == list(wanted)
    for name, value in wanted.items():
        assert found[name].value == pytest.approx(value, abs=1e-12)
    assert found.logged.value == pytest.approx(log.reward.mean())


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.01, 100), st.floats(-50, 50))
def test_rewards_on_another_scale(seed, factor, shift):
    """Twice the rewards are twice the value; a reward of ``shift`` more is that much more where weights add up to 1."""
    log, target, rewards = bandit(60, seed=seed)
    options = {"parameters": PARAMETERS, "intervals": "normal", "most_outside": 1}
    plain = evaluate_policy(log, target, rewards=rewards, **options)
    scaled = evaluate_policy(
        replace(log, reward=factor * log.reward), target, rewards=factor * rewards, **options
    )
    for one, other in zip(plain.estimates, scaled.estimates, strict=True):
        assert other.value == pytest.approx(factor * one.value, rel=1e-9, abs=1e-12)
        assert other.error == pytest.approx(factor * one.error, rel=1e-9, abs=1e-12)
    moved = evaluate_policy(
        replace(log, reward=log.reward + shift), target, rewards=rewards + shift, **options
    )
    for name in ("replay", "snips", "dm", "dr", "sndr", "switch-dr", "dros"):
        assert moved[name].value == pytest.approx(plain[name].value + shift, abs=1e-9)


def test_normal_intervals_are_scipys():
    log, target, _ = bandit()
    chosen = target[np.arange(len(log)), log.action, log.positions]
    each = chosen / log.propensity * log.reward
    found = evaluate_policy(log, chosen, estimators=["ips"], intervals="normal", level=0.9)["ips"]
    assert found.interval == pytest.approx(stats.norm.interval(0.9, each.mean(), stats.sem(each)))


def test_values_by_hand():
    """Two actions, logged with 1/2 each; the target always takes action 1, which earned 1, 0 and 1."""
    log = LoggedBandit(
        action=[1, 0, 1, 1], reward=[1, 1, 0, 1], propensity=[0.5, 0.5, 0.5, 0.25], n_actions=2
    )  # weights 2, 0, 2, 4
    found = evaluate_policy(
        log, np.array([[0.0, 1.0]]), rewards=np.array([[1.0, 0.5]]), parameters=PARAMETERS | {"dros": np.inf}
    )
    wanted = {
        "replay": 2 / 3,
        "ips": 6 / 4,
        "snips": 6 / 8,
        "clipped-ips": 4 / 4,
        "dm": 0.5,
        "dr": 0.5 + (1 - 1 + 2) / 4,
        "sndr": 0.5 + 2 / 8,
        "switch-dr": 0.5,
        "dros": 1.0,
    }
    assert {one.estimator: one.value for one in found.estimates} == pytest.approx(wanted)
    assert found.overlap.effective == pytest.approx(64 / 24)
    assert (found.overlap.largest, found.overlap.mean) == (4.0, 2.0)
    assert found["dros"].parameter == {"strength": np.inf}


def test_the_target_that_logged_earns_what_was_logged():
    log, _, _ = bandit()
    own = np.full((len(log), 4), np.nan)
    own[:] = ((1 - log.propensity) / 3)[:, None]
    own[np.arange(len(log)), log.action] = log.propensity
    found = evaluate_policy(log, own, estimators=["ips", "snips"])
    for one in found.estimates:
        assert one.value == pytest.approx(log.reward.mean())
        assert one.interval == pytest.approx(found.logged.interval)
    assert found.overlap.effective == pytest.approx(len(log))


def test_limits_of_the_parameters():
    log, target, rewards = bandit()
    ends = {
        end: evaluate_policy(
            log, target, rewards=rewards, parameters={"switch-dr": end, "dros": end, "clipped-ips": end}
        )
        for end in (0.0, np.inf)
    }
    for name in ("switch-dr", "dros"):
        assert ends[0.0][name].value == pytest.approx(ends[0.0]["dm"].value)
        assert ends[np.inf][name].value == pytest.approx(ends[0.0]["dr"].value)
    assert ends[0.0]["clipped-ips"].value == 0
    assert ends[np.inf]["clipped-ips"].value == pytest.approx(ends[0.0]["ips"].value)


def test_a_policy_for_all_rounds_is_the_same_as_one_for_each():
    log, target, rewards = bandit()
    one, q = target[:1], rewards[:1]
    each = np.tile(one, (len(log), 1, 1))
    short = evaluate_policy(log, one, rewards=q).as_dict()
    assert evaluate_policy(log, each, rewards=np.tile(q, (len(log), 1, 1))).as_dict() == short
    assert evaluate_policy(log, lambda given: each[: len(given)], rewards=q).as_dict() == short
    at_own = rewards[np.arange(len(log)), :, log.positions]
    whole = evaluate_policy(log, target, rewards=rewards).as_dict()
    assert evaluate_policy(log, target, rewards=at_own).as_dict() == whole


def test_probabilities_of_the_logged_actions_are_enough_for_weights():
    log, target, _ = bandit()
    chosen = target[np.arange(len(log)), log.action, log.positions]
    short, whole = evaluate_policy(log, chosen), evaluate_policy(log, target)
    assert [e.value for e in short.estimates] == [e.value for e in whole.estimates]
    assert [e.estimator for e in short.estimates] == ["replay", "ips", "snips", "clipped-ips"]
    with pytest.raises(ParameterError, match="probability of every action"):
        evaluate_policy(log, chosen, rewards=np.zeros((1, 4)))


def world(seed, n=300):
    """Three arms with known rewards, two contexts, uneven logging: (log, target, truth, wrong prediction)."""
    rng = np.random.default_rng(seed)
    reward = np.array([[0.2, 0.5, 0.8], [0.6, 0.3, 0.1]])
    logging, target = (
        np.array([[0.6, 0.3, 0.1], [0.2, 0.3, 0.5]]),
        np.array([[0.1, 0.3, 0.6], [0.5, 0.3, 0.2]]),
    )
    context = rng.integers(0, 2, n)
    action = (logging[context].cumsum(axis=1) > rng.random(n)[:, None]).argmax(axis=1)
    log = LoggedBandit(
        action=action,
        reward=(rng.random(n) < reward[context, action]).astype(float),
        propensity=logging[context, action],
        n_actions=3,
    )
    return log, target[context], float((target * reward).sum(axis=1).mean()), reward[context] * 0.5 + 0.2


def test_unbiased_and_covered():
    """400 logs: the means hit the truth, standard errors are right, and about 95 % of the intervals hold the truth."""
    names = ("ips", "snips", "dr", "sndr")
    for intervals in ("normal", "bootstrap"):
        found = [
            evaluate_policy(
                log, target, rewards=wrong, estimators=names, intervals=intervals, resamples=200, seed=seed
            )
            for seed in range(400)
            for log, target, _, wrong in [world(seed)]
        ]
        truth = world(0)[2]
        for name in names:
            values = np.array([one[name].value for one in found])
            assert abs(values.mean() - truth) < 4 * values.std() / 20
            assert np.mean([one[name].error for one in found]) == pytest.approx(values.std(), rel=0.15)
            covered = np.mean([one[name].interval.low <= truth <= one[name].interval.high for one in found])
            assert 0.91 <= covered <= 0.98


def test_units_are_drawn_together():
    """Each round four times over says no more than once, and the interval knows it."""
    log, target, _ = bandit(200)
    rows = np.tile(np.arange(200), 4)
    many = log.take(rows)
    chosen = target[np.arange(200), log.action, log.positions]
    once = evaluate_policy(log, chosen, estimators=["snips"], intervals="normal")["snips"]
    told = evaluate_policy(replace(many, unit=rows), chosen[rows], estimators=["snips"], intervals="normal")[
        "snips"
    ]
    untold = evaluate_policy(many, chosen[rows], estimators=["snips"], intervals="normal")["snips"]
    assert told.value == pytest.approx(once.value)
    assert told.error == pytest.approx(once.error)
    assert untold.error == pytest.approx(once.error / 2, rel=0.01)


def test_same_digits_for_any_number_of_threads():
    log, target, rewards = bandit()
    results = []
    for threads in (1, 3):
        parallel.set_threads(threads)
        try:
            results.append(evaluate_policy(log, target, rewards=rewards, seed=4).as_dict())
        finally:
            parallel.set_threads(None)
    assert results[0] == results[1]


@pytest.mark.parametrize("rule", ["slope", "mse"])
def test_parameters_that_the_log_chooses(rule):
    """With a good prediction little weight is wanted; with none the weights stay. More rounds allow more weight."""
    log, target, rewards = bandit(2000, n_positions=1)
    rounds = Rounds.of(log, target, rewards)
    for name in ("clipped-ips", "switch-dr", "dros"):
        best = tuned(ESTIMATORS[name], rounds, rule=rule)
        assert best >= 1
        assert tuned(ESTIMATORS[name], rounds, rule=rule, candidates=[best]) == best
        found = evaluate_policy(log, target, rewards=rewards, rule=rule)[name]
        assert found.parameter == {ESTIMATORS[name].parameter: best}


def test_slope_stops_where_an_estimate_leaves_the_intervals_before_it():
    """Rewards of 1 in all rounds: clipping at 1 loses a fifth of the value, which the narrow intervals show."""
    rng = np.random.default_rng(0)
    log = LoggedBandit(
        action=rng.integers(0, 2, 20_000),
        reward=np.ones(20_000),
        propensity=np.full(20_000, 0.5),
        n_actions=2,
    )
    rounds = Rounds.of(log, np.array([[0.3, 0.7]]))
    assert tuned(ESTIMATORS["clipped-ips"], rounds, candidates=[1.0, np.inf]) == np.inf
    few = Rounds.of(log.take(np.arange(10)), np.array([[0.3, 0.7]]))
    assert tuned(ESTIMATORS["clipped-ips"], few, candidates=[1.0, np.inf]) == 1.0


def test_thompson_probabilities():
    exact = thompson_probabilities([1, 1], [1, 1], draws=20_000, seed=3)
    assert exact.shape == (1, 2, 1)
    assert exact[0, :, 0] == pytest.approx([0.5, 0.5], abs=0.02)
    lists = thompson_probabilities([2, 1, 1], [1, 1, 2], n_positions=2, draws=20_000)
    assert lists.sum(axis=1) == pytest.approx(np.ones((1, 2)))
    # P(the first of Beta(2, 1), Beta(1, 1), Beta(1, 2) is the largest) = integral of 2x * x * (2x - x^2) = 3/5
    assert lists[0, 0, 0] == pytest.approx(3 / 5, abs=0.02)
    with pytest.raises(ParameterError, match="positive"):
        thompson_probabilities([1, 0], [1, 1])
    with pytest.raises(ParameterError, match="n_positions"):
        thompson_probabilities([1, 1], [1, 1], n_positions=3)


def good(**changes):
    return {
        "action": [0, 1, 2],
        "reward": [0.0, 1.0, 0.5],
        "propensity": [0.5, 0.25, 1.0],
        "n_actions": 3,
        "position": [0, 1, 0],
        "n_positions": 2,
        **changes,
    }


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"propensity": [0.5, 0.0, 1.0]}, r"propensity must be in \(0, 1\].*Row 2 has 0.0"),
        ({"propensity": [0.5, 0.2, 1.5]}, "Row 3 has 1.5"),
        ({"propensity": [np.nan, 0.2, 0.5]}, "Row 1 has nan"),
        ({"reward": [0, np.nan, 1]}, "reward must be finite. Row 2"),
        ({"action": [0, 3, 2]}, r"action must be in 0 .. 2. Row 2 has 3"),
        ({"action": [0, -1, 2]}, "Row 2 has -1"),
        ({"action": [0, 0.5, 2]}, "action must hold whole numbers"),
        ({"position": [0, 1, 2]}, r"position must be in 0 .. 1. Row 3 has 2"),
        ({"reward": [0, 1]}, "3 actions, but reward has 2"),
        ({"context": [[0.0], [np.inf], [1.0]]}, "context must be finite. Row 2"),
        ({"context": [0.0, 1.0, 2.0]}, "rows and columns"),
        ({"action": [], "reward": [], "propensity": [], "position": []}, "no round"),
        ({"reward": ["a", "b", "c"]}, "reward must hold numbers"),
    ],
)
def test_a_wrong_log_is_refused(changes, said):
    with pytest.raises(DataError, match=said):
        LoggedBandit(**good(**changes))


def test_frames():
    frame = pl.DataFrame(
        {"action": [0, 1], "reward": [1, 0], "propensity": [0.5, 0.5], "slot": [0, 1], "x": [1, 2]}
    )
    log = LoggedBandit.from_frame(frame, n_actions=2, features=["x"], position="slot", n_positions=2)
    assert (log.context.tolist(), log.position.tolist()) == ([[1.0], [2.0]], [0, 1])
    with pytest.raises(DataError, match=r"no column 'y'.*action, reward"):
        LoggedBandit.from_frame(frame, n_actions=2, features=["y"])
    with pytest.raises(DataError, match="reward: row 2 is empty"):
        LoggedBandit.from_frame(frame.with_columns(reward=pl.Series([1, None])), n_actions=2)
    with pytest.raises(DataError, match="reward must hold numbers"):
        LoggedBandit.from_frame(frame.with_columns(reward=pl.lit("a")), n_actions=2)


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (
            np.array([[0.5, 0.4, 0.0]]),
            "probability distribution.*row 1 of the log, at position 0, it adds up to 0.9",
        ),
        (np.array([[1.2, -0.2, 0.0]]), "row 1 of the log, at position 0, it holds -0.2"),
        (np.array([[np.nan, 0.5, 0.5]]), "adds up to nan"),
        (np.array([0.5, 1.5, 0.1]), r"in \[0, 1\]. Row 2 has 1.5"),
    ],
)
def test_a_wrong_target_is_refused(target, said):
    with pytest.raises(DataError, match=said):
        evaluate_policy(LoggedBandit(**good()), target)


def test_wrong_shapes_and_names_are_refused():
    log = LoggedBandit(**good())
    even = np.full((1, 3), 1 / 3)
    with pytest.raises(ParameterError, match=r"target.*of shape \(3 or 1, 3\)"):
        evaluate_policy(log, np.full((2, 3), 1 / 3))
    with pytest.raises(ParameterError, match="rewards"):
        evaluate_policy(log, even, rewards=np.zeros((1, 2)))
    with pytest.raises(ParameterError, match="Did you mean 'snips'"):
        evaluate_policy(log, even, estimators=["snip"])
    with pytest.raises(ParameterError, match="'dr' needs predicted rewards"):
        evaluate_policy(log, even, estimators=["dr"])
    with pytest.raises(ParameterError, match="a list of names"):
        evaluate_policy(log, even, estimators="ips")
    with pytest.raises(ParameterError, match="estimator with a parameter"):
        evaluate_policy(log, even, parameters={"ips": 3})
    with pytest.raises(ParameterError, match="limit"):
        evaluate_policy(log, even, parameters={"clipped-ips": -1}, most_outside=1)
    for wrong in ("abc", True, [], ["a"], [1, -1], np.nan, {1: 2}, [[1], [1, 2]]):
        with pytest.raises(ParameterError, match="'limit' parameter of clipped-ips must be a number >= 0"):
            evaluate_policy(log, even, parameters={"clipped-ips": wrong}, most_outside=1)
    with pytest.raises(ParameterError, match="'dros', which is not among the estimators: ips"):
        evaluate_policy(log, even, parameters={"dros": 2}, estimators=["ips"])
    with pytest.raises(ParameterError, match="Known: clipped-ips, dros, switch-dr"):
        evaluate_policy(log, even, parameters={"dorz": 2}, estimators=["ips"])
    with pytest.raises(ParameterError, match=r"'resamples' parameter .* must be >= 100"):
        evaluate_policy(log, even, resamples=99)
    with pytest.raises(ParameterError, match="level"):
        evaluate_policy(log, even, level=1.0)
    with pytest.raises(ParameterError, match="method of intervals"):
        evaluate_policy(log, even, intervals="exact")
    with pytest.raises(DataError, match="rewards of the actions"):
        evaluate_policy(log, even, rewards=np.full((1, 3), np.nan))


def test_no_overlap_gives_no_figure():
    log = LoggedBandit(action=[0, 1] * 20, reward=[1, 0] * 20, propensity=[0.5, 0.5] * 20, n_actions=3)
    with pytest.raises(DataError, match="No overlap: the target would have taken none"):
        evaluate_policy(log, np.array([[0.0, 0.0, 1.0]]))
    with pytest.raises(DataError, match=r"20\.0% .* never shows, and the mean weight is 0.800"):
        evaluate_policy(log, np.array([[0.4, 0.4, 0.2]]))
    allowed = evaluate_policy(log, np.array([[0.4, 0.4, 0.2]]), most_outside=0.5)
    assert any("20.0% of the target's probability" in note for note in allowed.notes)
    by_model = evaluate_policy(log, np.array([[0.0, 0.0, 1.0]]), rewards=np.ones((1, 3)), estimators=["dm"])
    assert by_model["dm"].value == 1


def test_actions_that_chance_left_out_are_no_lack_of_overlap():
    """A uniform log of 500 rounds over 2,000 actions: most are never shown, and IPS is unbiased all the same."""
    rng = np.random.default_rng(0)
    worth = rng.random(2000)
    action = rng.integers(0, 2000, 500)
    log = LoggedBandit(action=action, reward=worth[action], propensity=np.full(500, 1 / 2000), n_actions=2000)
    target = rng.dirichlet(np.ones(2000))[None]
    found = evaluate_policy(log, target)
    assert found.overlap.unseen > 0.5
    assert abs(found["ips"].value - target[0] @ worth) < 3 * found["ips"].error
    assert any("never shows" in note for note in found.notes)


def test_a_log_without_chance_has_no_overlap():
    """Propensity 1: whatever else the target would show was never possible."""
    log = LoggedBandit(action=[0, 1, 1], reward=[1, 0, 1], propensity=[1, 1, 1], n_actions=2)
    with pytest.raises(DataError, match=r"33.3% of the target's probability"):
        evaluate_policy(log, np.array([1.0, 1.0, 0.0]))
    assert evaluate_policy(log, np.array([1.0, 1.0, 1.0]))["ips"].value == pytest.approx(2 / 3)


def test_warnings():
    log = LoggedBandit(action=[0, 1] * 50, reward=[1, 0] * 50, propensity=[0.9, 0.9] * 50, n_actions=2)
    assert any("mean weight is 0.556" in n for n in evaluate_policy(log, np.array([[0.5, 0.5]])).notes)
    rare = LoggedBandit(
        action=[0] + [1] * 99, reward=[1.0] * 100, propensity=[0.01] + [0.99] * 99, n_actions=2
    )
    notes = evaluate_policy(rare, np.array([[0.5, 0.5]])).notes
    assert any("effective rounds of 100" in note for note in notes)
    assert any("replay: biased by the log, which is not uniform" in note for note in notes)
    small = LoggedBandit(action=[0, 1] * 3, reward=[1, 0] * 3, propensity=[0.5] * 6, n_actions=2)
    (note,) = (n for n in evaluate_policy(small, np.array([[0.5, 0.5]])).notes if n.startswith("Warning"))
    assert note.startswith("Warning: the log is small, 6 rounds (6.0 effective)")


def test_a_mean_weight_away_from_1_is_told_with_its_error():
    """In half of the rounds the item was certain; elsewhere propensities are too small by a third."""
    rng = np.random.default_rng(0)
    action = rng.integers(0, 2, 400)
    certain = np.arange(400) % 2 == 0
    target = np.where(certain, np.arange(400) % 100 > 1, 0.5)  # 1 % of it was impossible
    log = LoggedBandit(
        action=action, reward=action, propensity=np.where(certain, 1.0, 0.5 / 1.56), n_actions=2
    )
    notes = evaluate_policy(log, target, estimators=["ips"]).notes
    assert any("the mean weight is 1.270, not 0.99 (standard error 0.0" in note for note in notes)
    right = evaluate_policy(replace(log, propensity=np.where(certain, 1.0, 0.5)), target, estimators=["ips"])
    assert not any("mean weight" in note for note in right.notes)


def test_a_mean_weight_that_few_rounds_carry_is_told():
    """Weight 1.56 on average, of which one round has a third: within its error, and still no factor to trust."""
    log = LoggedBandit(
        action=[0] + [1] * 99, reward=[1.0] * 100, propensity=[1 / 116] + [0.5 / 0.8] * 99, n_actions=2
    )
    (note,) = (n for n in evaluate_policy(log, np.array([[0.5, 0.5]])).notes if "mean weight" in n)
    assert "not 1 (standard error 0.57" in note and "chance can be the reason" in note


def test_the_error_of_the_mean_weight_is_that_of_units():
    log, target, _ = bandit(200)
    chosen = target[np.arange(200), log.action, log.positions]
    rows = np.tile(np.arange(200), 4)
    many = replace(log.take(rows), unit=rows)
    once = evaluate_policy(replace(log, unit=np.arange(200)), chosen, estimators=["ips"]).overlap
    assert evaluate_policy(many, chosen[rows], estimators=["ips"]).overlap.mean_error == pytest.approx(
        once.mean_error
    )


def test_a_biased_estimate_has_no_interval():
    """Bounds around dm, replay of an uneven log and shrunken weights cover the truth in 0 to 37 %: there are none."""
    log, target, _, wrong = world(3)
    found = evaluate_policy(log, target, rewards=wrong)
    without = {one.estimator for one in found.estimates if one.interval is None}
    assert without == {"replay", "dm", "clipped-ips", "switch-dr", "dros"}
    assert all(one.error > 0 for one in found.estimates)
    said = " ".join(found.notes)
    assert "No interval for clipped-ips, switch-dr, dros: biased by weights that are made smaller" in said
    assert "No interval for dm: biased by the error of the predicted rewards" in said
    plain = {one["estimator"]: one["interval"] for one in found.as_dict()["estimates"]}
    assert plain["dros"] is None and plain["ips"] is not None
    uniform = evaluate_policy(
        replace(log, propensity=np.full(len(log), 1 / 3)), target, estimators=["replay"]
    )
    assert uniform["replay"].interval is not None


def test_results_are_plain_and_shown():
    log, target, rewards = bandit()
    found = evaluate_policy(log, target, rewards=rewards, parameters={"dros": np.inf})
    plain = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert [one["estimator"] for one in plain["estimates"]] == list(ESTIMATORS)
    assert plain["estimates"][-1]["parameter"] == {"strength": None}
    assert plain["overlap"]["share"] == pytest.approx(found.overlap.effective / 300)
    console = Console(width=120, file=None, record=True)
    with console.capture() as shown:
        console.print(found)
    assert "switch-dr" in shown.get()
    assert "largest weight" in shown.get()
    with pytest.raises(ParameterError, match="estimator of this result"):
        found["ipz"]
