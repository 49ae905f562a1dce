"""What every registered policy keeps, tested the moment its line is in the registry."""

from __future__ import annotations

import numpy as np
import pytest

from recsmith.bundle import Bundle
from recsmith.errors import BundleError, ParameterError
from recsmith.evaluation.simulation import BernoulliWorld, simulate
from recsmith.experiment.train import load_bundle, train
from recsmith.models.bandits.registry import POLICIES, create_policy, policy_class, policy_name
from recsmith.models.registry import model_class
from recsmith.protocols import Evidence, Policy, Stateful
from recsmith.types import Queries, State

LINEAR = [name for name in POLICIES if policy_class(name).needs is Evidence.CONTEXT]
BOUNDED = [name for name in POLICIES if policy_class(name).reward_range == (0.0, 1.0)]
CHANCES = np.array([0.2, 0.3, 0.8, 0.4, 0.1])


def asked(n: int, context: np.ndarray | None = None) -> Queries:
    """Requests without a history; each with the same context, where none is given."""
    return Queries(
        users=np.full(n, -1, dtype=np.int32),
        offsets=np.zeros(n + 1, dtype=np.int64),
        items=np.zeros(0, dtype=np.int32),
        context=np.tile(np.float32([0.5, -1.0]), (n, 1)) if context is None else context,
    )


def varied(n: int, seed: int = 0) -> Queries:
    return asked(n, np.random.default_rng(seed).standard_normal((n, 2)).astype(np.float32))


def taught(name: str, n: int = 60):
    """A policy with rewards for the items 0 to 4, and what it learned from."""
    rng = np.random.default_rng(1)
    queries, items = varied(n), rng.integers(0, 5, n)
    rewards = (rng.random(n) < CHANCES[items]).astype(np.float32)
    policy = create_policy(name)
    policy.update(queries, items, rewards)
    return policy, queries, items, rewards


def offered(n: int, *items: int) -> np.ndarray:
    return np.tile(np.array(items, dtype=np.int32), (n, 1))


def assert_same(first: State, second: State) -> None:
    assert set(first.arrays) == set(second.arrays)
    for name, array in first.arrays.items():
        assert array.dtype == second.arrays[name].dtype
        np.testing.assert_array_equal(array, second.arrays[name])


@pytest.mark.parametrize("name", POLICIES)
def test_line_resolves(name):
    policy = create_policy(name)
    assert isinstance(policy, Policy)
    assert isinstance(policy, Stateful)
    assert policy_name(policy) == name
    with pytest.raises(ParameterError, match="epsilonn"):
        create_policy(name, epsilonn=1)


def test_unknown_names():
    with pytest.raises(ParameterError, match="Did you mean 'thompson'"):
        policy_class("tompson")
    with pytest.raises(ParameterError, match="not a registered policy"):
        policy_name(object())


@pytest.mark.parametrize("name", POLICIES)
def test_the_best_item_is_found(name):
    worlds = [BernoulliWorld(np.roll(CHANCES, shift)) for shift in range(4)]
    found = simulate({name: lambda: create_policy(name)}, worlds, 800, reference=name)
    steps = np.diff(found.curves[name], axis=1)
    evenly = CHANCES.max() - CHANCES.mean()
    assert steps[:, 500:].mean() < 0.35 * evenly
    assert steps[:, 500:].mean() < steps[:, :50].mean()


@pytest.mark.parametrize("name", POLICIES)
def test_propensities_are_how_often_things_are_chosen(name):
    policy, *_ = taught(name)
    n, k = 20_000, 2
    candidates = offered(n, 0, 3, 2, 1)
    drawn = policy.choose(asked(n), candidates, k, rng=np.random.default_rng(2))
    told = policy.act(asked(400), candidates[:400], k, rng=np.random.default_rng(3))
    first = dict(zip(told.items[:, 0].tolist(), told.propensities[:, 0].tolist(), strict=True))
    for item, chance in first.items():
        same = drawn[:, 0] == item
        assert same.mean() == pytest.approx(chance, abs=4.5 * np.sqrt(0.25 / n))
    assert 0.9 < sum(first.values()) <= 1 + 1e-4
    for top, second, chance in {
        (int(a), int(b), float(p)) for (a, b), p in zip(told.items, told.propensities[:, 1], strict=True)
    }:
        given = drawn[drawn[:, 0] == top, 1]
        assert (given == second).mean() == pytest.approx(chance, abs=4.5 * np.sqrt(0.25 / len(given)))


