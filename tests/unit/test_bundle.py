"""Bundles: what goes in comes out, what is damaged is refused, what was there stays until the new one is whole."""

from __future__ import annotations

import errno
import json
import os
import pickle
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from tests.conftest import build
from tests.support.waiting import PATIENCE_S

from recsmith import bundle_format
from recsmith.bundle import Bundle
from recsmith.data.ids import IdMap
from recsmith.data.weighting import Weighting
from recsmith.errors import (
    BundleError,
    DataError,
    NotFittedError,
    ParameterError,
    StorageError,
    UnknownIdError,
)
from recsmith.experiment.train import as_bundle, load_bundle, train
from recsmith.models.linear.ease import EASE
from recsmith.models.registry import create
from recsmith.recommend import Pipeline

FILES = ("arrays.safetensors", "seen.safetensors", "users.parquet", "items.parquet", "README.md")


def rated(text_ids: bool = True):
    """12 users of 9 items in two tastes, rated, timed, with titles for all but one item."""
    rng = np.random.default_rng(4)
    users, items = [], []
    for u in range(12):
        for i in rng.permutation(9)[:5]:
            users.append(f"u{u}" if text_ids else u * 10)
            items.append(f"i{i}" if text_ids else int(i) + 100)
    data = build(
        users, items, rng.integers(1, 6, len(users)), rng.integers(10**9, size=len(users)), name="shop"
    )
    ids = data.items.ids
    titles = pl.DataFrame({"item_id": ids, "title": [None, *[f"Title {n}" for n in range(1, len(ids))]]})
    people = pl.DataFrame({"user_id": data.users.ids, "age": list(range(data.n_users))})
    return replace(data, item_features=titles, user_features=people, notes=("a note",))


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return train("ease", rated(), reg=5, half_life=4, seed=3).with_info(tag="first")


@pytest.fixture(scope="module")
def saved(bundle, tmp_path_factory) -> Path:
    return bundle.save(tmp_path_factory.mktemp("bundles") / "ease")


@pytest.fixture
def folder(bundle, tmp_path) -> Path:
    return bundle.save(tmp_path / "b")


def temporary(folder: Path) -> list[str]:
    return [p.name for p in folder.parent.iterdir() if p.name.startswith(".")]


# --- round trip ---------------------------------------------------------------------------------------------


def test_everything_comes_back(bundle, saved):
    loaded = load_bundle(saved)
    for name in ("user", "item", "row", "value", "time", "offsets"):
        array = getattr(loaded.data, name)
        np.testing.assert_array_equal(array, getattr(bundle.data, name))
        assert array.dtype == getattr(bundle.data, name).dtype
    assert loaded.data.users == bundle.data.users
    assert loaded.data.items == bundle.data.items
    assert loaded.data.item_features.equals(bundle.data.item_features)
    assert loaded.data.user_features.equals(bundle.data.user_features)
    assert loaded.data.rating_scale == (1.0, 5.0)
    assert loaded.data.notes == ("a note",)
    assert loaded.data.fingerprint() == bundle.data.fingerprint()
    assert loaded.pipeline.weighting == Weighting(half_life=4)
    assert loaded.pipeline.model.config == bundle.pipeline.model.config
    assert loaded.info == bundle.info
    assert loaded.info["seed"] == 3
    assert (loaded.model_name, loaded.fallback_name) == ("ease", "popular")
    assert loaded.recommend(k=9).equals(bundle.recommend(k=9))


@pytest.mark.parametrize("text", [True, False])
def test_ids_come_back_as_they_came(text, tmp_path):
    bundle = load_bundle(train("ials", rated(text), embedding_size=3).save(tmp_path / "b"))
    user, item = ("u3", "i4") if text else (30, 104)
    kind = pl.String if text else pl.Int64
    frame = bundle.recommend([user], 3)
    assert frame["user_id"].to_list() == [user] * 3
    assert frame["item_id"].dtype == kind
    assert frame["rank"].to_list() == [1, 2, 3]
    assert bundle.recommend(user, 3).equals(frame)  # one id is a list of one
    assert bundle.recommend([str(user)], 3)["item_id"].equals(frame["item_id"])
    assert bundle.recommend_for([item], 3)["item_id"].dtype == kind
    assert item not in bundle.recommend_for([item], 9)["item_id"].to_list()


