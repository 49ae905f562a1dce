"""Neural collaborative filtering: pools without the target, the split layer, curricula, ratings."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.conftest import build

from recsmith.data.negatives import NegativeSampler
from recsmith.errors import DataError
from recsmith.models.neural.ncf import GMF, MLP, NCFConfig, NeuMF
from recsmith.models.neural.ncf_rating import NeuMFRating
from recsmith.models.neural.pool import Pools, by_user, histories, pooled
from recsmith.training.curriculum import Negatives, shares


def test_pool_leaves_the_target_out():
    data = build([1, 1, 1, 2], [10, 20, 30, 10])
    table = torch.tensor([[1.0, 0.0], [0.0, 2.0], [4.0, 4.0]])
    left = Pools(data).without_target(table, np.array([2, 0, 3]))
    expected = np.array([[1, 2], [4, 6], [0, 0]]) / np.sqrt([[2], [2], [1]])
    np.testing.assert_allclose(left.numpy(), expected, rtol=1e-6)


def test_pooled_has_the_gradient_of_a_dense_product():
    data = build([1, 1, 2, 3, 3], [1, 2, 2, 1, 3])
    matrix = histories(data.queries(), data.n_items)
    table = torch.randn(3, 4, dtype=torch.float32, requires_grad=True)
    weights = torch.randn(3, 4)
    (pooled(table, matrix) * weights).sum().backward()
    np.testing.assert_allclose(table.grad.numpy(), matrix.toarray().T @ weights.numpy(), rtol=1e-5)


def test_batches_hold_every_example_once_and_few_users():
    bounds = np.array([0, 40, 40, 45, 100])
    batches = by_user(bounds, 8, 16, np.random.default_rng(0))
    np.testing.assert_array_equal(np.sort(np.concatenate(batches)), np.arange(100))
    user = np.repeat(np.arange(4), np.diff(bounds))
    assert np.mean([np.count_nonzero(np.diff(user[b])) for b in batches]) < 5
    assert not np.array_equal(np.concatenate(batches), np.arange(100))


@pytest.mark.parametrize("model", [GMF, MLP, NeuMF])
def test_all_pairs_are_what_pair_by_pair_gives(model, checkerboard):
    fitted = model(epochs=2, embedding_size=8, hidden=(16, 8)).fit(checkerboard)
    queries = checkerboard.queries(np.arange(5, dtype=np.int32))
    with torch.inference_mode():
        items = torch.arange(checkerboard.n_items).expand(5, -1)
        one_by_one = fitted.module_(fitted.user_vectors(queries), items).numpy()
    np.testing.assert_allclose(fitted.score(queries), one_by_one, rtol=1e-4, atol=1e-6)


def test_score_follows_the_history_in_the_query(checkerboard):
    fitted = NeuMF(epochs=5).fit(checkerboard)
    queries = checkerboard.queries(np.array([0, 1], dtype=np.int32))
    swapped = queries.take(np.array([1, 0])).replace(users=queries.users)
    np.testing.assert_allclose(fitted.score(swapped), fitted.score(queries)[::-1], rtol=1e-5, atol=1e-6)


def test_a_curriculum_goes_from_easy_through_popular_to_hard():
    config = NCFConfig(negatives="curriculum", curriculum_epochs=4)
    assert [shares(config, epoch) for epoch in (0, 1, 2, 3, 4, 9)] == [
        (1.0, 0.0, 0.0), (0.5, 0.5, 0.0), (0.0, 1.0, 0.0), (0.0, 0.5, 0.5), (0.0, 0.0, 1.0), (0.0, 0.0, 1.0)
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["uniform", "popular", "hard", "curriculum"])
def test_negatives_are_not_taken_and_do_not_depend_on_the_batch(kind, checkerboard):
    negatives = Negatives(checkerboard, NCFConfig(negatives=kind, n_negatives=3, curriculum_epochs=2))
    negatives.begin(1, np.random.default_rng(5))
    examples, users = np.arange(len(checkerboard)), checkerboard.user
    score = lambda rows, items: items.astype(np.float32)  # noqa: E731
    drawn = negatives.draw(examples, users, score)
    taken = checkerboard.matrix("ones").toarray() > 0
    assert not taken[users[:, None], drawn].any()
    some = np.array([70, 3, 159])
    np.testing.assert_array_equal(negatives.draw(some, users[some], score), drawn[some])


def test_hard_negatives_are_those_that_score_highest(checkerboard):
    config = NCFConfig(negatives="hard", n_negatives=1, candidates=8)
    negatives = Negatives(checkerboard, config)
    negatives.begin(0, np.random.default_rng(1))
    examples, users = np.arange(len(checkerboard)), checkerboard.user
    easy = NegativeSampler.of(checkerboard).draw(8, negatives.seed, users, examples)
    drawn = negatives.draw(examples, users, lambda rows, items: items.astype(np.float32))
    np.testing.assert_array_equal(drawn[:, 0], easy.max(axis=1))


def test_users_who_took_everything_are_passed_over_and_alone_are_an_error():
    everything = build(["a", "a", "b"], [1, 2, 1])
    assert NeuMF(epochs=1).fit(everything).score(everything.queries()).shape == (2, 2)
    with pytest.raises(DataError, match="every item"):
        NeuMF(epochs=1).fit(build(["a", "a"], [1, 2]))


def test_ratings_follow_taste_and_a_history_without_any_is_an_error(checkerboard):
    users, items, ratings = [], [], []
    for u in range(60):
        for i in np.random.default_rng(u).permutation(20)[:14]:
            users.append(u)
            items.append(int(i))
            ratings.append(5 if (u + i) % 2 == 0 else 1)
    data = build(users, items, ratings)
    model = NeuMFRating(epochs=60, batch_size=64, learning_rate=5e-3, dropout=0.0).fit(data, rng=1)
    rows = np.repeat(np.arange(60), 20)
    columns = np.tile(np.arange(20, dtype=np.int32), 60)
    mean = model.predict(data.queries(as_trained=False), rows, columns).mean
    unseen = data.matrix("ones").toarray().ravel() == 0
    right = np.where((rows + columns) % 2 == 0, 5, 1)
    assert np.sqrt(np.mean((mean - right)[unseen] ** 2)) < 0.7
    with pytest.raises(DataError, match="no ratings"):
        model.predict(data.queries().replace(values=None), rows, columns)
