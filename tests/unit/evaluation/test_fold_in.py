"""The gap of fold-in: none where nothing is new, and what a refit brings."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from tests.conftest import build
from tests.unit.evaluation.conftest import make_split

from recsmith.errors import ParameterError
from recsmith.evaluation import fold_in_gap
from recsmith.evaluation.fold_in import overlap
from recsmith.models.baselines.popular import Popular
from recsmith.models.baselines.rating_baseline import RatingBaseline
from recsmith.models.factorization.ials import ImplicitALS
from recsmith.models.linear.ease import EASE
from recsmith.recommend import Pipeline


class Remembers(Popular):
    """Answers rightly for users whose trained vector may answer, else with the popular items."""

    def score(self, queries, items=None):
        scores = super().score(queries, items)
        trained = queries.as_trained if queries.as_trained is not None else np.zeros(len(queries), dtype=bool)
        scores[trained, -1] = 1e6
        return scores


@pytest.fixture
def split():
    """60 users took a and b, then c or d; z is in the log of one and is what everybody takes next."""
    users = [f"u{u:02d}" for u in range(60) for _ in range(3)] + ["w"]
    items = [item for u in range(60) for item in ("a", "b", "cd"[u % 2])] + ["z"]
    times = [100 * step + u for u in range(60) for step in range(3)] + [0]
    train = build(users, items, [4] * len(users), times)
    return make_split(train, {f"u{u:02d}": [("z", 3 + u % 2)] for u in range(60)}, "next")


def test_a_model_without_user_vectors_has_no_gap(split):
    gap = fold_in_gap(lambda: Pipeline(model=EASE(reg=1.0)), split, share_new=(0.1,), metric="ndcg@2")
    assert gap.trained.gain == 0 and gap.trained.interval == (0, 0) and gap.trained.overlap == 1.0
    assert gap.trained.new_events == 0 and gap.metric == "ndcg@2"


def test_trained_vectors_are_used_only_where_the_history_is_unchanged(split):
    gap = fold_in_gap(lambda: Pipeline(model=Remembers()), split, share_new=(0.3, 0.1), metric="ndcg@1")
    assert (gap.trained.refit, gap.trained.fold_in, gap.trained.gain) == (1.0, 0.0, 1.0)
    assert gap.trained.overlap == 0.0
    # the newest 10 % of 181 events are the last event of 18 users, who are answered by fold-in now
    few, many = gap.rows
    assert (few.share_new, few.new_events, few.changed_users) == (0.1, 18, 18)
    assert few.fold_in == pytest.approx(42 / 60) and few.refit == 1.0
    assert many.changed_users == 54 and many.fold_in == pytest.approx(6 / 60)
    assert gap.pays_at == 0.1
    dear = fold_in_gap(
        lambda: Pipeline(model=Remembers()), split, share_new=(0.1, 0.3), metric="ndcg@1", least_gain=0.5
    )
    assert dear.pays_at == 0.3


def test_a_refit_that_brings_nothing_never_pays(split):
    gap = fold_in_gap(lambda: Pipeline(model=Popular()), split, share_new=(0.05, 0.3), metric="ndcg@1")
    assert gap.pays_at is None
    assert all(row.gain == 0 for row in gap.rows)


def test_ratings(split):
    gap = fold_in_gap(lambda: Pipeline(model=RatingBaseline()), split, share_new=(0.5,))
    assert gap.metric == "rmse" and gap.rows[0].overlap is None
    assert gap.trained.gain == pytest.approx(0, abs=1e-6)
    assert gap.rows[0].gain == pytest.approx(gap.rows[0].fold_in - gap.rows[0].refit)
    low, high = gap.rows[0].interval
    assert low - 1e-9 <= gap.rows[0].gain <= high + 1e-9


def test_without_times_the_order_of_the_file_counts(split):
    untimed = replace(split, train=replace(split.train, time=None))
    gap = fold_in_gap(lambda: Pipeline(model=Popular()), untimed, share_new=(0.1,), metric="ndcg@1")
    assert (
        gap.rows[0].new_events == 18 and gap.rows[0].changed_users == 6
    )  # the last 18 rows: w and six users


def test_parameters(split):
    with pytest.raises(ParameterError, match=r"'share_new' .* shares in \(0, 1\). Got 1.0 instead"):
        fold_in_gap(lambda: Pipeline(model=Popular()), split, share_new=(0.1, 1.0))
    with pytest.raises(ParameterError, match=r"Popular on 'next': there are no ratings to predict"):
        fold_in_gap(lambda: Pipeline(model=Popular()), split, metric="rmse")


def test_json(split):
    gap = fold_in_gap(lambda: Pipeline(model=Popular()), split, share_new=(0.1,), metric="ndcg@1")
    plain = json.loads(json.dumps(gap.as_dict()))
    assert plain["refit_pays_at"] is None and plain["rows"][0]["interval"] == [0, 0]


def test_overlap_by_hand():
    first, second = np.array([[1, 2, 3], [4, -1, -1]]), np.array([[3, 9, 1], [5, -1, -1]])
    assert overlap(first, second) == pytest.approx(2 / 6)
    assert np.isnan(overlap(np.zeros((0, 3), dtype=int), np.zeros((0, 3), dtype=int)))


def test_implicit_als_on_movielens_100k(random_split):
    """Fold-in equals the trained vectors to within chance, and half a log of new events asks for a refit."""
    gap = fold_in_gap(
        lambda: Pipeline(model=ImplicitALS(embedding_size=32)), random_split, share_new=(0.01, 0.5)
    )
    assert abs(gap.trained.gain) < 0.003 and gap.trained.overlap > 0.95
    assert gap.pays_at is not None and gap.rows[1].gain > 0.02
