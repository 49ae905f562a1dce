"""``recsmith ab``: how many users an experiment needs, and what it showed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recsmith.cli.console import Output
from recsmith.cli.options import Json, Quiet, Seed, listed, moment, pairs
from recsmith.cli.stores import reading, refuse_given
from recsmith.errors import ParameterError

if TYPE_CHECKING:
    import polars as pl

    from recsmith.evaluation.experiments import Baseline, Metric

_OF_THE_LOG = ("clicks/slots", "conversions/slots", "actions:before=actions_before")
_METRIC_HELP = (
    "value (a mean), clicks/slots (a ratio of sums) or bought:proportion; more after a colon, as in "
    "value:before=value_before,smaller."
)

app = typer.Typer(help="Experiments with users: plan them, and say what they showed.", no_args_is_help=True)

_Alpha = Annotated[float, typer.Option(help="Chance to find a difference where there is none.")]
_Shares = Annotated[
    list[str] | None,
    typer.Option(
        "--share",
        metavar="VARIANT=PART",
        help="What part of the users a variant has; equal ones if not given.",
    ),
]


@app.command("plan")
def plan(
    mean: Annotated[
        float | None, typer.Option(help="Mean over users, without the treatment; needs --sd.")
    ] = None,
    sd: Annotated[float | None, typer.Option(help="Its standard deviation over users.")] = None,
    proportion: Annotated[float | None, typer.Option(help="Or: a share of users, 0 to 1.")] = None,
    users_file: Annotated[
        str | None, typer.Option("--from", metavar="FILE", help="Or: a table of past users; needs --metric.")
    ] = None,
    metric: Annotated[str | None, typer.Option("--metric", "-m", help=_METRIC_HELP)] = None,
    correlation: Annotated[
        float, typer.Option(help="Of the mean with a covariate from before the experiment (CUPED).")
    ] = 0.0,
    effect: Annotated[
        str | None,
        typer.Option(help="Difference to find: 0.2, or 2% of the baseline; else the smallest is told."),
    ] = None,
    users: Annotated[
        int | None, typer.Option(help="Users of all variants; else as many as needed are told.")
    ] = None,
    power: Annotated[
        float | None,
        typer.Option(help="Chance to find the effect; 0.8, or told where effect and users are given."),
    ] = None,
    alpha: _Alpha = 0.05,
    share: _Shares = None,
    comparisons: Annotated[
        int | None, typer.Option(help="Tests that share alpha: variants beside the control times metrics.")
    ] = None,
    per_day: Annotated[float | None, typer.Option(help="New users on a day; tells the days.")] = None,
    sequential: Annotated[
        bool, typer.Option("--sequential", help="For the test that may be looked at any day.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Users, effect and power that belong together: give two, and the third is told."""
    from recsmith.evaluation.experiments import plan as planned

    value, relative = _effect(effect)
    baseline = _baseline(mean, sd, proportion, users_file, metric, correlation)
    found = planned(
        baseline,
        effect=value,
        relative=relative,
        users=users,
        power=power,
        alpha=alpha,
        shares=_shares(share) or (1.0, 1.0),
        comparisons=comparisons,
        users_per_day=per_day,
        sequential=sequential,
    )
    Output(as_json).show(found.as_dict(), found)


