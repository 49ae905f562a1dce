"""Runs side by side: what differs, who is better, and who must not be paired."""

from __future__ import annotations

from pathlib import Path

import pytest

from recsmith.errors import DataError, ParameterError
from recsmith.evaluation import compare as compared
from recsmith.experiment.compare import compare_runs
from recsmith.experiment.config import Experiment
from recsmith.experiment.run import run


@pytest.fixture(scope="module")
def runs(listens_csv, tmp_path_factory) -> Path:
    """A folder of runs, told apart by what they change."""
    folder = tmp_path_factory.mktemp("runs")
    base = {
        "data": {"source": str(listens_csv)},
        "model": "item-knn",
        "evaluation": {"ks": (10,), "resamples": 50, "rating": False},
    }
    changes = {
        "knn": {},
        "popular": {"model": "popular"},
        "wide": {"parameters": {"neighbors": 20}},
        "split": {"split": "leave-last-out"},
        "data": {"data": {"source": str(listens_csv), "min_rating": 2}},
        "seen": {"evaluation": {**base["evaluation"], "filter_seen": False}},
        "errors": {"model": "biased-mf", "evaluation": {"metrics": (), "resamples": 50}},
    }
    for name, change in changes.items():
        run(Experiment(**{**base, "name": name, **change}), out=folder / name)
    return folder


def test_runs_on_one_split_are_paired_as_their_reports_are(runs):
    found = compare_runs([runs / "popular", runs / "knn", runs / "wide"])
    assert found.metric == "ndcg@10"
    figures = [run.report.means["ndcg@10"] for run in found.runs]
    assert figures == sorted(figures, reverse=True)
    assert not found.apart
    assert found.tests.as_dict() == compared([one.report for one in found.runs], "ndcg@10").as_dict()
    assert found.tests.rows[-1].verdict == "worse"


def test_only_what_differs_is_told(runs):
    found = compare_runs([runs / "knn", runs / "wide"])
    labels = [one.label for one in found.runs]
    assert found.differences() == {
        "parameters": [{} if label == "knn" else None for label in labels],
        "parameters.neighbors": [20 if label == "wide" else None for label in labels],
    }


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ("split", "another train part, another split than knn"),
        ("data", "another train part, another split than knn"),
        ("seen", "another filter_seen than knn"),
    ],
)
def test_other_questions_are_shown_and_not_paired(runs, other, words):
    found = compare_runs([runs / "knn", runs / other, runs / "popular"], baseline=runs / "knn")
    assert len(found.runs) == 3
    assert found.apart == {other: words}
    assert [row.model for row in found.tests.rows if row.verdict != "baseline"] == ["popular"]
    assert words in found.tables()[0].caption
    assert compare_runs([runs / "knn", runs / other]).tests is None


def test_what_cannot_be_compared_is_named(runs, tmp_path):
    with pytest.raises(ParameterError, match="two or more folders, each once"):
        compare_runs([runs / "knn"])
    with pytest.raises(ParameterError, match="two or more folders, each once"):
        compare_runs([runs / "knn", runs / ".." / runs.name / "knn"])
    with pytest.raises(
        ParameterError, match=r"no metric that all runs have named 'ndgc@10'. Did you mean 'ndcg@10'"
    ):
        compare_runs([runs / "knn", runs / "popular"], "ndgc@10")
    with pytest.raises(ParameterError, match="no metric in common"):
        compare_runs([runs / "knn", runs / "errors"])
    with pytest.raises(ParameterError, match="no run of this comparison named"):
        compare_runs([runs / "knn", runs / "popular"], baseline=runs / "wide")
    with pytest.raises(DataError, match="not the folder of a complete run"):
        compare_runs([runs / "knn", tmp_path])
