"""Reward models: the optimum of their loss, no look at the round's own reward, any estimator of others."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize

from recsmith.errors import DataError, ParameterError
from recsmith.evaluation.off_policy import LoggedBandit, cross_fitted, evaluate_policy
from recsmith.evaluation.off_policy.reward_model import fold_of


def make(n=240, binary=True, seed=0, **more):
    rng = np.random.default_rng(seed)
    context, action = rng.normal(size=(n, 3)), rng.integers(0, 4, n)
    logit = context @ [1.0, -0.5, 0.2] + np.array([-1.0, 0.0, 0.5, 1.0])[action]
    reward = (
        (rng.random(n) < 1 / (1 + np.exp(-logit))).astype(float) if binary else logit + rng.normal(0, 0.1, n)
    )
    return LoggedBandit(
        action=action, reward=reward, propensity=np.full(n, 0.25), n_actions=4, context=context, **more
    )


def design(log, rows):
    return np.hstack([log.context[rows], np.eye(4)[log.action[rows]]])


def all_actions(log, rows):
    return [np.hstack([log.context[rows], np.tile(np.eye(4)[a], (len(rows), 1))]) for a in range(4)]


def test_logistic_regression_is_the_optimum():
    """Against SciPy's own minimizer, on the training part of a fold."""
    log, fold = make(), fold_of(make(), 3, 5)
    found = cross_fitted(log, model="logistic", reg=0.7, folds=3, seed=5)
    for held in range(3):
        train, test = np.flatnonzero(fold != held), np.flatnonzero(fold == held)
        x, y = design(log, train), log.reward[train]

        def loss(beta, x=x, y=y):
            logits = beta[0] + x @ beta[1:]
            return np.logaddexp(0, logits).sum() - y @ logits + 0.35 * (beta[1:] ** 2).sum()

        best = optimize.minimize(loss, np.zeros(8), method="BFGS", options={"gtol": 1e-7}).x
        for action, asked in enumerate(all_actions(log, test)):
            wanted = 1 / (1 + np.exp(-(best[0] + asked @ best[1:])))
            assert found[test, action] == pytest.approx(wanted, abs=1e-5)


def test_ridge_is_the_optimum():
    log, fold = make(binary=False), fold_of(make(), 2, 1)
    found = cross_fitted(log, reg=2.0, folds=2, seed=1)
    train, test = np.flatnonzero(fold == 0), np.flatnonzero(fold == 1)
    x = design(log, train)
    centred, y = x - x.mean(axis=0), log.reward[train]
    beta = np.linalg.solve(centred.T @ centred + 2.0 * np.eye(7), centred.T @ y)
    for action, asked in enumerate(all_actions(log, test)):
        assert found[test, action] == pytest.approx(y.mean() + (asked - x.mean(axis=0)) @ beta, abs=1e-8)


def test_a_round_is_not_predicted_from_its_own_reward():
    log = make(binary=False)
    other = log.reward.copy()
    other[7] += 100.0
    changed = LoggedBandit(
        action=log.action, reward=other, propensity=log.propensity, n_actions=4, context=log.context
    )
    before, after = cross_fitted(log), cross_fitted(changed)
    same = fold_of(log, 3, 0) == fold_of(log, 3, 0)[7]
    assert np.array_equal(before[same], after[same])
    assert not np.allclose(before[~same], after[~same])


class Means:
    """An estimator of somebody else: the mean reward, whatever is asked."""

    def fit(self, x, y):
        self.mean = y.mean()
        self.width = x.shape[1]
        return self

    def predict(self, x):
        assert x.shape[1] == self.width
        return np.full(len(x), self.mean)


class Chances(Means):
    classes_ = np.array([0, 2])

    def predict_proba(self, x):
        return np.tile([0.75, 0.25], (len(x), 1))


def test_estimators_of_others():
    log, fold, model = make(), fold_of(make(), 3, 0), Means()
    found = cross_fitted(log, model=model, item_features=np.arange(8.0).reshape(4, 2))
    assert not hasattr(model, "mean")
    for held in range(3):
        assert np.allclose(found[fold == held], log.reward[fold != held].mean())
    assert np.allclose(cross_fitted(log, model=Chances()), 0.5)


def test_positions_have_models_of_their_own():
    rng = np.random.default_rng(2)
    position = np.arange(400) % 2
    log = LoggedBandit(
        action=rng.integers(0, 2, 400), reward=(position == 1).astype(float), propensity=np.full(400, 0.5),
        n_actions=2, position=position, n_positions=2,
    )  # fmt: skip
    found = cross_fitted(log)
    assert found[position == 0].max() < 0.02
    assert found[position == 1].min() > 0.98


def test_units_stay_in_one_fold():
    unit = np.repeat(np.arange(60), 4)
    fold = fold_of(make(unit=unit), 3, 0)
    assert all(len(set(fold[unit == u])) == 1 for u in range(60))
    assert np.bincount(fold).tolist() == [80, 80, 80]


def test_a_good_prediction_narrows_the_interval():
    log = make(2000, binary=False)
    target = np.array([[0.1, 0.2, 0.3, 0.4]])
    found = evaluate_policy(log, target, rewards=cross_fitted(log), intervals="normal")
    assert found["dr"].error < 0.85 * found["ips"].error  # what is left is the spread of the contexts


def test_bad_input():
    log = make()
    with pytest.raises(ParameterError, match="reward model"):
        cross_fitted(log, model="forest")
    with pytest.raises(ParameterError, match="fit and predict"):
        cross_fitted(log, model=3)
    with pytest.raises(ParameterError, match="folds"):
        cross_fitted(log, folds=1)
    with pytest.raises(ParameterError, match="reg"):
        cross_fitted(log, reg=0)
    with pytest.raises(ParameterError, match="item_features"):
        cross_fitted(log, item_features=np.zeros((3, 2)))
    with pytest.raises(DataError, match="rewards of 0 or 1"):
        cross_fitted(make(binary=False), model="logistic")
    lonely = LoggedBandit(
        action=[0, 1] * 15,
        reward=[1, 0] * 15,
        propensity=[0.5] * 30,
        n_actions=2,
        position=[0] * 29 + [1],
        n_positions=2,
    )
    with pytest.raises(DataError, match="Position 1 has 1 rounds"):
        cross_fitted(lonely)
    with pytest.raises(DataError, match=r"The log has 29 rounds, too few for predicted rewards: .* wants 30"):
        cross_fitted(lonely.take(np.arange(29)))
