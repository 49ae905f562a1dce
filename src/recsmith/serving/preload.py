"""What the process imports that workers are forked from: they share its memory.

It opens no bundle and no connection, and starts no thread.
"""

from __future__ import annotations

import gc

import numpy as np

from recsmith.serving import worker
from recsmith.topk import TopKBlock

__all__ = ["worker"]

# Numba prepares itself at the first call of a compiled function, which takes about 60 MB.
TopKBlock(1, 1).update(
    np.zeros((1, 1), dtype=np.float32), 0, np.zeros(2, dtype=np.int64), np.zeros(0, dtype=np.int32)
)
gc.collect()
gc.freeze()  # the collector would write to pages that are shared
