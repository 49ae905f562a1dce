"""The script by which MLflow loads a bundle as a pyfunc model; MLflow copies it beside the bundle and runs it.

Input: a frame with a column ``user_id`` of text; parameter ``k``. Output: ``user_id, item_id, score, rank, source``.
"""

from __future__ import annotations

from typing import Any

import mlflow.models
import pandas as pd
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from recsmith.bundle import Bundle
from recsmith.models.registry import model_class


class RecommendingModel(PythonModel):
    """Lists of a recsmith bundle."""

    def load_context(self, context: PythonModelContext) -> None:
        """Read the bundle after checking all of it."""
        self.bundle = Bundle.load(context.artifacts["bundle"], model_class)

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """``k`` items for each user of the input."""
        users = model_input["user_id"].astype(str).tolist()
        lists = self.bundle.recommend(users, int((params or {}).get("k", 10)))
        texts = {"user_id": str, "item_id": str, "source": str}
        return pd.DataFrame(lists.to_dict(as_series=False)).astype(texts)


mlflow.models.set_model(RecommendingModel())
