"""Every ranking metric by hand, beside ir-measures and scikit-learn, and at the edges."""

from __future__ import annotations

import ir_measures
import numpy as np
import pytest
from sklearn.metrics import f1_score, ndcg_score

from recsmith.errors import ParameterError
from recsmith.evaluation.metrics import ranking

LOG2_3 = float(np.log2(3))
NAMES = tuple(ranking.METRICS)


def judged(lists, truths):
    """Hits and numbers of relevant items of Python lists."""
    offsets = np.cumsum([0, *map(len, truths)])
    flat = np.array([item for truth in truths for item in truth], dtype=np.int32)
    return ranking.hits(np.array(lists, dtype=np.int32), offsets, flat)


def random_case(n=200, n_items=60, width=20, seed=3):
    """Lists without repeats, some short, and truths of 1 to 30 items, some unknown (-1)."""
    rng = np.random.default_rng(seed)
    lists = np.stack([rng.permutation(n_items)[:width] for _ in range(n)]).astype(np.int32)
    for row, length in enumerate(rng.integers(5, width + 1, n)):
        lists[row, length:] = -1
    truths = [rng.permutation(n_items)[: rng.integers(1, 30)].tolist() for _ in range(n)]
    for row in range(0, n, 4):
        truths[row] += [-1] * int(rng.integers(1, 3))
    return lists, truths


@pytest.mark.parametrize(
    ("metric", "k", "expected"),
    [
        # list 7 3 9 1 5 against truth {3, 5, 8}: right at ranks 2 and 5
        ("precision", 2, 1 / 2),
        ("precision", 5, 2 / 5),
        ("recall", 2, 1 / 3),
        ("recall", 5, 2 / 3),
        ("f1", 5, 2 * (2 / 5) * (2 / 3) / (2 / 5 + 2 / 3)),
        ("hit_rate", 1, 0.0),
        ("hit_rate", 2, 1.0),
        ("mrr", 1, 0.0),
        ("mrr", 5, 1 / 2),
        ("map", 2, (1 / 2) / 2),
        ("map", 5, (1 / 2 + 2 / 5) / 3),
        ("ndcg", 1, 0.0),
        ("ndcg", 2, (1 / LOG2_3) / (1 + 1 / LOG2_3)),
        ("ndcg", 5, (1 / LOG2_3 + 1 / np.log2(6)) / (1 + 1 / LOG2_3 + 1 / 2)),
    ],
)
def test_by_hand(metric, k, expected):
    hit, relevant = judged([[7, 3, 9, 1, 5]], [[8, 5, 3]])
    np.testing.assert_allclose(ranking.METRICS[metric](hit, relevant, k), [expected])


