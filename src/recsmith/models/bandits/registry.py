"""Every policy by name: one visible line each. A test resolves every line."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from recsmith.errors import ParameterError

if TYPE_CHECKING:
    from recsmith.models.bandits.policy import BasePolicy

POLICIES: dict[str, str] = {
    "epsilon-greedy": "recsmith.models.bandits.epsilon_greedy:EpsilonGreedy",
    "linear-epsilon-greedy": "recsmith.models.bandits.epsilon_greedy:LinearEpsilonGreedy",
    "ucb1": "recsmith.models.bandits.ucb1:UCB1",
    "linucb": "recsmith.models.bandits.linucb:LinUCB",
    "hybrid-linucb": "recsmith.models.bandits.linucb:HybridLinUCB",
    "thompson": "recsmith.models.bandits.thompson:Thompson",
    "linear-thompson": "recsmith.models.bandits.thompson:LinearThompson",
}


def policy_class(name: str) -> type[BasePolicy[Any]]:
    """The class of a registered policy.

    Raises
    ------
    ParameterError
        An unknown name; the nearest one is offered.
    """
    if name not in POLICIES:
        raise ParameterError.unknown("policy", name, POLICIES)
    module, _, attribute = POLICIES[name].partition(":")
    found: type[BasePolicy[Any]] = getattr(import_module(module), attribute)
    return found


def create_policy(name: str, **parameters: Any) -> BasePolicy[Any]:
    """A new policy with its parameters, which has learned nothing."""
    return policy_class(name)(**parameters)


def policy_name(policy: object) -> str:
    """The registered name of a policy object.

    Raises
    ------
    ParameterError
        Where its class is not registered.
    """
    path = f"{type(policy).__module__}:{type(policy).__qualname__}"
    for name, known in POLICIES.items():
        if known == path:
            return name
    raise ParameterError(
        f"{path} is not a registered policy. Add its line to recsmith.models.bandits.registry."
    )
