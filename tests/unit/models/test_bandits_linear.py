"""LinUCB beside the algorithms of its paper as they are printed: with matrices, and their inverses in every step."""

from __future__ import annotations

import numpy as np
import pytest
from tests.contract.test_policies import asked, offered

from recsmith.errors import ParameterError
from recsmith.models.bandits.registry import create_policy

ITEMS, WIDTH, ROUNDS, ALPHA, REG = 6, 4, 150, 0.7, 2.0


class Disjoint:
    """Algorithm 1."""

    def __init__(self):
        self.a = np.tile(REG * np.eye(WIDTH), (ITEMS, 1, 1))
        self.b = np.zeros((ITEMS, WIDTH))

    def scores(self, x):
        inverses = np.linalg.inv(self.a)
        theta = np.einsum("aij,aj->ai", inverses, self.b)
        return theta @ x + ALPHA * np.sqrt(np.einsum("i,aij,j->a", x, inverses, x))

    def update(self, x, item, reward):
        self.a[item] += np.outer(x, x)
        self.b[item] += reward * x


class Hybrid:
    """Algorithm 2, with ``features`` of the items or, without, the context as what they share."""

    def __init__(self, features=None):
        self.features = features
        q = WIDTH * (1 if features is None else features.shape[1])
        self.a0, self.b0 = REG * np.eye(q), np.zeros(q)
        self.a = np.tile(REG * np.eye(WIDTH), (ITEMS, 1, 1))
        self.big_b, self.b = np.zeros((ITEMS, WIDTH, q)), np.zeros((ITEMS, WIDTH))

    def z(self, x, item):
        return x if self.features is None else np.kron(x, self.features[item])

    def scores(self, x):
        a0 = np.linalg.inv(self.a0)
        beta, out = a0 @ self.b0, np.empty(ITEMS)
        for item in range(ITEMS):
            inverse, big, z = np.linalg.inv(self.a[item]), self.big_b[item], self.z(x, item)
            theta = inverse @ (self.b[item] - big @ beta)
            s = (
                z @ a0 @ z
                - 2 * z @ a0 @ big.T @ inverse @ x
                + x @ inverse @ x
                + x @ inverse @ big @ a0 @ big.T @ inverse @ x
            )
            out[item] = z @ beta + x @ theta + ALPHA * np.sqrt(s)
        return out

    def update(self, x, item, reward):
        big, z = self.big_b[item], self.z(x, item)
        inverse = np.linalg.inv(self.a[item])
        self.a0 += big.T @ inverse @ big
        self.b0 += big.T @ inverse @ self.b[item]
        self.a[item] += np.outer(x, x)
        self.big_b[item] += np.outer(x, z)
        self.b[item] += reward * x
        big, inverse = self.big_b[item], np.linalg.inv(self.a[item])
        self.a0 += np.outer(z, z) - big.T @ inverse @ big
        self.b0 += reward * z - big.T @ inverse @ self.b[item]


FEATURES = np.random.default_rng(3).standard_normal((ITEMS, 3))


def made(name):
    policy = create_policy(name, alpha=ALPHA, reg=REG, intercept=False)
    return policy


@pytest.mark.parametrize(
    ("policy", "printed"),
    [
        (made("linucb"), Disjoint()),
        (made("hybrid-linucb"), Hybrid()),
        (made("hybrid-linucb").describe(FEATURES), Hybrid(FEATURES)),
    ],
    ids=["disjoint", "hybrid", "hybrid with item features"],
)
def test_the_same_choices_as_the_algorithm_of_the_paper(policy, printed):
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((ITEMS, WIDTH))
    for _ in range(ROUNDS):
        x = rng.standard_normal(WIDTH).astype(np.float32)
        queries = asked(1, x[None])
        order = policy.choose(queries, offered(1, *range(ITEMS)), ITEMS, rng=rng)[0]
        wanted = printed.scores(x.astype(np.float64))
        assert (np.diff(wanted[order]) <= 1e-9).all()
        item = int(order[0])
        reward = float(weights[item] @ x + rng.normal())
        policy.update(queries, np.array([item]), np.array([reward]))
        printed.update(x.astype(np.float64), item, reward)


def test_ten_thousand_rank_one_updates_stay_beside_the_exact_solution():
    rng = np.random.default_rng(1)
    policy = create_policy("linucb", reg=0.1)
    contexts = rng.standard_normal((10_000, 7)).astype(np.float32)
    rewards = rng.random(10_000)
    policy.update(asked(10_000, contexts), np.zeros(10_000, dtype=np.int64), rewards)
    x = np.column_stack([contexts, np.ones(10_000)]).astype(np.float64)
    exact = np.linalg.solve(x.T @ x + 0.1 * np.eye(8), x.T @ rewards)
    np.testing.assert_allclose(policy.state().arrays["thetas_"][0], exact, rtol=1e-8, atol=1e-12)


def test_items_share_what_a_hybrid_learns():
    """What is learned of one item is believed of another with the same features; a disjoint one knows nothing."""
    rng = np.random.default_rng(2)
    features = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    hybrid = create_policy("hybrid-linucb", alpha=0.0).describe(features)
    n = 200
    hybrid.update(asked(n), np.tile([0, 2], n // 2), np.tile([1.0, 0.0], n // 2))
    assert hybrid.choose(asked(1), offered(1, 2, 1), 1, rng=rng)[0, 0] == 1
    assert create_policy("linucb", alpha=0.0).choose(asked(1), offered(1, 2, 1), 1, rng=rng)[0, 0] == 2


def test_features_that_are_none():
    with pytest.raises(ParameterError, match="features"):
        create_policy("hybrid-linucb").describe(np.array([1.0]))
    with pytest.raises(ParameterError, match="finite"):
        create_policy("hybrid-linucb").describe(np.array([[np.nan]]))


def test_linear_thompson_draws_from_the_posterior():
    rng = np.random.default_rng(4)
    policy = create_policy("linear-thompson", noise=0.3, reg=0.5)
    contexts = rng.standard_normal((40, 2)).astype(np.float32)
    rewards = rng.random(40)
    policy.update(asked(40, contexts), np.zeros(40, dtype=np.int64), rewards)
    x = np.column_stack([contexts, np.ones(40)]).astype(np.float64)
    inverse = np.linalg.inv(x.T @ x + 0.5 * np.eye(3))
    now = np.array([0.5, -1.0, 1.0])
    mean, deviation = now @ inverse @ x.T @ rewards, 0.3 * np.sqrt(now @ inverse @ now)
    unseen = 0.3 * np.sqrt(now @ now / 0.5)
    chance = policy.act(asked(300), offered(300, 0, 9), 1, rng=rng)
    told = dict(zip(chance.items[:, 0].tolist(), chance.propensities[:, 0].tolist(), strict=True))
    from scipy.stats import norm

    assert told[0] == pytest.approx(norm.cdf(mean / np.hypot(deviation, unseen)), rel=1e-4)
