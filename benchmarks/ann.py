"""Approximate lists against exact ones on trained factors: usearch, hnswlib and faiss, recall, speed, build, memory.

``python benchmarks/ann.py`` fits implicit ALS (d = 64) on a synthetic log of 1,000,000 items and asks for the top 10 of
2,000 users: by recsmith's product of blocks ("exact": every item is looked at), by its scan in the order of length, by
its index, and by each library at several breadths of search, all on the same threads. Once with the factors as they
were trained, and once with each item's vector at length 1, where the scan has nothing to leave out. ``--sizes``
repeats it for parts of the catalogue, which shows from where on an index pays. A library that is not installed is left
out: ``pip install usearch hnswlib 'recsmith[ann]'``. The figures go to ``runs/ann.json``.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from recsmith import parallel
from recsmith.ann import ItemIndex
from recsmith.data.dataset import Dataset
from recsmith.data.sources.synthetic import Synthetic
from recsmith.models.factorization.ials import ImplicitALS
from recsmith.resources import resident_mb
from recsmith.scan import ByLength
from recsmith.topk import TopKBlock
from recsmith.types import FloatArray, IntArray

K = 10
KINDS = ("as trained", "length 1")
BLOCK, COLUMNS = 512, 1024
console = Console(width=140)
Search = Callable[[FloatArray], IntArray]


def factors(options: argparse.Namespace) -> tuple[FloatArray, FloatArray]:
    """Trained item factors (of items with events) and user factors, kept in ``runs``."""
    path = options.folder / f"ann-{options.users}-{options.items}-{options.events}.npz"
    if not path.exists():
        console.print(f"fitting the factors into {path}")
        world = Synthetic(
            n_users=options.users, n_items=options.items, n_events=options.events, clusters=1_000, zipf=0.8
        )
        data = Dataset.from_log(world.log())
        model = ImplicitALS(embedding_size=64, epochs=6).fit(data)
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, items=model.embed_items(), users=model.user_factors_)
    found = np.load(path)
    items = found["items"]
    return np.ascontiguousarray(items[~np.isnan(items).any(axis=1)]), found["users"]


def in_blocks(queries: FloatArray, fill: Callable[[FloatArray, TopKBlock], None]) -> IntArray:
    """Lists by recsmith, block by block on all threads."""
    out = np.empty((len(queries), K), dtype=np.int32)

    def block(rows: slice) -> None:
        best = TopKBlock(rows.stop - rows.start, K)
        fill(queries[rows], best)
        out[rows] = best.items

    parallel.run(block, parallel.blocks(len(queries), BLOCK))
    return out


def exactly(table: FloatArray) -> Search:
    """Every product, in blocks that stay in the cache."""

    def fill(queries: FloatArray, best: TopKBlock) -> None:
        nothing = np.zeros(0, dtype=np.int32)
        buffer = np.empty(len(queries) * COLUMNS, dtype=np.float32)
        for columns in parallel.blocks(len(table), COLUMNS):
            width = columns.stop - columns.start
            chunk = buffer[: len(queries) * width].reshape(len(queries), width)
            np.matmul(queries, table[columns].T, out=chunk)
            best.update(chunk, columns.start, np.zeros(len(queries) + 1, dtype=np.int64), nothing)

    return lambda queries: in_blocks(queries, fill)


def by(source: ByLength | ItemIndex) -> Search:
    """The scan by length, or the index."""

    def fill(queries: FloatArray, best: TopKBlock) -> None:
        nothing = np.zeros(0, dtype=np.int32)
        bounds = np.zeros(len(queries) + 1, dtype=np.int64)
        source.best(queries, nothing, bounds, nothing, best.items, best.scores)

    return lambda queries: in_blocks(queries, fill)


def recsmith_scan(table: FloatArray) -> Iterator[tuple[str, Search]]:
    yield "", by(ByLength.of(table))


def recsmith_index(table: FloatArray) -> Iterator[tuple[str, Search]]:
    yield "", by(ItemIndex.of(ByLength.of(table)))


def usearch(table: FloatArray) -> Iterator[tuple[str, Search]]:
    from usearch.index import Index

    index = Index(ndim=table.shape[1], metric="ip", dtype="f32", connectivity=16, expansion_add=64)
    index.add(np.arange(len(table)), table, threads=parallel.n_threads())
    for breadth in (16, 32, 64, 128, 256):
        index.expansion_search = breadth
        yield f"ef {breadth}", lambda queries: index.search(queries, K, threads=parallel.n_threads()).keys


def hnswlib(table: FloatArray) -> Iterator[tuple[str, Search]]:
    import hnswlib as library

    index = library.Index("ip", table.shape[1])
    index.init_index(len(table), M=16, ef_construction=64)
    index.set_num_threads(parallel.n_threads())
    index.add_items(table)
    for breadth in (16, 32, 64, 128, 256):
        index.set_ef(breadth)
        yield f"ef {breadth}", lambda queries: index.knn_query(queries, K)[0]


def faiss_graph(table: FloatArray) -> Iterator[tuple[str, Search]]:
    import faiss

    faiss.omp_set_num_threads(parallel.n_threads())
    index = faiss.IndexHNSWFlat(table.shape[1], 16, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = 64
    index.add(table)
    for breadth in (16, 32, 64, 128, 256):
        index.hnsw.efSearch = breadth
        yield f"ef {breadth}", lambda queries: index.search(queries, K)[1]


def faiss_cells(table: FloatArray) -> Iterator[tuple[str, Search]]:
    import faiss

    faiss.omp_set_num_threads(parallel.n_threads())
    width, count = table.shape[1], 1 << round(np.log2(2 * len(table) ** 0.5))
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(width), width, count, faiss.METRIC_INNER_PRODUCT)
    index.cp.min_points_per_centroid, index.cp.max_points_per_centroid = 1, 48
    index.train(table)
    index.add(table)
    for probes in (4, 8, 16, 32, 64):
        index.nprobe = probes
        yield f"{probes} of {count} cells", lambda queries: index.search(queries, K)[1]


WAYS: dict[str, Callable[[FloatArray], Iterator[tuple[str, Search]]]] = {
    "scan by length": recsmith_scan,
    "recsmith index": recsmith_index,
    "faiss cells": faiss_cells,
    "faiss graph": faiss_graph,
    "hnswlib graph": hnswlib,
    "usearch graph": usearch,
}


def timed(search: Search, queries: FloatArray, runs: int) -> tuple[IntArray, float]:
    """Lists, and the seconds of the best of some runs after a first one."""
    search(queries[:BLOCK])
    seconds = []
    for _ in range(runs):
        start = time.perf_counter()
        found = search(queries)
        seconds.append(time.perf_counter() - start)
    return found, min(seconds)


def compare(table: FloatArray, queries: FloatArray, options: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each way and breadth; recall is the share of the exact list that is found."""
    truth, exact = timed(exactly(table), queries, options.runs)
    rows: list[dict[str, Any]] = [
        {"way": "exact", "setting": "", "recall": 1.0, "per_second": len(queries) / exact, "times_exact": 1.0}
    ]
    for name in options.ways:
        before, start = resident_mb() or 0.0, time.perf_counter()
        try:
            built = None
            for setting, search in WAYS[name](table):
                built = built or (time.perf_counter() - start, (resident_mb() or 0.0) - before)
                found, seconds = timed(search, queries, options.runs)
                recall = np.mean([np.isin(t, f).mean() for t, f in zip(truth, found, strict=True)])
                rows.append(
                    {
                        "way": name,
                        "setting": setting,
                        "recall": float(recall),
                        "per_second": len(queries) / seconds,
                        "times_exact": exact / seconds,
                        "build_seconds": built[0],
                        "memory_mb": built[1],
                    }
                )
        except ImportError as error:
            console.print(f"{name}: {error}; left out")
    return rows


