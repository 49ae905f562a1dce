"""What an administrator decides: which bundles answer, and under which rules."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from recsmith.errors import BundleError, ParameterError, RecsmithError
from recsmith.serving.deployment import Active, Deployment, Experiment, Upserts, located, version_of
from recsmith.serving.rules import Rules
from recsmith.serving.settings import Settings
from recsmith.serving.store import Store

log = logging.getLogger("recsmith.serving")
ACTIVE, RULES = "active", "rules"  #: names of what the store keeps of it


class Control:
    """The bundles in use and the rules. ``active`` and ``rules`` are replaced as a whole, never changed."""

    def __init__(self, store: Store, settings: Settings, bundle: Path, mark: int) -> None:
        """``bundle`` answers, unless the store says that another one was activated since it was served.

        ``mark`` is the change of the store up to which items are read; raises as ``Service``.
        """
        self.store, self.settings, self.bundle = store, settings, bundle
        self._items_version = mark
        self._upserts = {i.item_id: (dict(i.metadata), i.available) for i in store.items()}
        self._swap = threading.Lock()
        self._wanted: Mapping[str, Any] = {}  #: what is being loaded for another worker
        told = store.settings()
        self._rules_told = told.get(RULES)
        self.rules = self._read_rules(told)
        self.active = self._start(told)

    def activate(self, name: str) -> Deployment:
        """Load a bundle, answer from it, and tell the other workers. The old one serves until then.

        Raises
        ------
        BundleError
            The bundle cannot be used; nothing has changed.
        """
        deployment = self._load(located(self.settings.bundles, name))
        self._remember(deployment.path, previous=self.active.main.path)
        self._put(Active(deployment))
        return deployment

    def roll_back(self) -> Deployment:
        """Go back to the bundle that was active before.

        Raises
        ------
        BundleError
            There was none, or it cannot be used.
        """
        told = self.store.settings().get(ACTIVE) or {}
        if not told.get("previous"):
            raise BundleError("There is no earlier bundle to go back to. Activate one by its name.")
        deployment = self._load(Path(told["previous"]))
        self._remember(deployment.path, previous=self.active.main.path)
        self._put(Active(deployment))
        return deployment

    def start_experiment(self, experiment: Experiment | None) -> None:
        """Answer from several bundles, or, with None, from the active one again.

        Raises
        ------
        BundleError, ParameterError
            A bundle cannot be used, or no variant is shown; nothing has changed.
        """
        active = self._experiment(self.active.main, experiment)
        told = self.store.settings().get(ACTIVE) or {}
        value = None if experiment is None else experiment.model_dump(mode="json")
        self.store.set_setting(ACTIVE, {**self._told(self.active.main.path), **told, "experiment": value})
        self._put(active)

    def set_rules(self, text: str) -> Rules:
        """Follow new rules from the next answer on.

        Raises
        ------
        DataError, ParameterError
            The text is no set of rules; nothing has changed.
        """
        rules = Rules.read(text, "the rules")
        for deployment in self.active.deployments():
            rules.check(deployment.catalogue)
        self.store.set_setting(RULES, text)
        self.rules = rules
        return rules

    def take(self, told: Mapping[str, Any]) -> None:
        """Follow what another worker told the store; what cannot be followed is logged, and the old stays."""
        if told.get(RULES) != self._rules_told:
            self._rules_told = told.get(RULES)
            try:
                self.rules = self._read_rules(told)
            except (RecsmithError, OSError) as error:
                log.error("new rules cannot be followed here: %s", error)
        self._follow(told)

    def take_items(self, changed: Upserts, mark: int) -> None:
        """Put changed items into every bundle in use."""
        with self._swap:
            self._upserts.update(changed)
            self._items_version = mark
            active = self.active
            new = {d.version: d.with_items(changed, self._items_version) for d in active.deployments()}
            self.active = replace(
                active,
                main=new[active.main.version],
                others={name: new[d.version] for name, d in active.others.items()},
            )

    def _load(self, path: Path) -> Deployment:
        for deployment in self.active.deployments() if hasattr(self, "active") else ():
            if deployment.path == path and deployment.version == version_of(path):
                return deployment
        new = Deployment.load(path, dict(self._upserts), self._items_version, self.settings.signals)
        self.rules.check(new.catalogue)
        return new

    def _put(self, active: Active) -> None:
        """Answer from these bundles, with the items that changed while they were loaded."""
        with self._swap:
            late = {
                d.version: d.with_items(self._upserts, self._items_version)
                for d in active.deployments()
                if d.items_version < self._items_version
            }
            others = {name: late.get(d.version, d) for name, d in active.others.items()}
            self.active = replace(active, main=late.get(active.main.version, active.main), others=others)

    def _told(self, path: Path) -> dict[str, Any]:
        return {"path": str(path), "version": version_of(path), "command": version_of(self.bundle)}

    def _remember(self, path: Path, previous: Path) -> None:
        self.store.set_setting(ACTIVE, {**self._told(path), "previous": str(previous), "experiment": None})

    def _start(self, told: Mapping[str, Any]) -> Active:
        """The bundle of the command line, or what was activated since it was first served."""
        wanted = told.get(ACTIVE) or {}
        if wanted.get("command") == version_of(self.bundle):
            try:
                main = self._load(Path(wanted["path"]))
                experiment = wanted.get("experiment")
                return self._experiment(main, None if experiment is None else Experiment(**experiment))
            except (RecsmithError, OSError) as error:
                log.error("what was active cannot be loaded, so %s answers: %s", self.bundle, error)
        return Active(self._load(self.bundle))

    def _experiment(self, main: Deployment, experiment: Experiment | None) -> Active:
        if experiment is None:
            return Active(main)
        if not any(v.share > 0 and not v.shadow for v in experiment.variants.values()):
            raise ParameterError(
                f"The experiment {experiment.name!r} has no variant with a share that is shown."
            )
        others = {
            v.bundle: main if v.bundle == main.name else self._load(located(self.settings.bundles, v.bundle))
            for v in experiment.variants.values()
        }
        return Active(main, experiment, others)

    def _follow(self, told: Mapping[str, Any]) -> None:
        """Load what another worker activated, beside the answers; the old bundle serves until it is there."""
        wanted = told.get(ACTIVE)
        if wanted is None:
            return
        experiment = wanted.get("experiment")
        mine = self.active.experiment
        same = (None if mine is None else mine.model_dump(mode="json")) == experiment
        if same and wanted["version"] == self.active.main.version:
            return

        self._wanted = wanted

        def load() -> None:
            try:
                main = self._load(Path(wanted["path"]))
                active = self._experiment(main, None if experiment is None else Experiment(**experiment))
                if self._wanted is wanted:  # nothing else was activated while it was loaded
                    self._put(active)
            except (RecsmithError, OSError) as error:
                log.error("%s was activated and cannot be loaded here: %s", wanted["path"], error)

        threading.Thread(target=load, name="recsmith-load", daemon=True).start()

    def _read_rules(self, told: Mapping[str, Any]) -> Rules:
        if isinstance(text := told.get(RULES), str):
            return Rules.read(text, "the rules")
        if self.settings.rules is not None:
            return Rules.read(self.settings.rules.read_text(encoding="utf-8"), str(self.settings.rules))
        return Rules()
