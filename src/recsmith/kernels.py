"""The decorator of every compiled loop: ``numba.njit``, which also works where nothing can be written.

``numba.njit(cache=True)`` raises at import when neither ``NUMBA_CACHE_DIR``, the installed package nor the
home folder can be written, as in a read-only container. Such kernels are compiled once for each process
instead, and ``recsmith doctor`` says so. No other folder is tried: compiled code is run as it is read, so
it must not lie where another user could put it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba


def njit(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """``numba.njit``; a kernel that cannot be kept on disk is compiled without ``cache``.

    Parameters
    ----------
    **options
        Those of ``numba.njit``.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        try:
            return numba.njit(**options)(function)
        except RuntimeError as error:
            if "no locator available" not in str(error):
                raise
            return numba.njit(**{**options, "cache": False})(function)

    return decorate
