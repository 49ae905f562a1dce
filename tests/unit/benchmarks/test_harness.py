"""The harness with runners that stand in for peers: turns, judgement, failures, and the rerun of one cell."""

from __future__ import annotations

import importlib
import json
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parents[3] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

bench = importlib.import_module("bench")
report = importlib.import_module("harness.report")
quality = importlib.import_module("harness.quality")
Cell = importlib.import_module("harness.cell").Cell
Side = importlib.import_module("harness.cell").Side
Peers = importlib.import_module("harness.environments").Peers
environments = importlib.import_module("harness.environments")
Worker = importlib.import_module("harness.workers").Worker
measure = importlib.import_module("harness.measure").measure

RUNNER = """
import sys
sys.path.append({peers!r})
import numpy as np
from worker import Measure, Result, serve

def lists(arrays, settings):
    if settings.get("crash") == "raise":
        raise ValueError("first line\\nno such setting")
    if settings.get("crash") == "die":
        print("the ship sank", file=sys.stderr)
        sys.stderr.flush()
        import os
        os._exit(3)
    if settings.get("crash") == "sleep":
        import time
        time.sleep(30)
    with open({log!r}, "a") as file:
        file.write({name!r} + "\\n")
    n, first = len(arrays["indptr"]) - 1, settings.get("first", 0)
    items = np.tile(np.arange(first, first + 2, dtype=np.int32), (n, 1))
    fit = Measure(settings.get("seconds", 1.0), 10.0)
    return Result({{"fit": fit, "recommend": Measure(0.5, 20.0)}}, {{"items": items}}, settings)

serve("numpy", {{"lists": lists}})
"""


@pytest.fixture
def peers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """recsmith and three stand-ins, which need no installation: this interpreter runs them."""
    for name in ("recsmith", "quick", "slow", "broken"):
        folder = tmp_path / "peers" / name
        folder.mkdir(parents=True)
        (folder / "requirements.txt").write_text("nothing-of-this-name-is-installed==0\n")
        text = RUNNER.format(peers=str(BENCHMARKS / "peers"), log=str(tmp_path / "turns.txt"), name=name)
        (folder / "runner.py").write_text(textwrap.dedent(text))
    monkeypatch.setattr(Peers, "_python", lambda self, name: sys.executable)
    return Peers(tmp_path / "peers", tmp_path / "environments")


def arrays() -> dict[str, Any]:
    """Three users; items 2 and 3 are the truth of each."""
    return {
        "indptr": np.array([0, 1, 2, 3]),
        "indices": np.array([4, 4, 4]),
        "shape": np.array([3, 5]),
        "test_users": np.repeat(np.arange(3), 2),
        "test_items": np.tile([2, 3], 3),
    }


def cell(**sides: dict[str, Any]) -> Any:
    """A cell in which the sides have these settings; recsmith takes one second and is right."""
    given = {"recsmith": {"first": 2, "seconds": 1.0}, **sides}
    return Cell(
        name="lists-small",
        what="two items for all",
        data="small",
        inputs=lambda: [arrays()],
        judge=quality.of_lists,
        sides={name: Side("lists", settings) for name, settings in given.items()},
    )


def test_sides_take_turns_and_the_ratio_is_ours_over_theirs(peers: Any, tmp_path: Path) -> None:
    found = measure(
        cell(quick={"first": 2, "seconds": 0.5}, slow={"first": 1, "seconds": 4.0}), peers, tmp_path, runs=2
    )
    assert (tmp_path / "turns.txt").read_text().split() == ["recsmith", "quick", "slow"] * 3
    quick, slow = found["sides"]["quick"], found["sides"]["slow"]
    assert quick["ratio"] == {"fit": 2.0, "recommend": 1.0}
    assert slow["ratio"]["fit"] == 0.25
    assert quick["runs"] == 2 and quick["peak_rss_mb"] == 20.0
    assert quick["quality"]["ndcg@2"]["value"] == 1.0
    assert slow["quality"]["recall@2"] == {
        "value": 0.5,
        "interval": [0.5, 0.5],
        "ours_minus_theirs": [0.5, 0.5],
    }


def test_verdicts_follow_the_rule(peers: Any, tmp_path: Path) -> None:
    found = measure(
        cell(quick={"first": 2, "seconds": 0.5}, slow={"first": 1, "seconds": 4.0}), peers, tmp_path, runs=1
    )
    rows = {row["peer"]: row for row in report.verdicts(found)}
    assert rows["quick"]["fast"] is False and rows["quick"]["accurate"] is True
    assert rows["slow"]["fast"] is True and rows["slow"]["accurate"] is True
    record = {"cells": {"lists-small": found}}
    assert "2 rows, 1 not as wanted, 0 failed" in report.summary(record)
    assert "fit takes 2.00 times quick's" in report.summary(record)


def test_a_worse_figure_is_no_shortfall_inside_the_peers_interval_only() -> None:
    def quality_of(value: float) -> dict[str, Any]:
        return {"rmse": {"value": value, "interval": [value - 0.01, value + 0.01]}}

    for ours, accurate in ((0.9, True), (0.905, True), (0.92, False)):
        sides = {"recsmith": {"quality": quality_of(ours)}, "quick": {"quality": quality_of(0.9)}}
        (row,) = report.verdicts({"sides": sides, "decides": "fit", "wanted": 1.0})
        assert row["accurate"] is accurate