def test_a_log_with_nothing_but_ids(tmp_path):
    bare = build([1, 1, 2], [5, 6, 5])
    loaded = load_bundle(train("popular", bare).save(tmp_path / "b"))
    assert loaded.data.time is None
    assert loaded.data.value is None
    assert loaded.data.item_features is None
    assert loaded.fallback_name is None
    assert loaded.history(1).columns == ["item_id"]
    assert loaded.item_labels(pl.Series([5, 7])).to_list() == ["5", "7"]
    assert loaded.recommend([2]).to_dicts() == [
        {"user_id": 2, "item_id": 6, "score": 1.0, "rank": 1, "source": "popular"}
    ]


def test_the_bundle_can_be_read_by_others(saved):
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(saved.stat().st_mode) == 0o777 & ~umask
    assert {stat.S_IMODE(file.stat().st_mode) for file in saved.iterdir()} == {0o666 & ~umask}


def test_the_card_says_what_it_is(saved):
    card = (saved / "README.md").read_text(encoding="utf-8")
    assert "# ease on shop" in card
    assert "60 events of 12 users with 9 items." in card
    assert "- a note" in card
    assert "reg = 5.0" in card


# --- answers ------------------------------------------------------------------------------------------------


def test_lists_leave_out_what_was_seen_and_name_their_source(bundle):
    frame = bundle.recommend(["u1", "nobody"], 3)
    seen = set(bundle.history("u1")["item_id"])
    assert not seen & set(frame.filter(pl.col("user_id") == "u1")["item_id"])
    assert frame.filter(pl.col("user_id") == "nobody")["source"].unique().to_list() == ["fallback:popular"]
    assert frame.filter(pl.col("user_id") == "u1")["source"].unique().to_list() == ["ease"]
    assert frame.columns == ["user_id", "item_id", "score", "rank", "source"]


def test_items_and_exclude_by_raw_id(bundle):
    frame = bundle.recommend(["nobody"], 9, items=["i1", "i2", "i3"], exclude=["i2", "no such item"])
    assert sorted(frame["item_id"]) == ["i1", "i3"]
    assert bundle.recommend(["nobody"], 9, exclude=[]).height == 9
    assert bundle.recommend(["nobody"], 9, items=[]).height == 0
    with pytest.raises(UnknownIdError, match="no such item"):
        bundle.recommend(["u1"], items=["no such item"])


@pytest.mark.parametrize(
    "users", [[], [None], np.array([], dtype=np.int64), ["u1", 7], [7, 8], pl.Series(["u1"])]
)
def test_any_list_of_users(bundle, users):
    frame = bundle.recommend(users, 2)
    assert frame.height == 2 * len(users)
    if len(users) == 0:
        assert frame.columns == ["user_id", "item_id", "score", "rank", "source"]


def test_users_that_are_no_ids_are_refused(bundle):
    with pytest.raises(DataError, match="Ids must be text or integers"):
        bundle.recommend([1.5])