@pytest.mark.parametrize("name", POLICIES)
def test_a_seed_gives_the_same_slates(name):
    policy, *_ = taught(name)
    queries, candidates = varied(30, seed=5), offered(30, 4, 9, 0, 2, 7)
    first, second = (policy.act(queries, candidates, 3, rng=np.random.default_rng(8)) for _ in range(2))
    np.testing.assert_array_equal(first.items, second.items)
    np.testing.assert_array_equal(first.propensities, second.propensities)
    alone = policy.choose(queries, candidates, 3, rng=np.random.default_rng(8))
    np.testing.assert_array_equal(alone, first.items)


@pytest.mark.parametrize("name", POLICIES)
def test_slates_are_of_distinct_candidates_with_probabilities(name):
    policy, *_ = taught(name)
    candidates = np.array([[4, 9, -1, 0, 2], [-1, 1, 3, -1, -1]], dtype=np.int32)
    slate = policy.act(varied(2), candidates, 4, rng=np.random.default_rng(0))
    assert (slate.items.dtype, slate.propensities.dtype) == (np.int32, np.float32)
    assert sorted(slate.items[0]) == [0, 2, 4, 9]
    assert sorted(slate.items[1]) == [-1, -1, 1, 3]
    filled = slate.items >= 0
    assert filled[1].tolist() == [True, True, False, False]
    assert ((slate.propensities[filled] > 0) & (slate.propensities[filled] <= 1)).all()
    assert np.isnan(slate.propensities[~filled]).all()


@pytest.mark.parametrize("name", POLICIES)
def test_more_places_than_candidates_and_none_at_all(name):
    policy, *_ = taught(name)
    rng = np.random.default_rng(0)
    slate = policy.act(varied(2), offered(2, 3, 8), 5, rng=rng)
    assert (np.sort(slate.items, axis=1) == [-1, -1, -1, 3, 8]).all()
    assert slate.propensities[:, 1] == pytest.approx(1)  # one was left
    for nothing in (offered(2), offered(2, -1)):
        empty = policy.act(varied(2), nothing, 2, rng=rng)
        assert (empty.items == -1).all()
        assert np.isnan(empty.propensities).all()
    assert policy.act(varied(0), offered(0, 1, 2), 2, rng=rng).items.shape == (0, 2)


@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_that_never_had_a_reward_chooses(name):
    slate = create_policy(name).act(varied(3), offered(3, 5, 1_000_000), 2, rng=np.random.default_rng(0))
    assert (np.sort(slate.items, axis=1) == [5, 1_000_000]).all()
    assert (slate.propensities > 0).all()


@pytest.mark.parametrize("name", POLICIES)
def test_items_that_were_never_shown_are_tried(name):
    policy, *_ = taught(name)
    items = policy.choose(asked(3000), offered(3000, 0, 4, 77), 1, rng=np.random.default_rng(0))
    assert 77 in items


@pytest.mark.parametrize("name", POLICIES)
def test_acting_changes_nothing_and_inputs_stay(name):
    policy, queries, items, rewards = taught(name)
    before = policy.state()
    candidates = offered(len(queries), 3, 11, 2)
    copies = [a.copy() for a in (candidates, queries.context, items, rewards)]
    policy.act(queries, candidates, 2, rng=np.random.default_rng(0))
    assert_same(before, policy.state())
    policy.update(queries, items, rewards)
    for was, now in zip(copies, (candidates, queries.context, items, rewards), strict=True):
        np.testing.assert_array_equal(was, now)
    assert any((a != policy.state().arrays[key]).any() for key, a in before.arrays.items())


@pytest.mark.parametrize("name", POLICIES)
def test_a_batch_is_the_same_as_single_updates(name):
    batch, queries, items, rewards = taught(name)
    single = create_policy(name)
    for row in range(len(items)):
        one = slice(row, row + 1)
        single.update(queries.take(one), items[one], rewards[one])
    assert_same(batch.state(), single.state())


@pytest.mark.parametrize("name", POLICIES)
def test_a_slate_is_learned_from_place_by_place_without_its_empty_places(name):
    wide, flat = create_policy(name), create_policy(name)
    queries = varied(2)
    wide.update(queries, np.array([[3, -1], [1, 3]]), np.array([[1.0, np.nan], [0.0, 1.0]]))
    flat.update(queries.take(np.array([0, 1, 1])), np.array([3, 1, 3]), np.array([1.0, 0.0, 1.0]))
    assert_same(wide.state(), flat.state())
    wide.update(queries, np.array([-1, -1]), np.zeros(2))
    assert_same(wide.state(), flat.state())


