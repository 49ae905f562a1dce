"""An experiment's frame in, trustworthy rows out; what cannot be said is not said, and bad input is named."""

from __future__ import annotations

import io
import json

import numpy as np
import polars as pl
import pytest
from rich.console import Console
from scipy import stats

from recsmith.errors import DataError, ParameterError
from recsmith.evaluation.experiments import Metric, analyze
from recsmith.evaluation.significance import benjamini_hochberg, holm

VALUE = Metric.mean("value")


def users(n=1200, effect=0.0, seed=0, variants=("old", "new")):
    """Users with clicks out of slots, a value that goes with one from before, a purchase or none, and a country."""
    rng = np.random.default_rng(seed)
    treated = np.arange(n) % len(variants)
    taste = rng.gamma(2, 1, n)
    slots, before_slots = 1 + rng.poisson(8, n), 1 + rng.poisson(8, n)
    rate = np.clip(0.05 * taste + 0.1 * effect * treated, 0, 1)
    return pl.DataFrame(
        {
            "user_id": [f"u{i}" for i in range(n)],
            "variant": np.array(variants)[treated],
            "value": taste + rng.gamma(1, 1, n) + effect * treated,
            "value_before": taste,
            "slots": slots,
            "clicks": rng.binomial(slots, rate),
            "slots_before": before_slots,
            "clicks_before": rng.binomial(before_slots, np.clip(0.05 * taste, 0, 1)),
            "bought": (rng.random(n) < 0.2).astype(int),
            "country": rng.choice(["de", "fr"], n),
        }
    )


def split(frame, column, variant):
    return frame.filter(pl.col("variant") == variant)[column].to_numpy()


def test_a_row_says_what_happened():
    frame = users(effect=0.6)
    result = analyze(frame, [VALUE], control="old", correction="none")
    row = result.row("value", "new")
    old, new = split(frame, "value", "old"), split(frame, "value", "new")
    assert (row.users, row.segment) == ((600, 600), "all")
    assert (row.control, row.value) == (pytest.approx(old.mean()), pytest.approx(new.mean()))
    theirs = stats.ttest_ind(new, old, equal_var=False)
    assert row.p == row.p_corrected == pytest.approx(theirs.pvalue)
    assert row.interval == pytest.approx(tuple(theirs.confidence_interval()))
    assert row.lift == pytest.approx(new.mean() / old.mean() - 1)
    assert row.lift_interval.low < row.lift < row.lift_interval.high
    assert (row.verdict, row.variance_reduction) == ("better", None)
    assert row.probability > 0.99 and row.loss < 0.01


def test_a_smaller_figure_may_be_the_better_one():
    frame = users(effect=0.6)
    row = analyze(frame, [Metric.mean("value", smaller_is_better=True)], control="old").row("value", "new")
    assert (row.verdict, row.probability < 0.01, row.loss > 0.3) == ("worse", True, True)


@pytest.mark.parametrize("method", ["t", "permutation", "sequential", "bootstrap"])
def test_every_method_finds_what_is_there_and_a_covariate_narrows_it(method):
    frame = users(3000, effect=0.2, seed=1)
    metrics = [
        Metric.mean("value", before="value_before"),
        Metric.ratio("clicks", "slots", before="clicks_before", before_per="slots_before"),
        Metric.proportion("bought"),
    ]
    result = analyze(frame, metrics, control="old", method=method, planned_users=3000, resamples=500)
    value, clicks, bought = result.rows
    assert (value.verdict, clicks.verdict, bought.verdict) == ("better", "better", "no difference shown")
    plain = analyze(frame, [VALUE], control="old", method=method, planned_users=3000, resamples=500).rows[0]
    rho2 = np.corrcoef(frame["value_before"], frame["value"])[0, 1] ** 2
    narrowed = np.diff(value.interval) / np.diff(plain.interval)
    assert narrowed == pytest.approx(np.sqrt(1 - rho2), abs=0.08)
    assert value.variance_reduction == pytest.approx(rho2, abs=0.02)
    assert 0 < clicks.variance_reduction < 0.9


def test_the_bootstrap_agrees_with_the_others_and_has_a_seed():
    frame = users(2000, effect=0.1, seed=2)
    metrics = [VALUE, Metric.ratio("clicks", "slots")]
    t = analyze(frame, metrics, control="old")
    one, again, other = (
        analyze(frame, metrics, control="old", method="bootstrap", seed=seed) for seed in (0, 0, 1)
    )
    assert one == again != other
    for ours, theirs in zip(one.rows, t.rows, strict=True):
        np.testing.assert_allclose(ours.interval, theirs.interval, atol=0.08 * np.diff(theirs.interval)[0])
        np.testing.assert_allclose(ours.lift_interval, theirs.lift_interval, atol=0.01)


def test_always_valid_intervals_are_wider():
    frame = users(effect=0.3)
    t, sequential = (
        analyze(frame, [VALUE], control="old", method=m, planned_users=1200).rows[0]
        for m in ("t", "sequential")
    )
    assert 1.2 < np.diff(sequential.interval) / np.diff(t.interval) < 2
    assert sequential.p > t.p


