"""``recsmith tune`` and ``train --config``."""

from __future__ import annotations

import json
import signal

import pytest
import yaml

pytest.importorskip("optuna")

from tests.support.processes import start
from tests.support.waiting import PATIENCE_S, wait_for

DATA = "synthetic:users=200,items=60,events=6000,seed=2"


def test_the_config_is_what_train_takes(cli, log, tmp_path):
    done = cli("tune", "ease", "--data", log, "--trials", 4, "--out", tmp_path / "t", "--json")
    assert done.status == 0, done.err
    found = done.json
    assert len(found["trials"]) == 4
    assert found["best"]["value"] >= found["default"]["value"]
    config = yaml.safe_load((tmp_path / "t" / "ease.yaml").read_text())
    assert config["parameters"] == found["best"]["parameters"]
    assert config["tuned"]["validation"] == "user-time:0.2"
    assert json.loads((tmp_path / "t" / "ease.json").read_text())["best"] == found["best"]
    trained = cli("train", "--config", found["config"], "--data", log, "--out", tmp_path / "b", "--json")
    assert trained.status == 0, trained.err
    assert trained.json["model"]["config"]["reg"] == config["parameters"]["reg"]
    assert trained.json["weighting"]["half_life"] == config["parameters"]["half_life"]
    assert cli("recommend", tmp_path / "b", "--user", "u00").status == 0
    again = cli(
        "train", "-c", found["config"], "--set", "reg=5", "--data", log, "--out", tmp_path / "c", "--json"
    )
    assert again.json["model"]["config"]["reg"] == 5


def test_people_see_the_search(cli, log, tmp_path):
    done = cli("tune", "ease", "--data", log, "--trials", 3, "--out", tmp_path, "--space", "reg=1..10,log")
    assert done.status == 0, done.err
    assert "3 trials" in done.out
    assert "recsmith train --config" in " ".join(done.out.split())
    assert "not looked at: the test part" in " ".join(done.err.split())


def test_a_space_file_and_fixed_parameters(cli, log, tmp_path):
    (tmp_path / "space.yaml").write_text("reg: 1..5\n")
    done = cli(
        "tune", "ease", "--data", log, "--trials", 3, "--out", tmp_path, "--space", tmp_path / "space.yaml",
        "--set", "half_life=3", "--split", "random:0.2", "--validation", "k-fold:2", "--metric", "recall@5", "--json",
    )  # fmt: skip
    assert done.status == 0, done.err
    assert done.json["space"]["reg"] == "1..5"
    assert all(t["parameters"]["half_life"] == 3 for t in done.json["trials"])
    assert "part 2 of 2" in done.json["validation"]


def test_all_of_a_train_file(cli, log, tmp_path):
    done = cli("tune", "ease", "--train", log, "--trials", 2, "--out", tmp_path, "--json")
    assert done.status == 0, done.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--space", "regg=1..2"], "Did you mean 'reg'"),
        (["--space", "reg"], "KEY=RANGE"),
        (["--space", "reg=1..2", "--set", "reg=1"], "exclude one another"),
        (["--set", "regg=1"], "Did you mean 'reg'"),
        (["--trials", "0"], "trials"),
        (["--minutes", "-1"], "minutes"),
        (["--metric", "ndgc@10"], "metric"),
        (["--metric", "auc"], "metric"),
        (["--split", "sometimes"], "way of splitting"),
        (["--fallback", "popular:half_life=3"], "--fallback takes a name"),
        (["--train", "x.csv"], "either --data"),
    ],
)
def test_bad_input(cli, log, tmp_path, arguments, words):
    done = cli("tune", "ease", "--data", log, "--out", tmp_path, *arguments)
    assert done.status == 2, done.err
    assert words in done.err


def test_train_wants_a_model_or_a_config(cli, log, tmp_path):
    (tmp_path / "r.yaml").write_text("model: ease\n")
    for arguments in ([], ["ease", "--config", tmp_path / "r.yaml"]):
        done = cli("train", *arguments, "--data", log, "--out", tmp_path / "b")
        assert (done.status, "either a MODEL or --config" in done.err) == (2, True)
    done = cli("train", "--config", tmp_path / "no.yaml", "--data", log, "--out", tmp_path / "b")
    assert (done.status, "no config file" in done.err) == (2, True)


def test_dry_run_tells_of_a_trial(cli, log):
    done = cli("tune", "ease", "--data", log, "--dry-run", "--json")
    assert done.status == 0, done.err
    assert "a trial: fit ease" in done.out


def test_no_positives_is_told(cli, tmp_path):
    file = tmp_path / "log.csv"
    file.write_text(
        "user_id,item_id,timestamp\n" + "".join(f"u{u},i{u}{n},{n}\n" for u in range(9) for n in range(9))
    )
    done = cli("tune", "ease", "--data", file, "--trials", 1, "--out", tmp_path / "t")
    assert done.status == 2
    assert "no positive" in done.err


def tuned(out):
    return "tune", "ials", "--data", DATA, "--trials", "25", "--out", out, "--json"


def test_ctrl_c_and_the_same_command_again(cli, tmp_path):
    whole = cli(*tuned(tmp_path / "whole"))
    assert whole.status == 0, whole.err
    process, study = start(*tuned(tmp_path / "cut")), tmp_path / "cut" / "study.sqlite"
    wait_for(lambda: process.poll() is not None or trials_in(study) >= 3, "three trials")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, out, "Traceback" in err) == (130, "", False)
    assert 3 <= trials_in(study) < 40
    again = cli(*tuned(tmp_path / "cut"))
    assert again.status == 0, again.err
    assert figures(again.out) == figures(whole.out)


def figures(text):
    return [(t["parameters"], t["state"], t["value"]) for t in json.loads(text)["trials"]]


def trials_in(study):
    """Trials that the file of a running search holds."""
    import sqlite3

    try:
        with sqlite3.connect(f"file:{study}?mode=ro", uri=True) as db:
            found = db.execute(
                "select count(*) from trials where state in ('COMPLETE', 'PRUNED')"
            ).fetchone()[0]
        db.close()
        return found
    except sqlite3.Error:
        return 0
