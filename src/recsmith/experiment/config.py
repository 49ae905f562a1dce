"""An experiment on disk: data, split, model, training, evaluation, tracking and seed in one YAML file.

::

    name: sasrec-ml-100k
    seed: 0
    data:
      source: ml-100k
    split: user-time:0.2
    model: sasrec
    parameters:
      learning_rate: 1e-3
    training:
      validation: ndcg@10
    tracking:
      mlflow:
        uri: ${MLFLOW_TRACKING_URI:http://127.0.0.1:5000}

An experiment is a recipe with more to say, so ``train --config`` reads the file, too, and a recipe becomes an
experiment by ``--set data.source=ml-100k``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import AfterValidator, Field, model_validator

from recsmith.config import Config
from recsmith.data.dataset import Dataset
from recsmith.data.load import load
from recsmith.data.split import Split, fixed
from recsmith.data.split_by_name import parse
from recsmith.errors import ParameterError
from recsmith.evaluation.metrics import ranking
from recsmith.evaluation.protocol import DEFAULT_CUTS
from recsmith.evaluation.report import smaller_is_better
from recsmith.experiment.recipe import Recipe, read_document
from recsmith.models.registry import model_class
from recsmith.redaction import redacted_url
from recsmith.training.config import TrainingConfig

_VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?::(?P<default>[^}]*))?\}")


def _no_password(uri: str) -> str:
    if redacted_url(uri) != uri:
        raise ValueError(
            "without a password: MLflow reads MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
        )
    return uri


Count = Annotated[int, Field(ge=1)]


class LogSource(Config):
    """Which log is read and how: the options of ``--data`` and its like."""

    source: str | None = None
    """A data set's name, a file or a folder."""
    train: str | None = None
    """Train file of a fixed split, instead of ``source``."""
    test: str | None = None
    """Test file of a fixed split."""
    columns: dict[str, str] | list[str] | None = None
    """Our name to the one in the header, or all names in order for a text file without a header."""
    timestamp_unit: Literal["s", "ms", "us", "ns"] | None = None
    """Unit of numeric timestamps; seconds where it is not said."""
    users: str | None = None
    """Table of user features."""
    items: str | None = None
    """Table of item features."""
    rating_scale: tuple[float, float] | None = None
    """Lowest and highest possible rating."""
    path: str | None = None
    """Official zip or folder of a named data set."""
    min_rating: float | None = None
    """Keep ratings of at least this."""
    k_core: Count | None = None
    """Keep users and items with at least so many events."""

    @model_validator(mode="after")
    def _one_question(self) -> LogSource:
        if (self.train is None) != (self.test is None) or (self.source is None) == (self.train is None):
            raise ValueError("either 'source', or 'train' and 'test'")
        if self.train is not None and self.k_core is not None:
            raise ValueError(
                "without 'k_core' where 'train' and 'test' are given: they are taken as they are"
            )
        return self

    def options(self) -> dict[str, Any]:
        """Options of ``load_log``, only those that were given."""
        values = self.model_dump(exclude={"source", "train", "test", "min_rating", "k_core"})
        return {name: value for name, value in values.items() if value is not None}

    def read(self, source: str) -> Dataset:
        """Read, index and filter one log."""
        return load(source, min_rating=self.min_rating, k_core=self.k_core, **self.options())


class Training(Config):
    """How a fit is watched. It matters for models that train in epochs."""

    validation: str | None = None
    """Metric that is judged on train users after each epoch: ndcg@10, recall@20, rmse ...; null: nobody judges."""
    users: Count | None = 2000
    """Random train users that are asked; null: all."""
    held_out: Count = 1
    """Events of each of them that are held out."""
    which: Literal["last", "random"] = "last"
    """Which of their events."""
    every: Count = 1
    """Epochs between judgements."""
    refit: bool = True
    """Fit again on all of train for the best number of epochs; false: keep the weights that were best."""
    checkpoint: bool = True
    """Write the state of the training after each epoch, so that a run can go on where it was stopped."""


class Evaluation(Config):
    """How the test part is judged: the parameters of ``recsmith.evaluation.judge``."""

    ks: tuple[Count, ...] = DEFAULT_CUTS
    """Cut-offs."""
    metrics: tuple[str, ...] | None = None
    """Ranking metrics; null: the usual ones."""
    filter_seen: bool = True
    """Leave the items of a user's history out of the lists, and out of the truth."""
    rating: bool | None = None
    """Judge ratings; null: where possible."""
    rating_times: bool = False
    """Tell the model when each rating to be predicted was given."""
    resamples: Count = 1000
    """Bootstrap draws behind the intervals."""


class Samples(Config):
    """Lists of a few users, logged as a table."""

    users: int = Field(default=5, ge=0)
    """How many users; 0: no table."""
    k: Count = 10
    """Length of their lists."""
    every: Count = 5
    """Epochs between tables."""


class MLflow(Config):
    """Where an MLflow server listens (extra ``track``)."""

    uri: Annotated[str, AfterValidator(_no_password)] = "http://127.0.0.1:5000"
    """Its address; a user's name and password come from MLflow's own variables."""
    experiment: str = "recsmith"
    """MLflow's name for a group of runs."""
    register_as: str | None = None
    """Name in the model registry; null: the model is logged and not registered."""


class WandB(Config):
    """Weights & Biases (extra ``track``)."""

    project: str = "recsmith"
    """Project of the run."""
    mode: Literal["offline", "online"] = "offline"
    """offline needs no account: ``wandb sync`` sends the folder later."""


class Tracking(Config):
    """Who is told of the run. JSON lines in the run's folder are always written."""

    mlflow: MLflow | None = None
    """null: not told."""
    wandb: WandB | None = None
    """null: not told."""
    samples: Samples = Samples()
    """Lists of a few users."""
    maps: tuple[Literal["tsne", "umap"], ...] = ()
    """Pictures of the item vectors, at the end (extra ``plot``)."""


