"""How a worker takes in what was committed, and goes on where the store cannot be read.

A request asks the store for changes before it is answered. Once the store did not answer, no request asks: the worker
is behind, and answers from memory, until somebody who need not hurry has read all that it missed.
"""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from recsmith.errors import StorageError
from recsmith.serving.catalogue import upserts
from recsmith.serving.control import Control
from recsmith.serving.events import ApiKey, Item
from recsmith.serving.exploration import Explorer
from recsmith.serving.histories import Histories, Seen
from recsmith.serving.store import Store

log = logging.getLogger("recsmith.serving")


@dataclass(frozen=True, slots=True)
class News:
    """What was committed after a mark, read as a whole before any of it is used."""

    mark: int  #: the newest change
    users: Sequence[str] | None  #: digests of users who did something or were erased; None: any
    erased: Mapping[str, int] | None  #: tombstones; None in these: nothing new
    items: Sequence[Item] | None
    settings: Mapping[str, Any] | None
    keys: Sequence[ApiKey] | None


class Sync:
    """Keeps the parts of a worker up to date with the store."""

    def __init__(
        self, store: Store, histories: Histories, control: Control, explorer: Explorer | None, mark: int
    ) -> None:
        """``mark`` is the change up to which the parts know the store."""
        self._store, self._histories, self._control, self._explorer = store, histories, control, explorer
        self._recovering = threading.Lock()
        self.mark = mark  #: the newest change that was taken in
        self.behind: str | None = None  #: why answers may be behind; None while all is well
        self.on_keys: Callable[[Sequence[ApiKey]], None] = lambda keys: None  #: called with keys that changed

    def refresh(self) -> None:
        """Take in what was committed since the last call, unless the worker is behind; holds the service's lock."""
        if self.behind is not None:
            return
        try:
            news = self._read()
        except StorageError as error:
            self._fall_behind(error)
            return
        if news is not None:
            self._take_in(news)

    def recover(self, lock: threading.RLock) -> None:
        """Catch up where the worker is behind. Answers, which hold ``lock``, are not held up by a silent store."""
        if self.behind is None or not self._recovering.acquire(blocking=False):
            return
        try:
            self._store.history([""], 1)  # what answers read beside the changes
            news = self._read()
        except StorageError as error:
            self.behind = str(error)
            return
        finally:
            self._recovering.release()
        with lock:
            if news is not None:
                self._take_in(news)
            self.behind = None
        log.info("the store is back")

    def seen(self, users: Sequence[str]) -> list[Seen]:
        """What users did; of those who are not in memory, while the worker is behind, only whether they were erased."""
        if users and self.behind is None:
            try:
                return self._histories.get(users)
            except StorageError as error:
                self._fall_behind(error)
        return [self._histories.recall(user) for user in users]

    def _fall_behind(self, error: StorageError) -> None:
        log.error("the store cannot be read; answers go on without new events: %s", error)
        self.behind = str(error)

    def _read(self) -> News | None:
        """What is new; None where nothing is."""
        changes = self._store.changes(self.mark)
        if changes.mark == self.mark:
            return None
        kinds: dict[str, list[str]] = defaultdict(list)
        for change in changes.rows:
            kinds[change.kind].append(change.key)
        everything, store = changes.lost, self._store
        return News(
            mark=changes.mark,
            users=None if everything else [*kinds["user"], *kinds["erased"]],
            erased=store.erased() if everything or kinds["erased"] else None,
            items=store.items(None if everything else kinds["item"]) if everything or kinds["item"] else None,
            settings=store.settings() if everything or kinds["setting"] else None,
            keys=store.keys() if everything or kinds["key"] else None,
        )

    def _take_in(self, news: News) -> None:
        if news.erased is not None:
            self._histories.erased = news.erased
        self._histories.forget(news.users)
        if news.items is not None:
            self._control.take_items(upserts(news.items), news.mark)
        if news.keys is not None:
            self.on_keys(news.keys)
        if news.settings is not None:
            self._control.take(news.settings)
            if self._explorer is not None:
                self._explorer.take(news.settings)
        self.mark = news.mark
