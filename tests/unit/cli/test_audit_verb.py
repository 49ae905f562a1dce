"""``recsmith audit``: one command for cold start, fairness, robustness and limits."""

from __future__ import annotations

import json

import polars as pl
import pytest
from tests.unit.cli.conftest import events

QUICK = ("--models", "popular,ease", "--given", "0,1,2")


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """A log of 80 users, a table of 79 of them, and items with genres."""
    folder = tmp_path_factory.mktemp("people")
    log = events(80)
    log.write_csv(folder / "log.csv")
    users = log["user_id"].unique().sort()[1:]
    pl.DataFrame(
        {
            "user_id": users,
            "gender": ["f" if n % 2 else "m" for n in range(len(users))],
            "age": [15 + n for n in range(len(users))],
            "zip_code": [f"z{n}" for n in range(len(users))],
        }
    ).write_csv(folder / "users.csv")
    items = log["item_id"].unique().sort()
    pl.DataFrame(
        {"item_id": items, "genres": ["odd" if int(i[1:]) % 2 else "even|late" for i in items]}
    ).write_csv(folder / "items.csv")
    return folder


@pytest.fixture(scope="module")
def arguments(people):
    return (
        "audit",
        "--data",
        people / "log.csv",
        "--users",
        people / "users.csv",
        "--items",
        people / "items.csv",
    )


def test_everything_in_one_document(cli, arguments, tmp_path):
    result = cli(*arguments, *QUICK, "--json", "--out", tmp_path / "audit")
    assert result.status == 0 and "audit.json" in result.err
    told = result.json
    assert {"cold_start", "fairness", "robustness", "limits"} <= set(told)
    assert json.loads((tmp_path / "audit" / "audit.json").read_text()) == told
    rows = [
        row for row in told["cold_start"]["rows"] if row["stratum"] == "all" and row["metric"] == "ndcg@10"
    ]
    values = {(row["model"], row["given"]): row["value"] for row in rows}
    assert values["ease", 0] == values["popular", 0] == values["popular", 2]
    assert {one["by"] for one in told["fairness"]["users"]} == {"gender", "age"}
    assert {one["by"] for one in told["fairness"]["items"]} >= {"popularity"}
    assert all(one["unknown"] == 1 for one in told["fairness"]["users"])
    assert told["robustness"]["leakage"] == told["reports"][0]["leakage"]
    assert told["robustness"]["learning_curve"]["rows"][-1]["share"] == 1
    assert any("zip_code" in note for note in told["notes"])


def test_the_same_twice(cli, arguments):
    first, second = (cli(*arguments, *QUICK, "--by", "gender", "--json").json for _ in range(2))
    for part in ("cold_start", "fairness", "robustness", "limits"):
        assert first[part] == second[part]


def test_for_people(cli, arguments):
    result = cli(*arguments, *QUICK, "--by", "gender", "--item-by", "popularity")
    assert result.status == 0
    for text in (
        "Cold start: ndcg@10",
        "New items",
        "by gender",
        "Leakage check",
        "What the numbers do not say",
    ):
        assert text in result.out


def test_a_log_without_tables(cli, people):
    result = cli("audit", "--data", people / "log.csv", "--model", "ease:reg=5", "--given", "0,1", "--json")
    assert result.status == 0
    assert result.json["fairness"]["users"] == []
    assert any("no table of users" in note for note in result.json["notes"])
    assert result.json["cold_start"]["models"] == ["ease:reg=5"]


def test_an_estimate_before_the_work(cli, arguments, tmp_path):
    result = cli(*arguments, "--dry-run", "--json", "--out", tmp_path / "audit")
    assert result.status == 0 and result.json["dry_run"] and result.json["seconds"] > 0
    assert "slim: 3 fits" in result.json["work"] and len(result.json["work"]) == 22
    assert not (tmp_path / "audit").exists()


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (("--models", "popular,eas"), "Did you mean 'ease'"),
        (("--models", "rating-baseline"), "predicts ratings"),
        (("--given", "0,-1"), "whole numbers >= 0"),
        (("--given", ""), "whole numbers >= 0"),
        (("--split", "k-fold:3"), "one train and one test part"),
        (("--split", "by-luck"), "way of splitting"),
        (("--by", "gendre"), "no user attribute named 'gendre'"),
        (("--by", "zip_code"), "too many groups"),
        (("--item-by", "maker"), "no item attribute named 'maker'"),
    ],
)
def test_bad_input(cli, arguments, extra, message):
    result = cli(*arguments, *(QUICK if "--models" not in extra else ()), *extra)
    assert result.status == 2
    assert message in " ".join(result.err.split())


