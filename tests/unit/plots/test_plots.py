"""Pictures return figures that say what they show: axes with units, numbers, values where they belong, and no state."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from tests.conftest import build

from recsmith.data.splitters import global_time, user_time
from recsmith.errors import DataError, MissingExtraError, ParameterError
from recsmith.evaluation.protocol import judge
from recsmith.experiment.train import make_pipeline
from recsmith.plots import experiments, judgement, log, models, style

mpl = pytest.importorskip("matplotlib")


@pytest.fixture(scope="module")
def reports():
    rng = np.random.default_rng(0)
    users = np.repeat(np.arange(40), 8)
    items = np.concatenate([rng.permutation(20)[:8] for _ in range(40)])
    data = build(
        [f"u{u}" for u in users], [f"i{i}" for i in items], times=1_600_000_000 + np.arange(320) * 7200
    )
    split = user_time(data)
    return [
        judge(make_pipeline(name).fit(split.train, rng=0), split, name=label, ks=(5, 10), resamples=50)
        for name, label in (("popular", "pop$ular$"), ("ease", "ease"))
    ]


def texts(figure) -> str:
    return " | ".join(text.get_text() for text in figure.findobj(mpl.text.Text))


def titled(figure) -> str:
    return figure.get_suptitle().replace("\n", " ")


def test_a_heat_map_holds_the_shares_of_its_cells(checkerboard):
    figure = log.heat_map(checkerboard, bins=2)
    cells = figure.axes[0].images[0].get_array().filled(0)
    assert cells.shape == (2, 2)
    pairs = checkerboard.matrix("ones").nnz
    assert cells.mean() == pytest.approx(100 * pairs / (40 * 12))  # cells are equally large
    assert cells[0, 0] >= cells[1, 1]
    assert "users, most active first, % of 40" in texts(figure)
    assert "items, most popular first, % of 12" in texts(figure)


def test_a_heat_map_of_one_pair():
    assert titled(log.heat_map(build(["a"], ["x"]))) == "1e+02 % of all pairs of a user and an item occur"


def test_the_long_tail_is_the_lorenz_curve():
    data = build(list("aaaabbbbcc"), list("wxyzwxyzww"))
    data = replace(data)
    figure = log.long_tail(data)
    curve = figure.axes[0].lines[0]
    assert curve.get_xdata() == pytest.approx([0, 25, 50, 75, 100])
    assert curve.get_ydata() == pytest.approx([0, 40, 60, 80, 100])
    assert titled(figure) == "75.0 % of the items hold 80 % of the events"


@pytest.mark.parametrize(
    ("step", "unit"), [(3600, "day"), (86_400, "week"), (8 * 86_400, "month"), (90 * 86_400, "year")]
)
def test_events_over_time_are_counted_in_fitting_periods(step, unit):
    times = 1_500_000_000 + np.arange(200) * step
    data = build(["a", "b"] * 100, [f"i{n}" for n in range(200)], times=times)
    figure = log.over_time(data)
    events, users = (axes.patches[0].get_data().values for axes in figure.axes)
    assert events.sum() == 200
    assert users.max() <= 2
    assert len(events) <= 120
    assert f"{unit} (UTC); 200 events" in texts(figure)


def test_the_week_is_utc():
    figure = log.week_pattern(build(["a"], ["x"], times=[1_700_000_000]))  # 2023-11-14, a Tuesday, 22:13:20
    share = figure.axes[0].images[0].get_array().filled(0)
    assert share[1, 22] == 100
    assert titled(figure) == "Tue 22:00 UTC is busiest: 100.0 % of the events"


@pytest.mark.parametrize("draw", [log.over_time, log.week_pattern])
def test_no_picture_over_time_without_times_or_beyond_the_calendar(draw):
    with pytest.raises(DataError, match="has no times"):
        draw(build(["a"], ["x"]))
    with pytest.raises(DataError, match="--timestamp-unit ms"):
        draw(build(["a"], ["x"], times=[1_600_000_000_000_000]))


@pytest.mark.parametrize("split_of", [user_time, global_time])
def test_a_split_shows_what_is_hidden(checkerboard, split_of):
    split = split_of(checkerboard)
    figure = log.split_picture(split)
    parts = [stairs.get_data() for stairs in figure.axes[0].patches]
    assert parts[0].values.sum() == len(split.train)
    assert (parts[1].values - parts[1].baseline).sum() == len(split.truth.items)
    assert split.name in titled(figure)


def test_a_split_without_times_is_by_place():
    data = build(list("aaaabbbb"), list("wxyzwxyz"))
    figure = log.split_picture(user_time(data, 0.25))
    assert "place in the history" in texts(figure)
    assert len(figure.axes) == 1


def test_a_leaderboard_is_in_order_and_says_n(reports):
    figure = models.leaderboard(reports, "ndcg@10")
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    means = {report.model: report.means["ndcg@10"] for report in reports}
    assert names == sorted(means, key=lambda name: -means[name])
    assert "40 users" in texts(figure)
    assert "95 % interval" in texts(figure)
    assert f"{max(means.values()):.3f}" in texts(figure)


def test_time_and_variety_name_every_model(reports):
    timed = [replace(report, seconds={"fit": 0.5 + n, "recommend": 0.1}) for n, report in enumerate(reports)]
    figure = models.accuracy_time(timed, "ndcg@10")
    assert "seconds to fit (log)" in texts(figure)
    assert texts(figure).count("pop$ular$") == 2
    figure = models.trade_off(reports, "ndcg@10")
    assert texts(figure).count("ease") == 3
    for wanted in ("diversity@10", "novelty, bits", "coverage@10"):
        assert wanted in texts(figure)


def test_names_do_not_hide_one_another():
    figure, [[axes]] = style.canvas("close")
    x, y = [0.5, 0.51, 0.5, 0.49], [0.5, 0.5, 0.52, 0.49]
    axes.set(xlim=(0, 1), ylim=(0, 1))
    style.settle(figure)
    style.name_points(axes, x, y, ["one", "two", "three", "four"], [(v, v) for v in y])
    boxes = [text.get_window_extent() for text in axes.texts]
    assert len(boxes) == 4
    assert not any(a.overlaps(b) for n, a in enumerate(boxes) for b in boxes[:n])


@pytest.mark.parametrize("draw", [models.leaderboard, models.accuracy_time, models.trade_off])
def test_models_without_the_metric_are_refused(draw, reports):
    with pytest.raises(ParameterError, match="at least one"):
        draw([], "ndcg@10")
    with pytest.raises(ParameterError, match="Did you mean 'ndcg@10'"):
        draw(reports, "ndgc@10")


def test_nothing_to_draw_is_said(reports):
    with pytest.raises(ParameterError, match="how long it took"):
        models.accuracy_time([replace(report, seconds={}) for report in reports], "ndcg@10")
    with pytest.raises(ParameterError, match="how varied"):
        models.trade_off([replace(report, beyond={}) for report in reports], "ndcg@10")


def curves(fallback: bool = True) -> pl.DataFrame:
    rows = [
        {"model": model, "given": given, "metric": "ndcg@10", "stratum": "all", "value": 0.1 * given + n / 10,
         "low": 0.0, "high": 0.6, "gain": 0.1 if fallback else None, "users": 50}
        for n, model in enumerate(("a", "b", "c")) for given in (0, 1, 5)
    ]  # fmt: skip
    return pl.DataFrame(rows, infer_schema_length=None)


@pytest.mark.parametrize("fallback", [True, False])
def test_cold_start_has_a_panel_for_each_model(fallback):
    figure = judgement.cold_start_curves(curves(fallback), "ndcg@10")
    shown = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_title(loc="left") for axes in shown] == ["c", "b", "a"]  # best with most events first
    assert shown[0].lines[-2 if fallback else -1].get_ydata() is not None
    assert ("its fallback" in texts(figure)) == fallback
    assert "50 users" in titled(figure)
    with pytest.raises(ParameterError, match="no cold-start curve of recall@5"):
        judgement.cold_start_curves(curves(), "recall@5")
    with pytest.raises(DataError, match="lack gain"):
        judgement.cold_start_curves(curves().drop("gain"), "ndcg@10")


def groups() -> pl.DataFrame:
    columns = ("metric", "group", "users", "value", "interval", "verdict")
    rows = [("ndcg@10", "F", 40, 0.2, [0.1, 0.3], "worse"), ("ndcg@10", "M", 60, 0.4, [0.3, 0.5], "better"),
            ("ndcg@10", "$x$", 3, 0.9, [None, None], "too small to say")]  # fmt: skip
    return pl.DataFrame(rows, columns, orient="row")


def test_groups_that_are_too_small_are_hatched():
    figure = judgement.fairness_bars(groups(), "ndcg@10", model="ease", by="gender", overall=0.3)
    bars = figure.axes[0].patches
    assert sorted(bar.get_width() for bar in bars) == [0.2, 0.4, 0.9]
    assert {bar.get_width() for bar in bars if bar.get_hatch()} == {0.9}
    assert titled(figure) == "ease by gender: F, M served otherwise"
    assert "$x$ (3)" in texts(figure)
    with pytest.raises(ParameterError, match="no recall@5 by gender"):
        judgement.fairness_bars(groups(), "recall@5", model="ease", by="gender")


def test_exposure_has_three_shapes_beside_three_colours():
    rows = pl.DataFrame(
        {"group": ["popular", "tail"], "catalogue_share": [0.2, 0.8], "relevance_share": [0.6, 0.4],
         "exposure_share": [0.996, 0.004]}
    )  # fmt: skip
    figure = judgement.exposure(rows, model="ease", by="popularity")
    assert len({line.get_marker() for line in figure.axes[0].lines}) == 3
    assert titled(figure) == "ease: popular items get 99.6 % of the places"
    with pytest.raises(DataError, match="lack exposure_share"):
        judgement.exposure(rows.drop("exposure_share"), model="ease", by="popularity")


def test_a_learning_curve_rises_by_events():
    rows = pl.DataFrame(
        {
            "share": [1.0, 0.5],
            "events": [1000, 500],
            "value": [0.3, 0.2],
            "interval": [[0.2, 0.4], [0.1, 0.3]],
        }
    )
    figure = judgement.learning_curve(rows, "ndcg@10", model="ease")
    assert figure.axes[0].lines[0].get_xdata() == pytest.approx([0.5, 1])
    assert "50 %" in texts(figure)


def effects() -> pl.DataFrame:
    columns = ("metric", "variant", "segment", "users", "lift", "lift_interval", "verdict")
    rows = [("clicks", "new", "all", [90, 110], 0.05, [0.01, 0.09], "better"),
            ("clicks", "old", "all", [90, 100], -0.02, [-0.05, 0.01], "no difference shown"),
            ("clicks", "new", "phone", [40, 50], 0.07, [0.0, 0.1], "better"),
            ("nothing", "new", "all", [90, 110], None, [None, None], "nothing can be said")]  # fmt: skip
    return pl.DataFrame(rows, columns, orient="row")


def test_lifts_are_those_of_everybody():
    figure = experiments.lift(effects(), alpha=0.1)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["new: clicks", "old: clicks"]
    assert "+5.0 %" in texts(figure)
    assert "90 % interval" in texts(figure)
    assert "90 to 110 users per variant" in texts(figure)
    assert titled(figure) == "new better by clicks"
    assert titled(experiments.lift(effects(), segment="phone")) == "new better by clicks"
    with pytest.raises(ParameterError, match="No row of the segment 'desk'"):
        experiments.lift(effects(), segment="desk")
    with pytest.raises(DataError, match="lack verdict"):
        experiments.lift(effects().drop("verdict"))


def test_the_settings_of_matplotlib_stay(reports):
    before = dict(mpl.rcParams)
    models.leaderboard(reports, "ndcg@10").savefig(io.BytesIO())
    assert dict(mpl.rcParams) == before


def test_every_axis_says_what_it_is(checkerboard, reports):
    figures = [log.heat_map(checkerboard), log.long_tail(checkerboard), log.over_time(checkerboard),
               models.leaderboard(reports, "ndcg@10"), models.trade_off(reports, "ndcg@10"),
               judgement.fairness_bars(groups(), "ndcg@10", model="m", by="b"),
               experiments.lift(effects())]  # fmt: skip
    for figure in figures:
        assert figure.get_suptitle()
        assert any(axes.get_xlabel() for axes in figure.axes)


def test_a_missing_library_is_named(checkerboard, monkeypatch):
    monkeypatch.setattr(style, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="needs the extra 'plot'"):
        log.heat_map(checkerboard)
