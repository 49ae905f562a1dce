"""Maps of item vectors: what is alike stands together, and the same seed draws the same map."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from recsmith.errors import MissingExtraError, ParameterError
from recsmith.plots import embeddings
from recsmith.plots.embeddings import check_extra, draw_map, places

pytest.importorskip("sklearn")
pytest.importorskip("umap")
METHODS = ("tsne", "umap")


def two_kinds(n: int = 60) -> np.ndarray:
    """The first half points one way, the second half another; lengths differ and must not matter."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(scale=0.1, size=(n, 8))
    vectors[: n // 2, 0] += 1
    vectors[n // 2 :, 1] += 1
    return (vectors * rng.uniform(0.1, 10, size=(n, 1))).astype(np.float32)


@pytest.mark.parametrize("method", METHODS)
def test_neighbours_on_the_map_are_of_one_kind(method):
    at = places(two_kinds(), method)
    assert at.shape == (60, 2)
    gaps = np.linalg.norm(at[:, None] - at[None], axis=2) + np.diag(np.full(60, np.inf))
    assert ((gaps.argmin(1) < 30) == (np.arange(60) < 30)).mean() > 0.95
    assert np.array_equal(at, places(two_kinds(), method))


@pytest.mark.parametrize("method", METHODS)
def test_few_items(method):
    assert np.isfinite(places(two_kinds(6), method)).all()
    with pytest.raises(ParameterError, match="at least 5 items"):
        places(two_kinds(4), method)


@pytest.mark.parametrize("genres", [True, False])
def test_a_map_is_a_picture(checkerboard, tmp_path, genres):
    names = [["Drama"], [], ["Comedy", "Drama"]] * 4
    features = pl.DataFrame({"item_id": checkerboard.items.ids, "genres": names})
    data = replace(checkerboard, item_features=features) if genres else checkerboard
    vectors = two_kinds(checkerboard.n_items)
    file = draw_map(vectors, data, "tsne", tmp_path / "maps" / "tsne.png")
    assert file.read_bytes().startswith(b"\x89PNG")


def test_the_most_popular_items_are_shown(checkerboard, tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(embeddings, "MOST_ITEMS", 5)
    monkeypatch.setattr(
        embeddings, "places", lambda v, method, seed: shown.append(v) or np.zeros((len(v), 2))
    )
    vectors = np.arange(checkerboard.n_items, dtype=np.float32)[:, None]
    draw_map(vectors, checkerboard, "tsne", tmp_path / "map.png")
    counts = checkerboard.item_counts()
    assert counts[shown[0][:, 0].astype(int)].tolist() == sorted(counts, reverse=True)[:5]


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setattr(embeddings, "find_spec", lambda name: None)
    with pytest.raises(
        MissingExtraError, match=r"A UMAP map needs the extra 'plot'. Install it: pip install"
    ):
        check_extra(["umap"])
