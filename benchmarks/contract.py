"""The service's API against its own document: every check of Schemathesis, as many cases as are asked for.

    python benchmarks/contract.py --max-examples 400

A small shop is trained and served by ``recsmith serve`` with its default settings and an admin's key. Exit status: that
of Schemathesis, 0 where nothing was found.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import numpy as np
import polars as pl

from recsmith.data.dataset import Dataset
from recsmith.data.schema import Log
from recsmith.experiment.train import train
from recsmith.serving.store import Store

BIN = Path(sys.executable).parent
PATIENCE_S = 120


def shop() -> Dataset:
    """60 users and 40 items with titles and genres."""
    rng = np.random.default_rng(0)
    items = np.concatenate([rng.choice(40, 8, replace=False) for _ in range(60)])
    log = {
        "user_id": [f"u{n // 8}" for n in range(480)],
        "item_id": [f"i{i}" for i in items],
        "timestamp": range(480),
    }
    about = {
        "item_id": [f"i{i}" for i in range(40)],
        "title": [f"Title {i}" for i in range(40)],
        "genres": ["Drama", "Comedy|Drama"] * 20,
    }
    return Dataset.from_log(Log(interactions=pl.DataFrame(log), items=pl.DataFrame(about), name="shop"))


def wait(url: str, service: subprocess.Popen[bytes]) -> None:
    """Until the service is ready."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end and service.poll() is None:
        try:
            urlopen(f"{url}/health/ready", timeout=5).close()
            return
        except (URLError, OSError):
            time.sleep(0.1)
    raise SystemExit("the service did not start")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--max-examples", type=int, default=400, help="cases of an operation in each phase")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, help="file for the report as JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, socket.socket() as free:
        store_url = f"sqlite:///{folder}/events.db"
        bundle = train("ease", shop()).save(Path(folder) / "bundles" / "first")
        train("popular", shop()).save(Path(folder) / "bundles" / "second")
        store = Store.open(store_url)
        secret = store.add_key("contract", "admin")
        store.close()
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        start = [
            BIN / "recsmith",
            "serve",
            bundle,
            "--store",
            store_url,
            "--port",
            str(port),
            "--auth",
            "keys",
        ]
        log = Path(folder) / "log"
        with log.open("wb") as lines:
            service = subprocess.Popen(start, stderr=lines, env={**os.environ, "OMP_NUM_THREADS": "1"})
        try:
            url = f"http://127.0.0.1:{port}"
            wait(url, service)
            report = options.out or Path(folder) / "report.json"
            check = [
                BIN / "schemathesis", "run", f"{url}/openapi.json", "--header", f"X-API-Key: {secret}",
                "--checks", "all",
                "--max-examples", str(options.max_examples), "--seed", str(options.seed), "--continue-on-failure",
                "--report", "json", "--report-json-path", report,
            ]  # fmt: skip
            status = subprocess.run(check, check=False, cwd=folder).returncode
        finally:
            service.terminate()
            service.wait()
        entries = (json.loads(line) for line in log.read_text().splitlines() if line.startswith("{"))
        failed = [str(entry) for entry in entries if entry["level"] == "error"]
        print("\n".join(failed[:20]))
    return status


if __name__ == "__main__":
    sys.exit(main())