def show(title: str, rows: list[dict[str, Any]]) -> None:
    """A part of the result as a table."""
    table = Table(title=title, title_justify="left")
    for column in ("way", "setting", "recall@10", "lists/s", "times exact", "build s", "MB"):
        table.add_column(column)
    for row in rows:
        build, memory = row.get("build_seconds"), row.get("memory_mb")
        cells = (f"{row['recall']:.4f}", f"{row['per_second']:,.0f}", f"{row['times_exact']:.1f}")
        made = ("" if build is None else f"{build:.1f}", "" if memory is None else f"{memory:.0f}")
        table.add_row(row["way"], row["setting"], *cells, *made)
    console.print(table)


def main() -> None:
    """All sizes, as trained and at length 1."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--users", type=int, default=300_000)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--events", type=int, default=25_000_000)
    parser.add_argument("--queries", type=int, default=2_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--sizes", type=int, nargs="+", default=[20_000, 50_000, 100_000, 1_000_000])
    parser.add_argument("--vectors", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS))
    parser.add_argument("--folder", type=Path, default=Path("runs"), help="for the factors")
    parser.add_argument("--out", type=Path, default=Path("runs") / "ann.json")
    options = parser.parse_args()
    items, users = factors(options)
    rng = np.random.default_rng(0)
    queries = np.ascontiguousarray(users[rng.choice(len(users), options.queries, replace=False)])
    result: dict[str, Any] = {}
    for size in options.sizes:
        part = items if size >= len(items) else items[np.sort(rng.choice(len(items), size, replace=False))]
        for name in options.vectors:
            table = part if name == "as trained" else part / np.linalg.norm(part, axis=1, keepdims=True)
            title = f"{len(part):,} items, {name}"
            result[title] = compare(np.ascontiguousarray(table), queries, options)
            show(title, result[title])
            options.out.parent.mkdir(parents=True, exist_ok=True)
            options.out.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
