"""Symmetric matrices kept as their lower triangle, row after row: half the memory to read."""

from __future__ import annotations

import numpy as np

from recsmith.kernels import njit
from recsmith.types import IntArray


def diagonal(width: int) -> IntArray:
    """(width,) places of the diagonal in a lower triangle that is kept row after row."""
    steps = np.arange(width)
    return steps * (steps + 3) // 2


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"})
def products(x, out):  # type: ignore[no-untyped-def]
    """Of a triangle P: ``out @ P`` is ``x' P x``."""
    at = 0
    for i in range(len(x)):
        for j in range(i):
            out[at + j] = 2.0 * x[i] * x[j]
        out[at + i] = x[i] * x[i]
        at += i + 1


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"})
def dot(a, b):  # type: ignore[no-untyped-def]
    """Scalar product."""
    total = 0.0
    for i in range(len(a)):
        total += a[i] * b[i]
    return total


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"})
def times(triangle, x, out):  # type: ignore[no-untyped-def]
    """``out = P x`` for a symmetric P kept as its lower triangle."""
    out[:] = 0.0
    at = 0
    for i in range(len(x)):
        total = 0.0
        for j in range(i):
            total += triangle[at + j] * x[j]
            out[j] += triangle[at + j] * x[i]
        out[i] += total + triangle[at + i] * x[i]
        at += i + 1


@njit(cache=True, nogil=True)
def less(triangle, v, scale):  # type: ignore[no-untyped-def]
    """``P -= v v' / scale`` for a symmetric P kept as its lower triangle."""
    at = 0
    for i in range(len(v)):
        share = v[i] / scale
        for j in range(i + 1):
            triangle[at + j] -= share * v[j]
        at += i + 1