@pytest.mark.parametrize("size", [1, 5, 12, 100])
def test_batches_are_the_whole(bundle, size):
    told = []
    frames = list(bundle.recommend_batches(4, size=size, progress=lambda *done: told.append(done)))
    whole = bundle.recommend(k=4)
    joined = pl.concat(frames)
    assert joined.drop("score").equals(whole.drop("score"))
    np.testing.assert_allclose(joined["score"], whole["score"], rtol=1e-5)
    assert len(frames) == -(-12 // size)
    assert told[-1] == (12, 12)


def test_a_batch_of_nobody_is_refused(bundle):
    with pytest.raises(ParameterError, match="'size' parameter of recommend_batches must be >= 1"):
        next(bundle.recommend_batches(size=0))


def test_recommend_for_is_what_a_user_with_that_history_gets():
    bundle = train("ease", rated(), reg=5)
    history = bundle.history("u2")["item_id"].to_list()
    known, stranger = bundle.recommend(["u2"], 4), bundle.recommend_for(history, 4)
    assert stranger["item_id"].equals(known["item_id"])
    assert bundle.recommend_for([], 4)["source"].unique().to_list() == ["fallback:popular"]
    with pytest.raises(UnknownIdError):
        bundle.recommend_for(["no such item"])


def test_history_is_oldest_first_and_empty_for_strangers(bundle):
    frame = bundle.history("u5")
    assert frame.columns == ["item_id", "rating", "timestamp"]
    assert frame["timestamp"].is_sorted()
    assert frame.height == 5
    assert bundle.history("nobody").height == 0


@pytest.mark.parametrize("model", ["ease", "item-knn", "ials"])
def test_contributions_sum_to_the_score(model):
    bundle = train(model, rated(), half_life=3)  # with an age no trained vector answers
    top = bundle.recommend(["u4"], 1).row(0, named=True)
    parts = bundle.explain("u4", top["item_id"])
    assert parts["contribution"].sum() == pytest.approx(top["score"], rel=1e-3)
    assert parts["contribution"].is_sorted(descending=True)
    assert set(parts["item_id"]) == set(bundle.history("u4")["item_id"])
    assert bundle.explain("nobody", "i1").height == 0
    with pytest.raises(UnknownIdError):
        bundle.explain("u4", "no such item")


def test_similar_is_sorted_and_without_the_item_itself(bundle):
    weights = bundle.pipeline.model.weights_
    frame = bundle.similar(["i3", "i0", "i3"], 4)
    assert frame["item_id"].to_list() == ["i3"] * 4 + ["i0"] * 4 + ["i3"] * 4
    row = bundle.data.items.index(["i3"])[0]
    wanted = sorted(set(range(9)) - {row}, key=lambda j: (-weights[row, j], j))[:4]
    assert frame["similar_id"].to_list()[:4] == bundle.data.items.raw(np.array(wanted)).to_list()
    np.testing.assert_array_equal(frame["similarity"].to_numpy()[:4], weights[row, wanted])
    assert frame["rank"].to_list() == [1, 2, 3, 4] * 3
    assert bundle.similar("i3", 100).height == 8
    assert bundle.similar([], 3).height == 0


def test_similar_goes_through_the_items_in_blocks(bundle, monkeypatch):
    whole = bundle.similar(bundle.data.items.ids, 3)
    monkeypatch.setattr("recsmith.bundle._ITEMS_AT_ONCE", 2)
    assert bundle.similar(bundle.data.items.ids, 3).equals(whole)
    assert whole.height == 27


def test_predict_pairs_users_with_items(tmp_path):
    bundle = train("rating-baseline", rated(), fallback=None)
    loaded = load_bundle(bundle.save(tmp_path / "b"))
    frame = loaded.predict(["u1", "u2", "u1", "nobody"], ["i1", "i1", "i2", "nothing"])
    assert frame["user_id"].to_list() == ["u1", "u2", "u1", "nobody"]
    assert frame["item_id"].to_list() == ["i1", "i1", "i2", "nothing"]
    assert frame["rating"].is_between(1, 5).all()
    one = [loaded.predict([u], [i])["rating"][0] for u, i in frame.select("user_id", "item_id").rows()]
    np.testing.assert_allclose(frame["rating"], one, rtol=1e-6)
    assert loaded.predict("u1", "i1").height == 1
    assert loaded.predict([], []).height == 0
    assert loaded.predict([None, "u1"], ["i1", None]).height == 2
    with pytest.raises(ParameterError, match="Got 2 users and 1 items"):
        loaded.predict(["u1", "u2"], ["i1"])


def test_labels_are_titles_and_unknown_ids_stay_themselves(bundle):
    labels = bundle.item_labels(pl.Series(["i3", "i0", "no such item"]))
    assert labels.to_list() == ["Title 3", "i0", "no such item"]


def test_what_a_model_cannot_do_is_said():
    bundle = train("popular", rated())
    with pytest.raises(ParameterError, match="knows no similarity"):
        bundle.similar(["i1"])
    with pytest.raises(ParameterError, match="cannot take its scores apart"):
        bundle.explain("u1", "i1")
    with pytest.raises(ParameterError, match="predicts no ratings"):
        bundle.predict(["u1"], ["i1"])


def test_k_below_one(bundle):
    with pytest.raises(ParameterError, match="'k'"):
        bundle.recommend(["u1"], 0)
    with pytest.raises(ParameterError, match="'k' parameter of similar"):
        bundle.similar(["i1"], 0)


# --- damage -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file(folder, name):
    (folder / name).unlink()
    with pytest.raises(BundleError, match=f"{name} is missing"):
        load_bundle(folder)


@pytest.mark.parametrize("name", FILES)
def test_a_file_cut_short(folder, name):
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[:-7])
    with pytest.raises(BundleError, match="it was cut short"):
        load_bundle(folder)


