"""``recsmith serve`` and ``recsmith keys``: the service, and who may ask it."""

from __future__ import annotations

import itertools
import re
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from recsmith.cli.console import Output
from recsmith.cli.options import Json
from recsmith.errors import DataError, MissingExtraError, ParameterError
from recsmith.redaction import redacted_url
from recsmith.tables import Table

if TYPE_CHECKING:
    from recsmith.evaluation.comparison import Comparison
    from recsmith.recommend import Pipeline
    from recsmith.serving.activation import Place
    from recsmith.serving.settings import Settings
    from recsmith.serving.store import Store

_DEMO = Path("bundles/demo")
_DEMO_MODEL: dict[str, Any] = {"reg": 1000, "half_life": 5}

_Store = Annotated[
    str | None, typer.Option("--store", metavar="URL", help="sqlite:///FILE or postgresql://...")
]
_Config = Annotated[Path | None, typer.Option("--config", metavar="FILE", help="YAML file of settings.")]


def serve(
    bundle: Annotated[
        Path | None, typer.Argument(help="A folder that 'train' wrote.", metavar="BUNDLE", show_default=False)
    ] = None,
    demo: Annotated[
        bool, typer.Option("--demo", help="Train on MovieLens-100K first, and serve that.")
    ] = False,
    host: Annotated[str, typer.Option(help="Address to listen at; 0.0.0.0 for all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen at.")] = 8000,
    workers: Annotated[int, typer.Option(min=1, max=256, help="Processes.")] = 1,
    store: _Store = None,
    redis: Annotated[str | None, typer.Option(metavar="URL", help="Redis that workers share.")] = None,
    bundles: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Bundles that may be activated; the one of BUNDLE.")
    ] = None,
    rules: Annotated[Path | None, typer.Option(metavar="FILE", help="YAML file of rules.")] = None,
    auth: Annotated[
        str | None,
        typer.Option(metavar="keys|off", help="Whether an API key is wanted; off at a loopback address."),
    ] = None,
    config: _Config = None,
) -> None:
    """Answer over HTTP: recommendations, feedback that counts at once, rules, reasons, and a page to look at."""
    output = Output()
    if (bundle is None) == (not demo):
        raise ParameterError("serve wants a BUNDLE, or --demo to train one on MovieLens-100K.")
    try:
        from recsmith.serving.origins import is_loopback
        from recsmith.serving.settings import Settings
        from recsmith.serving.worker import run
    except ImportError as error:
        raise MissingExtraError.of("recsmith serve", "serve") from error
    path = _demo(output) if bundle is None else bundle
    from recsmith.bundle_format import read_manifest

    read_manifest(path)
    settings = Settings.load(
        config,
        store_url=store,
        redis_url=redis,
        bundles=bundles,
        rules=rules,
        auth=auth,
        defaults={"bundles": path.resolve().parent, "auth": "off" if is_loopback(host) else "keys"},
    )
    _ready(output, settings, path, host, port)
    run(settings, path, host, port, workers)


def _demo(output: Output) -> Path:
    """A bundle of MovieLens-100K, trained where it is not there yet."""
    if _DEMO.exists():
        return _DEMO
    from recsmith.cli.options import Source
    from recsmith.data.dataset import Dataset
    from recsmith.experiment.train import train

    output.note("Fetching MovieLens-100K and training EASE with recency on it, once.")
    train("ease", Dataset.from_log(Source(data="ml-100k", path=None).log()), **_DEMO_MODEL).save(_DEMO)
    return _DEMO


def _ready(output: Output, settings: Settings, bundle: Path, host: str, port: int) -> None:
    name = {"0.0.0.0": "localhost", "::": "localhost"}.get(host, f"[{host}]" if ":" in host else host)
    where = f"http://{name}:{port}"
    output.note(
        f"Serving {bundle} at {where}: the page at /, the documentation at /docs. "
        f"Events go to {redacted_url(settings.store_url)}."
    )
    if settings.auth == "off":
        output.note(
            "Authentication is off: who reaches this address may do all (--auth keys asks for an API key)."
        )
    else:
        output.note("An API key is needed. Make one: recsmith keys add NAME --role admin --store URL")


