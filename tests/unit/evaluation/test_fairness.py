"""Groups of users and of items: by hand, against SciPy, and under a truth that is known."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial.distance import jensenshannon

from recsmith.data.splitters import user_time
from recsmith.errors import DataError, ParameterError
from recsmith.evaluation.answers import rank
from recsmith.evaluation.fairness import user_fairness
from recsmith.evaluation.groups import counted, labels_of, permutation_p, user_labels
from recsmith.evaluation.item_fairness import item_fairness
from recsmith.evaluation.metrics import fairness
from recsmith.evaluation.popularity_bias import popularity_bias
from recsmith.evaluation.report import Report, summarize
from recsmith.evaluation.significance import Sample, holm
from recsmith.models.baselines.popular import Popular
from recsmith.recommend import Pipeline
from recsmith.types import Queries


def report_of(values, pairs=None):
    """A report of figures that are given."""
    values = {name: np.asarray(column, dtype=np.float64) for name, column in values.items()}
    n = len(next(iter(values.values())))
    report = Report(
        model="m", config={}, protocol={"seed": 0}, split="s", notes=(), user_ids=pl.Series("user_id", range(n)),
        known=np.ones(n, dtype=bool), values=values, pairs=pairs, means={}, intervals={},
    )  # fmt: skip
    means, bounds = summarize({name: report.sample(name) for name in values}, resamples=50, seed=0)
    return replace(report, means=means, intervals=bounds)


def table_of(column, name="group"):
    return pl.DataFrame({"user_id": range(len(column)), name: column})


def drawn(sizes, shifts, spreads=None, seed=0):
    """A figure of groups with given means, and their names."""
    rng = np.random.default_rng(seed)
    spreads = spreads or [0.1] * len(sizes)
    parts = [rng.normal(0.5 + s, w, n) for n, s, w in zip(sizes, shifts, spreads, strict=True)]
    names = [name for name, n in zip("abcdefg", sizes, strict=False) for _ in range(n)]
    return np.concatenate(parts), names


# Groups of users


def test_groups_of_a_column():
    text = labels_of(pl.Series("g", ["m", "f", None, "m"]))
    assert text.groups == ("f", "m") and text.codes.tolist() == [1, 0, -1, 1]
    assert text.unknown == 1 and text.sizes.tolist() == [1, 2]
    assert labels_of(pl.Series("member", [True, False])).groups == ("False", "True")
    few = labels_of(pl.Series("stars", [1, 3, 3, 2]))
    assert few.groups == ("1", "2", "3")


def test_ages_are_bands():
    ages = labels_of(pl.Series("age", [17, 18, 24, 25, 70, 56, 55, 49, 45, None, 30, 33, 35, 44, 50]))
    assert ages.groups == (
        "under 18", "18 to 24", "25 to 34", "35 to 44", "45 to 49", "50 to 55", "56 and more",
    )  # fmt: skip
    assert ages.codes[:5].tolist() == [0, 1, 1, 2, 6] and ages.codes[9] == -1
    own = labels_of(pl.Series("age", [17, 30, 50]), edges=(18, 40))
    assert own.groups == ("under 18", "18 to 39", "40 and more")
    height = labels_of(pl.Series("height", np.linspace(1.5, 2.0, 40)))
    assert len(height.groups) == 4 and height.sizes.tolist() == [10, 10, 10, 10]
    assert "to under" in height.groups[1]


@pytest.mark.parametrize(
    ("column", "edges", "message"),
    [
        (["a", "a", None], None, "at least two"),
        ([None, None], None, "missing for 2 of 2"),
        ([str(n) for n in range(60)], None, "60 different values"),
        ([[1], [2]], None, "not of lists"),
        ([1, 2, 3], (3, 2), "rising"),
        ([1, 2, 3], (), "rising"),
    ],
)
def test_columns_that_make_no_groups(column, edges, message):
    with pytest.raises(ParameterError, match=message):
        labels_of(pl.Series("g", column), edges=edges)


def test_users_are_matched_by_id():
    ids = pl.Series("user_id", ["a", "b", "c"])
    table = pl.DataFrame({"user_id": ["c", "a", "z"], "g": ["x", "y", "x"]})
    assert user_labels(ids, table, "g").codes.tolist() == [1, -1, 0]
    with pytest.raises(ParameterError, match="no user attribute named 'h'"):
        user_labels(ids, table, "h")
    with pytest.raises(DataError, match="no column user_id"):
        user_labels(ids, table.rename({"user_id": "id"}), "g")
    with pytest.raises(DataError, match="Cast one of them"):
        user_labels(pl.Series("user_id", [1, 2]), table, "g")


# The test


def test_p_is_that_of_scipy():
    values, names = drawn([35, 60], [0.0, 0.04], [0.08, 0.2])
    labels = labels_of(pl.Series("g", names))
    p, overall = permutation_p([Sample.of_users(values)], labels, np.array([0, 1]), permutations=9999)

    def welch(a, b, axis):
        return stats.ttest_ind(a, b, equal_var=False, axis=axis).statistic

    oracle = stats.permutation_test(
        (values[:35], values[35:]), lambda a, b, axis: np.abs(welch(a, b, axis)), vectorized=True,
        n_resamples=9999, alternative="greater", rng=np.random.default_rng(1),
    ).pvalue  # fmt: skip
    assert p[0, 0] == p[1, 0] == overall[0]  # two groups are one test
    assert p[0, 0] == pytest.approx(oracle, abs=0.02)
    assert p[0, 0] == pytest.approx(
        stats.ttest_ind(values[:35], values[35:], equal_var=False).pvalue, abs=0.03
    )


def test_every_permutation_of_a_tiny_log():
    """Of 20 ways to choose 3 of 6 users, 2 are as far apart as the groups: p is near 0.1."""
    labels = labels_of(pl.Series("g", ["a"] * 3 + ["b"] * 3))
    p, _ = permutation_p(
        [Sample.of_users(np.array([1.0, 2, 3, 11, 12, 13]))], labels, np.array([0]), permutations=9999
    )
    assert p[0, 0] == pytest.approx(0.1, abs=0.01)


def test_a_group_in_which_one_user_has_the_figure_leaves_the_gap_its_test():
    values, names = drawn([40, 40, 40], [0.0, 0.3, 0.0])
    values[81:] = np.nan
    found = user_fairness(report_of({"ndcg@10": values}), table_of(names), "group", permutations=999)
    (gap,) = found.gaps
    assert (gap.low, gap.high, gap.p) == ("a", "b", 1e-3)
    assert [row.p for row in found.rows][2] is None and found.rows[2].verdict == "too small to say"
    assert any("fewer than 30 users have it in c (1): not tested" in text for text in found.warnings)
    assert found.as_dict()["gaps"][0]["p"] == 1e-3


def test_labels_are_permuted_among_the_users_that_have_the_figure():
    """Three of fifty in each group have it, 3 against 3 apart: as many permutations as of six users alone."""
    values = np.full(100, np.nan)
    values[[0, 1, 2, 50, 51, 52]] = [1.0, 2, 3, 11, 12, 13]
    labels = labels_of(pl.Series("g", ["a"] * 50 + ["b"] * 50))
    p, overall = permutation_p([Sample.of_users(values)], labels, np.arange(2), permutations=9999)
    assert p[:, 0] == pytest.approx([0.1, 0.1], abs=0.01) and overall[0] == p[0, 0]
    none, nothing = permutation_p([Sample.of_users(values)], labels, np.arange(2), least=4, permutations=99)
    assert np.isnan(none).all() and np.isnan(nothing).all()


def test_a_group_with_hardly_a_hit_is_too_small_to_say():
    """No hit among 40 users: the bootstrap draws nothing but 0, and says nothing of a rate of .05."""
    values = np.r_[np.zeros(40), np.random.default_rng(4).random(400) < 0.02]
    found = user_fairness(
        report_of({"hit_rate@10": values}), table_of(["a"] * 40 + ["b"] * 400), "group", matters=2.0
    )
    assert found.rows[0].verdict == "too small to say"
    assert found.rows[0].interval == pytest.approx(stats.binomtest(0, 40).proportion_ci(), abs=1e-9)


def test_equal_groups_are_found_different_in_5_of_100():
    rng, found = np.random.default_rng(3), 0
    labels = labels_of(pl.Series("g", ["a"] * 25 + ["b"] * 25 + ["c"] * 30))
    for seed in range(200):
        sample = Sample.of_users(rng.exponential(size=80))
        _, overall = permutation_p([sample], labels, np.arange(3), permutations=199, seed=seed)
        found += overall[0] <= 0.05
    assert 2 <= found <= 20


def test_unequal_spread_is_no_difference():
    """A small group of large spread: a test of raw differences would call it different far too often."""
    rng, found = np.random.default_rng(4), 0
    labels = labels_of(pl.Series("g", ["a"] * 15 + ["b"] * 135))
    for seed in range(150):
        values = np.concatenate([rng.normal(0, 3, 15), rng.normal(0, 0.5, 135)])
        p, _ = permutation_p([Sample.of_users(values)], labels, np.array([0]), permutations=199, seed=seed)
        found += p[0, 0] <= 0.05
    assert found <= 20


def test_a_figure_without_variance_has_no_difference():
    labels = labels_of(pl.Series("g", ["a"] * 5 + ["b"] * 5))
    same, apart = np.full(10, 0.1), np.repeat([0.1, 0.3], 5)
    p, overall = permutation_p([Sample.of_users(same), Sample.of_users(apart)], labels, np.array([0]))
    assert p[0, 0] == overall[0] == 1.0
    assert p[0, 1] == pytest.approx(2 / 252, abs=0.003)


# Fairness of users


def test_differences_and_ratios_by_hand():
    values = [0.2] * 40 + [0.4] * 40 + [0.9] * 3
    found = user_fairness(
        report_of({"ndcg@10": values}), table_of(["f"] * 40 + ["m"] * 40 + [None] * 3), "group"
    )
    f, m, unknown = found.rows
    assert (f.group, f.users, f.value, m.value) == ("f", 40, pytest.approx(0.2), pytest.approx(0.4))
    assert f.difference == pytest.approx(-0.2) and f.ratio == pytest.approx(0.5)
    assert m.difference == pytest.approx(0.2) and m.ratio == pytest.approx(2.0)
    assert f.difference_interval == pytest.approx((-0.2, -0.2))
    assert (f.verdict, m.verdict) == ("worse", "better") and f.p_corrected == pytest.approx(0.0001)
    # those whose attribute is missing are told apart, and are nobody's rest
    assert found.unknown == 3 and (unknown.group, unknown.users) == ("unknown", 3)
    assert unknown.value == pytest.approx(0.9) and unknown.p is None and np.isnan(unknown.difference)
    assert any("missing for 3 of 83 users" in text for text in found.warnings)
    (gap,) = found.gaps
    assert (gap.high, gap.low) == ("m", "f")
    assert gap.difference == pytest.approx(0.2) and gap.ratio == pytest.approx(0.5)


def test_of_two_groups_there_is_one_test_and_of_three_holm():
    values, names = drawn([60, 60], [0, 0.02])
    two = user_fairness(report_of({"ndcg@10": values}), table_of(names), "group")
    assert two.rows[0].p == two.rows[0].p_corrected == two.rows[1].p_corrected
    values, names = drawn([60, 60, 60], [0, 0.03, 0.06])
    three = user_fairness(report_of({"ndcg@10": values}), table_of(names), "group")
    assert [r.p_corrected for r in three.rows] == holm([r.p for r in three.rows])


def test_groups_that_are_too_small_to_say():
    values, names = drawn([29, 200, 40], [0.3, 0, 0], [0.1, 0.05, 0.6])
    found = user_fairness(report_of({"ndcg@10": values}), table_of(names), "group")
    a, b, c = found.rows
    assert a.p is None and a.verdict == "too small to say"  # fewer than 30, however far away
    assert c.p is not None and c.verdict == "too small to say"  # its interval holds gaps that matter
    assert any("a: 29 users, fewer than 30" in text for text in found.warnings)
    assert any("rule out a gap of more than 20%" in text and "c (40)" in text for text in found.warnings)
    assert found.gaps[0].high in {"b", "c"}
    small = user_fairness(report_of({"ndcg@10": values}), table_of(names), "group", min_users=10)
    assert small.rows[0].verdict == "better"
    lenient = user_fairness(report_of({"ndcg@10": values}), table_of(names), "group", matters=5.0)
    assert lenient.rows[2].verdict == "no difference shown"
    assert b.verdict != "better"


def test_smaller_errors_are_better_and_other_figures_have_no_side():
    rng = np.random.default_rng(0)
    errors = np.concatenate([rng.uniform(0.5, 0.7, 50), rng.uniform(0.9, 1.1, 50)])
    report = report_of({"rmse": errors}, pairs=np.repeat([5, 20], 50))
    found = user_fairness(report, table_of(["a"] * 50 + ["b"] * 50), "group", extra={"novelty": errors})
    rows = {(row.metric, row.group): row for row in found.rows}
    assert rows["rmse", "a"].verdict == "better" and rows["rmse", "b"].verdict == "worse"
    assert rows["rmse", "a"].value == pytest.approx(np.sqrt((errors[:50] ** 2).mean()))
    assert rows["novelty", "a"].verdict == "lower" and rows["novelty", "b"].verdict == "higher"


def test_users_without_the_figure_are_no_users_of_it():
    values, names = drawn([40, 40], [0, 0])
    values[:15] = np.nan
    row = user_fairness(report_of({"ndcg@10": values}), table_of(names), "group").rows[0]
    assert row.users == 25 and row.verdict == "too small to say"
    assert row.value == pytest.approx(np.nanmean(values[:40]))


def test_user_fairness_in_all_forms():
    values, names = drawn([40, 45, 5], [0, 0.1, 0])
    report = report_of({"ndcg@10": values, "recall@10": values / 2})
    found = user_fairness(report, table_of(names), "group", seed=2)
    again = user_fairness(report, table_of(names), "group", seed=2)
    assert found.as_dict() == again.as_dict()
    told = json.loads(json.dumps(found.as_dict()))
    assert told["by"] == "group" and len(told["rows"]) == 6 and len(told["gaps"]) == 2
    assert len(found.__rich__().rows) == 6 and len(found.table(["ndcg@10"]).rows) == 3
    only = user_fairness(report, table_of(names), "group", metrics=["recall@10"])
    assert {row.metric for row in only.rows} == {"recall@10"}


def test_bad_input_of_user_fairness():
    values, names = drawn([40, 40], [0, 0])
    report, table = report_of({"ndcg@10": values}), table_of(names)
    for changes, message in (
        ({"min_users": 1}, "min_users"),
        ({"matters": 0}, "matters"),
        ({"metrics": ["ndcg@20"]}, "ndcg@20"),
        ({"extra": {"x": values[:3]}}, "of length 80"),
    ):
        with pytest.raises(ParameterError, match=message):
            user_fairness(report, table, "group", **changes)
    with pytest.raises(ParameterError, match="at least two"):
        user_fairness(report, table_of(["a"] * 80), "group")


# Popularity, exposure, calibration


def test_head_and_tail_by_hand():
    counts = np.array([1, 4, 2, 3, 0, 1])
    assert fairness.popularity_groups(counts).tolist() == [1, 0, 0, 0, 1, 1]
    assert fairness.popularity_groups(counts, (0.2, 0.8)).tolist() == [2, 0, 1, 1, 2, 2]
    for bad in ((), (0.5, 0.2), (0.0,), (1.0,)):
        with pytest.raises(ParameterError, match="rising"):
            fairness.popularity_groups(counts, bad)


@given(st.lists(st.integers(0, 50), min_size=1, max_size=40), st.floats(0.05, 0.95))
def test_the_head_holds_its_share_and_no_item_too_many(counts, share):
    counts = np.array(counts)
    head = fairness.popularity_groups(counts, (share,)) == 0
    if counts.sum():
        assert counts[head].sum() >= share * counts.sum() * (1 - 1e-9)
        assert counts[head].sum() - counts[head].min() < share * counts.sum() * (1 + 1e-9)
        assert counts[head].min() >= counts[~head].max(initial=0)
    else:
        assert not head.any()


def test_exposure_and_tail_shares_by_hand():
    lists = np.array([[0, 1, 2], [2, -1, -1], [-1, -1, -1]])
    member = fairness.membership(np.array([0, 0, 1]), 2)
    assert fairness.exposure(lists, member).tolist() == [[2, 1], [0, 1], [0, 0]]
    discounted = fairness.exposure(lists, member, discounted=True)
    assert discounted[0] == pytest.approx([1 + 1 / np.log2(3), 0.5])
    tail = np.array([False, False, True])
    assert fairness.tail_count(lists, tail).tolist() == [1, 1, 0]
    share = fairness.tail_share(lists, tail)
    assert share[:2] == pytest.approx([1 / 3, 1]) and np.isnan(share[2])


def queries_of(histories):
    lengths = [len(history) for history in histories]
    items = np.array([item for history in histories for item in history], dtype=np.int32)
    return Queries(users=np.full(len(histories), -1), offsets=np.cumsum([0, *lengths]), items=items)


def test_calibration_is_that_of_scipy():
    rng = np.random.default_rng(8)
    member = rng.dirichlet(np.ones(4), size=12)
    member[:3] = 0  # items without a category
    histories = [rng.integers(12, size=n).tolist() for n in (9, 5, 7)]
    lists = np.stack([rng.permutation(12)[:5] for _ in range(3)]).astype(np.int32)
    for u, history in enumerate(histories):
        p, q = member[history].sum(axis=0), member[lists[u]].sum(axis=0)
        p, q = p / p.sum(), q / q.sum()
        one = queries_of([history]), lists[u : u + 1], member
        kl = fairness.miscalibration(*one)[0]
        assert kl == pytest.approx(stats.entropy(p, 0.99 * q + 0.01 * p, base=2))
        js = fairness.miscalibration(*one, divergence="js")[0]
        assert js == pytest.approx(jensenshannon(p, q, base=2) ** 2)


def test_calibration_at_the_edges():
    member = np.array([[1.0, 0], [0, 1.0], [0, 0]])
    lists = np.array([[0, 1], [0, -1], [2, -1], [0, 1]], dtype=np.int32)
    queries = queries_of([[0, 1], [1], [0], []])
    kl = fairness.miscalibration(queries, lists, member)
    js = fairness.miscalibration(queries, lists, member, divergence="js")
    assert kl[0] == js[0] == 0 and js[1] == 1 and kl[1] == pytest.approx(np.log2(100))
    assert np.isnan(kl[2:]).all() and np.isnan(js[2:]).all()  # a list or a history that says nothing
    with pytest.raises(ParameterError, match="alpha"):
        fairness.miscalibration(queries, lists, member, alpha=0.0)


# Fairness of items


@pytest.fixture
def ranked(tiny):
    return rank(Pipeline(model=Popular()).fit(tiny.train), tiny, ["recall@3"])


def test_head_and_tail_of_lists_by_hand(tiny, ranked):
    """Popular are a, b, c, tail d, e; lists: ann d e, bob c d e, new a b c; to be found: e, d, and b c."""
    found = item_fairness(ranked, tiny, k=3)
    popular, tail = found.rows
    assert (popular.group, popular.items, tail.items) == ("popular", 3, 2)
    assert (tail.catalogue_share, tail.event_share) == (pytest.approx(0.4), pytest.approx(2 / 11))
    assert popular.exposure_share == tail.exposure_share == pytest.approx(0.5)
    assert tail.relevance_share == pytest.approx(0.5) and tail.to_relevance == pytest.approx(1.0)
    assert tail.to_catalogue == pytest.approx(1.25)
    assert popular.recall == tail.recall == 1.0
    assert popular.chance == 1.0 and tail.chance == pytest.approx(4 / 6)
    assert found.figures["parity_difference"] == pytest.approx(1 / 3)
    assert found.figures["opportunity_difference"] == 0 and found.figures["reo"] == 0
    assert found.figures["rsp"] == pytest.approx(np.std([1, 2 / 3]) / np.mean([1, 2 / 3]))
    assert found.unknown == 0
    assert found.between["parity_difference"] == ("popular", "tail")
    assert set(found.intervals) == {"parity_difference", "opportunity_difference"}
    assert json.loads(json.dumps(found.as_dict()))["rows"][1]["group"] == "tail"
    assert "popular over tail" in found.__rich__().caption
    assert len(found.__rich__().rows) == 2


def test_an_item_of_several_groups_counts_in_parts(tiny, ranked):
    features = pl.DataFrame({"item_id": list("abcde"), "genres": [["x"], ["x", "y"], ["y"], None, ["y"]]})
    split = replace(tiny, train=replace(tiny.train, item_features=features))
    x, y = item_fairness(ranked, split, "genres", k=3).rows
    assert (x.items, y.items) == (1.5, 2.5)
    # eight places: d e, c d e, a b c; two of them hold d, of which nothing is known
    assert x.exposure_share == pytest.approx(1.5 / 8) and y.exposure_share == pytest.approx(4.5 / 8)
    assert item_fairness(ranked, split, "genres", k=3).unknown == pytest.approx(2 / 8)
    assert y.recall == 1.0
    single = pl.DataFrame({"item_id": list("abcde"), "maker": ["p", "p", "q", "q", None]})
    split = replace(tiny, train=replace(tiny.train, item_features=single))
    assert [row.group for row in item_fairness(ranked, split, "maker", k=3).rows] == ["p", "q"]


def test_bad_input_of_item_fairness(tiny, ranked):
    with pytest.raises(ParameterError, match="no item attribute named 'genres'"):
        item_fairness(ranked, tiny, "genres", k=3)
    for k in (0, 4):
        with pytest.raises(ParameterError, match=r"1 \.\. 3"):
            item_fairness(ranked, tiny, k=k)
    one = pl.DataFrame({"item_id": list("abcde"), "maker": ["p"] * 5, "genres": [["x"]] * 5})
    split = replace(tiny, train=replace(tiny.train, item_features=one))
    with pytest.raises(ParameterError, match="Got p; the attribute is missing for 0 of 5 items"):
        item_fairness(ranked, split, "maker", k=3)
    with pytest.raises(ParameterError, match="has 1; it is empty for 0 of 5 items"):
        item_fairness(ranked, split, "genres", k=3)


def test_equal_groups_of_items_have_a_gap_whose_interval_holds_it(ml_like):
    """Of items in two groups at random some gaps are nothing: then the interval holds 0, and always the gap."""
    split = user_time(ml_like)
    ranked = rank(Pipeline(model=Popular()).fit(split.train), split, ["recall@10"])
    ids, held = split.train.items.ids, 0
    for seed in range(10):
        maker = np.random.default_rng(seed).choice(["p", "q"], len(ids)).tolist()
        features = pl.DataFrame({"item_id": ids, "maker": maker})
        own = replace(split, train=replace(split.train, item_features=features))
        found = item_fairness(ranked, own, "maker", resamples=200)
        for name, (low, high) in found.intervals.items():
            assert low <= found.figures[name] <= high
            recall = {row.group: (row.recall, row.chance) for row in found.rows}
            top, bottom = found.between[name]
            at = name == "parity_difference"
            assert recall[top][at] - recall[bottom][at] == pytest.approx(found.figures[name])
            held += low <= 0
    assert 0 < held < 20


def test_a_table_of_other_users_is_told():
    table = pl.DataFrame({"user_id": ["a", "b"], "group": ["x", "y"]})
    with pytest.raises(DataError, match=r"table has ids such as 'a', the log has ids such as 'u1'"):
        user_labels(pl.Series(["u1", "u2"]), table, "group")


def test_popularity_bias_by_hand(tiny, ranked):
    found = popularity_bias(ranked, tiny, k=3)
    assert found.values["arp"] == pytest.approx([1, 4 / 3, 3])  # ann, bob, new
    assert found.values["aplt"] == pytest.approx([1, 2 / 3, 0])
    assert found.figures["aclt"] == pytest.approx(4 / 3)
    lift = found.values["popularity_lift"]
    assert lift[0] == pytest.approx(1 / 3 - 1) and np.isnan(lift[2])  # new has no history
    assert found.figures["tail_coverage"] == 1.0
    assert "miscalibration_kl" not in found.figures
    low, high = found.intervals["arp"]
    assert low <= found.figures["arp"] <= high
    assert json.loads(json.dumps(found.as_dict()))["figures"]["gini"] == found.figures["gini"]
    assert len(found.__rich__().rows) == len(found.figures)


def test_calibration_stands_beside_popularity(tiny, ranked):
    features = pl.DataFrame({"item_id": list("abcde"), "genres": [["x"], ["x"], ["y"], ["y"], ["y"]]})
    split = replace(tiny, train=replace(tiny.train, item_features=features))
    found = popularity_bias(ranked, split, k=3)
    assert found.values["miscalibration_js"][1] == pytest.approx(1.0)  # bob had x alone and is shown y alone
    assert np.isnan(found.values["miscalibration_kl"][2])


def test_one_user_is_one_user():
    assert (counted(1, "user"), counted(0, "user"), counted(1234, "user")) == (
        "1 user",
        "0 users",
        "1,234 users",
    )
    report = report_of({"ndcg@10": np.linspace(0, 1, 41)})
    found = user_fairness(report, table_of(["a"] * 40 + ["b"]), "group", resamples=20, permutations=99)
    assert any("group b: 1 user, fewer than" in text for text in found.warnings)