class Experiment(Recipe):
    """A whole run. Unknown keys are refused."""

    name: str = Field(default="experiment", pattern=r"^[\w][\w.-]*$")
    """Names the folder of the run."""
    seed: int = Field(default=0, ge=0)
    """Of all draws: the same file and seed give the same digits."""
    data: LogSource
    """The log."""
    split: str = "user-time:0.2"
    """Way of splitting, as ``--split`` has it. Not used with ``data.train`` and ``data.test``."""
    training: Training = Training()
    """How the fit is watched."""
    evaluation: Evaluation = Evaluation()
    """How the test part is judged."""
    tracking: Tracking = Tracking()
    """Who is told of it."""

    @property
    def in_epochs(self) -> bool:
        """Whether the model trains in epochs, can be judged after each, and gone on with."""
        return issubclass(model_class(self.model).config_class, TrainingConfig)

    def with_numbers(self) -> Self:
        """The same with the model's parameters as the model has them: ``1e-3`` is text in YAML, and here 0.001."""
        pipeline = self.pipeline()
        held = pipeline.weighting.model_dump(mode="json") | pipeline.model.config.model_dump(mode="json")
        return self.model_copy(update={"parameters": {name: held[name] for name in self.parameters}})

    def check(self) -> None:
        """Refuse what the types allow and the run would not.

        Raises
        ------
        ParameterError
            An unknown model, parameter, metric or way of splitting, or one with several folds.
        """
        self.pipeline()
        if int(parse(self.split).parameters.get("k", 1)) > 1:
            raise ParameterError.of("an experiment", "split", "one train and one test part", self.split)
        ranking.expand(self.evaluation.metrics or ranking.DEFAULT_METRICS, self.evaluation.ks)
        if (metric := self.training.validation) is not None and not smaller_is_better(metric):
            ranking.parse(metric)

    def load_split(self) -> Split:
        """Read the log and cut it.

        Raises
        ------
        InputError, FetchError
            No such log, or one that cannot be cut so.
        """
        if self.data.train is not None and self.data.test is not None:
            return fixed(self.data.read(self.data.train), self.data.read(self.data.test))
        return parse(self.split).split(self.data.read(str(self.data.source)))[0]

    def document(self) -> str:
        """The YAML document with every value, also those that were left out."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def read_recipe(path: str | Path) -> Recipe:
    """Read a recipe, or the recipe of an experiment, and check all of it.

    Raises
    ------
    DataError
        There is no such file, or it is not YAML with names and values.
    ParameterError
        An unknown key, model or parameter, or a value out of range.
    """
    found = read_document(path)
    if found.keys() & (Experiment.model_fields.keys() - Recipe.model_fields.keys()):
        return read_experiment(path)
    recipe = Recipe.make(f"the config file {Path(path).name}", **_filled(found))
    recipe.pipeline()
    return recipe


def read_experiment(path: str | Path, settings: Mapping[str, Any] | None = None) -> Experiment:
    """Read an experiment and check all of it.

    Parameters
    ----------
    path
        A YAML file. ``${NAME}`` is the value of an environment variable, ``${NAME:text}`` is the text where there is
        none.
    settings
        Values by dotted key, which go before those of the file: ``{"parameters.learning_rate": 0.01}``.

    Raises
    ------
    DataError
        There is no such file, or it is not YAML with names and values.
    ParameterError
        An unknown key (the nearest one is offered), an unknown model or parameter, a value out of range, or a variable
        that is not set. The message names the file.
    """
    file = Path(path)
    values = {"name": file.stem, **read_document(path)}
    for key, value in (settings or {}).items():
        _put(values, key, value)
    owner = f"the config file {file.name}"
    try:
        filled = _filled(values)
    except ParameterError as error:
        raise ParameterError(f"{file.name}: {error}") from None
    experiment = Experiment.make(owner, **filled)
    try:
        experiment.check()
    except ParameterError as error:
        raise ParameterError(f"{file.name}: {error}") from None
    return experiment.with_numbers()


def _put(values: dict[str, Any], key: str, value: Any) -> None:
    """Set a dotted key, making the sections on its way."""
    *sections, last = key.split(".")
    if [*sections, last][0] not in Experiment.model_fields:
        error = ParameterError.unknown("key of an experiment", key, Experiment.model_fields)
        raise ParameterError(
            str(error) if sections else f"{error} A parameter of the model is parameters.{key}."
        )
    here = values
    for number, name in enumerate(sections):
        inner = here.get(name)
        if inner is not None and not isinstance(inner, Mapping):
            raise ParameterError(
                f"--set {key}: {'.'.join(sections[: number + 1])!r} is a value, not a section."
            )
        here[name] = here = dict(inner or {})
    here[last] = value


def _filled(value: Any, key: str = "") -> Any:
    """The document with the values of environment variables."""
    if isinstance(value, Mapping):
        return {str(name): _filled(part, f"{key}.{name}".lstrip(".")) for name, part in value.items()}
    if isinstance(value, list):
        return [_filled(part, key) for part in value]
    if not isinstance(value, str) or not (whole := _VARIABLE.search(value)):
        return value
    text = _VARIABLE.sub(lambda found: _variable(found, key), value)
    return yaml.safe_load(text) if whole[0] == value else text


def _variable(found: re.Match[str], key: str) -> str:
    value = os.environ.get(found["name"], found["default"])
    if value is None:
        raise ParameterError(
            f"{key!r} wants the environment variable {found['name']}, which is not set. Set it, or give a value for "
            f"then: ${{{found['name']}:value}}."
        )
    return value