def test_rows_are_corrected_for_their_number_with_those_of_segments():
    frame = users(1500, effect=0.12, seed=3, variants=("a", "b", "c"))
    metrics = [VALUE, Metric.ratio("clicks", "slots")]
    plain = analyze(frame, metrics, control="a", segment="country", correction="none")
    assert [row.segment for row in plain.rows[::4]] == ["all", "country=de", "country=fr"]
    assert len(plain.rows) == 2 * 2 * 3
    for name, correct in (("holm", holm), ("benjamini-hochberg", benjamini_hochberg)):
        rows = analyze(frame, metrics, control="a", segment="country", correction=name).rows
        assert [row.p_corrected for row in rows] == correct([row.p for row in plain.rows])
        assert all((row.verdict == "no difference shown") == (row.p_corrected >= 0.05) for row in rows)


def test_a_broken_sample_ratio_forbids_a_winner():
    frame = users(4000, effect=0.5, seed=4)
    missing = frame.filter((pl.col("variant") == "old") | (pl.int_range(pl.len()) % 5 > 0))
    result = analyze(missing, [VALUE], control="old")
    assert result.sample_ratio.broken
    assert {row.verdict for row in result.rows} == {"not to be trusted"}
    assert "The sample ratio is broken" in shown(result)
    counts = result.sample_ratio.counts
    assert analyze(missing, [VALUE], control="old", shares=counts).rows[0].verdict == "better"


def test_a_metric_without_variance_has_no_interval():
    frame = users(200).with_columns(flat=pl.lit(0.1), none=pl.lit(0), empty=pl.lit(0))
    metrics = [Metric.mean("flat"), Metric.proportion("none"), Metric.ratio("clicks", "empty"), VALUE]
    rows = analyze(frame, metrics, control="old").rows
    assert [row.verdict for row in rows] == ["nothing can be said"] * 3 + ["no difference shown"]
    assert "no user of a group differs" in rows[0].note
    assert "there is no ratio" in rows[2].note
    assert rows[0].as_dict()["interval"] == [None, None]
    assert rows[3].p_corrected == rows[3].p  # three rows have none, and do not count


