"""A recipe on disk: which model with which parameters. ``tune`` and ``auto`` write it, ``train --config`` reads it.

A whole experiment (``config.py``) has these keys, too, and more.

::

    model: ease
    parameters:
      reg: 312.0
      half_life: 12.0
    fallback: popular
    tuned:
      data: ml-100k
      metric: ndcg@10
      value: 0.31
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field

from recsmith.config import Config
from recsmith.errors import DataError
from recsmith.experiment.train import make_pipeline
from recsmith.recommend import Pipeline


class Recipe(Config):
    """A model with its parameters, and where they come from. Unknown keys are refused."""

    model: str
    """A registered name."""
    parameters: dict[str, Any] = Field(default_factory=dict)
    """Those of the model and of the history weighting."""
    fallback: str | None = "popular"
    """The model that answers where this one has no evidence; null for none."""
    fallback_parameters: dict[str, Any] = Field(default_factory=dict)
    """Its parameters."""
    tuned: dict[str, Any] = Field(default_factory=dict)
    """Where the parameters come from: data, split, metric, value, seed. It changes nothing."""

    def pipeline(self) -> Pipeline:
        """The pipeline, not fitted yet.

        Raises
        ------
        ParameterError
            An unknown model or parameter, or a value out of range.
        """
        return make_pipeline(
            self.model,
            fallback=self.fallback,
            fallback_parameters=dict(self.fallback_parameters),
            **self.parameters,
        )

    def text(self) -> str:
        """The YAML document."""
        values = self.model_dump(mode="json")
        values = {key: value for key, value in values.items() if value != {} or key == "parameters"}
        said = f"# recsmith train --config THIS_FILE --data ... --out bundles/{self.model}\n"
        return said + yaml.safe_dump(values, sort_keys=False, allow_unicode=True)


def read_document(path: str | Path) -> dict[str, Any]:
    """The names and values of a YAML file that says at least which model.

    Raises
    ------
    DataError
        There is no such file, or it is not YAML with names and values.
    """
    file = Path(path)
    try:
        found = yaml.safe_load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"There is no config file {str(path)!r} (looked in {Path.cwd()}).") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        first = str(error).splitlines()[0]
        raise DataError(f"{path} is not a YAML file: {first}.") from None
    if not isinstance(found, Mapping) or "model" not in found:
        raise DataError(
            f"{path} is not a recipe. Wanted at least 'model: NAME', then 'parameters:' with values."
        )
    return {str(key): value for key, value in found.items()}
