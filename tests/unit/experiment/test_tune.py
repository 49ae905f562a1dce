"""``tune``: seeded, resumable, on validation only, never worse than the default."""

from __future__ import annotations

import contextlib
import math
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("optuna")

from tests.conftest import build

from recsmith.data.load import load
from recsmith.data.split_by_name import parse
from recsmith.errors import DataError, ParameterError
from recsmith.experiment import search as module
from recsmith.experiment.config import read_recipe
from recsmith.experiment.recipe import Recipe
from recsmith.experiment.space import changed
from recsmith.experiment.tune import tune
from recsmith.experiment.validation import Validation, part_of, within
from recsmith.models.linear.ease import EASE


@pytest.fixture(scope="module")
def data():
    return load("synthetic:users=200,items=60,events=6000,rating=1,seed=2")


@pytest.fixture(scope="module")
def folds(data):
    splitter = parse("user-time")
    return within(splitter.split(data)[0], splitter)


def points(found):
    return [(dict(t.parameters), t.state, t.value) for t in found.trials]


def test_the_default_is_first_and_the_result_never_worse(folds):
    found = tune("ease", folds, trials=6)
    assert found.default.parameters["reg"] == 300.0
    assert found.default.parameters["half_life"] is None
    assert found.best.value >= found.default.value
    assert found.as_dict()["best"]["value"] == found.best.value
    assert len(found.trials) == 6


def test_the_same_seed_gives_the_same_trials(folds):
    one, two, other = (tune("ease", folds, trials=7, seed=seed) for seed in (1, 1, 2))
    assert points(one) == points(two)
    assert points(one) != points(other)


def test_more_trials_begin_with_the_fewer(folds):
    assert points(tune("ials", folds, trials=8))[:4] == points(tune("ials", folds, trials=4))


class StopAfter:
    """A monitor that ends, or breaks, the search."""

    def __init__(self, count, error=None):
        self.count, self.error = count, error

    def progress(self, done, total, **figures):
        if done >= self.count and self.error is not None:
            raise self.error
        return done >= self.count


@pytest.mark.parametrize("error", [None, KeyboardInterrupt()])
def test_a_search_that_was_stopped_goes_on(folds, tmp_path, error):
    whole = tune("ease", folds, trials=12, study=tmp_path / "whole.sqlite")
    file = tmp_path / "deep" / "study.sqlite"
    with contextlib.suppress(KeyboardInterrupt):
        assert len(tune("ease", folds, trials=12, study=file, monitor=StopAfter(4, error)).trials) == 4
    assert points(tune("ease", folds, trials=12, study=file)) == points(whole)


def test_a_stop_within_a_fit_leaves_no_trace(folds, tmp_path, monkeypatch):
    whole = tune("ease", folds, trials=9)
    file, fit, fits = tmp_path / "study.sqlite", EASE.fit, []

    def breaks(self, *args, **kwargs):
        fits.append(1)
        if len(fits) == 2:
            raise KeyboardInterrupt
        return fit(self, *args, **kwargs)

    monkeypatch.setattr(EASE, "fit", breaks)
    with pytest.raises(KeyboardInterrupt):
        tune("ease", folds, trials=9, study=file)
    assert points(tune("ease", folds, trials=9, study=file)) == points(whole)


def test_a_finished_search_is_not_searched_again(folds, tmp_path, monkeypatch):
    first = tune("ease", folds, trials=3, study=tmp_path / "s.sqlite")
    monkeypatch.setattr(EASE, "fit", None)
    assert points(tune("ease", folds, trials=3, study=tmp_path / "s.sqlite")) == points(first)


def test_another_question_in_the_same_file_is_another_study(folds, tmp_path):
    file = tmp_path / "s.sqlite"
    tune("ease", folds, trials=2, study=file)
    assert tune("ease", folds, "recall@5", trials=2, study=file).default.value != 0
    assert len(tune("ease", folds, trials=2, study=file).trials) == 2


def test_points_that_differ_in_the_half_life_share_a_fit(folds, monkeypatch):
    fits, fit = [], EASE.fit
    monkeypatch.setattr(EASE, "fit", lambda self, *a, **k: fits.append(1) or fit(self, *a, **k))
    found = tune("ease", folds, trials=9)
    assert len(fits) == 3
    assert len({t.parameters["reg"] for t in found.trials}) <= 3


def test_fixed_parameters_leave_the_space(folds):
    found = tune("ease", folds, trials=3, fixed={"reg": 7.0, "half_life": 5})
    assert {t.parameters["reg"] for t in found.trials} == {7.0}
    assert "reg" not in found.space
    assert found.best.parameters["half_life"] == 5


def test_a_space_of_ones_own(folds):
    found = tune("ease", folds, trials=4, space=changed({}, "ease", {"reg": "1|10"}))
    assert {t.parameters["reg"] for t in found.trials[1:]} <= {1, 10}


def test_a_small_space_ends(folds):
    found = tune("random", folds, trials=50)
    assert len(found.trials) == 1


def test_errors_are_minimized(folds):
    found = tune("rating-baseline", folds, "rmse", trials=6)
    assert found.best.value == min(t.value for t in found.trials if t.state == "complete")
    assert set(found.space) == {"reg_user", "reg_item"}


def test_folds_are_averaged_and_prune(data):
    folds = parse("k-fold:3").split(data)
    found = tune("ease", folds, trials=12)
    assert found.split.count("part") == 3
    assert {t.state for t in found.trials} <= {"complete", "pruned"}
    assert found.best.state == "complete"


