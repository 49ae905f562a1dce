"""Every verb on good input: what it says, and that --json is one document."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import polars as pl
import pytest

from recsmith import parallel
from recsmith.version import __version__


def test_version_and_help(cli):
    assert cli("--version").out.strip() == __version__
    assert "quickstart" in cli().out
    assert cli().status == cli("train", "--help").status == 0
    assert "ease" in cli("train", "--help").out


def test_data_list(cli):
    names = [source["name"] for source in cli("data", "list", "--json").json["sources"]]
    assert "ml-100k" in names
    assert "ml-100k" in cli("data", "list").out


def test_data_fetch_says_what_it_holds(cli):
    found = cli("data", "fetch", "synthetic:users=20,items=10,events=100", "--json")
    assert (found.status, found.json["events"]) == (0, 100)


def test_describe(cli, log):
    result = cli("data", "describe", log, "--json")
    found = result.json
    assert result.status == 0
    assert (found["users"], found["items"]) == (40, 12)
    assert found["density"] == pytest.approx(found["events"] / 480)
    assert sum(row["events"] for row in found["ratings"]) == found["events"]
    assert found["time"]["first"] == "2020-09-13T12:26:40+00:00"
    assert found["events_per_user"]["most"] == 4
    assert [row["events"] for row in found["top_items"]] == sorted(
        (row["events"] for row in found["top_items"]), reverse=True
    )
    assert "Busiest items" in cli("data", "describe", log, "--items", log.parent / "titles.csv").out


def test_describe_an_implicit_log_and_many_ratings(cli, tmp_path):
    pl.DataFrame({"user": [1, 2], "item": [5, 5]}).write_csv(tmp_path / "implicit.csv")
    found = cli("data", "describe", tmp_path / "implicit.csv", "--json").json
    assert (found["ratings"], found["time"]) == (None, None)
    many = pl.DataFrame({"user": range(100), "item": range(100), "rating": [i / 10 for i in range(100)]})
    many.write_csv(tmp_path / "many.csv")
    bins = cli("data", "describe", tmp_path / "many.csv", "--json").json["ratings"]
    assert len(bins) == 10
    assert sum(row["events"] for row in bins) == 100


def test_validate(cli, log):
    result = cli("data", "validate", log, "--json")
    assert result.status == 0
    assert result.json["ok"]


def test_train_says_what_it_used(cli, log, tmp_path):
    result = cli(
        "train",
        "ials",
        "--data",
        log,
        "--set",
        "epochs=2",
        "--set",
        "half_life=3",
        "--out",
        tmp_path / "b",
        "--json",
    )
    assert result.status == 0
    assert result.json["model"]["config"]["epochs"] == 2
    assert result.json["weighting"]["half_life"] == 3
    assert result.json["used"]["seconds"] > 0
    assert result.json["expected"]["seconds"] > 0
    assert "Expected" in result.err
    assert cli("info", tmp_path / "b").status == 0


def test_train_reads_columns_units_and_filters(cli, log, tmp_path):
    renamed = pl.read_csv(log).rename({"user_id": "buyer"}).with_columns(pl.col("timestamp") * 1000)
    renamed.write_csv(tmp_path / "log.csv")
    options = (
        "--column",
        "user_id=buyer",
        "--timestamp-unit",
        "ms",
        "--min-rating",
        "5",
        "--fallback",
        "none",
    )
    result = cli(
        "train", "popular", "--data", tmp_path / "log.csv", *options, "--out", tmp_path / "b", "--json"
    )
    assert result.status == 0
    assert result.json["fallback"] is None
    assert 0 < result.json["data"]["events"] < renamed.height
    assert result.json["data"]["last_time"] < 2_000_000_000


def test_train_on_a_file_without_a_header(cli, log, tmp_path):
    pl.read_csv(log).write_csv(tmp_path / "bare.tsv", include_header=False, separator="\t")
    names = "user_id,item_id,rating,timestamp"
    result = cli(
        "train",
        "popular",
        "--data",
        tmp_path / "bare.tsv",
        "--names",
        names,
        "--out",
        tmp_path / "b",
        "--json",
    )
    assert result.json["data"]["users"] == 40


def test_recommend_known_and_unknown_users(cli, bundle):
    result = cli("recommend", bundle, "--user", "u00", "--user", "nobody", "--k", "2", "--explain", "--json")
    assert result.status == 0
    known, unknown = result.json["lists"]
    assert [item["rank"] for item in known["items"]] == [1, 2]
    assert all(int(item["item_id"][1:]) % 2 == 0 for item in known["items"])
    assert known["items"][0]["because"][0]["contribution"] > 0
    assert not unknown["known"]
    assert {item["source"] for item in unknown["items"]} == {"fallback:popular"}


def test_recommend_shows_titles_as_they_are(cli, bundle):
    result = cli("recommend", bundle, "--user", "nobody", "--k", "12")
    assert "[red]REC[/red]" in result.out
    assert "the fallback answers" in result.out


def test_recommend_among_some_items(cli, bundle, tmp_path):
    (tmp_path / "ids.txt").write_text("i00\ni01\n\n")
    result = cli(
        "recommend", bundle, "-u", "nobody", "--items", tmp_path / "ids.txt", "--exclude", "i01", "--json"
    )
    found = result.json["lists"][0]
    assert [item["item_id"] for item in found["items"]] == ["i00"]
    assert "nothing else is left" in found["shorter_because"]


def test_recommend_for_a_history(cli, bundle):
    result = cli("recommend", bundle, "--history", "i01,i03", "--k", "2", "--json")
    assert all(int(item["item_id"][1:]) % 2 == 1 for item in result.json["lists"][0]["items"])


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_recommend_everybody(cli, bundle, tmp_path, suffix):
    target = tmp_path / f"lists{suffix}"
    result = cli("recommend", bundle, "--all", "--k", "2", "--out", target, "--json")
    read = {".parquet": pl.read_parquet, ".csv": pl.read_csv, ".jsonl": pl.read_ndjson}[suffix]
    frame = read(target)
    assert result.json["rows"] == frame.height == 80
    assert frame["user_id"].n_unique() == 40
    assert [p.name for p in tmp_path.iterdir()] == [target.name]


def test_everybody_gets_the_same_as_one(cli, bundle, tmp_path):
    cli("recommend", bundle, "--all", "--k", "2", "--exclude", "i00", "--out", tmp_path / "all.parquet")
    frame = pl.read_parquet(tmp_path / "all.parquet").filter(pl.col("user_id") == "u07")
    one = cli("recommend", bundle, "--user", "u07", "--k", "2", "--exclude", "i00", "--json").json["lists"][0]
    assert frame["item_id"].to_list() == [item["item_id"] for item in one["items"]]


def test_similar(cli, bundle):
    found = cli("similar", bundle, "--item", "i00", "--item", "i01", "--k", "3", "--json").json["items"]
    assert [one["item_id"] for one in found] == ["i00", "i01"]
    assert [row["rank"] for row in found[0]["similar"]] == [1, 2, 3]
    assert "Like Title 1" in cli("similar", bundle, "--item", "i01").out


def test_info_and_card(cli, bundle):
    found = cli("info", bundle, "--json").json
    assert found["checks"] == "passed"
    assert found["model"]["name"] == "ease"
    assert "arrays.safetensors" in found["bytes"]
    assert cli("info", bundle, "--card").out.startswith("---")


def test_predict(cli, log, tmp_path):
    cli("train", "rating-baseline", "--data", log, "--out", tmp_path / "b")
    found = cli("predict", tmp_path / "b", "--user", "u00", "--item", "i00", "--item", "zz", "--json").json[
        "predictions"
    ]
    assert [p["item_id"] for p in found] == ["i00", "zz"]
    assert all(3 <= p["rating"] <= 5 for p in found)
    strangers = ("--user", "u00", "--user", "nobody", "--item", "i00", "--item", "zz")
    assert cli("predict", tmp_path / "b", *strangers, "--json").json["unknown"] == {
        "users": ["nobody"],
        "items": ["zz"],
    }
    assert "rated by averages: users nobody; items zz" in cli("predict", tmp_path / "b", *strangers).out
    refused = cli("recommend", tmp_path / "b", "--user", "u00")
    assert refused.status == 2
    assert "orders no items" in refused.err


def test_evaluate(cli, log, tmp_path):
    result = cli(
        "evaluate",
        "ease",
        "--data",
        log,
        "--split",
        "user-time:0.25",
        "--k",
        "1,3",
        "--set",
        "reg=1",
        "--out",
        tmp_path / "r.json",
        "--json",
    )
    assert result.status == 0
    means = result.json["report"]["means"]
    assert {"ndcg@1", "ndcg@3"} <= set(means)
    assert json.loads((tmp_path / "r.json").read_text()) == result.json


def test_evaluate_folds(cli, log):
    found = cli("evaluate", "popular", "--data", log, "--split", "k-fold:3", "--json").json
    assert len(found["folds"]) == 3
    assert found["means"]["ndcg@10"] == pytest.approx(sum(f["means"]["ndcg@10"] for f in found["folds"]) / 3)
    assert "3 folds" in cli("evaluate", "popular", "--data", log, "--split", "k-fold:3").out


def test_evaluate_refits_a_bundle(cli, log, bundle):
    result = cli("evaluate", bundle, "--data", log, "--json")
    by_name = cli("evaluate", "ease", "--data", log, "--set", "reg=1", "--json").json
    assert "fitted anew" in result.json["note"]
    assert "fitted anew" in result.err
    assert result.json["report"]["means"] == by_name["report"]["means"]


def test_evaluate_fixed_files_and_fold_in_gap(cli, log, tmp_path):
    frame = pl.read_csv(log)
    late = pl.col("timestamp") > 1_600_000_000 + 3.5 * 86_400
    frame.filter(~late).write_csv(tmp_path / "train.csv")
    frame.filter(late).write_csv(tmp_path / "test.csv")
    files = ("--train", tmp_path / "train.csv", "--test", tmp_path / "test.csv")
    result = cli("evaluate", "ease", *files, "--fold-in-gap", "--json")
    assert result.status == 0
    assert result.json["fold_in_gap"]["rows"]


def test_compare(cli, log, tmp_path):
    models = ("popular", "ease", "ease:reg=10")
    result = cli(
        "compare",
        *models,
        "--data",
        log,
        "--set",
        "popular.half_life=30",
        "--out",
        tmp_path / "c.json",
        "--json",
    )
    assert result.status == 0
    found = result.json
    assert sorted(row["model"] for row in found["leaderboard"]) == sorted(models)
    assert found["comparison"]["rows"][0]["verdict"] == "best"
    popular = next(report for report in found["reports"] if report["model"] == "popular")
    assert popular["config"]["model"]["half_life"] == 30
    assert (tmp_path / "c.json").is_file()
    assert "p (all pairs)" in cli("compare", "popular", "ease", "--data", log).out


def test_compare_by_errors_against_a_baseline(cli, log):
    options = ("--data", log, "--metric", "rmse", "--baseline", "rating-baseline", "--json")
    found = cli("compare", "rating-baseline", "item-knn", *options).json
    assert found["comparison"]["reference"] == "rating-baseline"


@pytest.mark.parametrize(
    "line",
    [
        "train ease --data LOG --dry-run",
        "evaluate ease --data LOG --split k-fold:3 --dry-run",
        "compare popular ease --data LOG --dry-run",
        "recommend BUNDLE --all --out lists.csv --dry-run",
        "quickstart --dry-run",
        "train ease --data synthetic:users=9000000,items=1000000,events=900000000 --dry-run",
    ],
)
def test_dry_runs(cli, log, bundle, line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = [{"LOG": log, "BUNDLE": bundle}.get(word, word) for word in line.split()]
    result = cli(*arguments, "--json")
    assert result.status == 0
    assert result.json["dry_run"]
    assert result.json["seconds"] > 0
    assert cli(*arguments).status == 0
    assert not list(tmp_path.iterdir())


def test_dry_run_knows_the_size(cli, log, tmp_path):
    pl.read_csv(log).write_parquet(tmp_path / "log.parquet")
    pl.read_csv(log).write_ndjson(tmp_path / "log.jsonl")
    for file in (log, tmp_path / "log.parquet", tmp_path / "log.jsonl"):
        assert cli("train", "ease", "--data", file, "--dry-run", "--json").json["log"] == {
            "users": 40,
            "items": 12,
            "events": pl.read_csv(log).height,
        }


def test_dry_run_sees_what_a_filter_leaves(cli, log):
    rated = pl.read_csv(log).filter(pl.col("rating") == 5)
    found = cli("train", "ease", "--data", log, "--min-rating", "5", "--dry-run", "--json").json["log"]
    assert found["events"] == rated.height < pl.read_csv(log).height


def test_the_next_step_can_be_pasted(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("log.csv").write_text('user,item\n"a, b",x\n"a, b",y\n')
    found = cli("train", "popular", "--data", "log.csv", "--out", "my bundle", "-q").out
    assert "recsmith recommend 'my bundle' --user 'a, b'" in found


def test_doctor(cli):
    found = cli("doctor", "--json").json
    assert found["versions"]["recsmith"] == __version__
    assert found["cores"]["threads"] >= 1
    assert found["blas"]
    assert "versions" in cli("doctor").out


def test_doctor_warns(cli, monkeypatch):
    parallel.set_threads(None)  # a service in this process may have set it, which wins over the variable
    monkeypatch.setenv("RECSMITH_THREADS", "999")
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    monkeypatch.setenv("RECSMITH_DATA_DIR", str(Path("/proc/recsmith")))
    warnings = " ".join(cli("doctor", "--json").json["warnings"])
    assert "999 threads" in warnings
    assert "NUMBA_DISABLE_JIT" in warnings
    assert "RECSMITH_DATA_DIR" in warnings


def test_quickstart_on_movielens(cli, extra_data, tmp_path):
    import gzip

    raw = tmp_path / "raw"
    raw.mkdir()
    for file in (extra_data / "ml-100k" / "raw").glob("u.*.gz"):
        (raw / file.stem).write_bytes(gzip.decompress(file.read_bytes()))
    result = cli(
        "quickstart", "--path", raw, "--out", tmp_path / "run", "--bundle", tmp_path / "bundle", "--json"
    )
    assert result.status == 0
    found = result.json
    best = next(r for r in found["reports"]["ranking"] if r["model"] == found["chosen"])
    assert best["means"]["ndcg@10"] >= 0.255
    assert best["means"]["precision@10"] >= 0.217
    assert best["means"]["recall@10"] >= 0.149
    assert [row["rank"] for row in found["rating"]] == [1, 2, 3, 4]
    assert json.loads((tmp_path / "run" / "leaderboard.json").read_text())["chosen"] == found["chosen"]
    assert len(found["answer"]["items"]) == 10
    assert found["answer"]["items"][0]["because"]
    assert cli("info", tmp_path / "bundle").status == 0


def test_figures_go_into_the_model_card(cli, log, bundle, tmp_path):
    own = tmp_path / "own"
    shutil.copytree(bundle, own)
    before = cli("recommend", own, "--user", "u01", "--json").out
    result = cli("evaluate", own, "--data", log, "--split", "leave-last-out", "--fold-in-gap", "--card")
    assert result.status == 0, result.err
    card = (own / "README.md").read_text()
    assert "Split: leave-last-out" in card
    assert "ndcg@10" in card
    assert "With 5% of the events new: fold-in" in card
    assert cli("recommend", own, "--user", "u01", "--json").out == before
    assert cli("evaluate", "ease", "--data", log, "--card").status == 2
    other = cli("evaluate", own, "--data", log, "--set", "reg=7", "--card")
    assert (other.status, "--card and --set" in other.err) == (2, True)


def test_the_fallback_takes_parameters(cli, log, tmp_path):
    made = cli(
        "train", "ease", "--data", log, "--out", tmp_path / "b", "--fallback", "popular:half_life=3", "--json"
    )
    assert made.json["fallback"] == {"name": "popular", "config": {"half_life": 3.0}}
    assert (
        cli("train", "ease", "--data", log, "--out", tmp_path / "b", "--fallback", "popular:half=3").status
        == 2
    )
    assert (
        cli("train", "ease", "--data", log, "--out", tmp_path / "c", "--fallback", "none", "--json").json[
            "fallback"
        ]
        is None
    )