@pytest.mark.parametrize("name", FILES)
def test_a_changed_byte(folder, name):
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(BundleError, match="was changed after it was written"):
        load_bundle(folder)


def test_a_longer_file_was_changed_and_not_cut(folder):
    with (folder / "README.md").open("a") as card:
        card.write("a remark")
    with pytest.raises(BundleError, match="was changed after it was written"):
        load_bundle(folder)


def test_a_pickle_is_refused_and_not_run(folder, tmp_path):
    class Trap:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "sprung",))

    (folder / "extra.pkl").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(BundleError, match=r"holds extra.pkl, which is no part of a bundle"):
        load_bundle(folder)
    assert not (tmp_path / "sprung").exists()


def edit(folder: Path, **changes) -> None:
    file = folder / "manifest.json"
    manifest = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps({**manifest, **changes}), encoding="utf-8")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": 2}, "has bundle format 2; this recsmith reads up to 1. Upgrade"),
        ({"format": "new"}, "has bundle format new"),
        ({"model": {"name": "no-such", "config": {}}}, "There is no model named 'no-such'"),
        ({"model": {"name": "ease", "config": {"regg": 1}}}, "regg"),
        ({"model": None}, "cannot be restored"),
        ({"weighting": {"half_life": -1}}, "half_life"),
        ({"weighting": []}, "cannot be restored"),
        ({"state": {}}, "cannot be restored"),
        ({"state": []}, "does not fit together"),
        ({"state": {"model": {"arrays": ["x"], "parts": {}, "values": {}}}}, "does not fit together"),
        ({"data": {}}, "does not fit together"),
        ({"data": None}, "does not fit together"),
        ({"files": []}, "is missing"),
        ({"files": dict.fromkeys(FILES)}, "does not fit together"),
    ],
)
def test_a_manifest_that_does_not_fit(folder, changes, words):
    edit(folder, **changes)
    with pytest.raises(BundleError, match=words):
        load_bundle(folder)


@pytest.mark.parametrize("text", ["{", "", "[1]", '"text"', "null", "{}", "\x00\xff"])
def test_a_manifest_that_is_none(folder, text):
    (folder / "manifest.json").write_text(text, encoding="latin-1")
    with pytest.raises(BundleError, match=r"manifest.json is damaged"):
        load_bundle(folder)


def test_a_manifest_without_a_part(folder):
    (folder / "manifest.json").write_text('{"format": 1, "files": {}}', encoding="utf-8")
    with pytest.raises(BundleError, match="lacks data, fallback, info, model, state, weighting"):
        load_bundle(folder)


def test_a_path_without_a_bundle(tmp_path):
    (tmp_path / "file").write_text("x", encoding="utf-8")
    for path in (tmp_path, tmp_path / "nothing", tmp_path / "file"):
        with pytest.raises(BundleError, match=f"{path.name} is not a bundle: it has no manifest.json"):
            load_bundle(path)


@pytest.mark.parametrize("column", ["item", "user"])
def test_an_index_out_of_range_does_not_reach_a_compiled_loop(bundle, tmp_path, column):
    """A log that does not fit its ids is written with checksums that do."""
    changed = getattr(bundle.data, column).copy()
    changed[-1] = 10**6
    path = replace(bundle, data=replace(bundle.data, **{column: changed})).save(tmp_path / "b")
    with pytest.raises(BundleError, match=f"'{column}' parameter of the bundle must be indices in 0"):
        load_bundle(path)


# --- saving -------------------------------------------------------------------------------------------------


def test_save_over_an_older_bundle(bundle, folder):
    bundle.with_info(tag="second").save(folder)
    assert load_bundle(folder).info["tag"] == "second"
    assert temporary(folder) == []


