"""What holds for any lists and any truth."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from recsmith.evaluation.metrics import beyond_accuracy as beyond
from recsmith.evaluation.metrics import ranking, rating
from recsmith.evaluation.significance import Sample, holm, intervals

N_ITEMS = 12
WIDTH = 6
NAMES = ranking.expand(ranking.METRICS, range(1, WIDTH + 1))

one_list = st.lists(st.integers(0, N_ITEMS - 1), max_size=WIDTH, unique=True).map(
    lambda x: x + [-1] * (WIDTH - len(x))
)
one_truth = st.lists(st.integers(-1, N_ITEMS - 1), min_size=1, max_size=9)
cases = st.lists(st.tuples(one_list, one_truth), min_size=1, max_size=5)


def judge(case):
    lists = np.array([items for items, _ in case], dtype=np.int32)
    truths = [truth for _, truth in case]
    flat = np.array([item for truth in truths for item in truth], dtype=np.int32)
    hit, relevant = ranking.hits(lists, np.cumsum([0, *map(len, truths)]), flat)
    return lists, hit, relevant, ranking.score(hit, relevant, NAMES)


@given(cases)
def test_bounds_and_relations(case):
    _, hit, relevant, values = judge(case)
    for name, column in values.items():
        assert ((column >= 0) & (column <= 1 + 1e-12)).all(), name
    for k in range(1, WIDTH + 1):
        right = hit[:, :k].sum(axis=1)
        np.testing.assert_allclose(values[f"precision@{k}"] * k, right)
        np.testing.assert_allclose(values[f"recall@{k}"] * relevant, right)
        assert (values[f"mrr@{k}"] <= values[f"hit_rate@{k}"]).all()
        assert ((values[f"ndcg@{k}"] > 0) == (right > 0)).all()
        for name in ("recall", "hit_rate", "mrr"):
            assert k == 1 or (values[f"{name}@{k}"] >= values[f"{name}@{k - 1}"]).all()


@given(cases)
def test_a_perfect_list_is_worth_one(case):
    perfect = []
    for _, truth in case:
        known = list(dict.fromkeys(item for item in truth if item >= 0))[:WIDTH] or [0]
        perfect.append((known + [-1] * (WIDTH - len(known)), known))
    _, _, relevant, values = judge(perfect)
    for k in range(1, WIDTH + 1):
        for name in ("ndcg", "map", "mrr", "hit_rate"):
            np.testing.assert_allclose(values[f"{name}@{k}"], 1.0)
        np.testing.assert_allclose(values[f"recall@{k}"], np.minimum(k, relevant) / relevant)


@given(cases, st.integers(0, 2**32 - 1))
def test_the_order_of_the_truth_and_of_the_users_does_not_matter(case, seed):
    rng = np.random.default_rng(seed)
    users = rng.permutation(len(case))
    shuffled = [(case[u][0], list(rng.permutation(case[u][1]))) for u in users]
    before, after = judge(case)[3], judge(shuffled)[3]
    for name in NAMES:
        np.testing.assert_allclose(before[name][users], after[name])


@given(one_list, one_truth, st.integers(1, WIDTH - 1))
def test_moving_a_right_item_up_never_hurts(items, truth, place):
    if items[place] in truth and items[place] >= 0 and items[place - 1] not in truth:
        moved = items.copy()
        moved[place - 1], moved[place] = items[place], items[place - 1]
        before, after = judge([(items, truth)])[3], judge([(moved, truth)])[3]
        assert all((after[name] >= before[name] - 1e-12).all() for name in NAMES)


@given(cases)
def test_what_lists_are_like_stays_in_bounds(case):
    lists, hit, _, _ = judge(case)
    shares = np.linspace(0.0, 1.0, N_ITEMS)
    assert 0 <= beyond.coverage(lists, N_ITEMS) <= 1
    gini = beyond.gini(lists, N_ITEMS)
    assert np.isnan(gini) or -1e-12 <= gini <= 1 - 1 / N_ITEMS + 1e-12
    for column in (beyond.popularity(lists, shares), beyond.serendipity(lists, hit, lists[:, ::-1])):
        assert (np.isnan(column) | ((column >= 0) & (column <= 1))).all()
    assert (beyond.serendipity(lists, hit, lists) == 0).all()
    novelty = beyond.novelty(lists, shares)
    assert (np.isnan(novelty) | (novelty >= 0)).all()


pairs = st.lists(st.tuples(st.integers(0, 4), st.floats(1, 5), st.floats(1, 5)), min_size=1, max_size=40)


@given(pairs)
def test_mae_is_at_most_rmse(rows):
    who, predicted, actual = (np.array(column) for column in zip(*rows, strict=True))
    assert rating.mae(predicted, actual) <= rating.rmse(predicted, actual) + 1e-9
    values, counts = rating.user_errors(predicted, actual, who, 5)
    back = Sample.of_pairs(values["rmse"], counts, root=True).estimate()
    np.testing.assert_allclose(back, rating.rmse(predicted, actual), atol=1e-9)


@settings(max_examples=30)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_an_interval_lies_within_the_values(values):
    low, high = intervals({"m": Sample.of_users(np.array(values))}, resamples=50)["m"]
    assert min(values) - 1e-12 <= low <= high <= max(values) + 1e-12


@given(st.lists(st.floats(0, 1), max_size=10))
def test_holm_keeps_order_and_bounds(p):
    corrected = holm(p)
    assert all(before <= after <= 1 for before, after in zip(p, corrected, strict=True))
    by_p = [c for _, c in sorted(zip(p, corrected, strict=True))]
    assert by_p == sorted(by_p)