@pytest.mark.parametrize("few", [1, 2, 3])
@pytest.mark.parametrize("control", ["old", "new"])
@pytest.mark.parametrize(
    "metric", [Metric.mean("value", before="value_before"), Metric.ratio("clicks", "slots")]
)
def test_a_segment_of_one_user_in_a_group_or_none_says_nothing(few, control, metric):
    country = pl.when(pl.int_range(pl.len()) < few).then(pl.lit("li")).otherwise("country")
    result = analyze(users(200).with_columns(country=country), [metric], control=control, segment="country")
    row = next(row for row in result.rows if row.segment == "country=li")
    assert sorted(row.users) == sorted([(few + 1) // 2, few // 2])
    wanted = ("nothing can be said", "fewer than two users in a group: no interval is possible")
    assert (row.verdict, row.note) == wanted
    assert result.rows[0].verdict == "no difference shown"


def test_cautions():
    frame = users(400, seed=5).with_columns(
        rare=(pl.int_range(pl.len()) < 3).cast(pl.Int32), loss=-pl.col("value")
    )
    metrics = [Metric.proportion("rare"), Metric.mean("loss")]
    rare, loss = analyze(frame, metrics, control="old", method="t").rows
    assert "p and intervals are rough" in rare.note
    assert "no lift" in loss.note and np.isnan(loss.lift) and not np.isnan(loss.interval.low)


def test_frames_and_files_of_any_kind(tmp_path):
    frame = users(300, effect=0.4, seed=6)
    wanted = analyze(frame, [VALUE], control="old")
    frame.write_csv(tmp_path / "users.csv")
    frame.write_parquet(tmp_path / "users.parquet")
    for source in (frame.to_pandas(), frame.to_arrow(), frame.lazy(), tmp_path / "users.parquet"):
        assert analyze(source, [VALUE], control="old") == wanted
    assert analyze(tmp_path / "users.csv", [VALUE], control="old").rows[0].p == pytest.approx(
        wanted.rows[0].p
    )
    numbered = frame.with_columns(variant=(pl.col("variant") == "new").cast(pl.Int8))
    assert analyze(numbered, [VALUE], control="0").rows[0].p == wanted.rows[0].p
    assert analyze(frame.drop("user_id"), [VALUE], control="old", unit=None) == wanted


def test_order_and_scale_do_not_matter():
    frame = users(500, effect=0.2, seed=7)
    wanted = analyze(frame, [VALUE], control="old").rows[0]
    shuffled = frame.sample(fraction=1, shuffle=True, seed=1).with_columns(pl.col("value") * 1e6)
    row = analyze(shuffled, [VALUE], control="old").rows[0]
    assert (row.p, row.lift) == (pytest.approx(wanted.p), pytest.approx(wanted.lift))
    assert row.loss == pytest.approx(1e6 * wanted.loss)


def test_a_result_is_plain_and_can_be_read():
    frame = users(600, effect=0.3)
    result = analyze(frame, [VALUE, Metric.proportion("bought")], control="old", segment="country")
    told = json.loads(json.dumps(result.as_dict(), allow_nan=False))
    assert told["rows"][0]["metric"] == "value"
    assert told["sample_ratio"]["counts"] == {"old": 300, "new": 300}
    text = shown(result)
    assert "Against old" in text and "country=fr" in text and "The sample ratio is as it should be" in text


def shown(result):
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(result)
    return console.export_text()


def test_two_models_on_the_same_users_are_no_experiment():
    frame = users(100)
    twice = pl.concat([frame, frame.with_columns(variant=pl.lit("new"))]).unique(["user_id", "variant"])
    with pytest.raises(
        DataError, match=r"50 users stand in more than one variant.*recsmith.evaluation.compare"
    ):
        analyze(twice, [VALUE], control="old")
    with pytest.raises(DataError, match=r"100 users have more than one row. Sum the columns"):
        analyze(pl.concat([frame, frame]), [VALUE], control="old")


@pytest.mark.parametrize(
    ("change", "metric", "words"),
    [
        ({}, Metric.mean("valeu"), "no column 'valeu' in the frame of users. Its columns: user_id"),
        ({"value": None}, VALUE, "'value' must hold numbers"),
        ({"value": pl.when(pl.col("user_id") == "u3").then(None).otherwise("value")}, VALUE,
         "'value' must be numbers that are finite; fill what is missing. 1 rows are not; the first is row 4"),
        ({"value": pl.col("value") / 0}, VALUE, "'value' must be numbers that are finite"),
        ({"slots": -pl.col("slots")}, Metric.ratio("clicks", "slots"), "'slots' must be >= 0"),
        ({}, Metric.proportion("clicks"), "'clicks' must be 0 or 1"),
        ({"value": pl.lit("much")}, VALUE, "'value' must hold numbers. It holds String"),
        ({"variant": pl.when(pl.col("user_id") != "u3").then("variant")}, VALUE, "'variant' is empty in 1 rows"),
        ({"variant": pl.lit("old")}, VALUE, "two variants or more. This frame has only 'old'"),
        ({"variant": pl.when(pl.col("user_id") == "u3").then(pl.lit("c")).otherwise("variant")}, VALUE,
         "The variant 'c' has a single user"),
    ],
)  # fmt: skip
def test_bad_frames(change, metric, words):
    frame = users(60).with_columns(**{name: pl.lit(None) if e is None else e for name, e in change.items()})
    with pytest.raises(DataError, match=words):
        analyze(frame, [metric], control="old")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"metrics": []}, "'metrics' parameter of analyze must be one or more"),
        ({"metrics": [VALUE, VALUE]}, "Two metrics are named 'value': a mean and a mean"),
        (
            {"metrics": [Metric.mean("bought"), Metric.proportion("bought")]},
            "named 'bought': a mean and a proportion. .* under another name",
        ),
        ({"control": "odl"}, "no variant named 'odl'. Did you mean 'old'"),
        ({"method": "z"}, "no method named 'z'"),
        ({"correction": "bonferroni"}, "no correction named 'bonferroni'"),
        ({"alpha": 0}, r"'alpha' parameter of analyze must be in \(0, 1\)"),
        ({"planned_users": 1}, "'planned_users' parameter"),
        ({"resamples": 5}, "'resamples' parameter"),
        ({"shares": {"old": 1}}, "'shares' parameter of sample_ratio"),
        ({"shares": {"old": 1, "nwe": 1}}, "no variant named 'nwe'. Did you mean 'new'"),
    ],
)
def test_bad_options(options, words):
    with pytest.raises(ParameterError, match=words):
        analyze(users(60), **{"metrics": [VALUE], "control": "old"} | options)


@pytest.mark.parametrize("method", ["t", "permutation", "sequential", "bootstrap"])
def test_a_control_near_0_has_a_difference_with_an_interval(method):
    """Fieller's set has no end where the control cannot be told from 0; the note says what is shown instead."""
    near = pl.col("value") - pl.col("value").mean().over("variant") + 0.01 + (pl.col("variant") == "new")
    result = analyze(users(200).with_columns(near), [VALUE], control="old", method=method)
    row = result.row("value", "new")
    assert row.control > 0 and np.isfinite(row.lift) and np.isnan(row.lift_interval.low)
    assert "cannot be told from 0" in row.note
    console = Console(width=200, file=io.StringIO())
    console.print(result)
    shown = console.file.getvalue()
    assert f"{row.interval.low:+.4g} to {row.interval.high:+.4g}" in shown
    assert f"{row.lift:+.2%}" not in shown
    assert "A lift without % is the difference" in shown


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("valeu", "new"), "no metric in this result named 'valeu'. Did you mean 'value'"),
        (("value", "nwe"), "no variant in this result named 'nwe'. Did you mean 'new'"),
        (
            ("value", "new", "country=d"),
            "no segment in this result named 'country=d'. Did you mean 'country=de'",
        ),
    ],
)
def test_a_name_that_no_row_has(names, words):
    result = analyze(users(200), [VALUE], control="old", segment="country")
    with pytest.raises(ParameterError, match=words):
        result.row(*names)