def test_save_makes_the_folders_above(bundle, tmp_path):
    path = tmp_path / "a" / "b" / "c"
    assert bundle.save(str(path)) == path
    assert load_bundle(str(path)).model_name == "ease"


def test_save_does_not_touch_what_is_no_bundle(bundle, tmp_path):
    precious = tmp_path / "home"
    precious.mkdir()
    (precious / "letter.txt").write_text("dear", encoding="utf-8")
    for path in (precious, precious / "letter.txt"):
        with pytest.raises(BundleError, match=r"exists and is not a bundle. Choose another path"):
            bundle.save(path)
    assert (precious / "letter.txt").read_text(encoding="utf-8") == "dear"


def test_save_through_a_link_keeps_the_link(bundle, folder, tmp_path):
    link = tmp_path / "current"
    link.symlink_to(folder)
    for tag in ("second", "third"):
        bundle.with_info(tag=tag).save(link)
        assert link.is_symlink()
        assert load_bundle(link).info["tag"] == load_bundle(folder).info["tag"] == tag
    assert temporary(folder) == []


def test_save_of_an_unfitted_model(bundle, tmp_path):
    with pytest.raises(NotFittedError):
        replace(bundle, pipeline=Pipeline(model=EASE())).save(tmp_path / "b")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", [float("nan"), np.float32(1), object()])
def test_info_that_is_no_json(bundle, folder, value):
    with pytest.raises(BundleError, match="must be JSON"):
        bundle.with_info(figure=value).save(folder)
    assert load_bundle(folder).info["tag"] == "first"
    assert temporary(folder) == []


def fail_at(monkeypatch, owner, name, turn):
    """The ``turn``-th call of a function finds the disk full."""
    real, calls = getattr(owner, name), []

    def failing(*args, **kwargs):
        calls.append(args)
        if len(calls) == turn:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*args, **kwargs)

    monkeypatch.setattr(owner, name, failing)


@pytest.mark.parametrize(
    ("owner", "name", "turn"),
    [
        (os, "fsync", 1),
        (os, "fsync", 6),
        (Path, "write_text", 1),
        (Path, "write_text", 2),
        (Path, "rename", 1),
        (Path, "rename", 2),
        (Path, "mkdir", 2),
    ],
)
def test_a_full_disk_leaves_the_old_bundle(bundle, folder, monkeypatch, owner, name, turn):
    with monkeypatch.context() as patch:
        fail_at(patch, owner, name, turn)
        with pytest.raises(StorageError, match=r"could not be written to .*: No space left on device"):
            bundle.with_info(tag="second").save(folder)
    assert load_bundle(folder).info["tag"] == "first"
    assert temporary(folder) == []


_SAVE_WITH_A_LIMIT = """
import resource, sys
import numpy as np
from recsmith.errors import StorageError
from recsmith.experiment.train import load_bundle, train
from tests.conftest import build

path, largest = sys.argv[1:]
rng = np.random.default_rng(0)
if largest == "arrays":
    model, data = "ease", build(range(200), range(200))
elif largest == "seen":
    model, data = "popular", build(rng.integers(9, size=9000), rng.integers(9, size=9000))
else:
    model, data = "popular", build([rng.bytes(150).hex() for _ in range(900)], rng.integers(9, size=900))
train(model, build([1, 2], ["a", "b"])).with_info(tag="first").save(path)
second = train(model, data)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
try:
    second.save(path)
except StorageError as error:
    print(error)
assert load_bundle(path).info["tag"] == "first"
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no file size limit here")
@pytest.mark.parametrize("largest", ["arrays", "seen", "users"])
def test_a_write_that_really_fails(tmp_path, largest):
    """The kernel refuses to let a file grow: what a full disk does, in the libraries' own code."""
    path = tmp_path / "b"
    done = subprocess.run(
        [sys.executable, "-c", _SAVE_WITH_A_LIMIT, str(path), largest],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    assert "could not be written" in done.stdout
    assert temporary(path) == []


_CRASH = """
import os, sys
from pathlib import Path
from recsmith.experiment.train import load_bundle

bundle = load_bundle(sys.argv[1]).with_info(tag="second")
rename, calls = Path.rename, []
def crash(self, target):
    calls.append(self)
    if len(calls) == 2:
        os._exit(9)
    return rename(self, target)
Path.rename = crash
bundle.save(sys.argv[1])
"""


def test_a_crash_between_the_renames_loses_nothing(bundle, folder):
    done = subprocess.run([sys.executable, "-c", _CRASH, str(folder)], timeout=PATIENCE_S, check=False)
    assert done.returncode == 9
    assert not folder.exists()
    assert load_bundle(folder).info["tag"] == "first"
    bundle.with_info(tag="third").save(folder)
    assert load_bundle(folder).info["tag"] == "third"
    assert not [name for name in temporary(folder) if name.endswith("previous")]


def test_an_interrupt_between_the_renames_puts_the_old_one_back(bundle, folder, monkeypatch):
    real, calls = Path.rename, []

    def interrupted(self, target):
        calls.append(self)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(self, target)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "rename", interrupted)
        bundle.with_info(tag="second").save(folder)
    assert load_bundle(folder).info["tag"] == "first"
    assert temporary(folder) == []


