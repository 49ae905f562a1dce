from __future__ import annotations

import pytest

from recsmith.data.split_by_name import parse
from recsmith.errors import ParameterError
from recsmith.evaluation import evaluate
from recsmith.experiment.choose import choose
from recsmith.experiment.train import make_pipeline
from recsmith.models.linear.ease import EASE


@pytest.fixture
def split(checkerboard):
    return parse("user-time:0.25").split(checkerboard)[0]


def test_every_point_has_the_figure_of_evaluate(split):
    choice = choose("ease", {"reg": (0.5, 50), "half_life": (None, 2)}, split, "ndcg@5")
    assert [tuple(t.parameters.values()) for t in choice.trials] == [
        (0.5, None),
        (0.5, 2),
        (50, None),
        (50, 2),
    ]
    for trial in choice.trials:
        report = evaluate(make_pipeline("ease", **trial.parameters), split, ks=(5,))
        assert trial.value == pytest.approx(report.means["ndcg@5"], abs=1e-12)
    assert choice.best.value == max(t.value for t in choice.trials)
    assert choice.as_dict()["best"] == dict(choice.best.parameters)


def test_half_lives_share_a_fit(split, monkeypatch):
    fits = []
    fit = EASE.fit
    monkeypatch.setattr(EASE, "fit", lambda self, *a, **k: fits.append(1) or fit(self, *a, **k))
    choice = choose("ease", {"half_life": (None, 2, 5), "reg": (1, 10)}, split)
    assert len(fits) == 2
    assert [t.fit_seconds > 0 for t in choice.trials] == [True, True, False, False, False, False]


def test_a_half_life_of_the_model_is_fitted(split):
    choice = choose("popular", {"half_life": (None, 1)}, split)
    assert all(t.fit_seconds > 0 for t in choice.trials)


def test_errors_are_minimized(split):
    choice = choose("rating-baseline", {"reg_user": (1, 100)}, split, "rmse", fixed={"reg_item": 1})
    assert choice.best.value == min(t.value for t in choice.trials)
    assert choice.best_where(reg_user=100).parameters == {"reg_item": 1, "reg_user": 100}


def test_a_monitor_may_stop_the_search(split):
    class Stop:
        def progress(self, done, total, **figures):
            assert (done, total) == (1, 2)
            return True

    assert len(choose("ease", {"reg": (1, 10)}, split, monitor=Stop()).trials) == 1


def test_bad_input(split):
    with pytest.raises(ParameterError, match="at least one value"):
        choose("ease", {"reg": ()}, split)
    with pytest.raises(ParameterError, match="metric"):
        choose("ease", {}, split, "ndgc@10")
    with pytest.raises(ParameterError, match="'reg'"):
        choose("ease", {"regg": (1,)}, split)
    with pytest.raises(ParameterError, match="No trial"):
        choose("ease", {"reg": (1,)}, split).best_where(reg=2)
