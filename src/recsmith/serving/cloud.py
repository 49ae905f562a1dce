"""The entry point of a container in a managed cloud: ``python -m recsmith.serving.cloud PROVIDER``.

It reads what the provider says in the environment and serves at the port, and from the folder, that the provider
wants. Variables ``RECSMITH_...`` are settings as everywhere, and win.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from recsmith.bundle_format import MANIFEST, read_manifest
from recsmith.errors import ParameterError, RecsmithError
from recsmith.serving.origins import EVERY
from recsmith.serving.settings import Settings
from recsmith.serving.worker import run

_BAKED = "/bundle"  # where an image holds its bundle


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """What a cloud does with a container."""

    port: int
    """The port where the variable ``port_variable`` says nothing."""
    port_variable: str
    bundle: str = _BAKED
    """The folder of the model where the variable ``bundle_variable`` says nothing."""
    bundle_variable: str | None = None
    auth: Literal["keys", "off"] = "off"
    """off where nobody reaches the container but through the provider, which asks who he is."""


PROVIDERS: Mapping[str, Provider] = {
    "sagemaker": Provider(port=8080, port_variable="SAGEMAKER_BIND_TO_PORT", bundle="/opt/ml/model"),
    "vertex": Provider(port=8080, port_variable="AIP_HTTP_PORT"),
    "azure": Provider(port=31311, port_variable="PORT", bundle_variable="AZUREML_MODEL_DIR"),
    "lambda": Provider(port=8080, port_variable="PORT", auth="keys"),
}


@dataclass(frozen=True, slots=True)
class Launch:
    """What is served, and where."""

    settings: Settings
    bundle: Path
    port: int

    @classmethod
    def of(cls, name: str, environment: Mapping[str, str], bundle: Path | None = None) -> Launch:
        """What the environment of a provider says; ``bundle`` in place of the provider's folder.

        Events go to a file in the folder for temporary files where no ``RECSMITH_STORE_URL`` is set.

        Raises
        ------
        ParameterError
            An unknown provider, a port that is none, or a wrong setting.
        BundleError
            There is no bundle, or more than one.
        """
        if name not in PROVIDERS:
            raise ParameterError.unknown("provider", name, PROVIDERS)
        provider = PROVIDERS[name]
        defaults: dict[str, Any] = {
            "auth": provider.auth,
            "allowed_hosts": (EVERY,),  # the provider's own
            "store_url": f"sqlite:///{tempfile.gettempdir()}/recsmith.db",
        }
        if bundle is None:
            bundle = Path(environment.get(provider.bundle_variable or "") or provider.bundle)
        return cls(
            settings=Settings.load(environment=environment, defaults=defaults),
            bundle=_located(bundle),
            port=_port(provider.port_variable, environment.get(provider.port_variable) or str(provider.port)),
        )


def _port(variable: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 1 << 16):
        raise ParameterError.of("the environment", variable, "a port, 1 to 65535", text)
    return int(text)


def _located(folder: Path) -> Path:
    """The bundle: the folder itself or the only bundle in it, since some clouds unpack a folder into theirs."""
    if not (folder / MANIFEST).is_file():
        inner = [path.parent for path in folder.glob(f"*/{MANIFEST}")]
        if len(inner) == 1:
            folder = inner[0]
    read_manifest(folder)
    return folder


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until a signal comes; the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m recsmith.serving.cloud", description="Serve a bundle in a managed cloud."
    )
    parser.add_argument("provider", choices=PROVIDERS)
    parser.add_argument("verb", nargs="?", choices=["serve"], help="SageMaker adds it; it changes nothing")
    parser.add_argument("--bundle", type=Path, help="a folder in place of the provider's")
    given = parser.parse_intermixed_args(arguments)
    try:
        launch = Launch.of(given.provider, os.environ, given.bundle)
        run(launch.settings, launch.bundle, "0.0.0.0", launch.port, workers=1)
    except RecsmithError as error:
        print(f"Error: {error}", file=sys.stderr)
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())
