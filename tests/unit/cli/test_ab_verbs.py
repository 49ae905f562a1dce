"""``recsmith ab``: plans and analyses on the command line, of files and of the service's store."""

from __future__ import annotations

import json
from contextlib import closing

import numpy as np
import polars as pl
import pytest

from recsmith.evaluation.experiments import Baseline, Metric, analyze, plan
from recsmith.serving.activation import ACTIVE
from recsmith.serving.deployment import Experiment
from recsmith.serving.events import Exposure, NewEvent
from recsmith.serving.store import Store


@pytest.fixture
def users(tmp_path):
    rng = np.random.default_rng(0)
    n = 800
    before = rng.gamma(2, 1, n)
    slots = 1 + rng.poisson(9, n)
    frame = pl.DataFrame(
        {
            "user_id": [f"u{i}" for i in range(n)],
            "variant": np.where(np.arange(n) % 2, "new", "control"),
            "value": before + rng.gamma(1, 1, n) + 0.5 * (np.arange(n) % 2),
            "value_before": before,
            "slots": slots,
            "clicks": rng.binomial(slots, 0.1),
            "bought": (rng.random(n) < 0.1).astype(int),
            "country": rng.choice(["de", "fr"], n),
        }
    )
    frame.write_csv(tmp_path / "users.csv")
    return tmp_path / "users.csv"


def test_plan(cli, users):
    told = cli("ab", "plan", "--proportion", 0.1, "--effect", "10%", "--per-day", 1000, "--json")
    assert told.status == 0
    assert (
        told.json
        == plan(Baseline.of_proportion(0.1), effect=0.1, relative=True, users_per_day=1000).as_dict()
    )
    told = cli(
        "ab", "plan", "--mean", 10, "--sd", 30, "--correlation", 0.5, "--users", 9000,
        "--share", "old=2", "--share", "new=1", "--json",
    )  # fmt: skip
    assert told.json["users"] == {"old": 6000, "new": 3000}
    assert told.json["power"] == pytest.approx(0.8)
    assert "users of control" in cli("ab", "plan", "--mean", 1, "--sd", 1, "--effect", 0.1).out


@pytest.mark.parametrize(
    "metric", ["value", "value:before=value_before", "clicks/slots", "bought:proportion"]
)
def test_plan_of_past_users(cli, users, metric):
    told = cli("ab", "plan", "--from", users, "--metric", metric, "--effect", "5%", "--json")
    assert told.status == 0
    frame = pl.read_csv(users)
    if metric == "value":
        assert told.json["sd"] == pytest.approx(frame["value"].std())
    elif metric.startswith("value:"):
        rho = np.corrcoef(frame["value"], frame["value_before"])[0, 1]
        assert told.json["sd"] == pytest.approx(frame["value"].std() * np.sqrt(1 - rho**2))
    elif metric == "clicks/slots":
        assert told.json["baseline"] == pytest.approx(frame["clicks"].sum() / frame["slots"].sum())
    else:
        assert told.json["kind"] == "proportion"


def test_analyze_a_file(cli, users):
    told = cli(
        "ab", "analyze", users, "-m", "value:before=value_before", "-m", "clicks/slots:smaller",
        "-m", "bought:proportion", "--segment", "country", "--correction", "none", "--json",
    )  # fmt: skip
    assert told.status == 0, told.err
    metrics = [
        Metric.mean("value", before="value_before"),
        Metric.ratio("clicks", "slots", smaller_is_better=True),
        Metric.proportion("bought"),
    ]
    wanted = analyze(users, metrics, control="control", segment="country", correction="none")
    assert told.json == json.loads(json.dumps(wanted.as_dict()))
    assert told.json["rows"][0]["verdict"] == "better"
    shown = cli("ab", "analyze", users, "-m", "value", "--method", "sequential")
    assert "always valid" in shown.out and "sample ratio is as it should be" in shown.out


def test_a_broken_ratio_is_said(cli, users):
    told = cli("ab", "analyze", users, "-m", "value", "--share", "control=1", "--share", "new=3", "--json")
    assert told.json["sample_ratio"]["broken"]
    assert told.json["rows"][0]["verdict"] == "not to be trusted"