def test_groups_without_a_table(cli, people):
    result = cli("audit", "--data", people / "log.csv", *QUICK, "--by", "gender")
    assert result.status == 2 and "no table of users" in result.err


def test_a_file_is_no_folder(cli, arguments, people):
    result = cli(*arguments, *QUICK, "--out", people / "log.csv")
    assert result.status == 2 and "a folder" in result.err


def test_a_table_of_another_log_is_refused(cli, arguments, people, tmp_path):
    pl.DataFrame({"user_id": ["U1", "U2"], "gender": ["f", "m"]}).write_csv(tmp_path / "users.csv")
    pl.DataFrame({"item_id": ["x1", "x2"], "genres": ["odd", "even"]}).write_csv(tmp_path / "items.csv")
    for option, kind, theirs, own in (("--users", "user", "'U1'", "'u"), ("--items", "item", "'x1'", "'i")):
        for extra in ((), ("--dry-run",)):
            result = cli(
                "audit", "--data", people / "log.csv", option, tmp_path / f"{kind}s.csv", *QUICK, *extra
            )
            said = " ".join(result.err.split())
            assert result.status == 2
            assert f"table of {kind}s" in said and f"column {kind}_id" in said
            assert theirs in said and own in said


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (("--by", "gendre"), "no user attribute named 'gendre'"),
        (("--item-by", "genre"), "Did you mean 'genres'"),
    ],
)
def test_a_dry_run_checks_names(cli, arguments, extra, message):
    result = cli(*arguments, "--dry-run", *extra)
    assert result.status == 2 and message in " ".join(result.err.split())


def test_a_dry_run_counts_the_log(cli, arguments):
    assert cli(*arguments, "--dry-run", "--json").json["log"] == {"users": 80, "items": 12, "events": 320}


def test_a_dry_run_fetches_nothing(cli, monkeypatch):
    from recsmith.data.sources import movielens

    about = movielens.about
    monkeypatch.setattr(movielens, "about", lambda name: {**about(name), "cached": False})
    monkeypatch.setattr(movielens, "load", None)
    result = cli("audit", "--data", "ml-100k", "--by", "gender", "--dry-run", "--json")
    assert result.status == 0 and result.json["log"]["users"] == 943
    assert "not checked" in result.err


def test_models_that_were_not_fitted_again_are_named(cli, arguments):
    models = ("--models", "popular,ease,item-knn,user-knn", "--given", "0,1", "--by", "gender")
    told = cli(*arguments, *models, "--json").json
    fitted = {row["model"] for row in told["robustness"]["stability"]["rows"]}
    (left,) = told["robustness"]["stability"]["left_out"]
    assert len(fitted) == 3 and {*fitted, left} == {"popular", "ease", "item-knn", "user-knn"}
    assert left == told["reports"][-1]["model"]
    said = " ".join(cli(*arguments, *models).out.split())
    assert "Only the best 3 of 4 models" in said and f"Left out: {left}." in said


def test_why_a_column_makes_no_groups(cli, people, tmp_path):
    users = pl.read_csv(people / "users.csv").with_columns(
        city=pl.when(pl.col("gender") == "f").then(pl.lit("Rome"))
    )
    users.write_csv(tmp_path / "users.csv")
    result = cli("audit", "--data", people / "log.csv", "--users", tmp_path / "users.csv", *QUICK, "--json")
    (note,) = (note for note in result.json["notes"] if "'city'" in note)
    assert "Got Rome; the attribute is missing for 41 of 80 users" in note


def test_without_users_it_says_how_to_give_them(cli, people):
    result = cli("audit", "--data", people / "log.csv", *QUICK)
    assert "--users FILE" in result.out
    assert "Fairness: the largest gap" not in result.out
