"""Every error that recsmith raises on purpose.

::

    RecsmithError
    ├── InputError (ValueError)         what the caller gave is wrong: exit status 2
    │   ├── DataError                   a file, column, row or frame
    │   ├── ParameterError              a parameter, option or name
    │   │   └── ConflictError           one that is well formed, and does not fit what is there
    │   ├── UnknownIdError (LookupError)  an id that the log does not hold
    │   └── BundleError                 a bundle on disk that must not be used
    ├── StorageError                    the disk is full or refuses: exit status 1
    ├── NotFittedError                  a model was asked before it was fitted: exit status 1
    ├── TrainingError                   a training cannot go on: exit status 1
    ├── FetchError                      a download failed: exit status 1
    └── MissingExtraError (ImportError) an optional dependency is not installed: exit status 1

A message says what is wrong, what was wanted, what was found and what to do.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Self

from recsmith.redaction import redacted


class RecsmithError(Exception):
    """Base of all errors of recsmith."""

    exit_status = 1


class InputError(RecsmithError, ValueError):
    """The caller's input is wrong."""

    exit_status = 2


class DataError(InputError):
    """A file, column, row or frame is not what it should be."""


class ParameterError(InputError):
    """A parameter or option has a value that cannot be used."""

    @classmethod
    def of(cls, owner: str, name: str, wanted: str, got: object) -> Self:
        """Build the house sentence.

        ``The 'reg' parameter of EASE must be > 0. Got -1 instead.``
        """
        return cls(f"The '{name}' parameter of {owner} must be {wanted}. Got {redacted(repr(got))} instead.")

    @classmethod
    def unknown(cls, kind: str, name: str, known: Iterable[str]) -> Self:
        """``name`` is none of ``known``; the nearest one is offered."""
        options = sorted(known)
        near = get_close_matches(name, options, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        return cls(f"There is no {kind} named {name!r}.{hint} Known: {', '.join(options)}.")


class ConflictError(ParameterError):
    """A parameter is well formed, and does not fit what is there: a field that no item has."""


class UnknownIdError(InputError, LookupError):
    """An id is not in the log that the model was trained on."""


class BundleError(InputError):
    """A bundle is damaged, unsafe, or of a format that this version does not read."""


class StorageError(RecsmithError):
    """Something could not be written; what was there before is whole."""


class NotFittedError(RecsmithError):
    """A model was asked for scores before ``fit``."""


class TrainingError(RecsmithError):
    """A training cannot go on: its loss is not a number."""


class FetchError(RecsmithError):
    """A data set could not be downloaded or did not match its checksum."""


class MissingExtraError(RecsmithError, ImportError):
    """A feature needs an optional dependency."""

    @classmethod
    def of(cls, feature: str, extra: str) -> MissingExtraError:
        """Names the command that installs what is missing."""
        return cls(f"{feature} needs the extra {extra!r}. Install it: pip install 'recsmith[{extra}]'")
