"""A real server in a thread of the test process, and a shop to serve."""

from __future__ import annotations

import threading
from contextlib import contextmanager

import httpx
import numpy as np
import polars as pl
import uvicorn
from tests.support.waiting import PATIENCE_S, wait_for

from recsmith.data.dataset import Dataset
from recsmith.data.schema import Log
from recsmith.experiment.train import train
from recsmith.serving.app import create
from recsmith.serving.connections import bounded
from recsmith.serving.settings import Settings

N_USERS, N_ITEMS = 60, 40
GENRES = ("Drama", "Comedy", "Comedy|Drama", "Horror")


def shop() -> Dataset:
    """Users who like items of their own parity, with titles and genres; user and item ids are text."""
    rng = np.random.default_rng(0)
    users, items = [], []
    for user in range(N_USERS):
        own = np.arange(user % 2, N_ITEMS, 2)
        items += rng.choice(own, 8, replace=False).tolist()
        users += [user] * 8
    log = pl.DataFrame(
        {
            "user_id": [f"u{u}" for u in users],
            "item_id": [f"i{i}" for i in items],
            "timestamp": np.arange(len(users)) + 1_600_000_000,
        }
    )
    catalogue = pl.DataFrame(
        {
            "item_id": [f"i{i}" for i in range(N_ITEMS)],
            "title": [f"Title {i}" for i in range(N_ITEMS)],
            "genres": [GENRES[i % 4] for i in range(N_ITEMS)],
        }
    )
    return Dataset.from_log(Log(interactions=log, items=catalogue, name="shop"))


def save(folder, name, model="ease", **parameters):
    """A bundle of the shop."""
    return train(model, shop(), **parameters).save(folder / name)


@contextmanager
def served(bundle, folder, host="127.0.0.1", **settings):
    """A client of a service that is ready."""
    settings.setdefault("store_url", f"sqlite:///{folder}/events.db")
    settings.setdefault("auth", "off")
    settings.setdefault("bundles", bundle.parent)
    made = Settings.load(None, {}, **settings)
    app = create(made, bundle)
    config = uvicorn.Config(
        app,
        http=bounded(made),
        host=host,
        port=0,
        log_level="error",
        access_log=False,
        proxy_headers=False,
        timeout_graceful_shutdown=10,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_for(lambda: server.started or not thread.is_alive(), "a service that has started")
        if not thread.is_alive():
            raise RuntimeError("the service did not start")
        port = server.servers[0].sockets[0].getsockname()[1]
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE_S) as client:
            client.app, client.server = app, server
            yield client
    finally:
        server.should_exit = True
        thread.join()


def ids(answer):
    """The items of a list."""
    assert answer.status_code == 200, answer.text
    return [place["item_id"] for place in answer.json()["recommendations"]]
