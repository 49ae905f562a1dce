"""Rules: what they hide is never shown, what they pin stands where it should, and lists stay full."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.conftest import build

from recsmith.errors import ParameterError
from recsmith.serving.catalogue import Catalogue
from recsmith.serving.dry_run import LoggedRequest, dry_run
from recsmith.serving.rerank import RULE, Candidates
from recsmith.serving.rules import Rules

N = 12
DAY = 86_400
GENRES = ["Action", "Drama", "Horror"]


def shop(upserts=None) -> Catalogue:
    """Items i00 to i11 in three genres by turns, a year each, and what was written since."""
    ids = [f"i{i:02d}" for i in range(N)]
    features = pl.DataFrame(
        {"item_id": ids, "genres": [GENRES[i % 3] for i in range(N)], "year": [2000 + i for i in range(N)]}
    )
    return Catalogue.of(replace(build(["u"] * N, ids), item_features=features), upserts)


def ranked(items=range(N), scores=None, sources=None) -> Candidates:
    items = np.array(list(items), dtype=np.int32)
    scores = np.linspace(-1, -9, len(items)) if scores is None else np.asarray(scores, dtype=float)
    return Candidates(
        items, scores, np.zeros(len(items), np.int8) if sources is None else np.asarray(sources)
    )


def applied(document, k=N, candidates=None, catalogue=None, context=None, now=0, **rest):
    rules = Rules.read(document)
    found = ranked() if candidates is None else candidates
    return rules.apply(
        k, found, shop() if catalogue is None else catalogue, context or {}, now=now, **rest
    ).slots


def items(slots):
    return [slot.item for slot in slots]


# --- reading ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("rules: [", "shop.yaml is not YAML"),
        ("[" * 5000, "shop.yaml is not YAML"),
        ("- boost: 1", "shop.yaml must be a list under the key 'rules'"),
        ("rules: {}", "shop.yaml must be a list under the key 'rules'"),
        ("rules: []\nmore: 1", "shop.yaml must be a list under the key 'rules'"),
        ("rules: [5]", "rule 1 of shop.yaml must be a kind with its values. Got 5"),
        (
            "rules: [only_available: true, bost: {}]",
            "no key in rule 2 of shop.yaml named 'bost'. Did you mean 'boost'",
        ),
        ("rules: [owner: x]", "no key in rule 1 of shop.yaml named 'owner'"),
        (
            "rules: [name: x]",
            "rule 1 of shop.yaml must be a rule with exactly one of only_available, include",
        ),
        ("rules: [{only_available: true, exclude: {items: [a]}}]", "a rule with exactly one of"),
        (
            "rules: [boost: {where: {a: 1}, by: 0}]",
            "'boost.by' parameter of rule 1 of shop.yaml must be > 0. Got 0",
        ),
        ("rules: [boost: {where: {a: 1}, by: .inf}]", "'boost.by' parameter of rule 1 of shop.yaml must be"),
        ("rules: [boost: {by: 2}]", "'boost.where' parameter of rule 1 of shop.yaml"),
        (
            "rules: [boost: {where: {a: 1}, by: 2, to: 2}]",
            "no key in 'boost' of rule 1 of shop.yaml named 'to'",
        ),
        (
            "rules: [include: {where: {a: {gtt: 1}}}]",
            "no operator in 'include.where' of rule 1 of shop.yaml named 'gtt'",
        ),
        (
            "rules: [include: {where: {a: {gt: x}}}]",
            "'a.gt' part of 'include.where' of rule 1 of shop.yaml must be",
        ),
        ("rules: [exclude: {where: {a: 1}, items: [a]}]", "must be either 'where' or 'items'"),
        ("rules: [pin: {slot: 1}]", "must be either 'where' or 'item'"),
        ("rules: [pin: {item: a, slot: 0}]", "'pin.slot' parameter of rule 1 of shop.yaml must be >= 1"),
        ("rules: [at_most: {field: a, n: 0}]", "'at_most.n' parameter of rule 1 of shop.yaml must be >= 1"),
        ("rules: [diversity: {mmr: 1.5}]", "'diversity.mmr' parameter of rule 1 of shop.yaml must be <= 1"),
        (
            "rules: [freshness: {field: a, half_life_days: 0, weight: 1}]",
            "'freshness.half_life_days' parameter",
        ),
        ("rules: [already_bought: {days: -1}]", "'already_bought.days' parameter"),
        (
            "rules: [{only_available: true, name: x}, {diversity: {mmr: 1}, name: x}]",
            "shop.yaml must be rules with distinct names",
        ),
    ],
)
def test_an_error_names_rule_and_key(document, message):
    with pytest.raises(ParameterError, match=message):
        Rules.read(document, "shop.yaml")


def test_the_version_is_of_what_is_said():
    rules = Rules.read("rules:\n  - pin: {item: 5, slot: 1}  # five\n")
    assert rules.version == Rules.read('{"rules": [{"pin": {"slot": 1, "item": "5"}}]}').version
    assert rules.version != Rules.read("rules: [pin: {item: 5, slot: 2}]").version
    assert Rules.read("").version == Rules().version == Rules.read("rules: []").version
    assert len(rules.version) == 12


def test_rules_that_do_not_fit_a_catalogue():
    for rule in (
        "include: {where: {genre: Drama}}",
        "boost: {where: {any: [genre: Drama]}, by: 2}",
        "pin: {where: {genre: Drama}, slot: 1}",
        "at_most: {field: genre, n: 1}",
        "freshness: {field: genre, half_life_days: 1, weight: 1}",
    ):
        with pytest.raises(ParameterError, match=r"no field of items named 'genre'. Did you mean 'genres'"):
            Rules.read(f"rules: [{rule}]").check(shop())
    Rules.read("rules: [include: {where: {genres: Drama}}, pin: {item: nobody, slot: 1}]").check(shop())


def test_depth_grows_only_where_a_rule_re_ranks():
    hiding = "rules: [exclude: {items: [a]}, already_bought: {}, only_available: false"
    assert Rules.read(hiding + "]").depth(10, {}) == 10
    diverse = Rules.read(hiding + ", {diversity: {mmr: 0.5}, when: {page: home}}]")
    assert diverse.depth(10, {"page": "cart"}) == 10
    assert [diverse.depth(k, {"page": "home"}) for k in (1, 10, 50, 300, 1000)] == [100, 100, 200, 512, 1000]


# --- hiding -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("document", "hidden"),
    [
        ("rules: []", [3]),
        ("rules: [only_available: true]", [3]),
        ("rules: [only_available: false]", []),
        ("rules: [exclude: {items: [i05, nobody]}]", [3, 5]),
        ("rules: [exclude: {where: {genres: Drama}}]", [1, 3, 4, 7, 10]),
        (
            "rules: [include: {where: {genres: Drama}}, include: {where: {year: {lt: 2005}}}]",
            [0, 2, 3, *range(5, N)],
        ),
        ("rules: [include: {where: {genres: Drama, year: {lt: 2005}}}]", [0, 2, 3, *range(5, N)]),
        ("rules: [{exclude: {items: [i05]}, when: {segment: kids}}]", [3, 5]),
        ("rules: [{exclude: {items: [i05]}, when: {segment: [teens, kids], page: home}}]", [3, 5]),
        ("rules: [{exclude: {items: [i05]}, when: {segment: adults}}]", [3]),
        ("rules: [{exclude: {items: [i05]}, when: {other: kids}}]", [3]),
    ],
)
def test_what_is_hidden(document, hidden):
    catalogue = shop({"i03": ({}, False), "new": ({}, False)})
    context = {"segment": "kids", "page": "home"}
    found = Rules.read(document).hidden(catalogue, context)
    assert ([] if found is None else np.flatnonzero(found).tolist()) == hidden
    assert found is None or found.any()
    shown = applied(document, catalogue=catalogue, context=context)
    assert items(shown) == [i for i in range(N) if i not in hidden]


def test_hidden_items_are_kept_until_the_catalogue_changes():
    rules = Rules.read("rules: [{exclude: {where: {genres: Drama}}, when: {page: home}}]")
    first = shop({"i00": ({}, False)})
    assert rules.hidden(first, {"page": "home"}) is rules.hidden(first, {"page": "home", "other": 1})
    assert rules.hidden(first, {})[1] == np.False_
    later = first.with_upserts({"i00": ({"genres": "Drama"}, True), "i02": ({"genres": "Drama"}, True)})
    assert np.flatnonzero(rules.hidden(later, {"page": "home"})).tolist() == [0, 1, 2, 4, 7, 10]


def test_what_a_user_bought():
    history = (
        np.array([1, 2, 3, 1]),
        np.array([10, 20, 95, 96]) * DAY,
        ["purchase", "view", "purchase", "view"],
    )
    for document, wanted in (
        ("rules: []", []),
        ("rules: [already_bought: {}]", [1, 3]),
        ("rules: [already_bought: {hide: false}]", []),
        ("rules: [already_bought: {days: 30}]", [3]),
        ("rules: [already_bought: {events: [view]}]", [1, 2]),
        ("rules: [already_bought: {events: [view], days: 10}, already_bought: {days: 95}]", [1, 3]),
        ("rules: [{already_bought: {}, when: {page: home}}]", []),
    ):
        assert Rules.read(document).bought(*history, {}, now=100 * DAY).tolist() == wanted, document


def test_a_request_withholds_and_filters():
    slots = applied("", k=4, withheld=np.array([0, 2, -1, 99]), allowed=np.arange(N) != 1)
    assert items(slots) == [3, 4, 5, 6]


# --- the list -----------------------------------------------------------------------------------------------


def test_without_rules_the_list_is_the_pipelines():
    found = ranked([4, 2, -1, 9], [3.0, 2.5, np.nan, 7.0], [0, 0, -1, 1])
    slots = applied("", k=5, candidates=found)
    assert [(s.item, s.score, s.source, s.adjusted, s.rules) for s in slots] == [
        (4, 3.0, 0, None, ()),
        (2, 2.5, 0, None, ()),
        (9, 7.0, 1, None, ()),
    ]
    assert applied("", k=3, candidates=ranked([])) == []
    with pytest.raises(ParameterError, match="'k' parameter of the rules must be >= 1"):
        applied("", k=0)


@pytest.mark.parametrize("scale", [1, -1, 1e-6, 1e6])
def test_a_boost_means_the_same_on_any_scale(scale):
    found = ranked(range(N), np.sort(np.linspace(-3, 5, N) * scale)[::-1])
    slots = applied("rules: [{boost: {where: {genres: Drama}, by: 1.6}, name: plays}]", k=4, candidates=found)
    assert items(slots) == [1, 4, 0, 2]
    assert [s.adjusted for s in slots] == pytest.approx([1.6 * 11 / 12, 1.6 * 8 / 12, 1, 10 / 12])
    assert [s.rules for s in slots] == [("plays",), ("plays",), (), ()]
    assert [s.score for s in slots] == found.scores[[1, 4, 0, 2]].tolist()


def test_a_factor_below_one_lowers():
    slots = applied("rules: [boost: {where: {genres: Action}, by: 0.01}]")
    assert items(slots) == [1, 2, 4, 5, 7, 8, 10, 11, 0, 3, 6, 9]


def test_freshness_halves_with_age():
    now = 11_323 * DAY  # the first of January 2001
    document = "rules: [{freshness: {field: year, half_life_days: 366, weight: 0.5}, name: fresh}]"
    slots = applied(document, now=now, candidates=ranked([5, 0, 1, 2]))
    assert [(s.item, s.adjusted) for s in slots] == [(5, 1.5), (0, 1.0), (1, 1.0), (2, 0.75)]
    written = shop({"a": ({}, True), "b": ({"year": "2000-01-01"}, True)})
    slots = applied(document, now=now, candidates=ranked([12, 13]), catalogue=written)
    assert [(s.item, s.adjusted, s.rules) for s in slots] == [(12, 1.0, ()), (13, 0.75, ("fresh",))]


def test_pins_stand_in_their_slots():
    document = """
    rules:
      - {pin: {item: i07, slot: 3}, name: first}
      - {pin: {item: new, slot: 1}, name: second}
      - {pin: {where: {genres: Horror}, slot: 3}, name: third}
      - {pin: {item: nobody, slot: 2}, name: nobody}
      - {pin: {item: i07, slot: 5}, name: again}
      - {pin: {item: i09, slot: 9}, name: too far}
    """
    slots = applied(document, k=6, catalogue=shop({"new": ({}, True)}))
    assert items(slots) == [N, 0, 7, 2, 1, 3]
    assert [s.rules for s in slots] == [("second",), (), ("first",), ("third",), (), ()]
    assert np.isnan(slots[0].score)
    assert [s.source for s in slots] == [RULE, 0, 0, 0, 0, 0]


def test_a_pinned_filter_takes_the_newest_item_where_no_candidate_passes():
    catalogue = shop(
        {"n1": ({"label": "ad"}, True), "n2": ({"label": "ad"}, True), "n3": ({"label": "ad"}, False)}
    )
    document = "rules: [pin: {where: {label: ad}, slot: 2}, pin: {where: {label: ad}, slot: 3}]"
    assert items(applied(document, k=4, catalogue=catalogue)) == [0, N + 1, N, 1]
    assert items(applied(document, k=2, catalogue=catalogue, withheld=np.array([N + 1]))) == [0, N]


def test_a_pin_shows_nothing_hidden():
    document = "rules: [pin: {item: i07, slot: 1}, exclude: {items: [i07]}, pin: {item: gone, slot: 1}]"
    catalogue = shop({"gone": ({}, False), "there": ({}, True)})
    assert items(applied(document, k=2, catalogue=catalogue)) == [0, 1]
    pin = "rules: [pin: {item: there, slot: 1}]"
    assert items(applied(pin, k=2, catalogue=catalogue)) == [N + 1, 0]
    assert items(applied(pin, k=2, catalogue=catalogue, withheld=np.array([N + 1]))) == [0, 1]
    allowed = np.arange(N + 2) < N
    assert items(applied(pin, k=2, catalogue=catalogue, allowed=allowed)) == [0, 1]


def test_a_pin_of_a_short_list_closes_up():
    slots = applied("rules: [pin: {item: i07, slot: 5}]", k=6, candidates=ranked([1, 2]))
    assert items(slots) == [1, 2, 7]


def test_a_cap_is_held_and_relaxed_only_where_the_list_would_be_short():
    document = "rules: [{at_most: {field: genres, n: 1}, name: one of each}]"
    assert items(applied(document, k=3, candidates=ranked([0, 3, 1, 4, 2]))) == [0, 1, 2]
    slots = applied(document, k=4, candidates=ranked([0, 3, 1, 4]))
    assert items(slots) == [0, 1, 3, 4]
    assert [s.rules for s in slots] == [(), (), ("one of each (relaxed)",), ("one of each (relaxed)",)]


def test_each_value_of_an_item_counts_and_pins_count():
    catalogue = shop({"i00": ({"genres": "Action|Drama"}, True), "i02": ({"genres": []}, True)})
    cap = "at_most: {field: genres, n: 1}"
    assert items(applied(f"rules: [{cap}]", k=3, catalogue=catalogue)) == [0, 2, 5]
    pinned = f"rules: [{cap}, pin: {{item: i05, slot: 3}}]"
    assert items(applied(pinned, k=3, catalogue=catalogue)) == [0, 2, 5]
    assert items(applied(pinned, k=3, candidates=ranked([2, 8, 0, 1]))) == [0, 1, 5]


def alike(indices):
    """Items of one genre are alike, as the model has it."""
    genre = np.asarray(indices) % 3
    return (genre[:, None] == genre).astype(np.float32)


def test_diversity_mixes_the_list():
    found = ranked([0, 3, 6, 1, 4, 2])
    document = "rules: [{diversity: {mmr: 0.5}, name: mixed}]"
    slots = applied(document, k=4, candidates=found, similarity=alike)
    assert items(slots) == [0, 1, 2, 3]
    assert [s.rules for s in slots] == [(), ("mixed",), ("mixed",), ()]
    assert items(applied(document, k=4, candidates=found)) == [0, 3, 6, 1]
    assert applied(document, k=4, candidates=ranked([]), similarity=alike) == []


# --- what always holds --------------------------------------------------------------------------------------

KINDS = st.sampled_from(
    [
        "exclude: {where: {genres: Horror}}",
        "exclude: {items: [i02, i03]}",
        "include: {where: {year: {gte: 2003}}}",
        "boost: {where: {genres: Drama}, by: 2}",
        "boost: {where: {year: {gt: 2006}}, by: 0.3}",
        "freshness: {field: year, half_life_days: 900, weight: 0.4}",
        "pin: {item: i05, slot: 2}",
        "pin: {item: n1, slot: 1}",
        "pin: {where: {label: ad}, slot: 3}",
        "pin: {where: {genres: Action}, slot: 2}",
        "at_most: {field: genres, n: 2}",
        "at_most: {field: year, n: 1}",
        "diversity: {mmr: 0.4}",
        "only_available: true",
        "only_available: false",
    ]
)


@st.composite
def requests(draw):
    document = "rules: [" + ", ".join(draw(st.lists(KINDS, max_size=6))) + "]"
    order = draw(st.permutations(range(N)))
    written = {
        "n1": ({"label": "ad", "genres": "Drama|War"}, draw(st.booleans())),
        "n2": ({"label": "ad"}, draw(st.booleans())),
        "i04": ({}, draw(st.booleans())),
    }
    withheld = np.array(draw(st.lists(st.integers(0, N + 1), max_size=4)), dtype=np.int64)
    return document, draw(st.integers(1, 14)), ranked(order[: draw(st.integers(0, N))]), written, withheld


@given(requests())
def test_what_always_holds(request_):
    document, k, found, written, withheld = request_
    catalogue, rules = shop(written), Rules.read(document)
    now = 12_000 * DAY

    def answer(rules):
        return rules.apply(k, found, catalogue, {}, withheld=withheld, similarity=alike, now=now).slots

    slots, shown = answer(rules), items(answer(rules))
    assert repr(answer(Rules.read(document))) == repr(slots)
    hidden = np.zeros(catalogue.n_items, dtype=bool)
    for _, mask in rules.hiding(catalogue, {}):
        hidden |= mask
    hidden[withheld] = True
    assert not hidden[shown].any()
    assert len(set(shown)) == len(shown)
    left = [i for i in found.items.tolist() if not hidden[i]]
    pinned = [s.item for s in slots if s.source == RULE]
    assert len(slots) == min(k, len(set(left) | set(pinned)))
    named = dict(zip(rules.names, rules.rules, strict=True))
    for place, slot in enumerate(slots, 1):
        pins = [
            rule.pin for rule in (named.get(name) for name in slot.rules) if rule is not None and rule.pin
        ]
        for pin in pins:
            assert place >= pin.slot or len(slots) < k
            passed = slots[pin.slot - 1 : place - 1]
            assert all(any(n.startswith("pin") for n in other.rules) for other in passed)


@given(requests())
def test_caps_hold_and_are_relaxed_only_for_a_short_list(request_):
    document, k, found, written, withheld = request_
    catalogue, rules = shop(written), Rules.read(document)
    slots = rules.apply(k, found, catalogue, {}, withheld=withheld, similarity=alike, now=0).slots
    strict = [s.item for s in slots if not any("relaxed" in name for name in s.rules)]
    pins = [s.item for s in slots if any(name.startswith("pin") for name in s.rules)]
    caps = [rule.at_most for rule in rules.rules if rule.at_most is not None]

    def counts(cap, shown):
        return Counter(value for item in shown for value in catalogue.values(cap.field, item))

    for cap in caps:
        pinned = counts(cap, pins)
        assert all(n <= max(cap.n, pinned[value]) for value, n in counts(cap, strict).items())
    if len(strict) < len(slots):
        hidden = np.any(
            [mask for _, mask in rules.hiding(catalogue, {})] or [[False] * catalogue.n_items], axis=0
        )
        others = set(found.items[~hidden[found.items]].tolist()) - set(withheld.tolist()) - set(strict)
        for item in others:
            assert any(
                counts(cap, strict)[value] >= cap.n
                for cap in caps
                for value in catalogue.values(cap.field, item)
            )


@given(st.permutations(range(N)), st.integers(1, N))
def test_a_factor_or_weight_of_one_changes_nothing(order, k):
    found = ranked(order)
    plain = items(applied("", k, found))
    for rule in ("boost: {where: {genres: Drama}, by: 1}", "diversity: {mmr: 1}"):
        slots = applied(f"rules: [{rule}]", k, found, similarity=alike)
        assert items(slots) == plain
        assert all(slot.rules == () for slot in slots)


# --- dry run ------------------------------------------------------------------------------------------------


def test_a_dry_run_says_what_would_change():
    old = Rules.read("rules: [exclude: {items: [i00]}]")
    new = Rules.read(
        """
        rules:
          - {pin: {item: i03, slot: 1}, name: hit, when: {page: home}}
          - {exclude: {where: {genres: Horror}}, name: calm}
          - {at_most: {field: year, n: 9}, name: idle}
        """
    )
    logged = [
        LoggedRequest(user="ann", k=3, now=0, candidates=ranked([0, 1, 2, 3]), context={"page": "home"}),
        LoggedRequest(user="bob", k=2, now=0, candidates=ranked([1, 3])),
        LoggedRequest(user="cy", k=2, now=0, candidates=ranked([])),
    ]
    run = dry_run(new, old, iter(logged), shop())
    assert (run.requests, run.share) == (3, pytest.approx(1 / 3))
    [change] = run.changes
    assert change.user == "ann"
    assert (change.came, change.gone) == (("i00",), ("i02",))
    assert change.moved == (("i03", 3, 1), ("i01", 1, 3))
    assert run.acted == {"hit": 1, "calm": 1, "idle": 0}
    same = dry_run(old, old, logged, shop())
    assert (same.changes, same.share) == ((), 0.0)
    assert dry_run(old, old, [], shop()).share == 0.0


def test_a_dry_run_refuses_rules_that_do_not_fit():
    bad = Rules.read("rules: [at_most: {field: genre, n: 1}]")
    with pytest.raises(ParameterError, match="no field of items named 'genre'"):
        dry_run(bad, Rules(), [], shop())
