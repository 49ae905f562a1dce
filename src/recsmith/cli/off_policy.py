"""``recsmith off-policy``: what another policy would have earned, from the log of the one that ran."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recsmith.cli.console import Output
from recsmith.cli.options import Json, Quiet, Seed, listed, moment, pairs, parameters
from recsmith.cli.stores import reading, refuse_given
from recsmith.errors import DataError, ParameterError

if TYPE_CHECKING:
    import polars as pl

    from recsmith.evaluation.off_policy import LoggedBandit, OffPolicyResult
    from recsmith.types import FloatArray

_OPEN_BANDIT = "open-bandit"
_COLUMNS = ("action", "reward", "propensity", "position", "unit", "target")
_TOLERANCE = 1e-6  # of a distribution's sum
_OF_FILES, _OF_STORE, _OF_MODEL = "A log", "The service's log", "Predicted rewards"


def off_policy(
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="[FILE|open-bandit:POLICY/CAMPAIGN]",
            help="A table with columns action, reward and propensity; or a part of Open Bandit, as random/all.",
            show_default=False,
        ),
    ] = None,
    policy: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|uniform|bts",
            help="The target: a table with columns action, probability and, where the log has them, position; or "
            "uniform; or bts, the Thompson sampling of Open Bandit.",
            rich_help_panel=_OF_FILES,
        ),
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=HEADER",
            help="action=item_id: where a column is called otherwise. Also position, unit (rounds of a user), and "
            "target (the target's probability of the logged action, in place of --policy).",
            rich_help_panel=_OF_FILES,
        ),
    ] = None,
    features: Annotated[
        str | None, typer.Option(metavar="A,B,...", help="Numeric columns.", rich_help_panel=_OF_MODEL)
    ] = None,
    path: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="Zip or folder of Open Bandit.", rich_help_panel=_OF_FILES),
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(metavar="URL", help="sqlite:///FILE or postgresql://...", rich_help_panel=_OF_STORE),
    ] = None,
    bundle: Annotated[
        Path | None, typer.Option(metavar="BUNDLE", help="What is judged.", rich_help_panel=_OF_STORE)
    ] = None,
    reward: Annotated[
        list[str] | None,
        typer.Option(
            metavar="EVENT=WORTH",
            help="click=1, if not given.",
            rich_help_panel=_OF_STORE,
            show_default=False,
        ),
    ] = None,
    explored: Annotated[
        bool,
        typer.Option("--explored", help="Only places that chance filled.", rich_help_panel=_OF_STORE),
    ] = False,
    per_list: Annotated[
        bool, typer.Option("--per-list", help="Whole lists, not places.", rich_help_panel=_OF_STORE)
    ] = False,
    in_sample: Annotated[
        bool,
        typer.Option(
            "--in-sample",
            help="Count answers before the bundle's newest event too: optimistic.",
            rich_help_panel=_OF_STORE,
        ),
    ] = False,
    since: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="2026-11-01, or Unix seconds.", rich_help_panel=_OF_STORE),
    ] = None,
    until: Annotated[
        str | None, typer.Option(metavar="TIME", help="The end.", rich_help_panel=_OF_STORE)
    ] = None,
    model: Annotated[
        str,
        typer.Option("--model", help="auto, logistic, ridge or none.", rich_help_panel=_OF_MODEL),
    ] = "auto",
    reg: Annotated[float, typer.Option(help="Its regularization.", rich_help_panel=_OF_MODEL)] = 1.0,
    folds: Annotated[int, typer.Option(help="Of the cross-fitting.", rich_help_panel=_OF_MODEL)] = 3,
    estimators: Annotated[
        str | None, typer.Option(metavar="A,B,...", help="replay, ips, snips, dr ...; all if not given.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            "-s",
            metavar="ESTIMATOR=VALUE",
            help="clipped-ips=10: a parameter; else the log chooses.",
        ),
    ] = None,
    rule: Annotated[str, typer.Option(help="How the log chooses: slope or mse.")] = "slope",
    intervals: Annotated[str, typer.Option(help="bootstrap or normal.")] = "bootstrap",
    level: Annotated[float, typer.Option(help="Of the intervals.")] = 0.95,
    resamples: Annotated[int, typer.Option(help="Of the bootstrap.")] = 1000,
    most_outside: Annotated[
        float, typer.Option(help="Share of the target that may lie outside what the log can show.")
    ] = 0.1,
    seed: Seed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Estimates of a target policy's reward with intervals, overlap and warnings; no figure without overlap."""
    if (source is None) == (store is None):
        raise ParameterError("off-policy wants a log: a FILE or open-bandit, or --store URL with --bundle.")
    of_file = {"--policy": policy, "--column": column, "--features": features, "--path": path}
    of_store = {"--bundle": bundle, "--reward": reward, "--explored": explored, "--per-list": per_list,
                "--in-sample": in_sample, "--since": since, "--until": until}  # fmt: skip
    if store is None:
        refuse_given(of_store, "the service's log, --store URL")
    else:
        refuse_given(of_file, "a file or open-bandit")
    if per_list and settings:
        raise ParameterError("--set is for places: estimators of whole lists have no parameter.")
    names = listed(estimators) if estimators else None
    common: dict[str, Any] = {
        "estimators": names,
        "intervals": intervals,
        "level": level,
        "resamples": resamples,
        "seed": seed,
        "most_outside": most_outside,
    }
    tuning: dict[str, Any] = {"parameters": parameters(settings), "rule": rule}
    if store is not None:
        _refuse_models(names, "cannot be had with --store")
        found = _of_store(
            store, bundle, reward, (moment("--since", since), moment("--until", until)),
            {"explored": explored, "per_list": per_list, "in_sample": in_sample}
            | common | ({} if per_list else tuning),
        )  # fmt: skip
    else:
        table = _Table.read(source or "", path, dict(pairs("--column", column or [])), listed(features or ""))
        found = table.judged(
            policy, {"model": model, "reg": reg, "folds": folds, "seed": seed}, common | tuning
        )
    Output(as_json, quiet).show(found.as_dict(), found)


