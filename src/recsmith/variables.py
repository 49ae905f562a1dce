"""The variables of the environment that recsmith reads, but for those of the service's settings."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from recsmith.errors import ParameterError

PREFIX = "RECSMITH_"
#: What each is for.
VARIABLES: Mapping[str, str] = {
    "RECSMITH_DATA_DIR": "folder of data sets",
    "RECSMITH_THREADS": "worker threads",
    "RECSMITH_DEBUG": "tracebacks of errors",
    "RECSMITH_EXTRA_DATA": "folder of data sets for tests and benchmarks",
}
#: What Kubernetes and Docker tell containers of services named ``recsmith`` or ``recsmith-...``.
_LINK = re.compile(r"\w+_(SERVICE_(HOST|PORT\w*)|PORT_\d+_(TCP|UDP|SCTP)\w*)=|\w+_PORT=\w+://")


def check_variables(environment: Mapping[str, str], also: Collection[str] = ()) -> None:
    """Refuse a variable with recsmith's prefix that nothing reads: it is misspelt, and what it says would not count.

    Parameters
    ----------
    environment
        The variables.
    also
        Names that are known beside ``VARIABLES``.

    Raises
    ------
    ParameterError
        There is one; the nearest known name is offered.
    """
    known = {*VARIABLES, *also}
    for name, value in environment.items():
        if name.startswith(PREFIX) and name not in known and not _LINK.match(f"{name}={value}"):
            raise ParameterError.unknown("variable of the environment", name, known)
