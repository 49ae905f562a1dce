"""Losses of two models or more. Each gives the sum over its rows; the training loop divides by their number."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

_CHUNK_BYTES = 1 << 23  # of logits at once: they stay in a cache


def softmax_over_items(vectors: Tensor, table: Tensor, targets: Tensor) -> Tensor:
    """Sum of ``-log softmax(vectors table')[target]``, without ever holding all logits.

    The gradient is made together with the loss, chunk by chunk: logits that would be (rows, items) live in a cache
    for as long as they are needed.

    Parameters
    ----------
    vectors
        (rows, d) float.
    table
        (items, d) float.
    targets
        (rows,) int64 row of ``table`` that was right.
    """
    if not torch.is_grad_enabled():
        return functional.cross_entropy(vectors @ table.T, targets, reduction="sum")
    return _SoftmaxOverItems.apply(vectors, table, targets)  # type: ignore[no-any-return, no-untyped-call]


class _SoftmaxOverItems(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, vectors: Tensor, table: Tensor, targets: Tensor) -> Tensor:
        rows = max(1, _CHUNK_BYTES // (4 * len(table)))
        if vectors.is_cuda:
            rows *= 64
        to_vectors, to_table = torch.empty_like(vectors), torch.zeros_like(table)
        logits = vectors.new_empty(min(rows, len(vectors)), len(table))
        softmax = torch.empty_like(logits)
        total = vectors.new_zeros((), dtype=torch.float32)
        for start in range(0, len(vectors), rows):
            part, right = vectors[start : start + rows], targets[start : start + rows, None]
            torch.mm(part, table.T, out=logits[: len(part)])
            shares = torch.softmax(logits[: len(part)], 1, out=softmax[: len(part)])
            total -= shares.gather(1, right).clamp_min(1e-30).log().sum()
            shares.scatter_add_(1, right, shares.new_full((), -1.0).expand(right.shape))
            torch.mm(shares, table, out=to_vectors[start : start + rows])
            to_table.addmm_(shares.T, part)
        ctx.save_for_backward(to_vectors, to_table)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        to_vectors, to_table = ctx.saved_tensors
        return to_vectors * gradients[0], to_table * gradients[0], None


def sampled_softmax(
    positive: Tensor, negatives: Tensor, log_q: Tensor | None = None, log_q_negatives: Tensor | None = None
) -> Tensor:
    """Sum of ``-log softmax`` of the positive among itself and the negatives.

    With ``log_q``, the logarithm of how often an item is drawn, each logit is corrected by it, so that the loss aims
    at the full softmax: Y. Bengio and J.-S. Senecal, "Adaptive Importance Sampling to Accelerate Training of a
    Neural Probabilistic Language Model", IEEE TNN 2008; for in-batch negatives X. Yi et al., RecSys 2019.

    Parameters
    ----------
    positive
        (rows,) logits.
    negatives
        (rows, k) logits; -inf where a negative does not count.
    log_q
        (rows,) of the positives.
    log_q_negatives
        (rows, k), or what broadcasts to it.
    """
    if log_q is not None:
        positive = positive - log_q
    if log_q_negatives is not None:
        negatives = negatives - log_q_negatives
    logits = torch.cat([positive[:, None], negatives], 1)
    return (torch.logsumexp(logits, 1) - positive).sum()


def bce(positive: Tensor, negatives: Tensor) -> Tensor:
    """Sum over rows of ``-log sigmoid(positive) - sum over k of log sigmoid(-negative)``; (rows,) and (rows, k)."""
    return functional.softplus(-positive).sum() + functional.softplus(negatives).sum()


def gbce(positive: Tensor, negatives: Tensor, n_items: int, calibration: float) -> Tensor:
    """Generalized binary cross-entropy, which undoes the overconfidence that sampled negatives bring.

    A. V. Petrov and C. Macdonald, "gSASRec: Reducing Overconfidence in Sequential Recommendation Trained with Negative
    Sampling", RecSys 2023, equations 19 and 20: ``-beta log sigmoid(positive)`` with ``beta = alpha (t (1 - 1 / alpha)
    + 1 / alpha)`` and ``alpha = k / (n_items - 1)``.

    Parameters
    ----------
    positive, negatives
        (rows,) and (rows, k) logits.
    n_items
        Items that negatives are drawn from.
    calibration
        t, 0 (binary cross-entropy) to 1 (probabilities as of the full softmax).
    """
    alpha = negatives.shape[1] / max(n_items - 1, 1)
    beta = alpha * (calibration * (1 - 1 / alpha) + 1 / alpha)
    return beta * functional.softplus(-positive).sum() + functional.softplus(negatives).sum()


def bpr(positive: Tensor, negative: Tensor) -> Tensor:
    """Sum of ``-log sigmoid(positive - negative)`` (Rendle et al., UAI 2009, section 4); equal shapes."""
    return functional.softplus(negative - positive).sum()
