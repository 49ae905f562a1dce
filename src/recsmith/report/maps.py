"""The section of maps: items in the plane, by the vectors of the best model that has any."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from recsmith.bundle import Bundle
from recsmith.errors import MissingExtraError, ParameterError
from recsmith.plots.embeddings import Method, check_extra, item_map
from recsmith.protocols import Embedder
from recsmith.report.html import Html, Section, gallery, join, paragraph
from recsmith.report.pictures import Pictures

NAMES: dict[Method, str] = {"tsne": "t-SNE", "umap": "UMAP"}


def maps(
    bundles: Mapping[str, Bundle], methods: Sequence[Method], pictures: Pictures, *, seed: int = 0
) -> Section | Html:
    """Maps of the first model with item vectors; words on why there is none, where there is none.

    Parameters
    ----------
    bundles
        Label -> bundle, the best first.
    methods
        Which maps.
    seed
        Of the maps.
    """
    if not methods:
        return join(["give ", "--maps tsne,umap."])
    models = {label: one.pipeline.model for label, one in bundles.items()}
    found = next(((label, one) for label, one in models.items() if isinstance(one, Embedder)), None)
    if found is None:
        return join(["none of the runs has item vectors. Add one of ials, bpr or another model that has."])
    label, model = found
    try:
        check_extra(methods)
        vectors = model.embed_items()
        shown = [
            pictures.show(
                f"map-{method}",
                item_map(
                    vectors,
                    bundles[label].data,
                    method,
                    title=f"{NAMES[method]} of the items by {label}",
                    seed=seed,
                ),
                f"{NAMES[method]} map of the most popular items by the vectors of {label}; items of one kind tend to "
                "stand together.",
                "Neighbours are alike to the model. Distances between groups, and their sizes, mean nothing.",
            )
            for method in methods
        ]
    except (MissingExtraError, ParameterError) as error:
        return join([str(error)])
    features = bundles[label].data.item_features
    genres = features is not None and "genres" in features.columns
    shown_by = "a colour and a shape for each genre" if genres else "the fuller the colour, the more events"
    words = f"Items by the vectors of {label}, {shown_by}."
    return Section("maps", "Items in the plane", [paragraph(words), gallery(shown)])
