"""Load on one worker of the service, beside a route that does nothing.

``python benchmarks/service.py`` needs ``wrk`` (Debian: apt install wrk). For each bundle the kinds of ``CELLS`` go over
the same 16 connections, in turn, round by round, each beside a route of a bare FastAPI application that does nothing:
its rate is the machine's measure, and rates are shares of it. What the gate does (key, limit, counters) is in the
service's own figures. ``beside reasons`` are known users while 4 more connections ask for long lists with reasons. At
the end the memory of the service is looked at while 100,000 requests of the mixed kind go by.

- ``ml-100k``: MovieLens-100K, EASE (``ml-100k/ratings.parquet`` in RECSMITH_EXTRA_DATA or ``--folder``).
- ``41k``: 20,000 users, 41,000 items, implicit ALS with 64 factors, on a synthetic log.
- ``1m``: a million items, likewise.

With ``--peer`` Cornac's server answers the same users over the same connections, from the model of its own that is
nearest: EASE for ``ml-100k``, matrix factorization with 64 factors for ``41k``. It hides no seen items, as it is asked
without them: leaving them out takes it longer. LibRecommender's server is part of no package that can be installed.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from rich.console import Console

import recsmith as rs
from recsmith.data.dataset import Dataset
from recsmith.data.schema import Log
from recsmith.data.sources.synthetic import generate
from recsmith.experiment.train import train

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from harness.environments import Peers  # noqa: E402

console = Console(width=140)
CONNECTIONS, SECONDS = 16, 5
NOTHING = """
import sys
import uvicorn
from fastapi import FastAPI
app = FastAPI()
@app.get("/")
async def nothing():
    return {}
uvicorn.run(app, port=int(sys.argv[1]), log_level="error", access_log=False)
"""
SCRIPT = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
math.randomseed(os.time())
local run, n, items = os.time(), 0, {}
for i = 1, 20 do items[i] = '"' .. i * 7 .. '"' end
local exclude = table.concat(items, ",")
local function list(about, k)
  local body = string.format('{"num_recommendations": %d, %s}', k or 10, about)
  return wrk.format(nil, "/recommend", nil, body)
end
local function feedback()
  local body = '{"user_id": "%d", "item_id": "%d", "feedback": "click"}'
  return wrk.format(nil, "/feedback", nil, string.format(body, math.random(USERS), math.random(ITEMS)))
end
local function known() return list(string.format('"user_id": "%d"', math.random(USERS))) end
request = function()
  n = n + 1
  KIND
end
"""
CELLS = {
    "memory": "return known()",
    "computed": """return list(string.format('"user_id": "%d", "exclude_items": ["x%d-%d"]', n % USERS + 1, run, n))""",
    "new users": """return list(string.format('"user_id": "new-%d-%d", "exclude_items": [%s]', run, n, exclude))""",
    "feedback": "return feedback()",
    "mixed": "if n % 5 == 0 then return feedback() else return known() end",
}
REASONS = """return list(string.format('"user_id": "%d", "explain": true', math.random(USERS)), 200)"""
REASONS_CONNECTIONS, MEMORY_REQUESTS = 4, 100_000
PEER_REQUEST = """
local n = 0
request = function()
  n = n + 1
  return wrk.format("GET", string.format("/recommend?uid=%d&k=10", n % USERS + 1))
end
"""
PEER_MODELS = {"ml-100k": "EASE", "41k": "MF"}
PEERS = Peers(HERE / "peers", HERE.parent / ".bench")


def ml_100k(folder: Path) -> Dataset:
    """MovieLens-100K."""
    frame = pl.read_parquet(folder / "ml-100k" / "ratings.parquet")
    return Dataset.from_log(
        Log(interactions=frame.select("timestamp", user_id="user", item_id="item"), name="ml-100k")
    )


def bundles(folder: Path, at: Path, wanted: list[str]) -> Iterator[tuple[str, Path, int, int]]:
    """Name, path, and numbers of users and items of each bundle."""
    if "ml-100k" in wanted:
        data = ml_100k(folder)
        bundle = train("ease", data, reg=1000, half_life=5).save(at / "ml-100k")
        yield "ml-100k", bundle, data.n_users, data.n_items
    for name, users, items, events in (
        ("41k", 20_000, 41_000, 1_000_000),
        ("1m", 50_000, 1_000_000, 4_000_000),
    ):
        if name in wanted:
            data = Dataset.from_log(generate(users, items, events))
            yield name, train("ials", data, embedding_size=64, epochs=3).save(at / name), users, items


