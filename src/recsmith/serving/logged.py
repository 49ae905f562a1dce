"""The service's log as frames: what was shown, what was done with it, and a row per user for an experiment.

An exposure says which items stood where. An event is laid to a slot where it echoes the ``recomm_id`` of the answer,
or, without one, to the latest slot that showed the item to the user within a window of time. What is counted of a slot
is whether a type of event happened, not how often: two clicks on one place are a click.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import polars as pl

from recsmith.errors import DataError, ParameterError
from recsmith.serving.activation import ACTIVE
from recsmith.serving.deployment import Experiment
from recsmith.serving.events import EXPLORE, digest
from recsmith.serving.rows import EVENT_FRAME, EXPOSURE_FRAME
from recsmith.serving.store import Store

WINDOW_S = 86_400  #: of the attribution of an event without ``recomm_id``
BEFORE_S = 28 * 86_400  #: of the time before a user's first answer that ``events_before`` counts

_SLOT = {
    "item_id": pl.String,
    "rank": pl.Int32,
    "score": pl.Float64,
    "source": pl.String,
    "propensity": pl.Float64,
    "chance": pl.Float64,
}
_COLUMNS = ("recomm_id", "user_id", "experiment", "variant", "model_version", "timestamp", *_SLOT, "shadow")


def slots(store: Store, *, since: int | None = None, until: int | None = None) -> pl.DataFrame:
    """A row for each slot of each list that was answered, in the order of the log.

    Parameters
    ----------
    store
        Its exposures. Users who were erased are not in it, those who are erased while it is read included.
    since, until
        Unix seconds of the first answer that counts and of the first that does not; None: no bound.

    Returns
    -------
    pl.DataFrame
        ``recomm_id, user_id`` (text, ``""`` for somebody without an id), ``experiment, variant`` (text, null outside an
        experiment), ``model_version, timestamp`` (int64 Unix seconds), ``item_id, rank`` (int32, from 1), ``score``
        (float64, null without one), ``source, propensity`` (float64, the probability with which this item came to
        this place), ``chance`` (float64, the same given the variant: 1 but where a policy explored) and ``shadow``
        (computed and not shown; it has the ``recomm_id`` of the list that was).
    """
    erased = store.erased()
    frames = [_unfolded(_between(frame, since, until)) for frame in store.exposures_frame()]
    empty = _unfolded(pl.DataFrame(schema=EXPOSURE_FRAME))
    return _without(pl.concat([empty, *frames]), erased, store.erased())


def events(store: Store) -> pl.DataFrame:
    """All events, oldest commit first: ``user_id, item_id, event, value, timestamp, recomm_id, placed``."""
    erased = store.erased()
    frame = pl.concat([pl.DataFrame(schema=EVENT_FRAME), *store.events_frame()])
    return _without(frame, erased, store.erased())


def attributed(slots: pl.DataFrame, events: pl.DataFrame, *, window_s: int = WINDOW_S) -> pl.DataFrame:
    """The events that were laid to a slot that was shown.

    Parameters
    ----------
    slots, events
        Frames as the functions of these names give them.
    window_s
        Seconds, >= 0, for which a slot answers for an event without ``recomm_id``.

    Returns
    -------
    pl.DataFrame
        ``slot`` (uint32, row number in ``slots``), ``event, value, timestamp``. An event that echoes a ``recomm_id``
        counts where that list held the item and was the user's, or nobody's by name.

    Raises
    ------
    ParameterError
        ``window_s`` below 0.
    """
    if window_s < 0:
        raise ParameterError.of("attributed", "window_s", ">= 0", window_s)
    shown = slots.with_row_index("slot").filter(~pl.col("shadow"))
    shown = shown.select("slot", "recomm_id", "item_id", "user_id", shown_at="timestamp")
    echoed = events.join(shown, on=["recomm_id", "item_id"], how="inner").filter(
        (pl.col("user_id_right") == pl.col("user_id")) | (pl.col("user_id_right") == "")
    )
    silent = events.filter(pl.col("recomm_id").is_null()).sort("timestamp", maintain_order=True)
    latest = silent.join_asof(
        shown.drop("recomm_id").sort("shown_at", maintain_order=True),
        left_on="timestamp",
        right_on="shown_at",
        by=["user_id", "item_id"],
        strategy="backward",
        tolerance=window_s,
        check_sortedness=False,
    ).drop_nulls("slot")
    return pl.concat([part.select("slot", "event", "value", "timestamp") for part in (echoed, latest)])


def rewarded(
    slots: pl.DataFrame, events: pl.DataFrame, rewards: Mapping[str, float], *, window_s: int = WINDOW_S
) -> pl.DataFrame:
    """The slots with a column ``reward``: what was done with each of them.

    Parameters
    ----------
    rewards
        Type of event -> what it is worth. A type counts once in a slot, so the reward is bounded by their sum.

    Returns
    -------
    pl.DataFrame
        ``slots`` and ``reward`` (float64); null in a shadow, which nobody saw.
    """
    worth = pl.DataFrame({"event": list(rewards), "worth": [float(value) for value in rewards.values()]})
    worth = worth.cast({"event": pl.String, "worth": pl.Float64})
    found = attributed(slots, events, window_s=window_s).unique(["slot", "event"]).join(worth, on="event")
    sums = found.group_by("slot").agg(reward=pl.col("worth").sum())
    joined = (
        slots.with_row_index("slot").join(sums, on="slot", how="left", maintain_order="left").drop("slot")
    )
    earned = pl.when(~pl.col("shadow")).then(pl.col("reward").fill_null(0.0))
    return joined.with_columns(reward=earned)


@dataclass(frozen=True, slots=True, eq=False)
class Units:
    """A row for each user of an experiment, and who is not among them."""

    frame: pl.DataFrame
    switched: int  #: users left out: they saw more than one variant


def first_exposures(store: Store, experiment: str) -> pl.DataFrame:
    """When each user was first shown a list of an experiment, over the whole log.

    Returns
    -------
    pl.DataFrame
        ``user_id`` (text) and ``exposed`` (int64 Unix seconds). Shadows and users without an id are passed over.
    """
    erased = store.erased()
    shown = (pl.col("experiment") == experiment) & pl.col("variant").is_not_null() & (pl.col("user_id") != "")
    frames = [
        frame.filter(shown & ~pl.col("shadow")).select("user_id", "timestamp")
        for frame in store.exposures_frame()
    ]
    empty = pl.DataFrame(schema={name: EXPOSURE_FRAME[name] for name in ("user_id", "timestamp")})
    answers = _without(pl.concat([empty, *frames]), erased, store.erased())
    return answers.group_by("user_id", maintain_order=True).agg(exposed=pl.col("timestamp").min())


def units(
    slots: pl.DataFrame,
    events: pl.DataFrame,
    *,
    experiment: str | None = None,
    exposed: pl.DataFrame | None = None,
    until: int | None = None,
    clicks: Collection[str] = ("click", "view"),
    conversions: Collection[str] = ("purchase", "like"),
    window_s: int = WINDOW_S,
    before_s: int = BEFORE_S,
) -> Units:
    """What each user saw and did, as ``recsmith.evaluation.experiments.analyze`` takes it.

    Parameters
    ----------
    slots, events
        Frames as the functions of these names give them. Shadows, answers outside an experiment and users without
        an id are passed over.
    experiment
        The one that counts; None: all, where the log is of one.
    exposed
        Frame of ``first_exposures``, where ``slots`` are not the whole log; None: they are.
    until
        Unix seconds of the first event that does not count; None: no bound.
    clicks, conversions
        Types of event.

    Returns
    -------
    Units
        Columns ``user_id, variant``; ``answers`` and ``slots`` that were shown; ``clicks`` and ``conversions``, the
        slots with such an event; ``value``, the sum of the values of the conversions laid to a slot; ``actions``, all
        clicks and conversions from the first answer on, laid to a slot or not; and ``actions_before``, those of the
        ``before_s`` seconds before the first exposure ever, which no variant can have changed.
    """
    shown = slots.filter(~pl.col("shadow") & pl.col("variant").is_not_null() & (pl.col("user_id") != ""))
    if experiment is not None:
        shown = shown.filter(pl.col("experiment") == experiment)
    known = shown.group_by("user_id", maintain_order=True).agg(
        variant=pl.col("variant").first(),
        variants=pl.col("variant").n_unique(),
        answers=pl.col("recomm_id").n_unique(),
        slots=pl.len(),
        first=pl.col("timestamp").min(),
    )
    frame = known.filter(pl.col("variants") == 1).drop("variants")
    if until is not None:
        events = events.filter(pl.col("timestamp") < until)
    if exposed is None:
        exposed = known.select("user_id", exposed="first")
    frame = frame.join(exposed, on="user_id", how="left", maintain_order="left")
    for counted in (
        _reactions(shown, events, clicks, conversions, window_s),
        _actions(frame, events, {*clicks, *conversions}, before_s),
    ):
        frame = frame.join(counted, on="user_id", how="left", maintain_order="left")
    return Units(frame.drop("first", "exposed").fill_null(0), known.height - frame.height)


def shares(store: Store, name: str) -> dict[str, float]:
    """The shares of the variants that the running experiment ``name`` shows.

    Raises
    ------
    DataError
        No experiment of this name is running.
    """
    told = (store.settings().get(ACTIVE) or {}).get("experiment")
    if told is None or told["name"] != name:
        running = "none is" if told is None else f"{told['name']!r} is"
        raise DataError(
            f"The experiment {name!r} is not running in this store; {running}. "
            "Of one that is over, give the shares: --share a=0.5 --share b=0.5."
        )
    variants = Experiment(**told).variants
    return {key: v.share for key, v in variants.items() if not v.shadow and v.share > 0}


def _reactions(
    shown: pl.DataFrame,
    events: pl.DataFrame,
    clicks: Collection[str],
    conversions: Collection[str],
    window_s: int,
) -> pl.DataFrame:
    """Per user: slots with a click, slots with a conversion, and the conversions' value."""
    found = attributed(shown, events, window_s=window_s)
    clicked, converted = (pl.col("event").is_in(list(kinds)) for kinds in (clicks, conversions))
    of_slot = found.group_by("slot").agg(
        clicks=clicked.any(), conversions=converted.any(), value=pl.col("value").filter(converted).sum()
    )
    owned = of_slot.join(shown.select("user_id").with_row_index("slot"), on="slot")
    return owned.group_by("user_id").agg(pl.col("clicks", "conversions", "value").sum())


