"""Run the Open Bandit Pipeline: its estimators, its regression model, and the policy of its synthetic example."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from obp import ope
from obp.policy import IPWLearner
from sklearn.linear_model import LogisticRegression

sys.path.append(str(Path(__file__).resolve().parents[1]))

from worker import Arrays, Measure, Result, Settings, complete_settings, measured, serve

DEFAULTS: Settings = {"tau": 1.0, "strength": 1.0, "resamples": 0, "seed": 0}
MODEL: Settings = {"C": 100.0, "max_iter": 10_000, "random_state": 12345}  # of obp's examples
_WEIGHTED = {"ips": ope.InverseProbabilityWeighting, "snips": ope.SelfNormalizedInverseProbabilityWeighting}
_MODELLED = {
    "dm": ope.DirectMethod,
    "dr": ope.DoublyRobust,
    "sndr": ope.SelfNormalizedDoublyRobust,
}


def _estimators(settings: Settings, *, replay: bool) -> dict[str, Any]:
    made = {"replay": ope.ReplayMethod()} if replay else {}
    made |= {name: kind() for name, kind in (_WEIGHTED | _MODELLED).items()}
    made["switch-dr"] = ope.SwitchDoublyRobust(tau=settings["tau"])
    made["dros"] = ope.DoublyRobustWithShrinkage(lambda_=settings["strength"])
    for name, one in made.items():
        one.estimator_name = name
    return made


def estimate(arrays: Arrays, given: Settings) -> Result:
    """Every estimator on a log, with the predicted rewards that are given; ``replay`` where the target is certain."""
    settings = complete_settings(given, DEFAULTS)
    target = np.ascontiguousarray(arrays["target"])
    if len(target) == 1:  # as its examples do
        target = np.tile(target, (len(arrays["action"]), 1, 1))
    log = {name: arrays[name] for name in ("action", "reward", "position")} | {"pscore": arrays["propensity"]}
    made = _estimators(settings, replay=bool(np.isin(target, (0, 1)).all()))
    phases: dict[str, Measure] = {}
    with measured() as phases["estimate"]:
        judge = ope.OffPolicyEvaluation(bandit_feedback=log, ope_estimators=list(made.values()))
        values = judge.estimate_policy_values(
            action_dist=target, estimated_rewards_by_reg_model=arrays["rewards"]
        )
    bounds = np.zeros((0, 2))
    if settings["resamples"]:
        with measured() as phases["intervals"]:
            intervals = judge.estimate_intervals(
                action_dist=target,
                estimated_rewards_by_reg_model=arrays["rewards"],
                n_bootstrap_samples=settings["resamples"],
                random_state=settings["seed"],
            )
        bounds = np.array([list(intervals[name].values())[1:] for name in made])
    return Result(phases, {"values": np.array([values[name] for name in made]), "names": np.array(list(made)),
                           "bounds": bounds}, settings)  # fmt: skip


def rewards(arrays: Arrays, given: Settings) -> Result:
    """Predicted rewards by its regression model, cross-fitted with three folds, as in its examples."""
    settings = complete_settings(given, MODEL)
    return _rewards(arrays, settings)


def _rewards(arrays: Arrays, settings: Settings, **more: Any) -> Result:
    position = arrays["position"] if "position" in arrays else np.zeros(len(arrays["action"]), dtype=int)
    with warnings.catch_warnings(), measured() as fit:
        warnings.simplefilter("ignore")
        model = ope.RegressionModel(
            n_actions=int(arrays["n_actions"]),
            len_list=int(position.max()) + 1,
            action_context=arrays["action_context"],
            base_model=LogisticRegression(**settings),
        )
        found = model.fit_predict(
            context=arrays["context"],
            action=arrays["action"],
            reward=arrays["reward"],
            position=position,
            pscore=arrays["propensity"],
            n_folds=3,
            random_state=12345,
        )
    return Result({"fit": fit}, {"rewards": found, **more}, settings)


def synthetic(arrays: Arrays, given: Settings) -> Result:
    """The target of its synthetic example, learned on a log of its own; and predicted rewards on the other log."""
    settings = complete_settings(given, MODEL)
    learner = IPWLearner(n_actions=int(arrays["n_actions"]), base_classifier=LogisticRegression(**settings))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        learner.fit(
            context=arrays["train_context"],
            action=arrays["train_action"],
            reward=arrays["train_reward"],
            pscore=arrays["train_propensity"],
        )
        target = learner.predict_proba(context=arrays["context"])
    return _rewards(arrays, settings, target=target)


def slates(arrays: Arrays, given: Settings) -> Result:
    """Its three estimators of lists."""
    complete_settings(given, {})
    ids = {"slate_id": arrays["slate"], "reward": arrays["reward"], "position": arrays["position"]}
    with measured() as estimate:
        values = [
            ope.SlateStandardIPS(len_list=3).estimate_policy_value(
                **ids, pscore=arrays["whole"], evaluation_policy_pscore=arrays["target_whole"]
            ),
            ope.SlateIndependentIPS(len_list=3).estimate_policy_value(
                **ids,
                pscore_item_position=arrays["marginal"],
                evaluation_policy_pscore_item_position=arrays["target_marginal"],
            ),
            ope.SlateRewardInteractionIPS(len_list=3).estimate_policy_value(
                **ids,
                pscore_cascade=arrays["cascade"],
                evaluation_policy_pscore_cascade=arrays["target_cascade"],
            ),
        ]
    return Result({"estimate": estimate}, {"values": np.array(values)}, {})


if __name__ == "__main__":
    serve("obp", {"estimate": estimate, "rewards": rewards, "synthetic": synthetic, "slates": slates})