@contextmanager
def server(
    command: list[str], port: int, path: str, given: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A process that answers at ``path``."""
    environment = {
        **os.environ,
        **(given or {}),
        "RECSMITH_RATE_PER_MINUTE": "100000000",
        "RECSMITH_CACHE_BYTES": str(1 << 29),  # an answer for each user of every bundle
    }
    run = subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        for _ in range(3000):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=1)
                break
            except OSError:
                time.sleep(0.1)
        yield run
    finally:
        os.killpg(run.pid, signal.SIGTERM)
        run.wait()


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def load(url: str, script: Path | None = None) -> dict[str, float]:
    """Rate, and latency in milliseconds, of one run of wrk."""
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", "--latency"]
    told = subprocess.run(
        [*command, *(["-s", str(script)] if script else []), url], capture_output=True, text=True, check=True
    ).stdout
    requests = re.search(r"(\d+) requests in", told)
    found = {name: _milliseconds(value) for name, value in re.findall(r"^\s+(50|99)%\s+(\S+)", told, re.M)}
    errors = re.findall(r"Non-2xx or 3xx responses: (\d+)", told)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", told)
    return {
        "rate": float(rate[1]) if rate else 0.0,
        "requests": float(requests[1]) if requests else 0.0,
        "p50": found["50"],
        "p99": found["99"],
        "errors": float(sum(map(int, errors))),
    }


def _milliseconds(text: str) -> float:
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s)", text).groups()  # type: ignore[union-attr]
    return float(number) * {"us": 1e-3, "ms": 1.0, "s": 1e3}[unit]


def memory(run: subprocess.Popen[bytes]) -> list[float]:
    """Megabytes of each process of a service, shared pages divided among those that share them."""
    pids = subprocess.run(
        ["pgrep", "-g", str(run.pid)], capture_output=True, text=True, check=True
    ).stdout.split()
    found = []
    for pid in pids:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        found.append(sum(int(kb) for kb in re.findall(r"^Pss:\s+(\d+) kB", text, re.M)) / 1024)
    return found


def scripts(users: int, items: int, at: Path) -> dict[str, Path]:
    """What wrk sends of each kind."""
    out = {}
    for name, kind in {**CELLS, "reasons": REASONS}.items():
        out[name] = at / f"{name.replace(' ', '-')}.lua"
        text = SCRIPT.replace("KIND", kind).replace("USERS", str(users)).replace("ITEMS", str(items))
        out[name].write_text(text)
    return out


@contextmanager
def reasons(url: str, script: Path) -> Iterator[None]:
    """Others who ask for long lists with reasons all the time."""
    command = ["wrk", "-t1", f"-c{REASONS_CONNECTIONS}", f"-d{10 * SECONDS}s", "-s", str(script), url]
    others = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        others.kill()
        others.wait()


def resident(run: subprocess.Popen[bytes], url: str, script: Path) -> list[float]:
    """Megabytes of a service before, and after each quarter of ``MEMORY_REQUESTS``."""
    out, sent = [sum(memory(run))], 0.0
    for quarter in range(1, 5):
        while sent < quarter * MEMORY_REQUESTS / 4:
            sent += load(url, script)["requests"]
        out.append(sum(memory(run)))
    return out


def measured(name: str, bundle: Path, users: int, items: int, rounds: int, at: Path) -> dict[str, Any]:
    """Rounds of all kinds."""
    kinds, ports = scripts(users, items, at), (free_port(), free_port())
    serve = "from recsmith.cli.main import run; run()"
    store = f"sqlite:///{at}/{name}.db"
    ours = [sys.executable, "-c", serve, "serve", str(bundle), "--port", str(ports[1]), "--store", store]
    rows: dict[str, list[dict[str, float]]] = {}
    with (
        server([sys.executable, "-c", NOTHING, str(ports[0])], ports[0], "/"),
        server(ours, ports[1], "/health") as run,
    ):
        nothing, url = f"http://127.0.0.1:{ports[0]}/", f"http://127.0.0.1:{ports[1]}/"

        def cell(kind: str, script: Path) -> None:
            base, found = load(nothing), load(url, script)
            rows.setdefault("nothing", []).append(base)
            rows.setdefault(kind, []).append(found | {"share": found["rate"] / base["rate"]})

        load(url, kinds["computed"])  # warm
        for _ in range(1 + users // 5000):
            load(url, kinds["memory"])  # most users are asked for
        used = memory(run)
        for _ in range(rounds):
            for kind in CELLS:
                cell(kind, kinds[kind])
            with reasons(url, kinds["reasons"]):
                cell("beside reasons", kinds["memory"])
        flat = resident(run, url, kinds["mixed"])
    out: dict[str, Any] = {"megabytes": used, "megabytes over 100,000 requests": flat}
    for kind, runs in rows.items():
        out[kind] = {key: statistics.median(one[key] for one in runs) for key in runs[0]}
        console.print(name, kind, {key: round(value, 2) for key, value in out[kind].items()})
    console.print(name, "megabytes over 100,000 requests", [round(mb) for mb in flat])
    return out


def workers(bundle: Path, at: Path) -> dict[str, list[float]]:
    """Memory of the processes with two workers and with four: half the difference is what another one takes."""
    out = {}
    for count in (2, 4):
        port = free_port()
        command = [
            sys.executable, "-c", "from recsmith.cli.main import run; run()", "serve", str(bundle), "--port", str(port),
            "--store", f"sqlite:///{at}/workers.db", "--workers", str(count),
        ]  # fmt: skip
        with server(command, port, "/users/1/recommendations") as run:
            for user in range(200):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/users/{user}/recommendations").read()
            out[str(count)] = memory(run)
        console.print(
            f"{count} workers: {sum(out[str(count)]):.0f} MB", [round(mb) for mb in out[str(count)]]
        )
    another = (sum(out["4"]) - sum(out["2"])) / 2
    console.print(f"another worker takes {another:.0f} MB")
    return out


def cornac(name: str, bundle: Path, users: int, rounds: int, at: Path) -> dict[str, float]:
    """Cornac's server on the log of a bundle."""
    python = Path(PEERS.command("cornac")[0])
    data = rs.load_bundle(bundle).data
    users_of, items_of = data.users.ids.to_numpy(), data.items.ids.to_numpy()
    np.savez(at / "log.npz", user=users_of[data.user], item=items_of[data.item])
    model, fit = PEER_MODELS[name], HERE / "peers" / "cornac" / "server.py"
    told = subprocess.run(
        [python, fit, at / "log.npz", model, at / "cornac"], capture_output=True, text=True, check=True
    )
    script, port = at / "cornac.lua", free_port()
    script.write_text(PEER_REQUEST.replace("USERS", str(users)))
    given = {"MODEL_PATH": told.stdout.split()[-1], "MODEL_CLASS": f"cornac.models.{model}"}
    command = [str(python), "-m", "flask", "--app", "cornac.serving.app", "run", "--port", str(port)]
    with server(command, port, "/recommend?uid=1&k=1", given):
        runs = [load(f"http://127.0.0.1:{port}/", script) for _ in range(rounds + 1)][1:]
    found = {key: statistics.median(one[key] for one in runs) for key in runs[0]}
    console.print(name, "Cornac", {key: round(value, 2) for key, value in found.items()})
    return found


def main() -> None:
    """All bundles, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundles", nargs="*", default=["ml-100k", "41k", "1m"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer", action="store_true", help="Cornac's server, too")
    parser.add_argument("--folder", type=Path, default=Path(os.environ.get("RECSMITH_EXTRA_DATA", ".")))
    parser.add_argument("--out", type=Path, default=Path("runs") / "service.json")
    options = parser.parse_args()
    if shutil.which("wrk") is None:
        parser.error("wrk is not installed. Debian: apt install wrk")
    record: dict[str, Any] = {"recsmith": rs.__version__}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        at = Path(folder)
        for name, bundle, users, items in bundles(options.folder, at, options.bundles):
            record[name] = measured(name, bundle, users, items, options.rounds, at) | {
                "workers": workers(bundle, at)
            }
            if options.peer and name in PEER_MODELS:
                record[name]["cornac"] = cornac(name, bundle, users, options.rounds, at)
            options.out.write_text(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
