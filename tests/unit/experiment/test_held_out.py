"""Events held out inside train: the ids stay, nothing is lost, and nobody is told that he is as trained who is not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.conftest import build

from recsmith.data.split_by_name import parse
from recsmith.errors import DataError
from recsmith.experiment.config import Training
from recsmith.experiment.held_out import hold_out


def ragged(lengths: list[int]):
    """A log in which user u has so many events, each of an item of its own."""
    users = [f"u{u}" for u, n in enumerate(lengths) for _ in range(n)]
    items = [f"i{n:03d}" for n in range(len(users))]
    return build(users, items, times=range(len(users)))


@given(
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=12).filter(lambda n: max(n) > 2),
    which=st.sampled_from(["last", "random"]),
    seed=st.integers(0, 5),
)
def test_what_is_left_and_what_is_held_out_are_the_log(lengths, which, seed):
    data = ragged(lengths)
    asked = Training(held_out=2, users=3, which=which)
    held = hold_out(data, asked, seed)
    rest, truth = held.split.train, held.split.truth
    assert rest.items is data.items
    assert rest.users is data.users
    assert sorted([*rest.item, *truth.items]) == sorted(data.item)
    assert len(held.users) == min(3, sum(n > 2 for n in lengths))
    for row, user in enumerate(held.users):
        own = data.item[data.offsets[user] : data.offsets[user + 1]].tolist()
        gone = truth.items[truth.offsets[row] : truth.offsets[row + 1]].tolist()
        told = held.split.queries.items[
            held.split.queries.offsets[row] : held.split.queries.offsets[row + 1]
        ].tolist()
        assert gone == [item for item in own if item not in told]  # in order
        assert len(gone) == 2
        if which == "last":
            assert own == told + gone


def test_the_seed_decides_who_is_asked():
    data = ragged([4] * 50)
    chosen = [hold_out(data, Training(users=10), seed).users.tolist() for seed in (0, 0, 1)]
    assert chosen[0] == chosen[1] != chosen[2]
    assert len(hold_out(data, Training(users=None), 0).users) == 50


def test_only_those_who_were_cut_are_not_as_trained(checkerboard):
    split = parse("leave-last-out").split(checkerboard)[0]
    held = hold_out(split.train, Training(users=7), 0)
    told = held.fresh(split)
    changed = np.isin(split.queries.users, held.users)
    assert changed.sum() == 7
    assert (told.queries.as_trained == ~changed).all()
    assert told.queries.items is split.queries.items
    assert "7 events of 7 users were held out" in told.notes[-1]
    assert split.queries.as_trained.all()


def test_nobody_has_enough_events():
    with pytest.raises(DataError, match=r"no user has more than 3 events.*'training.held_out'"):
        hold_out(ragged([3, 2]), Training(held_out=3), 0)
