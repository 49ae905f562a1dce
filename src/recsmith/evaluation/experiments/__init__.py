"""Experiments with users: planned, checked, analysed; and interleaving."""

from recsmith.evaluation.experiments.ab_test import analyze
from recsmith.evaluation.experiments.interleaving import Interleaving, compare_clicks, credit, team_draft
from recsmith.evaluation.experiments.plan import Baseline, Plan, plan
from recsmith.evaluation.experiments.result import ABResult, Effect
from recsmith.evaluation.experiments.sample_ratio import SampleRatio, sample_ratio
from recsmith.evaluation.experiments.units import Metric

__all__ = [
    "ABResult",
    "Baseline",
    "Effect",
    "Interleaving",
    "Metric",
    "Plan",
    "SampleRatio",
    "analyze",
    "compare_clicks",
    "credit",
    "plan",
    "sample_ratio",
    "team_draft",
]
