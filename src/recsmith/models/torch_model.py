"""What models of PyTorch modules share: building, training, asking, and state without pickle."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Self, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from recsmith import parallel
from recsmith.data.dataset import Dataset
from recsmith.models.base import BaseModel, generator
from recsmith.protocols import Monitor
from recsmith.training.config import TrainingConfig
from recsmith.training.device import place, reproducible
from recsmith.training.loop import Course, Objective, train
from recsmith.types import Cost, FloatArray, IntArray, Queries, Shape, State

C = TypeVar("C", bound=TrainingConfig)
_WEIGHTS = "weights."


class TorchModel(BaseModel[C]):
    """A model whose weights are those of a module.

    A subclass says how its module is built from ``sizes_``, what it learns from (``objective``), and, where it
    keeps something that is derived from the weights, how that is made (``settle``).
    """

    config_class: ClassVar[type[TrainingConfig]]
    learned: ClassVar[tuple[str, ...]] = ("sizes_",)
    sizes_: dict[str, Any]  #: JSON values that the module is built from: numbers of items, features, ...
    module_: nn.Module  #: the weights, in evaluation mode
    course_: Course | None = None  #: how the training went; None for a model that was read from disk

    @abstractmethod
    def sizes(self, data: Dataset) -> dict[str, Any]:
        """What ``build`` must know of the log, as JSON values."""

    @abstractmethod
    def build(self) -> nn.Module:
        """A new module for ``sizes_`` and ``config``, its weights drawn from PyTorch's generator."""

    @abstractmethod
    def objective(self, data: Dataset) -> Objective:
        """Examples and loss; ``module_`` is there."""

    def settle(self) -> None:
        """Make what is derived from the weights, after a training and before each judgement."""

    def check(self, data: Dataset) -> None:
        """Raise ``DataError`` for a log that the model cannot learn from."""

    def fit(
        self, data: Dataset, *, rng: np.random.Generator | int | None = None, monitor: Monitor | None = None
    ) -> Self:
        """Build the module anew and train it.

        Raises
        ------
        DataError
            A log that the model cannot learn from.
        TrainingError
            The loss is not a number any more.
        ParameterError
            cuda is asked for and there is none.
        """
        self.check(data)
        device = place(self.config.device)
        seed = int(generator(rng).integers(2**62))
        with reproducible(seed):
            self.sizes_ = self.sizes(data)
            self.module_ = self.build().to(device)
            self.course_ = train(
                self,  # type: ignore[arg-type]
                self.module_,
                self.objective(data),
                self.config,
                seed=seed,
                monitor=monitor,
                settle=self.settle,
                identity={"data": data.fingerprint()},
            )
            self.settle()
        return self

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.module_.parameters()).device

    @property
    def fitted(self) -> bool:
        """Whether ``fit`` or ``restore`` has run."""
        return super().fitted and hasattr(self, "module_")

    def tensor(self, array: Any) -> Tensor:
        """A numpy array where the weights are; integers become int64."""
        tensor = torch.from_numpy(np.ascontiguousarray(array))
        if not tensor.is_floating_point() and tensor.dtype != torch.bool:
            tensor = tensor.long()
        return tensor.to(self.device)

    def cost(self, shape: Shape) -> Cost:
        """A fit that goes through all epochs; a model with another shape of work says its own."""
        size = getattr(self.config, "embedding_size", 64)
        passes = 6.0 * self.config.epochs * shape.n_events  # forward, and twice as much backward
        weights = 4.0 * size * (shape.n_items + shape.n_users)
        return Cost(gemm=passes * size * 200, bytes=4 * weights + 64.0 * shape.n_events + 3e8)

    def state(self) -> State:
        """Sizes, and each weight as an array."""
        told = super().state()
        weights = {f"{_WEIGHTS}{name}": t.cpu().numpy() for name, t in self.module_.state_dict().items()}
        return State({**told.arrays, **weights}, told.values)

    def restore(self, state: State) -> Self:
        """Build the module and fill it.

        Raises
        ------
        LookupError, ValueError
            Where a weight is missing, or has another shape than the module's.
        """
        super().restore(state)
        module = self.build()
        for name, mine in module.state_dict().items():
            stored = state.arrays[f"{_WEIGHTS}{name}"]
            if tuple(mine.shape) != stored.shape:
                raise ValueError(f"{name} has the shape {stored.shape}, wanted {tuple(mine.shape)}")
            mine.copy_(torch.from_numpy(np.array(stored)))
        device = torch.device("cpu") if not torch.cuda.is_available() else place(self.config.device)
        self.module_ = module.to(device).eval()
        with asking():
            self.settle()
        return self


class ProductModel(TorchModel[C]):
    """A model whose score is the product of a request's vector and an item's, so that ``recommend`` fuses the two.

    A subclass makes ``items_`` in ``settle``.
    """

    items_: FloatArray  #: (n_items, d) float32 of the last ``settle``; NaN where an item has no vector

    @abstractmethod
    def embed_queries(self, queries: Queries) -> FloatArray:
        """(n, d) float32; a row of NaN where the evidence is missing."""

    def embed_items(self) -> FloatArray:
        """(n_items, d) float32."""
        self.check_fitted()
        return self.items_

    def score(self, queries: Queries, items: IntArray | None = None) -> FloatArray:
        """(n, n_items) or (n, len(items)) float32; NaN where a vector is."""
        vectors = self.embed_queries(queries)
        return vectors @ (self.items_ if items is None else self.items_[items]).T


@contextmanager
def asking() -> Iterator[None]:
    """No gradients, and no threads of its own in a thread of the pool."""
    threads = torch.get_num_threads()
    with torch.inference_mode():
        torch.set_num_threads(1 if parallel.in_worker() else parallel.n_threads())
        try:
            yield
        finally:
            torch.set_num_threads(threads)


def scores_array(scores: Tensor, empty: Any) -> FloatArray:
    """(n, k) float32 scores as an array that the caller owns, NaN in the rows ``empty`` (n,) bool."""
    array: FloatArray = scores.float().cpu().numpy()
    if not array.flags.writeable or empty.any():
        array = np.array(array)
        array[empty] = np.nan
    return array