def test_a_model_of_models_keeps_its_parts(bundle, tmp_path):
    """A fallback is a part of its own, with its own parameters."""
    pipeline = Pipeline(model=create("ease"), fallback=create("popular", half_life=2))
    loaded = load_bundle(as_bundle(pipeline, rated(), seed=1).save(tmp_path / "b"))
    assert loaded.pipeline.fallback.config.half_life == 2
    np.testing.assert_array_equal(loaded.pipeline.fallback.counts_, pipeline.fallback.counts_)


def test_a_newer_bundle_published_while_one_is_read(bundle, tmp_path, monkeypatch):
    """The reader has the old manifest and finds the new files: it takes the new bundle, whole."""
    path = tmp_path / "b"
    bundle.with_info(tag="old").save(path)
    real, published = bundle_format._verify, []

    def verify(folder, files):
        if not published:
            published.append(True)
            train("popular", rated()).with_info(tag="new").save(path)
        real(folder, files)

    monkeypatch.setattr(bundle_format, "_verify", verify)
    loaded = load_bundle(path)
    assert (loaded.model_name, loaded.info["tag"]) == ("popular", "new")


def test_a_bundle_that_never_rests_is_given_up(folder, monkeypatch):
    times = iter(range(1000))
    monkeypatch.setattr(bundle_format, "_identity", lambda path: (1, next(times)))
    with pytest.raises(BundleError, match="replaced faster than it can be read"):
        load_bundle(folder)


_SAVES = """
import sys
from recsmith.experiment.train import load_bundle

bundle = load_bundle(sys.argv[1]).with_info(tag=sys.argv[2])
for _ in range(40):
    bundle.save(sys.argv[3])
"""


def test_two_that_save_while_a_third_reads(bundle, folder, tmp_path):
    busy = bundle.save(tmp_path / "busy")
    writers = [
        subprocess.Popen([sys.executable, "-c", _SAVES, folder, tag, busy], stderr=subprocess.PIPE, text=True)
        for tag in ("one", "two")
    ]
    seen = set()
    while any(writer.poll() is None for writer in writers):
        try:
            seen.add(load_bundle(busy).info["tag"])
        except BundleError as error:  # told so after ten attempts; a machine under load gets there
            assert "replaced faster than it can be read" in str(error)
    seen.add(load_bundle(busy).info["tag"])
    said = [writer.communicate(timeout=PATIENCE_S)[1] for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0], said
    assert seen <= {"first", "one", "two"}
    assert temporary(busy) == []


@pytest.mark.parametrize("name", ["ease", "ials"])
def test_an_item_without_events_is_left_to_the_fallback(name):
    data = rated()
    catalogue = IdMap.of(data.items.ids, pl.Series(["unseen"]), kind="item")
    wider = replace(
        data, items=catalogue, item=catalogue.index(data.items.raw(data.item)), item_features=None
    )
    bundle = train(name, wider)
    everything = bundle.recommend(["u0"], k=20)
    last = everything.row(-1, named=True)
    assert (last["item_id"], last["source"]) == ("unseen", "fallback:popular")
    assert bundle.explain("u0", "unseen")["contribution"].fill_nan(0).sum() == 0
