"""The real command in a process of its own: start, interrupts, pipes, a disk that is full."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from tests.support.processes import run, start
from tests.support.waiting import PATIENCE_S, wait_for

from recsmith.data.load import load
from recsmith.experiment.train import load_bundle, train


@pytest.fixture(scope="module")
def large(tmp_path_factory) -> Path:
    """A bundle with so many users that lists for all of them take seconds."""
    data = load("synthetic:users=60000,items=2000,events=300000,seed=1")
    return train("popular", data).save(tmp_path_factory.mktemp("large") / "bundle")


def test_help_imports_nothing_heavy():
    heavy = ["polars", "numba", "scipy", "numpy", "torch", "yaml", "pydantic"]
    script = "import sys; from recsmith.cli.main import main; main(['--help'])"
    script += f"; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.stdout.splitlines()[-1] == "[]"


def test_exit_statuses(bundle):
    assert run("recommend", bundle, "--user", "u00").returncode == 0
    assert run("recommend", bundle, "--user", "u00", "--k", "0").returncode == 2


def writing(large, target, k, **options):
    """The command that writes lists for everybody, in the middle of its work."""
    target.write_text("the old one")
    process = start("recommend", large, "--all", "--k", k, "--out", target, **options)
    wait_for(
        lambda: list(target.parent.glob(f".{target.name}.*")) or process.poll() is not None,
        "a file that is being written",
    )
    assert process.poll() is None, process.communicate()
    return process


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_stop_leaves_nothing_half_written(large, tmp_path, number, status):
    target = tmp_path / "lists.parquet"
    process = writing(large, target, k=100)
    process.send_signal(number)
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == status
    assert (out, "Traceback" in err) == ("", False)
    assert "Stopped" in err
    assert [p.name for p in tmp_path.iterdir()] == ["lists.parquet"]
    assert target.read_text() == "the old one"


def test_signals_that_the_caller_ignores_stay_ignored(large, tmp_path):
    """``nohup`` ignores SIGHUP, and a shell SIGINT for a job in the background: such a command ends by itself."""
    target = tmp_path / "lists.parquet"
    process = writing(large, target, k=50, on_signals=signal.SIG_IGN)
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        process.send_signal(number)
    _, err = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, "Stopped" in err) == (0, False)
    assert pl.scan_parquet(target).select(pl.len()).collect().item() == 60_000 * 50


def limited(size):
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return limit


@pytest.mark.skipif(sys.platform == "win32", reason="no resource limits")
def test_no_room_for_the_lists(large, tmp_path):
    for suffix in (".parquet", ".csv"):
        done = run(
            "recommend", large, "--all", "--out", tmp_path / f"lists{suffix}", preexec_fn=limited(200_000)
        )
        assert done.returncode == 1, done.stderr
        assert "File too large" in done.stderr
        assert not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="no resource limits")
def test_no_room_for_a_bundle(bundle, tmp_path):
    target = tmp_path / "bundle"
    shutil.copytree(bundle, target)
    before = (target / "manifest.json").read_bytes()
    data = "synthetic:users=2000,items=500,events=20000,seed=1"
    done = run("train", "ease", "--data", data, "--out", target, preexec_fn=limited(200_000))
    assert done.returncode == 1, done.stderr
    assert "could not be written" in done.stderr
    assert (target / "manifest.json").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["bundle"]
    assert load_bundle(target).data.n_users == 40


def test_a_reader_that_goes_away(bundle):
    reading, writing = os.pipe()
    os.close(reading)
    process = start("info", bundle, stdout=writing)
    os.close(writing)
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    assert err == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize(("as_json", "unbuffered"), [([], "1"), (["--json"], "")])
def test_standard_output_on_a_full_disk(bundle, as_json, unbuffered):
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    with Path("/dev/full").open("w") as full:
        process = start("info", bundle, *as_json, stdout=full, env=environment)
        _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    assert "No space left" in err
    assert "Exception ignored" not in err
    assert "Traceback" not in err


def test_letters_that_standard_output_does_not_have(bundle):
    ascii_only = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = run("recommend", bundle, "--user", "Zoë", env=ascii_only)
    assert (done.returncode, "Zo\\xeb" in done.stdout) == (0, True)
    done = run("recommend", bundle, "--user", "Zoë", "--json", env=ascii_only)
    assert json.loads(done.stdout)["lists"][0]["user_id"] == "Zoë"
