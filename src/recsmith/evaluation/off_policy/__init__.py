"""Off-policy evaluation: what another policy would have earned, from the log of the one that ran.

>>> from recsmith.evaluation.off_policy import LoggedBandit, cross_fitted, evaluate_policy
>>> log = LoggedBandit(action=shown, reward=clicks, propensity=p, n_actions=80, context=features)
>>> evaluate_policy(log, target, rewards=cross_fitted(log))
"""

from recsmith.evaluation.off_policy.estimators import ESTIMATORS
from recsmith.evaluation.off_policy.evaluate import evaluate_policy, evaluate_slates
from recsmith.evaluation.off_policy.logged import LoggedBandit
from recsmith.evaluation.off_policy.policies import thompson_probabilities
from recsmith.evaluation.off_policy.result import Estimate, OffPolicyResult, Overlap
from recsmith.evaluation.off_policy.reward_model import cross_fitted
from recsmith.evaluation.off_policy.rounds import Rounds
from recsmith.evaluation.off_policy.slates import SLATE_ESTIMATORS, LoggedSlates
from recsmith.evaluation.off_policy.tuning import tuned

__all__ = [
    "ESTIMATORS",
    "SLATE_ESTIMATORS",
    "Estimate",
    "LoggedBandit",
    "LoggedSlates",
    "OffPolicyResult",
    "Overlap",
    "Rounds",
    "cross_fitted",
    "evaluate_policy",
    "evaluate_slates",
    "thompson_probabilities",
    "tuned",
]