def retrain(
    bundle: Annotated[
        Path, typer.Argument(help="The bundle that 'serve' was started with.", metavar="BUNDLE")
    ],
    recipe: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A recipe to fit; otherwise the bundle's own.")
    ] = None,
    look: Annotated[
        bool, typer.Option("--no-promote", help="Judge and save, and leave the service as it is.")
    ] = False,
    variant: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only this variant of the A/B test that runs.")
    ] = None,
    end_ab_test: Annotated[
        bool, typer.Option("--end-ab-test", help="End the A/B test that runs; the active bundle answers all.")
    ] = False,
    store: _Store = None,
    config: _Config = None,
    as_json: Json = False,
) -> None:
    """Learn from the service's events; promote the new bundle where it is not worse on the newest of them.

    While an A/B test runs, every bundle of it is retrained, each within its variants.
    """
    output = Output(as_json)
    if variant is not None and end_ab_test:
        raise ParameterError(
            "--variant retrains within the A/B test and --end-ab-test ends it. Give one of them."
        )
    opened, settings = _open(store, config)
    from recsmith.experiment.recipe import Recipe, read_document
    from recsmith.serving import activation
    from recsmith.serving import retrain as work

    state = work.state(opened, bundle)
    test = activation.running(state)
    if end_ab_test:
        state = activation.with_test(state, None)
    places = activation.places(state, settings.bundles or bundle.parent, variant)
    if recipe is not None and len(places) > 1:
        raise ParameterError(
            "An A/B test runs, and a recipe is for one bundle. Choose its variant with --variant, or end the test with "
            "--end-ab-test."
        )
    chosen = None if recipe is None else Recipe.make(str(recipe), **read_document(recipe)).pipeline()
    found = []
    for place in places:
        output.note(
            f"Learning from the log of {place.path} and the events of {redacted_url(settings.store_url)}."
        )
        found.append(_retrained(opened, settings, bundle, place, chosen, look, end_ab_test))
    opened.close()
    (first, words, _), *rest = found
    ended = test is not None and end_ab_test and first["promoted"]
    said = {
        **first,
        "ab_test": None if test is None or ended else test.name,
        "others": [other for other, _, _ in rest],
    }
    lines = [words, *(more for _, more, _ in rest)]
    if test is not None and ended:
        lines.append(f"The A/B test {test.name!r} has ended.")
    output.show(said, *(one for _, _, one in found if one is not None), "\n".join(lines))


def _retrained(
    store: Store,
    settings: Settings,
    bundle: Path,
    place: Place,
    recipe: Pipeline | None,
    look: bool,
    end_ab_test: bool,
) -> tuple[dict[str, Any], str, Comparison | None]:
    """Retrain the bundle of a place and promote what is not worse: as JSON, in words, and the comparison."""
    from recsmith.experiment.train import load_bundle
    from recsmith.serving import retrain as work

    said: dict[str, Any] = {"variants": list(place.variants)}
    try:
        found = work.retrain(load_bundle(place.path), store, settings.signals, recipe=recipe)
    except DataError as error:
        if place.main:
            raise
        return {**said, "bundle": None, "promoted": False, "reason": str(error)}, str(error), None
    new = found.bundle.save(_new_name(place.path))
    promoted = found.better and not look
    if promoted:
        work.promote(store, bundle, new, place, end_ab_test=end_ab_test)
    said |= {
        "bundle": str(new),
        "events": found.events,
        "promoted": promoted,
        "reason": found.reason,
        "comparison": None if found.comparison is None else found.comparison.as_dict(),
    }
    who = f" in {', '.join(map(repr, place.variants))}" if place.variants else ""
    outcome = f"answers now{who}" if promoted else f"is saved, and {place.path.name} stays{who}"
    return said, f"{found.reason} {new} {outcome}.", found.comparison


def _new_name(path: Path) -> Path:
    """A folder that is not there yet, beside a bundle and named after it and the time."""
    base = re.sub(r"-\d{8}T\d{6}(-\d+)?$", "", path.name)
    first = path.with_name(f"{base}-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}")
    names = itertools.chain([first], (first.with_name(f"{first.name}-{n}") for n in itertools.count(2)))
    return next(name for name in names if not name.exists())


keys = typer.Typer(help="API keys of the service.", no_args_is_help=True)


@keys.command("add")
def add(
    name: Annotated[str, typer.Argument(help="What the key is for.")],
    role: Annotated[str, typer.Option(help="reader, writer (also events and items) or admin.")] = "reader",
    store: _Store = None,
    config: _Config = None,
    as_json: Json = False,
) -> None:
    """Make a key; its secret is shown once."""
    if role not in ("reader", "writer", "admin"):
        raise ParameterError.unknown("role", role, ("reader", "writer", "admin"))
    kept: Literal["reader", "writer", "admin"] = role  # type: ignore[assignment]
    opened, _ = _open(store, config)
    secret = opened.add_key(name, kept)
    opened.close()
    Output(as_json).show({"name": name, "role": role, "secret": secret}, f"{secret}\nIt is not shown again.")


@keys.command("list")
def show(store: _Store = None, config: _Config = None, as_json: Json = False) -> None:
    """The keys; their secrets are not known."""
    opened, _ = _open(store, config)
    found = opened.keys()
    opened.close()
    rows = [(k.id, k.name, k.role, _moment(k.created), _moment(k.revoked)) for k in found]
    Output(as_json).show(
        {"keys": [key.shown() for key in found]},
        Table("API keys", ("id", "name", "role", "created", "revoked"), rows),
    )


def _moment(seconds: int | None) -> str:
    return "" if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


@keys.command("revoke")
def revoke(
    key_id: Annotated[int, typer.Argument(help="As 'keys list' shows it.", metavar="ID")],
    store: _Store = None,
    config: _Config = None,
) -> None:
    """Make a key invalid, at once and in every worker."""
    opened, _ = _open(store, config)
    opened.revoke_key(key_id)
    opened.close()


def _open(store: str | None, config: Path | None) -> tuple[Store, Settings]:
    """The store, and the settings that name it."""
    try:
        from recsmith.serving.settings import Settings
        from recsmith.serving.store import Store
    except ImportError as error:
        raise MissingExtraError.of("recsmith keys", "serve") from error
    settings = Settings.load(config, store_url=store)
    return Store.open(settings.store_url), settings
