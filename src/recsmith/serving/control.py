"""What an administrator decides: which bundles answer, and under which rules."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from recsmith.errors import BundleError, ConflictError, RecsmithError
from recsmith.serving import activation
from recsmith.serving.activation import ACTIVE, State
from recsmith.serving.catalogue import Upsert, Upserts, upserts
from recsmith.serving.deployment import Active, Deployment, Experiment, located, version_of
from recsmith.serving.rules import Rules
from recsmith.serving.settings import Settings
from recsmith.serving.store import Store

log = logging.getLogger("recsmith.serving")
RULES = "rules"  #: name of the rules among the store's settings
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0  # seconds between attempts to load a bundle


@dataclass(frozen=True, slots=True)
class Behind:
    """A bundle was activated and this worker cannot load it; the earlier one answers."""

    wanted: str  #: version of the bundle
    ab_test: str | None  #: name of the A/B test that should run
    reason: str
    pause: float = _FIRST_PAUSE  #: seconds from one attempt to the next
    again: float = 0.0  #: moment of the next attempt, by the monotonic clock


class Control:
    """The bundles in use and the rules. ``active`` and ``rules`` are replaced as a whole, never changed."""

    def __init__(self, store: Store, settings: Settings, bundle: Path, mark: int) -> None:
        """``bundle`` answers, unless the store says that another one was activated since it was served.

        ``mark`` is the change of the store up to which items are read; raises as ``Service``.
        """
        self.store, self.settings, self.bundle = store, settings, bundle
        self._at_start = activation.alone(bundle)  #: the state before anything else was activated
        self.behind: Behind | None = None  #: None while what was activated answers
        self._items_version = mark
        self._upserts: dict[str, Upsert] = dict(upserts(store.items()))
        self._swap = threading.RLock()
        self._wanted: State = {}  #: what the store says
        self._loading: threading.Thread | None = None
        told = store.settings()
        self._rules_told = told.get(RULES)
        self.rules = self._read_rules(told)
        self.active = self._start(told)

    def activate(self, name: str, *, variant: str | None = None, end_ab_test: bool = False) -> Deployment:
        """Load a bundle, answer from it, and have the other workers follow. The old one serves until then.

        Parameters
        ----------
        name
            The bundle, in the folder of bundles.
        variant
            The variant of the running A/B test that it is to answer; who is in which variant stays as it is. None:
            it is the active bundle.
        end_ab_test
            End the A/B test that runs.

        Raises
        ------
        BundleError, ParameterError
            The bundle cannot be used, the A/B test would end, or has no such variant; nothing has changed.
        """
        deployment = self._load(located(self.settings.bundles, name))
        if variant is None:
            self._decide(lambda state: activation.activated(state, deployment.path, end_ab_test=end_ab_test))
        else:
            self._decide(lambda state: activation.with_variants(state, name, [variant]))
        return deployment

    def roll_back(self, *, end_ab_test: bool = False) -> Deployment:
        """Go back to the bundle that was active before.

        Raises
        ------
        BundleError
            There was none, it cannot be used, or the A/B test that runs would end.
        """
        previous = self._state().get("previous")
        if not previous:
            raise BundleError("There is no earlier bundle to go back to. Activate one by its name.")
        deployment = self._load(Path(previous))
        self._decide(lambda state: activation.activated(state, deployment.path, end_ab_test=end_ab_test))
        return deployment

    def start_experiment(self, experiment: Experiment | None, *, end_ab_test: bool = False) -> None:
        """Run an A/B test, or, with None, end the one that runs.

        The test that runs may be changed by its own name; another one starts only where ``end_ab_test`` is set.

        Raises
        ------
        BundleError, ParameterError
            A bundle cannot be used, no variant is shown, or another test would end; nothing has changed.
        """
        self._experiment(self.active.main, experiment)  # refuses what cannot be answered
        self._decide(lambda state: activation.with_test(state, experiment, end_ab_test=end_ab_test))

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
            before, main = self.active, late.get(active.main.version, active.main)
            self.active, self.behind = replace(active, main=main, others=others), None
        _log_changes(before, active)

    def _state(self) -> State:
        """What the store says of the bundles in use."""
        return activation.current(self.store.settings().get(ACTIVE), self._at_start)

    def _decide(self, change: Callable[[State], State]) -> None:
        """Change what the store says, and follow it here at once."""
        self._wanted = state = activation.revised(self.store, self._at_start, change)
        try:
            self._put(self._loaded(state))
        except (RecsmithError, OSError) as error:  # of another bundle of the A/B test
            self._fall_behind(state, error)

    def _loaded(self, state: State) -> Active:
        """The bundles of a state."""
        return self._experiment(self._load(Path(state["path"])), activation.running(state))

    def _start(self, told: Mapping[str, Any]) -> Active:
        """The bundle of the command line, or what was activated since it was first served."""
        self._wanted = state = activation.current(told.get(ACTIVE), self._at_start)
        try:
            return self._loaded(state)
        except (RecsmithError, OSError) as error:
            if state == self._at_start:
                raise
            self._fall_behind(state, error)
        return Active(self._load(self.bundle))

    def _experiment(self, main: Deployment, experiment: Experiment | None) -> Active:
        if experiment is None:
            return Active(main)
        if not any(v.share > 0 and not v.shadow for v in experiment.variants.values()):
            raise ConflictError(
                f"The experiment {experiment.name!r} has no variant with a share that is shown."
            )
        others = {
            v.bundle: main if v.bundle == main.name else self._load(located(self.settings.bundles, v.bundle))
            for v in experiment.variants.values()
        }
        return Active(main, experiment, others)

    def _follow(self, told: Mapping[str, Any]) -> None:
        """Load what another worker activated, beside the answers; the old bundle serves until it is there."""
        state = activation.current(told.get(ACTIVE), self._at_start)
        if state != self._wanted:
            self._wanted, self.behind = state, None
            self._load_beside()

    def look(self) -> None:
        """Try again to load what was activated, where that failed and it is time."""
        behind = self.behind
        if behind is not None and time.monotonic() >= behind.again:
            self._load_beside()

    def _load_beside(self) -> None:
        """Load what is wanted in a thread of its own, unless one is at it."""
        with self._swap:
            if self._loading is None:
                self._loading = threading.Thread(target=self._catch_up, name="recsmith-load", daemon=True)
                self._loading.start()

    def _catch_up(self) -> None:
        """Load what is wanted; where something else was activated meanwhile, that."""
        while True:
            state, failure = self._wanted, None
            try:
                active = self._loaded(state)
            except Exception as error:  # whatever it is, the next attempt comes
                failure = error
            with self._swap:
                if self._wanted is not state:
                    continue
                if failure is None:
                    self._put(active)
                else:
                    self._fall_behind(state, failure)
                self._loading = None
                return

    def _fall_behind(self, state: State, error: Exception) -> None:
        """Remember that a state cannot be followed, and when to try again."""
        before, test = self.behind, state.get("experiment") or {}
        pause = _FIRST_PAUSE if before is None else min(2 * before.pause, _LONGEST_PAUSE)
        if before is None:
            log.error(
                "%s was activated and cannot be loaded here; it is tried again: %s", state["path"], error
            )
        self.behind = Behind(state["version"], test.get("name"), str(error), pause, time.monotonic() + pause)

    def _read_rules(self, told: Mapping[str, Any]) -> Rules:
        if isinstance(text := told.get(RULES), str):
            return Rules.read(text, "the rules")
        if self.settings.rules is not None:
            return Rules.read(self.settings.rules.read_text(encoding="utf-8"), str(self.settings.rules))
        return Rules()


def _log_changes(before: Active, after: Active) -> None:
    """A line for each bundle and A/B test that came or went."""
    if before.main.version != after.main.version:
        log.info("%s answers in the place of %s", after.main.version, before.main.version)
    old, new = before.experiment, after.experiment
    if old is not None and (new is None or new.name != old.name):
        log.warning("the A/B test %r has ended", old.name)
    if new is not None and (old is None or new.name != old.name):
        log.info("the A/B test %r has started: %s", new.name, ", ".join(new.variants))
    elif new is not None and new != old:
        log.info("the A/B test %r was changed: %s", new.name, new.model_dump_json())
