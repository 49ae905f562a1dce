"""An experiment from its file: every key is checked, and the message says which one and what is near."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from recsmith.errors import DataError, ParameterError
from recsmith.experiment.config import Experiment, LogSource, read_experiment, read_recipe
from recsmith.models.registry import MODELS

CONFIGS = sorted((Path(__file__).parents[3] / "configs").glob("*.yaml"))
WHOLE = """
seed: 4
data: {source: ml-100k, min_rating: 4}
split: leave-last-out
model: ease
parameters: {reg: 5e1, half_life: 9}
fallback: random
training: {validation: recall@20, users: null, refit: false}
evaluation: {ks: [1, 5], metrics: [ndcg]}
tracking:
  mlflow: {register_as: mine}
  samples: {users: 0}
  maps: [tsne]
"""


def write(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    return file


def test_every_section_is_read(tmp_path):
    found = read_experiment(write(tmp_path, WHOLE))
    assert (found.name, found.seed, found.split) == ("mine", 4, "leave-last-out")
    assert found.data == LogSource(source="ml-100k", min_rating=4)
    assert found.parameters == {"reg": 50.0, "half_life": 9.0}  # 5e1 is text in YAML
    pipeline = found.pipeline()
    assert pipeline.model.config.reg == 50
    assert pipeline.weighting.half_life == 9
    assert type(pipeline.fallback).__name__ == "Random"
    assert (found.training.validation, found.training.users, found.training.refit) == (
        "recall@20",
        None,
        False,
    )
    assert found.evaluation.ks == (1, 5)
    assert found.tracking.mlflow.register_as == "mine"
    assert found.tracking.wandb is None
    assert not found.in_epochs


def test_the_resolved_document_is_the_same_experiment(tmp_path):
    found = read_experiment(write(tmp_path, WHOLE))
    again = tmp_path / "again.yaml"
    again.write_text(found.document())
    assert read_experiment(again) == found
    assert (
        yaml.safe_load(found.document())["training"]["held_out"] == 1
    )  # what was left out stands there, too


def test_dotted_keys_go_before_the_file(tmp_path):
    settings = {
        "parameters.reg": 7,
        "seed": 9,
        "tracking.wandb.project": "p",
        "training": None,
        "split": "random:0.3",
    }
    settings["training"] = {"users": 5}
    found = read_experiment(write(tmp_path, WHOLE), settings)
    assert found.pipeline().model.config.reg == 7
    assert found.pipeline().weighting.half_life == 9
    assert (found.seed, found.split, found.tracking.wandb.project) == (9, "random:0.3", "p")
    assert found.training.users == 5
    assert found.training.validation is None


def test_variables_of_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("HERE", "/data")
    monkeypatch.setenv("SEED", "12")
    text = "model: ease\nseed: ${SEED}\ndata: {source: '${HERE}/log.csv', path: '${NO_SUCH:/tmp:x}'}\nname: a${NO:-b}"
    found = read_experiment(write(tmp_path, text))
    assert found.seed == 12
    assert found.data.source == "/data/log.csv"
    assert found.data.path == "/tmp:x"
    assert found.name == "a-b"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("trainig: {}", r"mine.yaml named 'trainig'. Did you mean 'training'"),
        (
            "training: {valdation: ndcg@10}",
            r"'training' of the config file mine.yaml .*'valdation'. Did you mean 'validation'",
        ),
        ("tracking: {mlflow: {urii: x}}", r"'tracking.mlflow' of .* named 'urii'. Did you mean 'uri'"),
        ("tracking: {samples: {user: 1}}", r"'tracking.samples' of .* named 'user'. Did you mean 'users'"),
        (
            "training: {users: 0}",
            r"The 'training.users' parameter of the config file mine.yaml must be >= 1. Got 0",
        ),
        (
            "training: {which: first}",
            r"'training.which' parameter .* must be 'last' or 'random'. Got 'first'",
        ),
        ("seed: -1", r"'seed' parameter of the config file mine.yaml must be >= 0"),
        (
            "parameters: {regg: 1}",
            r"mine.yaml: There is no parameter of ease named 'regg'. Did you mean 'reg'",
        ),
        ("parameters: {reg: 0}", r"mine.yaml: The 'reg' parameter of EASE must be > 0"),
        ("model: eas", r"mine.yaml: There is no model named 'eas'. Did you mean 'ease'"),
        (
            "split: user-tim",
            r"mine.yaml: There is no way of splitting named 'user-tim'. Did you mean 'user-time'",
        ),
        (
            "split: k-fold:3",
            r"'split' parameter of an experiment must be one train and one test part. Got 'k-fold:3'",
        ),
        ("training: {validation: ndgc@10}", r"named 'ndgc'. Did you mean 'ndcg'"),
        ("evaluation: {metrics: [recal]}", r"named 'recal'. Did you mean 'recall'"),
        ("data: {}", r"'data' parameter .* must be either 'source', or 'train' and 'test'"),
        ("data: {train: a.csv}", r"either 'source', or 'train' and 'test'"),
        ("data: {train: a, test: b, k_core: 5}", r"without 'k_core'"),
        ("name: a/b", r"'name' parameter"),
        ("name: ${NO_SUCH}", r"mine.yaml: 'name' wants the environment variable NO_SUCH, which is not set"),
        ("tracking: {mlflow: {uri: 'http://me:secret@host'}}", r"must be without a password"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, text, words):
    values = {"model": "ease", "data": {"source": "ml-100k"}} | yaml.safe_load(text)
    with pytest.raises(ParameterError, match=words):
        read_experiment(write(tmp_path, yaml.safe_dump(values)))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"learning_rate": 1},
            r"no key of an experiment named 'learning_rate'.* is parameters.learning_rate",
        ),
        ({"trainig.users": 1}, r"named 'trainig.users'. Did you mean 'training'"),
        ({"model.reg": 1}, r"--set model.reg: 'model' is a value, not a section"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path, settings, words):
    with pytest.raises(ParameterError, match=words):
        read_experiment(write(tmp_path, WHOLE), settings)


@pytest.mark.parametrize("text", ["- 1", "seed: 1", "model: ["])
def test_what_is_no_experiment(tmp_path, text):
    with pytest.raises(DataError, match=r"mine\.yaml is not a"):
        read_experiment(write(tmp_path, text))


def test_an_experiment_is_a_recipe_and_a_recipe_becomes_one(tmp_path):
    recipe = read_recipe(write(tmp_path, WHOLE))
    assert recipe.pipeline().model.config.reg == 50
    plain = write(tmp_path, "model: ease\nparameters: {reg: 3}\ntuned: {value: 0.3}")
    assert not isinstance(read_recipe(plain), Experiment)
    assert read_experiment(plain, {"data.source": "ml-100k"}).pipeline().model.config.reg == 3


def test_two_logs_are_one_split(tmp_path):
    for name, rows in (("train", "u,a,1\nu,b,2\nv,a,3\n"), ("test", "u,c,4\nv,b,5\n")):
        (tmp_path / f"{name}.csv").write_text("user_id,item_id,timestamp\n" + rows)
    data = {"train": str(tmp_path / "train.csv"), "test": str(tmp_path / "test.csv")}
    split = Experiment(model="ease", data=data).load_split()
    assert len(split.train) == 3
    assert split.truth.items.tolist() == [-1, 1]


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.stem)
def test_the_configs_of_the_house_are_valid(file):
    found = read_experiment(file)
    assert found.data.source == "ml-100k"
    assert f"recsmith run configs/{file.name}" in file.read_text()
    assert found.training.validation is None or found.in_epochs


def test_each_model_has_a_config():
    assert {yaml.safe_load(file.read_text())["model"] for file in CONFIGS} == set(MODELS)
