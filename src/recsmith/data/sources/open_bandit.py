"""Open Bandit: what two policies of a fashion shop showed, with the probability of each choice and the clicks.

Y. Saito, S. Aihara, M. Matsutani, Y. Narita. Open Bandit Dataset and Pipeline: Towards Realistic and Reproducible
Off-Policy Evaluation. NeurIPS Datasets and Benchmarks, 2021.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from recsmith.data.sources import wheels
from recsmith.data.sources.fetch import cache_dir
from recsmith.errors import DataError, FetchError, ParameterError

#: Wheel on PyPI with 10,000 rounds of each policy and campaign; its code is neither installed nor run.
WHEEL = "obp==0.4.1"
WHEEL_FILE = "obp-0.4.1-py3-none-any.whl"
WHEEL_SHA256 = "87dec9caf4283c25ab13036532e0a24566f1c7bdcad1653a8ded43b2f5ef8208"
CITATION = (
    "Yuta Saito, Shunsuke Aihara, Megumi Matsutani, and Yusuke Narita. 2021. Open Bandit Dataset and Pipeline: "
    "Towards Realistic and Reproducible Off-Policy Evaluation. NeurIPS Datasets and Benchmarks. "
    "https://arxiv.org/abs/2008.07146. Licence: CC BY 4.0."
)

POLICIES = ("random", "bts")
CAMPAIGNS = ("all", "men", "women")
N_POSITIONS = 3
_COLUMNS = {"timestamp", "item_id", "position", "click", "propensity_score"}
_PRIOR = "prior_bts.yaml"


@dataclass(frozen=True, slots=True, eq=False)
class OpenBandit:
    """One policy on one campaign."""

    rounds: (
        pl.DataFrame
    )  #: in order of time: timestamp, action, position (from 0), reward, propensity, features
    items: pl.DataFrame  #: a row for each action in order: item_id and its features
    user_features: tuple[str, ...]  #: text columns of ``rounds``: hashed age, gender, ...
    affinities: tuple[str, ...]  #: numeric columns of ``rounds``: past clicks of the user on each item
    prior: (
        tuple[tuple[float, ...], tuple[float, ...]] | None
    )  #: alpha and beta that Thompson sampling began with
    policy: str
    campaign: str

    def context(self) -> pl.DataFrame:
        """The users' features as 0 and 1, a column for each value but the first."""
        wide = self.rounds.select(self.user_features).to_dummies()
        firsts = {min(n for n in wide.columns if n.startswith(f"{f}_")) for f in self.user_features}
        return wide.select(sorted(set(wide.columns) - firsts)).cast(pl.Float64)


def load(
    policy: str = "random", campaign: str = "all", *, path: str | PathLike[str] | None = None
) -> OpenBandit:
    """The log of one policy on one campaign.

    Parameters
    ----------
    policy
        ``"random"`` (uniform) or ``"bts"`` (Bernoulli Thompson sampling).
    campaign
        ``"all"``, ``"men"`` or ``"women"``.
    path
        The zip of the full data set, the obp wheel, or a folder with ``POLICY/CAMPAIGN/CAMPAIGN.csv``. None: the small
        version, 10,000 rounds, from the wheel on PyPI, kept in the cache folder (``RECSMITH_DATA_DIR``).

    Raises
    ------
    ParameterError
        There is no such policy or campaign.
    FetchError
        The wheel cannot be had.
    DataError
        ``path`` does not hold the log, or holds other columns.
    """
    for kind, given, known in (
        ("policy of Open Bandit", policy, POLICIES),
        ("campaign", campaign, CAMPAIGNS),
    ):
        if given not in known:
            raise ParameterError.unknown(kind, given, known)
    source = _wheel() if path is None else Path(path).expanduser()
    folder = f"{policy}/{campaign}/"
    found = _members(source, (f"{folder}{campaign}.csv", f"{folder}item_context.csv", f"conf/{_PRIOR}"))
    log, items = (found.get(name) for name in (f"{folder}{campaign}.csv", f"{folder}item_context.csv"))
    if log is None or items is None:
        raise DataError(f"{source} has no {folder}{campaign}.csv with item_context.csv beside it.")
    rounds = _table(log, f"{source}: {folder}{campaign}.csv")
    prior = found.get(f"conf/{_PRIOR}")
    return OpenBandit(
        rounds=_canonical(rounds, str(source)),
        items=_table(items, f"{source}: {folder}item_context.csv").sort("item_id"),
        user_features=tuple(c for c in rounds.columns if c.startswith("user_feature_")),
        affinities=tuple(c for c in rounds.columns if c.startswith("user-item_affinity_")),
        prior=None if prior is None else _prior(prior, campaign),
        policy=policy,
        campaign=campaign,
    )


def _canonical(rounds: pl.DataFrame, origin: str) -> pl.DataFrame:
    """Names of recsmith, positions from 0, oldest round first; equal times stay in order."""
    if missing := _COLUMNS - set(rounds.columns):
        raise DataError(f"{origin} has no column {', '.join(sorted(missing))}. Wanted the official files.")
    renamed = rounds.rename({"item_id": "action", "click": "reward", "propensity_score": "propensity"})
    place = pl.col("position").rank("dense").cast(pl.Int64) - 1
    return renamed.with_columns(place).sort("timestamp", maintain_order=True)


def _members(source: Path, names: tuple[str, ...]) -> dict[str, bytes]:
    """The files whose paths end in one of ``names``."""
    if not source.exists():
        raise DataError(f"There is no file or folder {str(source)!r} (looked in {Path.cwd()}).")
    if source.is_dir():
        paths = {name: next(source.rglob(name), None) for name in names}
        return {name: path.read_bytes() for name, path in paths.items() if path is not None}
    if not zipfile.is_zipfile(source):
        raise DataError(
            f"{source} is neither a folder nor a zip. Wanted the data set's zip or the obp wheel."
        )
    with zipfile.ZipFile(source) as archive:
        entries = {n: e for e in archive.namelist() for n in names if f"/{e}".endswith(f"/{n}")}
        return {name: archive.read(entry) for name, entry in entries.items()}


def _table(content: bytes, origin: str) -> pl.DataFrame:
    """A CSV file; its first column, a row number without a name, is dropped."""
    try:
        frame = pl.read_csv(content, infer_schema_length=None)
    except pl.exceptions.PolarsError as error:
        raise DataError(f"{origin} cannot be read as CSV: {str(error).splitlines()[0]}.") from None
    return frame.drop("") if "" in frame.columns else frame


def _prior(content: bytes, campaign: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    values: Mapping[str, Any] = yaml.safe_load(content)[campaign]
    return tuple(map(float, values["alpha"])), tuple(map(float, values["beta"]))


def _wheel() -> Path:
    """The wheel in the cache, downloaded where it is missing."""
    target = cache_dir() / "open-bandit" / WHEEL_FILE
    if target.exists():
        return target
    try:
        return wheels.download(WHEEL, target, sha256=WHEEL_SHA256)
    except FetchError as error:
        raise FetchError(
            f"Open Bandit: {error} Or download the data set from https://research.zozo.com/data.html and give its "
            "path (--path)."
        ) from None