@app.command("analyze")
def analyze(
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="A table with a row per user.", show_default=False)
    ] = None,
    control: Annotated[str, typer.Option(help="The variant that the others are compared with.")] = "control",
    metrics: Annotated[list[str] | None, typer.Option("--metric", "-m", help=_METRIC_HELP)] = None,
    variant: Annotated[str, typer.Option(help="Column of the variants.")] = "variant",
    unit: Annotated[str, typer.Option(help="Column of the users; none: every row is one.")] = "user_id",
    segment: Annotated[str | None, typer.Option(help="Column that tells segments apart.")] = None,
    share: _Shares = None,
    method: Annotated[
        str,
        typer.Option(
            help="auto (t, or permutation where users are skewed), t, permutation or bootstrap, for one look; "
            "sequential for any number of looks."
        ),
    ] = "auto",
    planned_users: Annotated[
        int, typer.Option(help="Users of two variants at which sequential intervals are narrowest.")
    ] = 10_000,
    correction: Annotated[str, typer.Option(help="holm, benjamini-hochberg or none.")] = "holm",
    alpha: _Alpha = 0.05,
    store: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Or: the service's store, sqlite:///FILE or postgresql://..."),
    ] = None,
    experiment: Annotated[
        str | None, typer.Option(metavar="NAME", help="The experiment of the store.")
    ] = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Of the store: 2026-11-01, or Unix seconds.")
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="The end, likewise.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="FILE", help="Also write the users of the store there (Parquet)."
        ),
    ] = None,
    seed: Seed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Each variant beside the control: lift, interval, p-value, probability to be better, and the sample ratio."""
    from recsmith.evaluation.experiments import analyze as analyzed

    if (file is None) == (store is None):
        raise ParameterError(
            "ab analyze wants a FILE with a row per user, or --store URL and --experiment NAME."
        )
    if store is None:
        of_store = {"--experiment": experiment, "--since": since, "--until": until, "--out": out}
        refuse_given(of_store, "the service's log, --store URL")
        if not metrics:
            raise ParameterError("ab analyze wants --metric: what is judged, like -m clicks/slots.")
    shares, output = _shares(share), Output(as_json, quiet)
    frame: Any = file
    notes: tuple[str, ...] = ()
    if store is not None:
        if experiment is None:
            raise ParameterError("--store wants --experiment NAME.")
        metrics = metrics or list(_OF_THE_LOG)
        frame, shares, notes = _of_store(store, experiment, shares, since, until)
        if out is not None:
            frame.write_parquet(out)
            output.note(f"A row for each of {frame.height:,} users is in {out}.")
    result = analyzed(
        frame,
        [_metric(text) for text in metrics or ()],
        control=control,
        variant=variant,
        unit=None if unit == "none" else unit,
        segment=segment,
        shares=shares,
        method=method,  # type: ignore[arg-type]
        planned_users=planned_users,
        correction=correction,  # type: ignore[arg-type]
        alpha=alpha,
        seed=seed,
    )
    result = replace(result, notes=notes)
    output.show(result.as_dict(), result)


def _of_store(
    url: str, name: str, shares: dict[str, float] | None, since: str | None, until: str | None
) -> tuple[pl.DataFrame, dict[str, float], tuple[str, ...]]:
    """A row for each user of an experiment, the shares it should have, and who is left out."""
    between = moment("--since", since), moment("--until", until)
    with reading(url, "recsmith ab analyze --store") as opened:
        from recsmith.serving import logged

        shares = shares or logged.shares(opened, name)
        slots = logged.slots(opened, since=between[0], until=between[1])
        exposed = logged.first_exposures(opened, name)
        units = logged.units(slots, logged.events(opened), experiment=name, exposed=exposed, until=between[1])
    if not units.frame.height:
        raise ParameterError(f"The store has no answer of the experiment {name!r} in that time.")
    left = f"{units.switched:,} users saw more than one variant and are left out."
    return units.frame, shares, (left,) if units.switched else ()


def _baseline(
    mean: float | None,
    sd: float | None,
    proportion: float | None,
    file: str | None,
    metric: str | None,
    correlation: float,
) -> Baseline:
    from recsmith.evaluation.experiments import Baseline

    given = [mean is not None, proportion is not None, file is not None]
    if sum(given) != 1 or (mean is None) != (sd is None) or (file is None) != (metric is None):
        raise ParameterError(
            "ab plan wants one of: --mean with --sd, --proportion, or --from FILE with --metric."
        )
    if mean is not None and sd is not None:
        return Baseline.of_mean(mean, sd, correlation=correlation)
    if correlation:
        raise ParameterError(
            "--correlation goes with --mean. Of a table give the covariate: --metric M:before=COLUMN."
        )
    if proportion is not None:
        return Baseline.of_proportion(proportion)
    return Baseline.of_users(file, _metric(str(metric)))


def _metric(text: str) -> Metric:
    """``clicks/slots:before=old_clicks/old_slots,smaller`` as a metric."""
    from recsmith.evaluation.experiments import Metric

    names, _, rest = text.partition(":")
    column, per = _over(names)
    told: dict[str, Any] = {}
    for part in listed(rest):
        key, equals, value = part.partition("=")
        if key == "before" and equals:
            told["before"], told["before_per"] = _over(value)
        elif key == "proportion" and not equals:
            told["kind"] = "proportion"
        elif key == "smaller" and not equals:
            told["smaller_is_better"] = True
        else:
            raise ParameterError(
                f"The metric {text!r} wants before=COLUMN, proportion or smaller after the colon. Got {part!r}."
            )
    if per is not None:
        told.setdefault("kind", "ratio")
    return Metric(column=column, per=per, **told)


def _over(text: str) -> tuple[str, str | None]:
    """``a/b`` or ``a``."""
    above, slash, below = text.partition("/")
    return above.strip(), below.strip() if slash else None


def _effect(text: str | None) -> tuple[float | None, bool]:
    """A difference, and whether it is relative: ``2%``."""
    if text is None:
        return None, False
    try:
        value = float(text.rstrip("%"))
    except ValueError:
        raise ParameterError(
            f"--effect wants a number like 0.2, or a percentage like 2%. Got {text!r}."
        ) from None
    return (value / 100, True) if text.endswith("%") else (value, False)


def _shares(texts: Sequence[str] | None) -> dict[str, float] | None:
    """``NAME=PART`` texts."""
    if not texts:
        return None
    try:
        return {name: float(part) for name, part in pairs("--share", texts).items()}
    except ValueError:
        raise ParameterError(f"--share wants VARIANT=PART like new=0.5. Got {', '.join(texts)}.") from None
