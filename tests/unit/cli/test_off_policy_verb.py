"""``recsmith off-policy``: files, Open Bandit and the service's log; exit status 2 for what cannot be judged."""

from __future__ import annotations

import json
import zipfile
from contextlib import closing

import pytest

from recsmith.serving.events import Exposure, NewEvent
from recsmith.serving.store import Store

LOG = """item,clicked,p,slot,user,age,ours
a,1,0.5,top,u1,30,0.9
b,0,0.5,top,u1,30,0.1
a,0,0.5,low,u2,40,0.5
b,1,0.5,low,u2,40,0.5
a,1,0.5,top,u3,20,0.9
b,1,0.5,low,u3,20,0.5
"""
NAMED = [f"--column={pair}" for pair in ("action=item", "reward=clicked", "propensity=p")]
ALONE = ("--policy", "uniform", "--model", "none")
POLICY = "action,position,probability\na,top,0.9\nb,top,0.1\na,low,0.5\nb,low,0.5\n"


@pytest.fixture
def log(tmp_path):
    (tmp_path / "log.csv").write_text(LOG)
    (tmp_path / "policy.csv").write_text(POLICY)
    return tmp_path / "log.csv"


def test_a_file_with_the_targets_probabilities(cli, log):
    told = cli("off-policy", log, *NAMED, "--column", "target=ours", "--column", "unit=user", "--json")
    assert told.status == 0, told.err
    values = {one["estimator"]: one["value"] for one in told.json["estimates"]}
    assert values["ips"] == pytest.approx((1.8 + 1 + 1.8 + 1) / 6)
    assert values["snips"] == pytest.approx(5.6 / (1.8 + 0.2 + 1 + 1 + 1.8 + 1))
    assert told.json["logged"]["value"] == pytest.approx(4 / 6)
    shown = cli("off-policy", log, *NAMED, "--column", "target=ours")
    assert "effective" in shown.out


def test_a_table_of_the_policy_is_the_same(cli, log):
    options = (
        *NAMED,
        "--column",
        "position=slot",
        "--policy",
        log.parent / "policy.csv",
        "--estimators",
        "ips,dr",
    )
    few = cli("off-policy", log, *options, "--features", "age", "--json")
    assert few.status == 2 and "6 rounds, too few for predicted rewards" in few.json["error"]["message"]
    log.write_text(LOG + "".join(LOG.splitlines(keepends=True)[1:]) * 4)
    with_model = cli("off-policy", log, *options, "--features", "age", "--folds", 2, "--json")
    assert with_model.status == 0, with_model.err
    values = {one["estimator"]: one["value"] for one in with_model.json["estimates"]}
    assert values["ips"] == pytest.approx(5.6 / 6)
    assert values["dr"] != values["ips"]
    alone = cli("off-policy", log, *options, "--model", "none", "--json")
    assert (alone.status, alone.json["error"]["type"]) == (2, "ParameterError")
    assert "'dr' needs predicted rewards, which --model none leaves out" in alone.json["error"]["message"]
    target = cli("off-policy", log, *NAMED, "--column", "target=ours", "--estimators", "ips,dm", "--json")
    assert (
        "'dm' needs predicted rewards, which cannot be had with --column" in target.json["error"]["message"]
    )


def test_parameters_and_intervals(cli, log):
    options = (
        *NAMED,
        "--policy",
        "uniform",
        "--estimators",
        "clipped-ips,snips",
        "-s",
        "clipped-ips=0.5",
        "--model",
        "none",
    )
    told = cli("off-policy", log, *options, "--intervals", "normal", "--level", 0.9, "--json")
    clipped = told.json["estimates"][0]
    assert clipped["parameter"] == {"limit": 0.5}
    assert clipped["value"] == pytest.approx(0.5 * 4 / 6)
    assert (told.json["method"], told.json["level"]) == ("normal", 0.9)


def test_an_action_that_was_never_shown(cli, log):
    (log.parent / "policy.csv").write_text("action,probability\na,0.3\nc,0.7\n")
    (log.parent / "long.csv").write_text(LOG + "".join(LOG.splitlines(keepends=True)[1:]) * 10)
    told = cli("off-policy", log.parent / "long.csv", *NAMED, "--policy", log.parent / "policy.csv", "--json")
    assert told.status == 2
    assert (
        "70.0% of the target's probability lies on actions that the log never shows"
        in told.json["error"]["message"]
    )


