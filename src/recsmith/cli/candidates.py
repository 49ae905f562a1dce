"""What is judged and on what: a model's name or a bundle as a pipeline to fit, and the splits of a log."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recsmith.cli.options import Source, fallback_of, model_and_parameters
from recsmith.errors import ParameterError

if TYPE_CHECKING:
    from recsmith.data.split import Split
    from recsmith.recommend import Pipeline
    from recsmith.types import Shape


@dataclass(frozen=True, slots=True)
class Candidate:
    """A pipeline that can be made anew for every fit."""

    label: str  #: as it was written
    name: str  #: the model's registered name
    make: Callable[[], Pipeline]
    bundle: Path | None = None  #: where its parameters were read


def candidate(text: str, settings: Mapping[str, Any], fallback: str = "popular") -> Candidate:
    """A candidate from ``ease``, ``ease:reg=300,half_life=20`` or the path of a bundle.

    Of a bundle only model, parameters, weighting and fallback are taken, never what it learned: it may have been
    trained on the very events that are to be predicted. ``settings`` go before all of them.

    Raises
    ------
    ParameterError
        An unknown model or parameter.
    BundleError
        A path that is not a bundle.
    """
    from recsmith.bundle_format import MANIFEST, read_manifest
    from recsmith.experiment.train import make_pipeline, weighting_parameters
    from recsmith.models.registry import MODELS, model_class

    path = Path(text)
    if text not in MODELS and ((path / MANIFEST).is_file() or "/" in text or path.is_dir()):
        manifest = read_manifest(path)
        name, other = manifest["model"]["name"], manifest["fallback"]
        own = model_class(name).config_class.model_fields
        takes = weighting_parameters(name) - set(own)
        weighting = {k: v for k, v in manifest["weighting"].items() if k in takes}
        values = {**weighting, **manifest["model"]["config"], **settings}
        behind: dict[str, Any] = {"fallback": None}
        if other is not None:
            behind = {"fallback": other["name"], "fallback_parameters": other["config"]}
        made = Candidate(text, name, lambda: make_pipeline(name, **behind, **values), path)
    else:
        name, parameters = model_and_parameters(text)
        values = {**parameters, **settings}
        made = Candidate(text, name, lambda: make_pipeline(name, **fallback_of(fallback), **values))
    made.make()  # wrong parameters are told before anything is read
    return made


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Which log is split how, or which two logs are train and test."""

    source: Source
    split: str
    train: str | None = None
    test: str | None = None

    def check(self) -> None:
        """Refuse what does not go together, and a way of splitting that does not exist.

        Raises
        ------
        ParameterError
            See above.
        """
        from recsmith.data.split_by_name import parse

        if (self.train is None) != (self.test is None):
            raise ParameterError(
                "--train and --test go together: two files, one to learn from and one to predict."
            )
        if bool(self.source.data) == (self.train is not None):
            raise ParameterError("Say what to judge on: either --data with --split, or --train with --test.")
        if self.train is not None and self.source.k_core is not None:
            raise ParameterError("--k-core goes with --data: train and test files are taken as they are.")
        parse(self.split)

    def splits(self) -> list[Split]:
        """The splits: one, or one for each fold."""
        from recsmith.data.split import fixed
        from recsmith.data.split_by_name import parse

        if self.train is None or self.test is None:
            return parse(self.split).split(self.source.load())
        parts = [replace(self.source, data=file).load() for file in (self.train, self.test)]
        return [fixed(*parts)]

    def folds(self) -> int:
        """How many splits there will be."""
        from recsmith.data.split_by_name import parse

        return 1 if self.train is not None else int(parse(self.split).parameters.get("k", 1))

    def shape(self) -> Shape:
        """The size of what is learned from, about."""
        return (self.source if self.train is None else replace(self.source, data=self.train)).shape()
