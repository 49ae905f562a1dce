"""What the store says of the bundles that answer: the active one, the one before, and the A/B test that runs.

It is one setting, a JSON object: ``path`` and ``version`` of the active bundle, ``command`` (the version of the bundle
that the service was started with), ``previous`` (the path to go back to) and ``experiment`` (an ``Experiment``, or
null). The functions here say what becomes of it; none of them ends an A/B test that it was not told to end.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from recsmith.errors import BundleError, ParameterError
from recsmith.serving.deployment import Experiment, version_of
from recsmith.serving.store import Store

ACTIVE = "active"  #: name of the setting

State: TypeAlias = dict[str, Any]
"""A value of the setting."""


class RunningTestError(BundleError):
    """An A/B test runs, and what was asked would end it."""


@dataclass(frozen=True, slots=True)
class Place:
    """A bundle and where it answers."""

    path: Path
    main: bool  #: it is the active bundle
    variants: tuple[str, ...] = ()  #: of the A/B test that runs


def alone(bundle: Path) -> State:
    """The state of a service that was started with a bundle, before anything else was activated."""
    version = version_of(bundle)
    return {"path": str(bundle.resolve()), "version": version, "command": version}


def current(found: Mapping[str, Any] | None, start: State) -> State:
    """What the store says (``found``); where that was said to a service of another bundle, ``start``."""
    return dict(found) if found and found.get("command") == start["command"] else dict(start)


def running(state: Mapping[str, Any]) -> Experiment | None:
    """The A/B test of a state."""
    found = state.get("experiment")
    return None if found is None else Experiment(**found)


def revised(store: Store, start: State, change: Callable[[State], State]) -> State:
    """Put ``change(state)`` in the place of what the store says; nobody writes in between. Returns the new state."""
    out: State = {}

    def checked(found: Any) -> State:
        out.update(change(current(found, start)))
        return out

    store.revise_setting(ACTIVE, checked)
    return out


def activated(state: State, path: Path, *, end_ab_test: bool) -> State:
    """``path`` is the active bundle.

    Raises
    ------
    RunningTestError
        An A/B test runs and ``end_ab_test`` is False.
    """
    _check_ends(state, end_ab_test)
    new = {"path": str(path.resolve()), "version": version_of(path), "command": state["command"]}
    return {**new, "previous": state["path"], "experiment": None}


def with_test(state: State, experiment: Experiment | None, *, end_ab_test: bool = False) -> State:
    """The A/B test that runs is ``experiment``; None: none does.

    Raises
    ------
    RunningTestError
        Another one runs, by its name, and ``end_ab_test`` is False.
    """
    if experiment is None:
        return {**state, "experiment": None}
    old = running(state)
    if old is not None and old.name != experiment.name:
        _check_ends(state, end_ab_test)
    return {**state, "experiment": experiment.model_dump(mode="json")}


def with_variants(state: State, bundle: str, variants: Collection[str]) -> State:
    """The variants named are answered by ``bundle``, a name; who is in which stays as it is.

    Raises
    ------
    ParameterError
        No A/B test runs, or it has no such variant.
    """
    experiment = running(state)
    if experiment is None:
        raise ParameterError("No A/B test runs, so there are no variants. Leave the variant out.")
    for name in variants:
        if name not in experiment.variants:
            raise ParameterError.unknown(f"variant of {experiment.name!r}", name, experiment.variants)
    changed = {
        name: variant.model_copy(update={"bundle": bundle}) if name in variants else variant
        for name, variant in experiment.variants.items()
    }
    return {
        **state,
        "experiment": experiment.model_copy(update={"variants": changed}).model_dump(mode="json"),
    }


def places(state: State, folder: Path, variant: str | None = None) -> list[Place]:
    """The bundles that answer: the active one first, then those of the A/B test, each once.

    Parameters
    ----------
    folder
        Where the bundles of the A/B test are.
    variant
        The bundle of this variant alone.

    Raises
    ------
    ParameterError
        No A/B test runs, or it has no such variant.
    """
    experiment, main = running(state), Path(state["path"])
    if variant is not None:
        with_variants(state, "", [variant])  # refuses a name that is none
    found = {main: Place(main, main=True)} if variant is None else {}
    for name, one in ({} if experiment is None else experiment.variants).items():
        if variant in (None, name):
            path = main if one.bundle == main.name else folder.resolve() / one.bundle
            before = found.get(path, Place(path, main=False))
            found[path] = Place(path, before.main, (*before.variants, name))
    return list(found.values())


def replaced(state: State, place: Place, new: Path) -> State:
    """``new`` answers where a bundle did; an A/B test goes on.

    Raises
    ------
    BundleError
        The bundle does not answer there any more.
    """
    experiment = running(state)
    answers = {} if experiment is None else experiment.variants
    if (place.main and Path(state["path"]) != place.path) or any(
        name not in answers or answers[name].bundle != place.path.name for name in place.variants
    ):
        raise BundleError(
            f"{place.path.name} was replaced by another bundle meanwhile, so {new.name} is saved and does not "
            "answer. Retrain again, or activate it by its name."
        )
    if place.variants:
        state = with_variants(state, new.name, place.variants)
    if not place.main:
        return state
    return {**state, "path": str(new.resolve()), "version": version_of(new), "previous": state["path"]}


def _check_ends(state: State, end_ab_test: bool) -> None:
    experiment = running(state)
    if experiment is not None and not end_ab_test:
        raise RunningTestError(
            f"The A/B test {experiment.name!r} runs, and this would end it. Put the bundle into one of its variants "
            f"({', '.join(experiment.variants)}), or say that the test is to end: end_ab_test."
        )