@pytest.fixture
def wheel(tmp_path):
    """Sixty rounds of the uniform policy, as Open Bandit lays them out."""
    rows = [
        f"{n},2019-11-24 00:{n:02}:00+00:00,{n % 2},{1 + n % 3},{int(n % 4 == 0)},0.5,{'ab'[n % 2]}{n % 3},1.0\n"
        for n in range(60)
    ]
    head = ",timestamp,item_id,position,click,propensity_score,user_feature_0,user-item_affinity_0\n"
    with zipfile.ZipFile(tmp_path / "obd.zip", "w") as archive:
        archive.writestr("obd/random/all/all.csv", head + "".join(rows))
        archive.writestr("obd/random/all/item_context.csv", ",item_id,item_feature_0\n0,0,0.1\n1,1,0.2\n")
        archive.writestr("conf/prior_bts.yaml", "all:\n  alpha: [1.0, 1.0, 1.0]\n  beta: [1.0, 1.0, 1.0]\n")
    return tmp_path / "obd.zip"


def test_open_bandit(cli, wheel):
    told = cli("off-policy", "open-bandit:random/all", "--path", wheel, "--policy", "uniform", "--json")
    assert told.status == 0, told.err
    assert [one["estimator"] for one in told.json["estimates"]][-1] == "dros"
    assert told.json["overlap"]["rounds"] == 60
    missing = cli("off-policy", "open-bandit:bts", "--path", wheel, "--policy", "uniform")
    assert missing.status == 2 and "has no bts/all/all.csv" in missing.err


@pytest.fixture
def store(tmp_path):
    """Twenty lists: i00 stands on top for certain, the second place is drawn."""
    url = f"sqlite:///{tmp_path}/events.db"
    with closing(Store.open(url)) as opened:
        for n in range(20):
            listed = [
                {"item_id": item, "score": 1.0, "rank": rank, "source": "m", "propensity": p, "chance": p}
                for rank, (item, p) in enumerate([("i00", 1.0), (("i01", "i02")[n % 2], 0.5)], 1)
            ]
            opened.log_exposures(
                [
                    Exposure(
                        f"r{n}", f"new{n}", "m@1", None, None, False, 1_800_000_000 + n, json.dumps(listed)
                    )
                ]
            )
            opened.add_events([NewEvent(f"e{n}", f"new{n}", "i01", "click", None, 1_800_000_100, f"r{n}")])
    return url


@pytest.fixture
def bundle(cli, tmp_path):
    (tmp_path / "train.csv").write_text(
        "user_id,item_id,timestamp\n"
        + "".join(f"u{u},i0{i},{1_700_000_000 + 10 * u + i}\n" for i in range(3) for u in range(9 - i))
    )
    trained = cli("train", "popular", "--data", tmp_path / "train.csv", "--out", tmp_path / "b")
    assert trained.status == 0, trained.err
    return tmp_path / "b"


def test_the_log_of_the_service(cli, store, bundle):
    """The bundle shows i00 and i01: as certain as the log on top, and i01 where chance had put it half the time."""
    options = ("off-policy", "--store", store, "--bundle", bundle, "--estimators", "ips")
    told = cli(*options, "--explored", "--reward", "click=2", "--json")
    assert told.status == 0, told.err
    assert told.json["estimates"][0]["value"] == pytest.approx(2.0)
    assert "would have shown 50.0% of the 20 places" in told.json["notes"][0]
    early = cli(*options, "--until", "2020-01-01")
    assert early.status == 2 and "no place that was shown" in early.err
    typo = cli(*options, "--reward", "clik=1", "--json")
    assert typo.status == 2
    assert (
        "no event in the store named 'clik'. Did you mean 'click'? Known: click."
        in typo.json["error"]["message"]
    )
    lists = cli("off-policy", "--store", store, "--bundle", bundle, "--per-list", "--json")
    assert lists.status == 0, lists.err
    assert lists.json["per"] == "list"


def test_a_store_that_is_not_there_is_not_made(cli, tmp_path):
    missing = tmp_path / "folder" / "nope.db"
    told = cli("off-policy", "--store", f"sqlite:///{missing}", "--bundle", tmp_path / "b", "--json")
    assert told.status == 2 and "There is no store" in told.json["error"]["message"]
    assert not missing.parent.exists()


