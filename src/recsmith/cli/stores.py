"""The service's store, for verbs that only read it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recsmith.errors import DataError, MissingExtraError, ParameterError

if TYPE_CHECKING:
    from recsmith.serving.store import Store


@contextmanager
def reading(url: str, verb: str) -> Iterator[Store]:
    """The store at ``url``, closed afterwards; a SQLite file that is not there is not made.

    Raises
    ------
    DataError
        There is no such file.
    ParameterError
        Another kind of URL.
    MissingExtraError
        The service is not installed.
    """
    try:
        from sqlalchemy import make_url

        from recsmith.serving.store import Store
    except ImportError as error:
        raise MissingExtraError.of(verb, "serve") from error
    if url.startswith("sqlite:///") and (name := make_url(url).database) and not Path(name).is_file():
        raise DataError(
            f"There is no store {name!r}. Wanted the file that the service writes to: sqlite:///PATH."
        )
    with closing(Store.open(url)) as opened:
        yield opened


def refuse_given(options: Mapping[str, Any], kind: str) -> None:
    """Refuse options that are for another kind of input.

    Raises
    ------
    ParameterError
        One of them was given; it is named.
    """
    for option, given in options.items():
        if given:
            raise ParameterError(f"{option} is for {kind}.")
