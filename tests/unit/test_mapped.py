"""Arrays as pages of their file: equal to what safetensors reads, writable, and never written back."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from tests.conftest import build

from recsmith.bundle import Bundle
from recsmith.errors import BundleError
from recsmith.experiment.train import train
from recsmith.mapped import mapped_arrays
from recsmith.models.registry import model_class

TYPES = ("?", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8")


@pytest.fixture
def file(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {f"a {kind}": rng.integers(0, 2, (3, 5)).astype(kind) for kind in TYPES}
    arrays |= {"none": np.zeros((0, 4), dtype=np.float32), "one": np.array([7], dtype=np.int64)}
    save_file(arrays, tmp_path / "x.safetensors", metadata={"about": "it"})
    return tmp_path / "x.safetensors"


def test_they_are_what_safetensors_reads(file):
    wanted, found = load_file(file), mapped_arrays(file)
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        assert np.array_equal(found[name], array)


def test_what_is_written_stays_with_the_writer(file):
    before = file.read_bytes()
    mapped_arrays(file)["a f8"][:] = 9
    assert file.read_bytes() == before
    assert not (mapped_arrays(file)["a f8"] == 9).any()


@pytest.mark.parametrize(
    "about", [{"data_offsets": [0, 80]}, {"shape": [2]}, {"dtype": "F8_E4M3"}, {"data_offsets": [-8, 0]}]
)
def test_a_description_that_does_not_fit_is_refused(tmp_path, about):
    header = json.dumps({"x": {"dtype": "I64", "shape": [1], "data_offsets": [0, 8], **about}}).encode()
    (tmp_path / "x").write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    with pytest.raises(ValueError, match="the array 'x'"):
        mapped_arrays(tmp_path / "x")


def test_a_file_of_another_kind_is_refused(tmp_path):
    (tmp_path / "x").write_bytes(b"\xff" * 20)
    with pytest.raises(ValueError, match="no safetensors file"):
        mapped_arrays(tmp_path / "x")


@pytest.mark.parametrize("model", ["ease", "item-knn", "ials", "bpr", "user-knn"])
def test_a_mapped_bundle_answers_alike_while_another_takes_its_place(tmp_path, model):
    data = build([f"u{n % 7}" for n in range(60)], [f"i{n * n % 11}" for n in range(60)])
    path = train(model, data).save(tmp_path / "bundle")
    wanted = Bundle.load(path, model_class).recommend(k=3)
    mapped = Bundle.load(path, model_class, mapped=True)
    train("popular", data).save(path)
    assert mapped.recommend(k=3).equals(wanted)
    with (path / "arrays.safetensors").open("ab") as stream:
        stream.write(b"more")
    with pytest.raises(BundleError, match="was changed"):
        Bundle.load(path, model_class, mapped=True)