def test_a_store_without_events(cli, tmp_path, bundle):
    url = f"sqlite:///{tmp_path}/empty.db"
    Store.open(url).close()
    told = cli("off-policy", "--store", url, "--bundle", bundle, "--json")
    assert told.status == 2 and "The store holds no event" in told.json["error"]["message"]


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        (
            "a,top,0.5\nb,top,0.4\na,low,1",
            "policy.csv: the probabilities at position 'top' add up to 0.9. Wanted 1.",
        ),
        ("a,top,0.5\nb,top,0.5", "policy.csv has no rows with a probability above 0 at position 'low'"),
        ("a,top,1.5\nb,top,-0.5\na,low,1", "policy.csv: probability must be >= 0. Row 2 has -0.5"),
        ("a,top,\nb,top,1\na,low,1", "policy.csv: probability must be >= 0. Row 1 has nan"),
        ("a,top,much\na,low,all", "policy.csv: probability must hold numbers"),
    ],
)
def test_a_policy_that_is_no_distribution(cli, log, policy, words):
    (log.parent / "policy.csv").write_text(f"action,position,probability\n{policy}\n")
    options = (*NAMED, "--column", "position=slot", "--policy", log.parent / "policy.csv", "--model", "none")
    told = cli("off-policy", log, *options, "--json")
    assert told.status == 2 and words in told.json["error"]["message"]


def test_rows_are_counted_from_1(cli, log):
    log.write_text(LOG.replace("b,0,0.5,top", "b,0,0,top"))
    told = cli("off-policy", log, *NAMED, *ALONE, "--json")
    assert told.status == 2 and "Row 2 has 0.0" in told.json["error"]["message"]
    log.write_text(LOG.replace("b,0,0.5,top", ",0,0.5,top"))
    told = cli("off-policy", log, *NAMED, *ALONE, "--json")
    assert told.status == 2 and "row 2 is empty" in told.json["error"]["message"]


def test_estimators_without_a_model_fit_none(cli, log):
    told = cli("off-policy", log, *NAMED, "--policy", "uniform", "--estimators", "ips", "--json")
    assert told.status == 0, told.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "wants a log"),
        (("LOG", "--store", "sqlite:///x.db"), "wants a log"),
        (("LOG", *NAMED), "wants one target"),
        (("LOG", *NAMED, "--policy", "uniform", "--column", "target=ours"), "wants one target"),
        (("LOG", "--policy", "uniform"), "no column 'action'"),
        (("LOG", *NAMED, "--column", "itme=item"), "column of a log named 'itme'"),
        (("LOG", *NAMED, "--policy", "bts"), "--policy bts wants open-bandit"),
        (("LOG", *NAMED, "--policy", "missing.csv"), "no file or folder"),
        (("LOG", *NAMED, "--policy", "uniform", "--features", "height"), "no column 'height'"),
        (("LOG", *NAMED, "--policy", "uniform", "--features", "slot"), "slot must hold numbers"),
        (("LOG", *NAMED, "--policy", "uniform", "--estimators", "ipw"), "no estimator named 'ipw'"),
        (("LOG", *NAMED, "--policy", "uniform", "--model", "forest"), "no reward model named 'forest'"),
        (("LOG", *NAMED, "--policy", "uniform", "--model", "none", "--rule", "best"), "no rule of tuning named 'best'"),
        (("LOG", *NAMED, "--policy", "uniform", "--path", "x"), "--path is for open-bandit"),
        (("LOG", "--column=action=item", "--column=reward=p", "--column=propensity=clicked", "--policy", "uniform"),
         "propensity must be in (0, 1]"),
        (("--store", "sqlite:///x.db"), "--store wants --bundle"),
        (("--store", "sqlite:///x.db", "--policy", "uniform"), "--policy is for a file"),
        (("--store", "sqlite:///x.db", "--bundle", "b", "--per-list", "-s", "clipped-ips=1"), "--set is for places"),
        (("LOG", *NAMED, "--policy", "uniform", "--explored"), "--explored is for the service's log"),
        (("open-bandit:greedy", "--policy", "uniform"), "no policy of Open Bandit named 'greedy'"),
        (("LOG", *NAMED, *ALONE, "-s", "clipped-ips=abc"), "'limit' parameter of clipped-ips must be a number >= 0"),
        (("LOG", *NAMED, *ALONE, "-s", "clipped-ips=-1"), "'limit' parameter of clipped-ips must be a number >= 0"),
        (("LOG", *NAMED, *ALONE, "-s", "clipped-ips=true"), "'limit' parameter of clipped-ips must be a number >= 0"),
        (("LOG", *NAMED, *ALONE, "-s", "dros=2", "--estimators", "ips"), "'dros', which is not among the estimators"),
        (("LOG", *NAMED, *ALONE, "--resamples", 1), "'resamples' parameter of off-policy evaluation must be >= 100"),
        (("--store", "sqlite:///x.db", "--bundle", "b", "--estimators", "dr"), "cannot be had with --store"),
    ],
)  # fmt: skip
def test_bad_input(cli, log, arguments, words):
    told = cli("off-policy", *(log if a == "LOG" else a for a in arguments), "--json")
    assert (told.status, told.json["error"]["type"]) in ((2, "ParameterError"), (2, "DataError"))
    assert words in told.json["error"]["message"]