class _Table:
    """A log out of a file or of Open Bandit, with the ids of its actions and positions."""

    def __init__(
        self, log: LoggedBandit, actions: list[Any], places: list[Any], target: Any, prior: Any = None
    ) -> None:
        self.log, self.actions, self.places, self.target, self.prior = log, actions, places, target, prior

    @classmethod
    def read(cls, source: str, path: str | None, named: dict[str, str], features: list[str]) -> _Table:
        name, _, part = source.partition(":")
        if name == _OPEN_BANDIT:
            return cls._open_bandit(part or "random/all", path)
        if path is not None:
            raise ParameterError("--path is for open-bandit. Give the file itself.")
        from recsmith.data.sources.files import read_table

        for key in named:
            if key not in _COLUMNS:
                raise ParameterError.unknown("column of a log", key, _COLUMNS)
        return cls._of_frame(read_table(source), named, features)

    @classmethod
    def _open_bandit(cls, part: str, path: str | None) -> _Table:
        from recsmith.data.sources.open_bandit import N_POSITIONS, load
        from recsmith.evaluation.off_policy import LoggedBandit

        kind, _, campaign = part.partition("/")
        data = load(kind, campaign or "all", path=path)
        columns = {n: data.rounds[n].to_numpy() for n in ("action", "reward", "propensity", "position")}
        log = LoggedBandit(
            **columns, n_actions=data.items.height, n_positions=N_POSITIONS, context=data.context().to_numpy()
        )
        return cls(log, data.items["item_id"].to_list(), [1, 2, 3], None, data.prior)

    @classmethod
    def _of_frame(cls, frame: pl.DataFrame, named: dict[str, str], features: list[str]) -> _Table:
        from recsmith.evaluation.off_policy import LoggedBandit

        headers = {name: named.get(name, name) for name in _COLUMNS}
        optional = {name for name in ("position", "unit", "target") if headers[name] in frame.columns}
        wanted = [
            n for n in _COLUMNS if n in ("action", "reward", "propensity") or n in named or n in optional
        ]
        for header in (*(headers[name] for name in wanted), *features):
            if header not in frame.columns:
                raise DataError(
                    f"The log has no column {header!r}. It has: {', '.join(frame.columns)}. Name it: --column."
                )
        columns = frame.select(**{name: headers[name] for name in wanted})
        codes = {n: _codes(columns, n) for n in ("action", "position", "unit") if n in wanted}
        coded = columns.with_columns(**{n: values for n, (values, _) in codes.items()})
        places = codes["position"][1] if "position" in codes else [1]
        log = LoggedBandit.from_frame(
            coded.with_columns(frame.select(features)),
            n_actions=len(codes["action"][1]),
            features=features,
            position="position" if "position" in codes else None,
            n_positions=len(places),
            unit=codes["unit"][0].to_numpy() if "unit" in codes else None,
        )
        target = columns["target"].to_numpy() if "target" in wanted else None
        return cls(log, codes["action"][1], places, target)

    def judged(self, policy: str | None, model: dict[str, Any], options: dict[str, Any]) -> OffPolicyResult:
        from recsmith.evaluation.off_policy import cross_fitted, evaluate_policy

        if (policy is None) == (self.target is None):
            raise ParameterError(
                "off-policy wants one target: --policy FILE, uniform or bts; or a column of the log with the target's "
                "probability of the logged action: --column target=HEADER."
            )
        if policy is None:
            _refuse_models(options["estimators"], "cannot be had with --column target=HEADER; give --policy")
            return evaluate_policy(self.log, self.target, **options)
        if model["model"] == "none":
            _refuse_models(options["estimators"], "--model none leaves out; give --model auto")
        target = self._probabilities(policy)
        wanted = model["model"] != "none" and _with_model(options["estimators"]) != []
        rewards = cross_fitted(self.log, **model) if wanted else None
        return evaluate_policy(self.log, target, rewards=rewards, **options)

    def _probabilities(self, policy: str) -> FloatArray:
        """(1, n_actions, n_positions); actions that only the policy has widen the log."""
        import numpy as np

        from recsmith.evaluation.off_policy import thompson_probabilities

        if policy == "uniform":
            return np.full((1, len(self.actions)), 1 / len(self.actions))
        if policy == "bts":
            if self.prior is None:
                raise ParameterError(
                    "--policy bts wants open-bandit with the priors of the wheel; leave --path out, or give a table."
                )
            return thompson_probabilities(*self.prior, n_positions=self.log.n_positions)
        return self._of_table(policy)

    def _of_table(self, policy: str) -> FloatArray:
        from dataclasses import replace

        import numpy as np
        import polars as pl

        from recsmith.data.sources.files import read_table

        table = read_table(policy)
        if missing := {"action", "probability"} - set(table.columns):
            raise DataError(
                f"{policy} has no column {', '.join(sorted(missing))}. Wanted action and probability."
            )
        known = {str(action): at for at, action in enumerate(self.actions)}
        named = table["action"].cast(pl.String).to_list()
        known |= {
            name: at for at, name in enumerate(dict.fromkeys(n for n in named if n not in known), len(known))
        }
        self.log = replace(self.log, n_actions=len(known))
        places = {str(place): at for at, place in enumerate(self.places)}
        by_place = "position" in table.columns
        out = np.zeros((1, len(known), len(places) if by_place else 1))
        rows = table["position"].cast(pl.String).to_list() if by_place else [self.places[0]] * table.height
        if by_place and (strange := [row for row in rows if row not in places]):
            raise DataError(f"{policy}: the log has no position {strange[0]!r}. It has: {', '.join(places)}.")
        at = [0 if not by_place else places[row] for row in rows]
        np.add.at(out, (0, [known[name] for name in named], at), _probability(policy, table["probability"]))
        _check_sums(policy, out[0].sum(axis=0), list(places) if by_place else [])
        return out