@pytest.mark.parametrize("k", [1, 5, 10, 20])
def test_against_ir_measures(k):
    lists, truths = random_case()
    qrels, run = {}, {}
    for row, (items, truth) in enumerate(zip(lists, truths, strict=True)):
        unknown = iter(range(10))
        qrels[f"u{row}"] = {f"x{next(unknown)}" if item < 0 else f"i{item}": 1 for item in truth}
        run[f"u{row}"] = {f"i{item}": 100.0 - rank for rank, item in enumerate(items) if item >= 0}
    oracle = {
        "precision": ir_measures.P @ k,
        "recall": ir_measures.R @ k,
        "ndcg": ir_measures.nDCG @ k,
        "mrr": ir_measures.RR @ k,
        "map": ir_measures.AP @ k,
        "hit_rate": ir_measures.Success @ k,
    }
    theirs = {name: np.zeros(len(lists)) for name in oracle}
    names = {str(measure): name for name, measure in oracle.items()}
    for result in ir_measures.iter_calc(list(oracle.values()), qrels, run):
        theirs[names[str(result.measure)]][int(result.query_id[1:])] = result.value
    hit, relevant = judged(lists, truths)
    theirs["map"] *= relevant / np.minimum(relevant, k)  # theirs divides by all relevant items, whatever k
    for name, values in theirs.items():
        np.testing.assert_allclose(ranking.METRICS[name](hit, relevant, k), values, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("k", [1, 7, 20])
def test_against_scikit_learn(k):
    lists, truths = random_case(n=60)
    lists, truths = lists[1::4], truths[1::4]  # scikit-learn has no unknown items
    gains, scores = np.zeros((len(lists), 60)), np.zeros((len(lists), 60))
    chosen = np.zeros((len(lists), 60))
    for row, (items, truth) in enumerate(zip(lists, truths, strict=True)):
        gains[row, truth] = 1
        filled = items[items >= 0]
        scores[row, filled] = 100 - np.arange(len(filled))
        chosen[row, filled[:k]] = 1
    hit, relevant = judged(lists, truths)
    full = (lists[:, :k] >= 0).all(axis=1)  # scikit-learn ranks all items: a short list it would fill up
    theirs = [ndcg_score(gains[[row]], scores[[row]], k=k) for row in np.flatnonzero(full)]
    np.testing.assert_allclose(ranking.ndcg(hit, relevant, k)[full], theirs)
    theirs = [f1_score(gains[row], chosen[row], zero_division=0.0) for row in np.flatnonzero(full)]
    np.testing.assert_allclose(ranking.f1(hit, relevant, k)[full], theirs)


def test_unknown_and_repeated_items():
    hit, relevant = judged([[1, 2, -1], [1, 1, 2], [4, 5, 6]], [[2, 2, -1, -1], [1, 2], []])
    assert hit.tolist() == [[False, True, False], [True, False, True], [False] * 3]
    assert relevant.tolist() == [3, 2, 0]
    values = ranking.score(hit, relevant, [f"{name}@3" for name in NAMES])
    for name, column in values.items():
        assert np.isnan(column[2]), name
        assert (column[:2] <= 1).all(), name
    assert values["recall@3"][0] == pytest.approx(1 / 3)


def test_nobody():
    hit, relevant = ranking.hits(
        np.zeros((0, 10), dtype=np.int32), np.zeros(1, dtype=np.int64), np.zeros(0, dtype=np.int32)
    )
    assert all(
        len(values) == 0 for values in ranking.score(hit, relevant, [f"{n}@10" for n in NAMES]).values()
    )


def test_names():
    assert ranking.parse("ndcg@10") == ("ndcg", 10)
    assert ranking.expand(("ndcg", "recall@50", "ndcg@5"), (5, 10)) == ("ndcg@5", "ndcg@10", "recall@50")
    with pytest.raises(ParameterError, match=r"no ranking metric named 'ndgc'. Did you mean 'ndcg'\?"):
        ranking.parse("ndgc@10")
    for wrong in ("ndcg", "ndcg@", "ndcg@0", "ndcg@-1", "ndcg@x"):
        with pytest.raises(ParameterError, match=r"name@k with an integer k >= 1"):
            ranking.parse(wrong)


def test_cut_off_and_shape_are_checked():
    hit, relevant = judged([[1, 2, 3]], [[1]])
    with pytest.raises(ParameterError, match=r"must be in 1 .. 3, the width of the lists. Got 4 instead"):
        ranking.ndcg(hit, relevant, 4)
    with pytest.raises(ParameterError, match="one list for each row of the truth"):
        ranking.hits(
            np.zeros((2, 3), dtype=np.int32), np.zeros(2, dtype=np.int64), np.zeros(0, dtype=np.int32)
        )


def test_inputs_stay_as_they_are():
    lists, truth, offsets = (
        np.array([[3, 1]], dtype=np.int32),
        np.array([2, 1], dtype=np.int32),
        np.array([0, 2]),
    )
    for array in (lists, truth, offsets):
        array.setflags(write=False)
    ranking.hits(lists, offsets, truth)
    assert truth.tolist() == [2, 1]
