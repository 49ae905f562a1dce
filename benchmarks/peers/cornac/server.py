"""Fit a Cornac model on a log and leave what its server loads: ``server.py LOG.npz MODEL FOLDER``.

Prints the path for ``MODEL_PATH``; ``flask --app cornac.serving.app run`` then answers, as Cornac's documentation says.
"""

from __future__ import annotations

import sys

import numpy as np
from cornac.data import Dataset
from cornac.models import EASE, MF

MODELS = {
    "EASE": lambda: EASE(lamb=1000.0, posB=False, verbose=False),
    "MF": lambda: MF(k=64, max_iter=3, seed=0),
}


def main() -> None:
    """Fit and save."""
    log, name, folder = sys.argv[1:]
    arrays = np.load(log)
    pairs = zip(arrays["user"].tolist(), arrays["item"].tolist(), strict=True)
    train = Dataset.from_uir([(str(user), str(item), 1.0) for user, item in pairs], seed=0)
    print(MODELS[name]().fit(train).save(folder, save_trainset=True))


if __name__ == "__main__":
    main()
