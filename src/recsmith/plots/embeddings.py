"""Maps of item vectors: the plane in which items that a model holds for alike stand near each other.

t-SNE: L. van der Maaten and G. Hinton, "Visualizing Data using t-SNE", JMLR 9, 2008. UMAP: L. McInnes, J. Healy and
J. Melville, "UMAP: Uniform Manifold Approximation and Projection for Dimension Reduction", arXiv:1802.03426, 2018.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from recsmith.data.dataset import Dataset
from recsmith.errors import MissingExtraError, ParameterError
from recsmith.plots.style import COLOURS, GRID, MARKERS, canvas, drawn, legend, shades
from recsmith.types import FloatArray, IntArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Method: TypeAlias = Literal["tsne", "umap"]
MOST_ITEMS = 3000  #: items of a map: the most popular ones
_NEEDS: dict[str, tuple[str, ...]] = {"tsne": ("sklearn", "matplotlib"), "umap": ("umap", "matplotlib")}
_NAMES = {"tsne": "t-SNE", "umap": "UMAP"}
_FEWEST = 5  # items, for there to be neighbours


def check_extra(methods: Sequence[str]) -> None:
    """Raise ``MissingExtraError`` where a library that a method needs is not installed."""
    for method in methods:
        if any(find_spec(name) is None for name in _NEEDS[method]):
            raise MissingExtraError.of(f"A {_NAMES[method]} map", "plot")


def places(vectors: FloatArray, method: Method, *, seed: int = 0) -> FloatArray:
    """Where each item stands.

    Parameters
    ----------
    vectors
        (n, d) float32 item vectors, n >= 5. Only their directions count.
    method
        ``"tsne"`` or ``"umap"``.
    seed
        The same seed gives the same map.

    Returns
    -------
    (n, 2) float32

    Raises
    ------
    ParameterError
        Fewer than 5 items.
    MissingExtraError
        The extra ``plot`` is not installed.
    """
    n = len(vectors)
    if n < _FEWEST:
        raise ParameterError.of("a map", "vectors", f"of at least {_FEWEST} items", n)
    check_extra([method])
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = np.asarray(vectors / np.maximum(lengths, 1e-12), dtype=np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the libraries: threads are one for the sake of the seed
        if method == "tsne":
            from sklearn.manifold import TSNE

            near = min(30.0, (n - 1) / 3)
            made = TSNE(
                perplexity=near, init="pca" if min(n, unit.shape[1]) >= 2 else "random", random_state=seed
            )
        else:
            from umap import UMAP

            made = UMAP(n_neighbors=min(15, n - 1), metric="cosine", random_state=seed, n_jobs=1)
        return np.asarray(made.fit_transform(unit), dtype=np.float32)


@drawn
def item_map(vectors: FloatArray, data: Dataset, method: Method, *, title: str = "", seed: int = 0) -> Figure:
    """The map of the most popular items, coloured by their first genre, or by how popular they are.

    Parameters
    ----------
    vectors
        (n_items, d) float32, what ``Embedder.embed_items`` gave.
    data
        The log that the model was fitted on: it says what is popular, and holds the item feature ``genres`` where there
        is one.
    method
        ``"tsne"`` or ``"umap"``.

    Raises
    ------
    ParameterError, MissingExtraError
        See ``places``.
    """
    counts = data.item_counts()
    shown = np.argsort(-counts, kind="stable")[: min(MOST_ITEMS, int((counts > 0).sum()))]
    at = places(vectors[shown], method, seed=seed)
    figure, [[axes]] = canvas(title or f"{_NAMES[method]} of {len(shown):,} items", height=4.4)
    genres = _first_genres(data, shown)
    if genres is None:
        dots = axes.scatter(
            at[:, 0], at[:, 1], c=np.log10(counts[shown]), s=9, cmap=shades(), linewidths=0, rasterized=True
        )
        figure.colorbar(dots, ax=axes, label="events, log10", location="bottom", shrink=0.9, pad=0.02)
    else:
        _by_genre(axes, at, genres)
    axes.grid(False)
    axes.set(xticks=[], yticks=[])
    axes.set_xlabel(f"{len(shown):,} items; only nearness has a meaning", loc="left")
    return figure


def draw_map(
    vectors: FloatArray, data: Dataset, method: Method, file: Path, *, title: str = "", seed: int = 0
) -> Path:
    """Write ``item_map`` to a ``.png``; its folder is made. It raises the same errors."""
    figure = item_map(vectors, data, method, title=title, seed=seed)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=160)
    return file


def _first_genres(data: Dataset, items: IntArray) -> list[str] | None:
    features = data.item_features
    if features is None or "genres" not in features.columns:
        return None
    lists = features["genres"].gather(items).to_list()
    return [str(genres[0]) if genres else "none" for genres in lists]


def _by_genre(axes: Axes, at: FloatArray, genres: list[str]) -> None:
    """A colour and a shape for each of the most frequent genres, grey for the others."""
    names, counts = np.unique(genres, return_counts=True)
    frequent = names[np.argsort(-counts, kind="stable")][: len(COLOURS)].tolist()
    of = np.array([genre if genre in frequent else "others" for genre in genres])
    shown = [("others", ".", GRID), *zip(frequent, MARKERS, COLOURS, strict=False)]
    for name, marker, colour in shown:
        own = of == name
        if own.any():
            label = f"{name} ({int(own.sum()):,})"
            axes.scatter(at[own, 0], at[own, 1], s=13, marker=marker, color=colour, linewidths=0)
            axes.plot([], [], marker, color=colour, label=label, markersize=6)
    legend(axes)
