"""What the rows of a block share: the history of a user, the audience of an item, the columns of a table."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from scipy import sparse

from recsmith.data.features import FeatureEncoder


def scaled(matrix: Any) -> Any:
    """A copy of a CSR matrix with ones where it has entries, each row over the root of their number.

    Koren's ``|N(u)|^(-1/2)`` ("Factorization Meets the Neighborhood", KDD 2008, equation 15).
    """
    out = matrix.copy()
    out.sum_duplicates()
    counts = np.diff(out.indptr)
    out.data = np.repeat(np.maximum(counts, 1) ** -0.5, counts).astype(np.float32)
    return out


def attributes(table: pl.DataFrame | None, n_rows: int, key: str) -> tuple[Any, list[Any]]:
    """Columns of a table as features: (n_rows, p) CSR of all, and a CSR for each column that says something."""
    nothing = sparse.csr_array((n_rows, 0), dtype=np.float32)
    if table is None:
        return nothing, []
    encoder = FeatureEncoder.fit(table.drop(key, strict=False))
    matrix = encoder.transform(table)
    groups = [sparse.csr_array(matrix[:, part]) for part in encoder.parts()]
    return (matrix, groups) if groups else (nothing, [])