def _actions(
    frame: pl.DataFrame, events: pl.DataFrame, kinds: Collection[str], before_s: int
) -> pl.DataFrame:
    """Per user: events of these kinds from the first answer on, and in the time before the first exposure ever."""
    done = events.filter(pl.col("event").is_in(list(kinds))).join(
        frame.select("user_id", "first", "exposed"), on="user_id"
    )
    ahead = pl.col("exposed") - pl.col("timestamp")
    return done.group_by("user_id").agg(
        actions=(pl.col("timestamp") >= pl.col("first")).sum(),
        actions_before=((ahead > 0) & (ahead <= before_s)).sum(),
    )


def _between(frame: pl.DataFrame, since: int | None, until: int | None) -> pl.DataFrame:
    if since is not None:
        frame = frame.filter(pl.col("timestamp") >= since)
    return frame if until is None else frame.filter(pl.col("timestamp") < until)


def _unfolded(frame: pl.DataFrame) -> pl.DataFrame:
    """A row per slot; an empty list has none."""
    lists = frame.with_columns(pl.col("items").str.json_decode(pl.List(pl.Struct(_SLOT))))
    slots = lists.explode("items").filter(pl.col("items").is_not_null()).unnest("items").select(_COLUMNS)
    certain = pl.when(~pl.col("source").str.starts_with(EXPLORE)).then(1.0)
    return slots.with_columns(pl.col("chance").fill_null(certain).fill_null(pl.col("propensity")))


def _without(frame: pl.DataFrame, before: Mapping[str, int], after: Mapping[str, int]) -> pl.DataFrame:
    """The rows but those of users who were erased between two looks at the tombstones."""
    gone = {key for key, seq in after.items() if before.get(key) != seq}
    if not gone:
        return frame
    erased = [user for user in frame["user_id"].unique().to_list() if digest(user) in gone]
    return frame.filter(~pl.col("user_id").is_in(erased))