def _probability(policy: str, column: pl.Series) -> FloatArray:
    """A column of numbers >= 0."""
    import numpy as np

    if not column.dtype.is_numeric():
        raise DataError(f"{policy}: probability must hold numbers. Its type is {column.dtype}.")
    values = column.cast(float).fill_null(np.nan).to_numpy()
    wrong = ~(values >= 0)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise DataError(f"{policy}: probability must be >= 0. Row {row + 1} has {values[row]}.")
    return values


def _check_sums(policy: str, sums: FloatArray, places: list[str]) -> None:
    """A distribution at each position; ``places`` is empty where the table has none."""
    for total, place in zip(sums.tolist(), places or [""], strict=True):
        where = f" at position {place!r}" if places else ""
        if total == 0:
            raise DataError(
                f"{policy} has no rows with a probability above 0{where}. Wanted probabilities that add up to 1."
            )
        if not abs(total - 1) <= _TOLERANCE:
            raise DataError(f"{policy}: the probabilities{where} add up to {total:.6g}. Wanted 1.")


def _with_model(names: list[str] | None) -> list[str]:
    """Those that need predicted rewards; of all estimators, if none are named."""
    from recsmith.evaluation.off_policy import ESTIMATORS

    known = {name for name, one in ESTIMATORS.items() if one.model} | {"cascade-dr"}
    return [name for name in (ESTIMATORS if names is None else names) if name in known]


def _refuse_models(names: list[str] | None, why: str) -> None:
    """Refuse estimators that need predicted rewards, where there are none."""
    if wrong := _with_model(names or []):
        raise ParameterError(f"The estimator {wrong[0]!r} needs predicted rewards, which {why}.")


def _codes(columns: pl.DataFrame, name: str) -> tuple[pl.Series, list[Any]]:
    """Indices from 0 in sorted order, and the values in that order."""
    if columns[name].null_count():
        row = int(columns[name].is_null().arg_max() or 0)
        raise DataError(f"{name}: row {row + 1} is empty. Wanted a value in every row.")
    ranked = columns[name].rank("dense").cast(int) - 1
    return ranked, columns[name].unique().sort().to_list()


def _of_store(
    url: str,
    bundle: Path | None,
    reward: list[str] | None,
    between: tuple[int | None, int | None],
    options: dict[str, Any],
) -> OffPolicyResult:
    if bundle is None:
        raise ParameterError("--store wants --bundle BUNDLE: what is judged.")
    from recsmith.experiment.train import load_bundle

    worth = _worth(reward or ["click=1"])
    with reading(url, "recsmith off-policy --store") as opened:
        from recsmith.serving import logged, off_policy

        loaded = load_bundle(bundle)
        events = logged.events(opened)
        known = events["event"].unique().to_list()
        if not known:
            raise DataError("The store holds no event, so nothing says what was earned.")
        for name in worth:
            if name not in known:
                raise ParameterError.unknown("event in the store", name, known)
        slots = logged.slots(opened, since=between[0], until=between[1])
        frame = logged.rewarded(slots, events, worth)
        return off_policy.estimate(frame, loaded, opened, **options)


def _worth(texts: list[str]) -> dict[str, float]:
    try:
        return {name: float(value) for name, value in pairs("--reward", texts).items()}
    except ValueError:
        raise ParameterError(f"--reward wants EVENT=WORTH like click=1. Got {', '.join(texts)}.") from None
