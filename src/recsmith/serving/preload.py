"""What the process imports that workers are forked from: they share its memory.

It opens no bundle and no connection, and computes nothing in threads.
"""

from __future__ import annotations

import ctypes
import gc
import os
import signal

import numpy as np

from recsmith.serving import worker
from recsmith.topk import TopKBlock

__all__ = ["worker"]
_PR_SET_PDEATHSIG = 1


def _in_worker() -> None:
    """A worker ends by a signal, also where the process that it was forked from has ended: nobody would stop it."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


signal.signal(
    signal.SIGTERM, signal.SIG_IGN
)  # sent to all of the service: its workers drain, and then it ends
os.register_at_fork(after_in_child=_in_worker)

# Numba prepares itself at the first call of a compiled function, which takes about 60 MB.
TopKBlock(1, 1).update(
    np.zeros((1, 1), dtype=np.float32), 0, np.zeros(2, dtype=np.int64), np.zeros(0, dtype=np.int32)
)
gc.collect()
gc.freeze()  # the collector would write to pages that are shared
