"""What all models share: parameters, learned attributes, state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Generic, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from recsmith.config import Config
from recsmith.errors import NotFittedError, ParameterError
from recsmith.protocols import Evidence
from recsmith.types import Cost, FloatArray, IntArray, Shape, State

C = TypeVar("C", bound=Config)


class BaseModel(Generic[C]):
    """Constructor, state and ``needs`` of a model.

    A subclass names its ``config_class`` and, in ``learned``, the attributes that ``fit`` sets: arrays, CSR
    arrays, or JSON values; each name ends in ``_``.
    """

    config_class: ClassVar[type[Config]]
    learned: ClassVar[tuple[str, ...]] = ()
    needs: ClassVar[Evidence] = Evidence.HISTORY
    weighs_history: ClassVar[bool] = False  #: weighs events by itself, and wants them as they are

    config: C

    def __init__(self, config: C | None = None, **overrides: Any) -> None:
        self.config = self.config_class.make(type(self).__name__, config, **overrides)  # type: ignore[assignment]

    def __repr__(self) -> str:
        shown = ", ".join(f"{k}={v!r}" for k, v in self.config.model_dump(exclude_defaults=True).items())
        return f"{type(self).__name__}({shown})"

    @property
    def fitted(self) -> bool:
        """Whether ``fit`` or ``restore`` has run."""
        return all(hasattr(self, name) for name in self.learned)

    def check_fitted(self) -> None:
        """Raise ``NotFittedError`` before ``fit``."""
        if not self.fitted:
            raise NotFittedError(f"{type(self).__name__} is not fitted. Call fit(data) first.")

    def cost(self, shape: Shape) -> Cost:
        """What a fit on a log of that size needs; a model of linear cost need not say more."""
        return Cost(gather=500.0 * shape.n_events, bytes=32.0 * shape.n_events)

    def once(self, name: str, source: NDArray[Any], make: Callable[[], FloatArray]) -> FloatArray:
        """What ``make`` derives from the learned array ``source``, made once for each fit and kept as ``name``.

        A service asks for it at every request. It is no part of the state, and a new ``source`` replaces it.
        """
        derived: dict[str, tuple[NDArray[Any], FloatArray]] = self.__dict__.setdefault("_derived", {})
        kept = derived.get(name)
        if kept is None or kept[0] is not source:
            kept = derived[name] = (source, make())
        return kept[1]

    def cosines(self, table: FloatArray, items: IntArray) -> FloatArray:
        """(len(items), n_items) float32 cosine of rows of ``table``, a learned or derived array that stays the same."""

        def directions() -> FloatArray:
            lengths = np.linalg.norm(table, axis=1, keepdims=True)
            return np.asarray(table / np.where(lengths > 0, lengths, 1), dtype=np.float32)

        unit = self.once("directions", table, directions)
        return np.asarray(unit[items] @ unit.T, dtype=np.float32)

    def state(self) -> State:
        """Everything learned, as named arrays and JSON values."""
        self.check_fitted()
        arrays: dict[str, Any] = {}
        values: dict[str, Any] = {}
        for name in self.learned:
            value = getattr(self, name)
            if isinstance(value, sparse.csr_array):
                arrays |= {f"{name}.{part}": getattr(value, part) for part in ("data", "indices", "indptr")}
                values[name] = {"csr_shape": list(value.shape)}
            elif isinstance(value, np.ndarray):
                arrays[name] = value
            else:
                values[name] = value
        return State(arrays, values)

    def restore(self, state: State) -> Self:
        """Take back what ``state`` gave.

        Raises
        ------
        LookupError, ValueError
            Where a part is missing, or a sparse matrix points outside its shape.
        """
        for name in self.learned:
            value = state.arrays[name] if name in state.arrays else state.values[name]
            if isinstance(value, dict) and "csr_shape" in value:
                parts = tuple(state.arrays[f"{name}.{part}"] for part in ("data", "indices", "indptr"))
                value = sparse.csr_array(parts, shape=tuple(value["csr_shape"]))
                value.check_format(full_check=True)  # compiled loops trust its indices
            setattr(self, name, value)
        return self


def generator(rng: np.random.Generator | int | None) -> np.random.Generator:
    """A numpy Generator from a Generator, a seed (>= 0), or None (seed 0)."""
    if isinstance(rng, np.random.Generator):
        return rng
    if rng is not None and rng < 0:
        raise ParameterError.of("fit", "rng", "a Generator or a seed >= 0", rng)
    return np.random.default_rng(0 if rng is None else rng)
