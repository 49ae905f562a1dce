"""Every model by name: one visible line each. A test resolves every line."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from recsmith.errors import MissingExtraError, ParameterError

if TYPE_CHECKING:
    from recsmith.models.base import BaseModel


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a model lives and which optional dependencies it needs."""

    path: str
    extra: str | None = None


MODELS: dict[str, Entry] = {
    "random": Entry("recsmith.models.baselines.random:Random"),
    "popular": Entry("recsmith.models.baselines.popular:Popular"),
    "rating-baseline": Entry("recsmith.models.baselines.rating_baseline:RatingBaseline"),
    "item-knn": Entry("recsmith.models.neighbors.item_knn:ItemKNN"),
    "user-knn": Entry("recsmith.models.neighbors.user_knn:UserKNN"),
    "ease": Entry("recsmith.models.linear.ease:EASE"),
    "slim": Entry("recsmith.models.linear.slim:SLIM"),
    "sparse-ease": Entry("recsmith.models.linear.sparse_ease:SparseEASE"),
    "rp3beta": Entry("recsmith.models.graph.rp3beta:RP3beta"),
    "ials": Entry("recsmith.models.factorization.ials:ImplicitALS"),
    "bpr": Entry("recsmith.models.factorization.bpr:BPR"),
    "warp": Entry("recsmith.models.factorization.warp:WARP"),
    "gf-cf": Entry("recsmith.models.graph.gf_cf:GFCF"),
    "bspm": Entry("recsmith.models.graph.bspm:BSPM"),
    "graph-filter": Entry("recsmith.models.graph.graph_filter:GraphFilter"),
    "biased-mf": Entry("recsmith.models.factorization.sgd:BiasedMF"),
    "svdpp": Entry("recsmith.models.factorization.svdpp:SVDpp"),
    "timesvd": Entry("recsmith.models.factorization.timesvd:TimeSVD"),
    "bayesian-mf": Entry("recsmith.models.factorization.bayesian:BayesianMF"),
    "gru4rec": Entry("recsmith.models.sequential.gru4rec:GRU4Rec", "torch"),
    "sasrec": Entry("recsmith.models.sequential.sasrec:SASRec", "torch"),
    "bert4rec": Entry("recsmith.models.sequential.bert4rec:BERT4Rec", "torch"),
    "lightgcn": Entry("recsmith.models.graph.lightgcn:LightGCN", "torch"),
    "gcmc": Entry("recsmith.models.graph.gcmc:GCMC", "torch"),
    "mult-vae": Entry("recsmith.models.neural.multvae:MultVAE", "torch"),
    "recvae": Entry("recsmith.models.neural.recvae:RecVAE", "torch"),
    "gmf": Entry("recsmith.models.neural.ncf:GMF", "torch"),
    "mlp": Entry("recsmith.models.neural.ncf:MLP", "torch"),
    "neumf": Entry("recsmith.models.neural.ncf:NeuMF", "torch"),
    "neumf-rating": Entry("recsmith.models.neural.ncf_rating:NeuMFRating", "torch"),
    "two-tower": Entry("recsmith.models.neural.two_tower:TwoTower", "torch"),
    "shared-bottom": Entry("recsmith.models.multitask.model:SharedBottom", "torch"),
    "mmoe": Entry("recsmith.models.multitask.model:MMoE", "torch"),
    "blend": Entry("recsmith.models.blend:Blend"),
}


def model_class(name: str) -> type[BaseModel[Any]]:
    """The class of a registered model.

    Raises
    ------
    ParameterError
        An unknown name; the nearest one is offered.
    MissingExtraError
        The model needs an extra that is not installed.
    """
    if name not in MODELS:
        raise ParameterError.unknown("model", name, MODELS)
    entry = MODELS[name]
    module, _, attribute = entry.path.partition(":")
    try:
        found: type[BaseModel[Any]] = getattr(import_module(module), attribute)
    except ModuleNotFoundError as error:
        if entry.extra is None:
            raise
        raise MissingExtraError.of(f"The model {name!r}", entry.extra) from error
    return found


def create(name: str, **parameters: Any) -> BaseModel[Any]:
    """A new, unfitted model with its parameters."""
    return model_class(name)(**parameters)


def name_of(model: object) -> str:
    """The registered name of a model object.

    Raises
    ------
    ParameterError
        Where its class is not registered.
    """
    path = f"{type(model).__module__}:{type(model).__qualname__}"
    for name, entry in MODELS.items():
        if entry.path == path:
            return name
    raise ParameterError(
        f"{path} is not a registered model. Add its line to recsmith.models.registry.MODELS."
    )