@pytest.mark.parametrize("name", POLICIES)
def test_what_was_learned_comes_back_to_the_bit(name):
    policy, *_ = taught(name)
    again = create_policy(name).restore(policy.state())
    assert_same(policy.state(), again.state())
    slates = [
        p.act(varied(9), offered(9, 0, 1, 2, 3), 2, rng=np.random.default_rng(4)) for p in (policy, again)
    ]
    np.testing.assert_array_equal(slates[0].items, slates[1].items)
    np.testing.assert_array_equal(slates[0].propensities, slates[1].propensities)
    for one in (policy, again):
        one.update(varied(3, seed=9), np.array([0, 8, 2]), np.array([1.0, 0.0, 1.0]))
    assert_same(policy.state(), again.state())
    policy.forget()
    assert_same(policy.state(), create_policy(name).state())


@pytest.mark.parametrize("name", POLICIES)
def test_a_damaged_state_is_refused(name):
    state = taught(name)[0].state()
    key = next(iter(state.arrays))
    with pytest.raises(ValueError, match=r"together|flat"):
        create_policy(name).restore(State({**state.arrays, key: state.arrays[key][:-1]}))
    with pytest.raises(LookupError):
        create_policy(name).restore(State({}))


@pytest.mark.parametrize("name", POLICIES)
def test_bad_rewards_are_refused_and_nothing_is_learned(name):
    policy, *_ = taught(name)
    before = policy.state()
    wrong = [np.nan, np.inf] + ([-0.1, 1.5] if name in BOUNDED else [])
    for reward in wrong:
        with pytest.raises(ParameterError, match="rewards"):
            policy.update(varied(2), np.array([0, 1]), np.array([1.0, reward]))
    for items, rewards in (
        ([0, 1, 2], [1.0, 0.0, 1.0]),
        ([0, 1], [1.0]),
        ([0, -2], [1.0, 0.0]),
        ([0.0, 1.0], [1.0, 0.0]),
    ):
        with pytest.raises(ParameterError, match="items"):
            policy.update(varied(2), np.array(items), np.array(rewards))
    assert_same(before, policy.state())


@pytest.mark.parametrize("name", POLICIES)
def test_bad_questions_are_refused(name):
    policy, *_ = taught(name)
    rng = np.random.default_rng(0)
    with pytest.raises(ParameterError, match="'k'"):
        policy.act(varied(1), offered(1, 2), 0, rng=rng)
    for candidates in (offered(2, 1), np.array([1, 2]), np.array([[0.5]])):
        with pytest.raises(ParameterError, match="candidates"):
            policy.act(varied(1), candidates, 1, rng=rng)
    with pytest.raises(ParameterError, match=r"distinct.*Got 7"):
        policy.act(varied(1), offered(1, 7, 2, 7), 1, rng=rng)
    with pytest.raises(ParameterError, match="-2"):
        policy.act(varied(1), offered(1, 7, -2), 1, rng=rng)


@pytest.mark.parametrize("name", LINEAR)
def test_a_context_that_is_missing_or_strange_is_refused(name):
    policy, *_ = taught(name)
    for context, words in (
        (np.zeros((1, 3), dtype=np.float32), "width 2.*Got 3"),
        (np.full((1, 2), np.nan, dtype=np.float32), "row 0"),
    ):
        with pytest.raises(ParameterError, match=words):
            policy.act(asked(1, context), offered(1, 0), 1, rng=np.random.default_rng(0))
        with pytest.raises(ParameterError, match=words):
            policy.update(asked(1, context), np.array([0]), np.array([1.0]))
    with pytest.raises(ParameterError, match="context"):
        policy.act(asked(1).replace(context=None), offered(1, 0), 1, rng=np.random.default_rng(0))


@pytest.mark.parametrize("name", POLICIES)
def test_a_bundle_keeps_what_a_policy_learned(name, ml_like, tmp_path):
    policy, *_ = taught(name)
    bundle = train("popular", ml_like).with_policy(name, policy)
    path = bundle.save(tmp_path / "b")
    loaded = load_bundle(path)
    assert loaded.policy_name == name
    assert loaded.policy.config == policy.config
    assert_same(policy.state(), loaded.policy.state())
    without = Bundle.load(path, model_class)
    assert without.policy is None
    assert without.recommend(k=3).equals(loaded.recommend(k=3))


def test_a_policy_that_nobody_knows_keeps_a_bundle_from_being_loaded(ml_like, tmp_path):
    policy, *_ = taught("thompson")
    path = train("popular", ml_like).with_policy("thomson", policy).save(tmp_path / "b")
    with pytest.raises(BundleError, match="Did you mean 'thompson'"):
        load_bundle(path)
