"""Judges any pipeline through ``recommend.py``: metrics, intervals, comparisons, and the gap of fold-in."""

from recsmith.evaluation.comparison import compare, leaderboard
from recsmith.evaluation.fold_in import fold_in_gap
from recsmith.evaluation.protocol import evaluate, judge
from recsmith.evaluation.report import Report

__all__ = ["Report", "compare", "evaluate", "fold_in_gap", "judge", "leaderboard"]