def test_less_than_a_millisecond_is_no_difference() -> None:
    for theirs, fast in ((0.0002, True), (0.5, False)):
        side = {
            "phases": {"fit": {"median": theirs}},
            "ratio": {"fit": (theirs + 0.0009 if fast else 2 * theirs) / theirs},
            "against": {"fit": theirs + 0.0009 if fast else 2 * theirs},
        }
        (row,) = report.verdicts({"sides": {"quick": side}, "decides": "fit", "wanted": 1.0})
        assert row["fast"] is fast


@pytest.mark.parametrize(("crash", "said"), [("raise", "no such setting"), ("die", "the ship sank")])
def test_a_peer_that_fails_says_so_and_the_others_go_on(
    peers: Any, tmp_path: Path, crash: str, said: str
) -> None:
    found = measure(cell(broken={"crash": crash}, quick={"first": 2}), peers, tmp_path, runs=1)
    assert said in found["sides"]["broken"]["error"]
    assert found["sides"]["quick"]["ratio"]["fit"] == 1.0


def test_a_run_is_given_up_after_its_time(peers: Any, tmp_path: Path) -> None:
    np.savez(tmp_path / "in.npz", **arrays())
    with (
        Worker(peers.command("slow")) as worker,
        pytest.raises(environments.PeerError, match=r"^took more than 1 s$"),
    ):
        worker.ask("lists", tmp_path / "in.npz", tmp_path / "out.npz", {"crash": "sleep"}, seconds=1)


def test_a_peer_that_cannot_be_installed_gives_the_last_line_of_its_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "peers" / "absent"
    folder.mkdir(parents=True)
    (folder / "runner.py").write_text("")
    (folder / "requirements.txt").write_text("this is no requirement\n")
    absent = Peers(tmp_path / "peers", tmp_path / "environments")
    assert absent.names() == ["absent"]

    def run(command: list[str], **options: Any) -> Any:
        failed = "pip" in command
        errors = "ERROR: first\nERROR: Invalid requirement\n\n[notice] A new release of pip\n"
        return environments.subprocess.CompletedProcess(command, int(failed), "", errors if failed else "")

    monkeypatch.setattr(environments.subprocess, "run", run)
    with pytest.raises(environments.PeerError, match=r"^ERROR: Invalid requirement$"):
        absent.command("absent")


def test_ours_failing_leaves_the_peers_figures(peers: Any, tmp_path: Path) -> None:
    found = measure(cell(recsmith={"crash": "raise"}, quick={"first": 2}), peers, tmp_path, runs=1)
    assert "no such setting" in found["sides"]["recsmith"]["error"]
    assert "ratio" not in found["sides"]["quick"]
    assert "recsmith: " in report.summary({"cells": {"lists-small": found}})


def test_one_peer_of_one_cell_is_measured_again_and_the_rest_is_kept(
    peers: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sides = {"quick": {"first": 2, "seconds": 0.5}, "slow": {"first": 1, "seconds": 4.0}}
    monkeypatch.setattr(bench, "CELLS", {"lists-small": cell(**sides)})
    monkeypatch.setattr(bench, "PEERS", peers)
    monkeypatch.setenv("RECSMITH_EXTRA_DATA", str(tmp_path))
    out = tmp_path / "bench.json"
    assert bench.main(["--runs", "1", "--out", str(out)]) == 0
    sides["slow"]["seconds"] = 2.0
    monkeypatch.setattr(bench, "CELLS", {"lists-small": cell(**sides)})
    assert bench.main(["lists", "--peer", "slow", "--runs", "1", "--out", str(out)]) == 0
    found = json.loads(out.read_text())["cells"]["lists-small"]["sides"]
    assert found["quick"]["ratio"]["fit"] == 2.0
    assert found["slow"]["ratio"]["fit"] == 0.5
    page = (tmp_path / "bench" / "peers.md").read_text()
    assert "### lists-small" in page and "takes 2.00 times quick's" in page
    assert "2 rows, 1 not as wanted" in capsys.readouterr().out


def test_a_failing_side_shows_in_the_exit_status(
    peers: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "CELLS", {"lists-small": cell(broken={"crash": "raise"})})
    monkeypatch.setattr(bench, "PEERS", peers)
    monkeypatch.setenv("RECSMITH_EXTRA_DATA", str(tmp_path))
    out = tmp_path / "bench.json"
    assert bench.main(["--runs", "1", "--out", str(out)]) == 1
    assert "failed: `ValueError: " not in out.read_text()
    assert "no such setting" in (tmp_path / "bench" / "peers.md").read_text()


def test_an_unknown_cell_or_peer_is_a_wrong_call(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RECSMITH_EXTRA_DATA", ".")
    for arguments in (["no-such-cell"], ["--peer", "no-such-peer"]):
        with pytest.raises(SystemExit) as status:
            bench.main(arguments)
        assert status.value.code == 2
        assert "known: " in capsys.readouterr().err


def test_ratings_of_several_folds_are_one_figure() -> None:
    folds = [
        {
            "train_users": np.array([0, 1]),
            "test_users": np.array(users),
            "test_ratings": np.array(ratings, dtype=float),
        }
        for users, ratings in (([0, 1], [3, 4]), ([1], [1]))
    ]
    outputs = [{"predictions": np.array([4.0, 4.0])}, {"predictions": np.array([3.0])}]
    whole = quality.combined([quality.of_ratings(*pair) for pair in zip(folds, outputs, strict=True)])
    assert whole["rmse"].estimate() == pytest.approx(np.sqrt((1 + 0 + 4) / 3))
    assert whole["mae"].estimate() == pytest.approx(1.0)


def test_every_cell_names_peers_that_have_a_runner_and_models_have_one_name() -> None:
    for name, each in bench.CELLS.items():
        assert "recsmith" in each.sides, name
        assert each.name == name
        assert set(each.peers) <= set(bench.PEERS.names()), name