def test_a_trial_that_fails_is_told_and_the_search_goes_on(folds, monkeypatch):
    fit = EASE.fit

    def breaks(self, *args, **kwargs):
        if self.config.reg != 300.0:
            raise np.linalg.LinAlgError("singular")
        return fit(self, *args, **kwargs)

    monkeypatch.setattr(EASE, "fit", breaks)
    found = tune("ease", folds, trials=6)
    assert {t.state for t in found.trials} == {"complete", "failed"}
    assert found.best.value >= found.default.value
    assert found.notes == ("Failed: LinAlgError: singular",)


def test_no_trial_at_all_says_why(folds, monkeypatch):
    monkeypatch.setattr(module.estimate, "available_mb", lambda: 0.0)
    assert len(tune("ease", folds, minutes=1).trials) < 30
    found = tune("ease", folds, trials=2)
    assert math.isnan(found.default.value)
    with pytest.raises(ParameterError, match="MB are free"):
        _ = found.best


def test_the_budget_in_minutes_is_kept(folds):
    found = tune("ease", folds, minutes=0.03)
    assert points(found) == points(tune("ease", folds, trials=len(found.trials)))


def test_a_budget_in_minutes_that_is_spent_is_spent(folds, tmp_path):
    first = tune("ease", folds, minutes=0.03, study=tmp_path / "s.sqlite")
    again = tune("ease", folds, minutes=0.03, study=tmp_path / "s.sqlite")
    assert len(again.trials) - len(first.trials) <= 1
    assert sum(trial.seconds for trial in again.trials) < 60 * 0.03 + 2


def test_a_fit_is_stopped_when_the_time_is_over(folds, monkeypatch):
    from recsmith.models.factorization.ials import ImplicitALS

    tune("ials", folds, trials=1)
    slow = ImplicitALS.fit

    def crawl(self, data, *, rng=None, monitor=None):
        slow(self, data, rng=rng, monitor=monitor)
        for epoch in range(1000):
            import time

            time.sleep(0.01)
            if self.config.reg != 10.0 and monitor.progress(epoch, 1000):
                break
            if self.config.reg == 10.0 and epoch > 3:
                break
        return self

    monkeypatch.setattr(ImplicitALS, "fit", crawl)
    assert len(tune("ials", folds, minutes=0.02).trials) < 20


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"trials": 0}, "'trials' parameter of tune must be >= 1"),
        ({"minutes": 0}, "'minutes' parameter of tune must be > 0"),
        ({"fixed": {"regg": 1}}, "Did you mean 'reg'"),
    ],
)
def test_bad_input(folds, options, words):
    with pytest.raises(ParameterError, match=words):
        tune("ease", folds, **options)


def test_an_unknown_metric_is_named(folds):
    with pytest.raises(ParameterError, match="metric"):
        tune("ease", folds, "ndgc@10", trials=1)


def test_validation_without_positives(data):
    """The held-out events are all of items that train does not know, or that the user had before."""
    fresh = build(["a", "a", "b", "b"], [1, 2, 1, 3])
    with pytest.raises(DataError, match="no positive"):
        tune("ease", parse("leave-last-out").split(fresh), trials=1)
    again = build(["a", "a", "b", "b"], [1, 1, 2, 2])
    with pytest.raises(DataError, match="no positive"):
        tune("ease", parse("leave-last-out").split(again), trials=1)
    with pytest.raises(DataError, match="no rated event"):
        tune("rating-baseline", parse("user-time").split(replace(data, value=None)), "rmse", trials=1)


def test_a_file_that_is_no_study(folds, tmp_path):
    file = tmp_path / "s.sqlite"
    file.write_text("this is no database, and long enough to be one " * 40)
    with pytest.raises(DataError, match="not a study"):
        tune("ease", folds, trials=1, study=file)


def test_parts_hold_each_user_once(data):
    split = parse("user-time").split(data)[0]
    judged = Validation.of(split, "ndcg@10")
    ids = [i for part in judged.parts[0] for i in part.user_ids]
    assert sorted(ids) == sorted(set(ids))
    assert len(Validation.of(split, "ndcg@10", most=50).folds[0].queries) == 50
    one = part_of(split, np.array([3]))
    assert len(one.queries) == 1
    assert one.truth.items.tolist() == split.truth.items[split.truth.rows == 3].tolist()


def test_the_recipe_goes_to_disk_and_back(folds, tmp_path):
    recipe = tune("ease", folds, trials=2).recipe()
    file = tmp_path / "ease.yaml"
    file.write_text(recipe.text())
    assert read_recipe(file) == recipe
    assert recipe.tuned["metric"] == "ndcg@10"
    assert recipe.pipeline().model.config.reg == recipe.parameters["reg"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("model: ease\nparameter: {reg: 1}", "Did you mean 'parameters'"),
        ("model: ease\nparameters: {regg: 1}", "Did you mean 'reg'"),
        ("model: eas", "Did you mean 'ease'"),
        ("parameters: {reg: 1}", "not a recipe"),
        ("- 1", "not a recipe"),
        ("model: [", "not a YAML file"),
    ],
)
def test_a_wrong_recipe_is_named(tmp_path, text, words):
    file = tmp_path / "r.yaml"
    file.write_text(text)
    with pytest.raises((ParameterError, DataError), match=words):
        read_recipe(file)


def test_a_recipe_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match="no config file"):
        read_recipe(tmp_path / "none.yaml")
    assert Recipe(model="ease").text().startswith("# recsmith train --config")
