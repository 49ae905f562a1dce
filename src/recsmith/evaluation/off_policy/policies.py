"""Target policies whose probabilities are not written down but drawn."""

from __future__ import annotations

import numpy as np

from recsmith import parallel
from recsmith.errors import ParameterError
from recsmith.types import FloatArray

_DRAWS = 1 << 12  # lists per task


def thompson_probabilities(
    alpha: FloatArray, beta: FloatArray, *, n_positions: int = 1, draws: int = 100_000, seed: int = 0
) -> FloatArray:
    """How often Beta-Bernoulli Thompson sampling puts each action at each position, by simulation.

    O. Chapelle, L. Li. An empirical evaluation of Thompson sampling. NeurIPS 2011, algorithm 2; the positions of a list
    take the largest draws in order.

    Parameters
    ----------
    alpha, beta
        (n_actions,) parameters > 0 of the Beta distributions.
    draws
        Lists drawn, >= 1. The standard error of a probability p is ``sqrt(p (1 - p) / draws)``.

    Returns
    -------
    numpy.ndarray
        (1, n_actions, n_positions) float64: a target that is the same in every round.

    Raises
    ------
    ParameterError
        Parameters that are not positive or of different lengths, or numbers out of range.
    """
    a, b = np.asarray(alpha, dtype=np.float64), np.asarray(beta, dtype=np.float64)
    if a.ndim != 1 or a.shape != b.shape or not len(a) or not ((a > 0).all() and (b > 0).all()):
        raise ParameterError.of(
            "thompson_probabilities", "alpha and beta", "positive, one for each action", (a.shape, b.shape)
        )
    if not 1 <= n_positions <= len(a):
        raise ParameterError.of("thompson_probabilities", "n_positions", f"from 1 to {len(a)}", n_positions)
    if draws < 1:
        raise ParameterError.of("thompson_probabilities", "draws", ">= 1", draws)

    def block(rows: slice) -> FloatArray:
        rng = np.random.default_rng([seed, rows.start])
        drawn = rng.beta(a, b, size=(rows.stop - rows.start, len(a)))
        best = np.argpartition(-drawn, n_positions - 1, axis=1)[:, :n_positions]
        order = np.argsort(-np.take_along_axis(drawn, best, axis=1), axis=1)
        best = np.take_along_axis(best, order, axis=1)
        counts = [np.bincount(best[:, k], minlength=len(a)) for k in range(n_positions)]
        return np.stack(counts, axis=1).astype(np.float64)

    counted: FloatArray = sum(parallel.run(block, parallel.blocks(draws, _DRAWS)))
    return counted[None] / draws
