"""What lists are like, by hand and beside plain definitions."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from sklearn.metrics.pairwise import cosine_similarity
from tests.conftest import build

from recsmith.evaluation.metrics import beyond_accuracy as beyond
from recsmith.evaluation.metrics import ranking

A, B, C, D, E = range(5)


@pytest.fixture
def train():
    """Four users; a by all of them, b by two, c and d by one, e only in the catalogue of one who repeats it."""
    users = ["1", "1", "2", "2", "3", "4", "4", "4", "4"]
    return build(users, ["a", "b", "a", "b", "a", "a", "c", "d", "d"])


def test_coverage_by_hand():
    assert beyond.coverage(np.array([[0, 1, -1], [1, 0, 3]]), 5) == pytest.approx(3 / 5)
    assert beyond.coverage(np.full((2, 3), -1), 5) == 0.0


def test_gini_by_hand_and_by_definition():
    assert beyond.gini(np.array([[0, 1], [2, 3]]), 4) == pytest.approx(0.0)
    assert beyond.gini(np.array([[2], [2], [2]]), 4) == pytest.approx(1 - 1 / 4)
    assert np.isnan(beyond.gini(np.full((2, 3), -1), 4))
    items = np.random.default_rng(0).zipf(1.5, (200, 10)) % 30
    counts = np.bincount(items.ravel(), minlength=40).astype(float)
    mean_difference = np.abs(counts[:, None] - counts).mean()
    assert beyond.gini(items, 40) == pytest.approx(mean_difference / (2 * counts.mean()))


def test_shares_popularity_and_novelty_by_hand(train):
    shares = beyond.user_shares(train)
    np.testing.assert_allclose(shares, [1, 1 / 2, 1 / 4, 1 / 4])
    lists = np.array([[A, B], [C, -1], [-1, -1]])
    np.testing.assert_allclose(beyond.popularity(lists, shares), [3 / 4, 1 / 4, np.nan])
    np.testing.assert_allclose(beyond.novelty(lists, shares), [(0 + 1) / 2, 2, np.nan])


def test_an_item_without_users_is_as_novel_as_one_with_one():
    np.testing.assert_allclose(beyond.novelty(np.array([[0], [1]]), np.array([0.0, 1 / 8])), [3, 3])


def test_diversity_by_hand(train):
    vectors = beyond.audience_vectors(train)
    # cos(a, b) = 2 / sqrt(4 * 2), cos(a, c) = 1 / sqrt(4), cos(b, c) = 0, cos(c, d) = 1
    lists = np.array([[A, B, -1], [A, B, C], [C, D, -1], [A, -1, -1]])
    pairs = np.sqrt(0.5) + 0.5 + 0.0
    np.testing.assert_allclose(
        beyond.diversity(lists, vectors), [1 - np.sqrt(0.5), 1 - pairs / 3, 0, np.nan], atol=1e-12
    )


def test_diversity_against_scikit_learn():
    rng = np.random.default_rng(2)
    train = build(rng.integers(0, 300, 4000).tolist(), rng.integers(0, 80, 4000).tolist())
    vectors = beyond.audience_vectors(train)
    lists = np.stack([rng.permutation(80)[:10] for _ in range(300)]).astype(np.int32)
    similar = cosine_similarity(vectors.toarray())
    upper = np.triu_indices(10, 1)
    theirs = [1 - similar[np.ix_(row, row)][upper].mean() for row in lists]
    np.testing.assert_allclose(beyond.diversity(lists, vectors), theirs)


def test_categories():
    genres = pl.Series("genres", [["x", "y"], ["x"], ["z"], None, []], dtype=pl.List(pl.String))
    vectors = beyond.category_vectors(genres)
    assert vectors.toarray().tolist() == [[1, 1, 0], [1, 0, 0], [0, 0, 1], [0, 0, 0], [0, 0, 0]]
    # items without a genre are left out; two without a partner give no figure
    lists = np.array([[A, B, -1], [A, B, D], [B, C, E], [C, D, E]])
    expected = [1 - np.sqrt(0.5), 1 - np.sqrt(0.5), 1, np.nan]
    np.testing.assert_allclose(beyond.diversity(lists, vectors), expected, atol=1e-12)
    one_each = beyond.category_vectors(pl.Series("kind", ["p", None, "q", "p"]))
    assert one_each.toarray().tolist() == [[1, 0], [0, 0], [0, 1], [1, 0]]
    assert beyond.category_vectors(pl.Series("genres", [None, None], dtype=pl.List(pl.String))).nnz == 0


def test_popular_lists_leave_the_history_out(train):
    queries = train.queries(np.array([0, -1], dtype=np.int32))
    shares = beyond.user_shares(train)
    assert beyond.popular_lists(queries, shares, 3).tolist() == [[C, D, -1], [A, B, C]]
    assert beyond.popular_lists(queries, shares, 2, filter_seen=False).tolist() == [[A, B], [A, B]]


def test_serendipity_by_hand():
    lists, expected = np.array([[4, 2, 0], [1, 0, -1]]), np.array([[0, 1, 2], [0, 1, 2]])
    hit, _ = ranking.hits(lists.astype(np.int32), np.array([0, 2, 4]), np.array([4, 2, 1, 0]))
    # user 0 is right with 4 and 2, but 2 was to be expected; user 1 is right only with what was to be expected
    np.testing.assert_allclose(beyond.serendipity(lists, hit, expected), [1 / 3, 0])