@pytest.fixture
def store(tmp_path):
    """Sixty users of an experiment, two of whom saw both variants; those of b click twice as often."""
    variants = {"a": {"bundle": "m"}, "b": {"bundle": "n"}}
    experiment = Experiment(name="autumn", variants=variants)
    url = f"sqlite:///{tmp_path}/events.db"
    slots = [
        {"item_id": f"i{n}", "score": 1.0, "rank": n + 1, "source": "m", "propensity": 0.5} for n in range(4)
    ]
    with closing(Store.open(url)) as opened:
        opened.set_setting(ACTIVE, {"experiment": experiment.model_dump(mode="json")})
        lists, events = [], []
        for n in range(60):
            variant = "ab"[n % 2]
            lists.append(
                Exposure(
                    f"r{n}", f"u{n}", "m@1", "autumn", variant, False, 1_800_000_000 + n, json.dumps(slots)
                )
            )
            for item in range(1 + n % 2 + n % 3 // 2):
                name, user = f"e{n}-{item}", f"u{n}"
                events.append(NewEvent(name, user, f"i{item}", "click", None, 1_800_000_100 + n, f"r{n}"))
        lists += [
            Exposure(f"s{n}", f"u{n}", "m@1", "autumn", "ba"[n % 2], False, 1_800_001_000, "[]")
            for n in range(2)
        ]
        lists += [
            Exposure(f"t{n}", f"u{n}", "m@1", "autumn", "ba"[n % 2], False, 1_800_001_000, json.dumps(slots))
            for n in range(2)
        ]
        opened.log_exposures(lists)
        opened.add_events(events)
    return url


def test_analyze_the_log_of_a_service(cli, store, tmp_path):
    options = ("--store", store, "--experiment", "autumn", "--control", "a")
    told = cli("ab", "analyze", *options, "--out", tmp_path / "users.parquet", "--json")
    assert told.status == 0, told.err
    assert told.json["sample_ratio"]["counts"] == {"a": 29, "b": 29}
    assert told.json["notes"] == ["2 users saw more than one variant and are left out."]
    clicks = told.json["rows"][0]
    assert (clicks["metric"], clicks["verdict"]) == ("clicks/slots", "better")
    again = cli("ab", "analyze", tmp_path / "users.parquet", "-m", "clicks/slots", "--control", "a", "--json")
    assert again.json["rows"][0]["p"] == pytest.approx(clicks["p"])
    early = cli("ab", "analyze", *options, "--until", 1_800_000_040, "-m", "clicks/slots", "--json")
    assert early.json["sample_ratio"]["counts"] == {"a": 20, "b": 20}
    dated = cli("ab", "analyze", *options, "--since", "2027-01-16", "--json")
    assert (
        dated.status == 2
        and "no answer of the experiment 'autumn' in that time" in dated.json["error"]["message"]
    )


def test_a_later_start_does_not_make_treated_days_a_covariate(cli, store, tmp_path):
    """Everybody has a list after the first day, too; what they did between the two was under their variant."""
    slots = json.dumps([{"item_id": "i0", "score": 1.0, "rank": 1, "source": "m", "propensity": 0.5}])
    with closing(Store.open(store)) as opened:
        opened.log_exposures(
            [Exposure(f"v{n}", f"u{n}", "m@1", "autumn", "ab"[n % 2], False, 1_800_100_000 + n, slots)
             for n in range(2, 60)]
        )  # fmt: skip
        opened.add_events([NewEvent("early", "u2", "i9", "click", None, 1_799_999_000, None)])
    out = tmp_path / "users.parquet"
    options = (
        "--store",
        store,
        "--experiment",
        "autumn",
        "--control",
        "a",
        "--since",
        1_800_050_000,
        "-o",
        out,
    )
    assert cli("ab", "analyze", *options, "-m", "actions:before=actions_before", "--json").status == 0
    assert pl.read_parquet(out)["actions_before"].sum() == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("plan",), "wants one of: --mean with --sd"),
        (("plan", "--mean", 1), "wants one of"),
        (("plan", "--mean", 1, "--sd", 1, "--proportion", 0.1), "wants one of"),
        (("plan", "--proportion", 0.1, "--correlation", 0.5, "--effect", 0.1), "goes with --mean"),
        (("plan", "--proportion", 0.1, "--effect", "much"), "wants a number like 0.2, or a percentage"),
        (("plan", "--proportion", 0.1, "--effect", 0.1, "--share", "a=x"), "--share wants VARIANT=PART"),
        (("analyze",), "wants a FILE"),
        (("analyze", "USERS", "--store", "sqlite:///x.db"), "wants a FILE"),
        (("analyze", "--store", "sqlite:///x.db"), "wants --experiment"),
        (("analyze", "USERS"), "wants --metric"),
        (("analyze", "USERS", "-m", "value", "--out", "x.parquet"), "--out is for the service's log"),
        (("analyze", "USERS", "-m", "value", "--since", "2026-11-01"), "--since is for the service's log"),
        (("analyze", "USERS", "-m", "value", "--until", "2026-11-01"), "--until is for the service's log"),
        (("analyze", "USERS", "-m", "value", "--experiment", "autumn"), "--experiment is for the service's log"),
        (("analyze", "USERS", "-m", "value", "--share", "control=1", "--share", "nwe=1"),
         "no variant named 'nwe'. Did you mean 'new'"),
        (("analyze", "USERS", "-m", "bought", "-m", "bought:proportion"), "Two metrics are named 'bought'"),
        (("analyze", "USERS", "-m", "value:old=x"), "wants before=COLUMN, proportion or smaller"),
        (("analyze", "USERS", "-m", "clicks/slots:proportion"), "'per' parameter of the metric 'clicks'"),
        (("analyze", "USERS", "-m", "bought:proportion,before=clicks"), "'before' parameter of the metric"),
        (("analyze", "USERS", "-m", "valeu"), "no column 'valeu'"),
        (("analyze", "USERS", "-m", "value", "--control", "old"), "no variant named 'old'"),
        (("analyze", "missing.csv", "-m", "value"), "no file or folder"),
    ],
)  # fmt: skip
def test_bad_input(cli, users, arguments, words):
    told = cli("ab", *(users if a == "USERS" else a for a in arguments), "--json")
    assert (told.status, told.json["error"]["type"]) in ((2, "ParameterError"), (2, "DataError"))
    assert words in told.json["error"]["message"]


def test_a_store_that_is_not_there_is_not_made(cli, tmp_path):
    missing = tmp_path / "folder" / "nope.db"
    told = cli("ab", "analyze", "--store", f"sqlite:///{missing}", "--experiment", "autumn", "--json")
    assert told.status == 2 and "There is no store" in told.json["error"]["message"]
    assert not missing.parent.exists()
    told = cli("ab", "analyze", "--store", "mysql://host/db", "--experiment", "autumn")
    assert told.status == 2 and "'url' parameter of Store" in told.err


def test_bad_input_of_a_store(cli, store):
    told = cli("ab", "analyze", "--store", store, "--experiment", "spring", "--control", "a")
    assert told.status == 2 and "'spring' is not running in this store; 'autumn' is" in told.err
    told = cli("ab", "analyze", "--store", store, "--experiment", "autumn", "--since", "soon")
    assert told.status == 2 and "--since wants a date" in told.err
