"""What each managed cloud asks of a container, asked of the entry point of its image as a process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.waiting import wait_for

from recsmith.errors import BundleError, ParameterError
from recsmith.serving.cloud import PROVIDERS, Launch
from recsmith.serving.store import Store

ENTRY = [sys.executable, "-m", "recsmith.serving.cloud"]
ASKED = {"user_id": "u0", "num_recommendations": 1}
WRONG = {"user_id": "u0", "num_recommendations": 500}


def first(answer):
    return answer["recommendations"][0]["item_id"]


@pytest.fixture
def folders(tmp_path):
    """An empty folder to run in, and the variables that send temporary files elsewhere."""
    run, temporary = tmp_path / "run", tmp_path / "tmp"
    run.mkdir()
    temporary.mkdir()
    return run, {"TMPDIR": str(temporary), "NUMBA_CACHE_DIR": str(temporary / "numba")}


def test_sagemaker(bundle, started, free_port, folders):
    port, (run, variables) = free_port(), folders
    variables |= {"SAGEMAKER_BIND_TO_PORT": str(port), "RECSMITH_LIST_LENGTH": "200"}
    command = [*ENTRY, "sagemaker", "--bundle", bundle, "serve"]
    with started(command, port, "/ping", run, **variables) as client:
        assert client.get("/ping").json()["model_loaded"] is True
        assert first(client.post("/invocations", json=ASKED).json()) == "i0"
        anonymous = {"context": {"recent_items": ["i1", "i3"]}, "num_recommendations": 1}
        answers = client.post("/invocations", json={"instances": [ASKED, WRONG, anonymous]}).json()
        good, bad, other = answers["predictions"]
        assert first(good) == "i0"
        assert (bad["status"], "at most 200" in bad["detail"]) == (422, True)
        assert first(other) in {"i5", "i7", "i9"}
        assert client.post("/invocations", json=WRONG).status_code == 422
        assert client.post("/invocations", json={"instances": []}).status_code == 422
        assert client.post("/invocations", json={**ASKED, "instances": [ASKED]}).status_code == 422
        refused = client.post(
            "/invocations", content=b"not JSON", headers={"Content-Type": "application/json"}
        )
        assert (refused.status_code, refused.headers["content-type"]) == (422, "application/problem+json")


@pytest.mark.parametrize(
    ("health", "predict"),
    [
        ("/v1/endpoints/7/deployedModels/9", "/v1/endpoints/7/deployedModels/9:predict"),
        ("/ping", "/invocations"),
    ],
)
def test_vertex(bundle, started, free_port, folders, health, predict):
    port, (run, variables) = free_port(), folders
    variables |= {
        "AIP_HTTP_PORT": str(port),
        "AIP_HEALTH_ROUTE": health,
        "AIP_PREDICT_ROUTE": predict,
        "AIP_STORAGE_URI": "",
    }
    with started([*ENTRY, "vertex", "--bundle", bundle], port, health, run, **variables) as client:
        sent = client.post(predict, json={"instances": [ASKED, ASKED], "parameters": None})
        assert [first(answer) for answer in sent.json()["predictions"]] == ["i0", "i0"]
        unknown = client.post(predict, json={"instances": [ASKED], "parameters": {"k": 3}})
        assert unknown.status_code == 422


def test_azure(bundle, started, free_port, folders):
    """The bundle is a folder in the model's folder."""
    port, (run, variables) = free_port(), folders
    variables |= {"PORT": str(port), "AZUREML_MODEL_DIR": str(bundle.parent)}
    with started([*ENTRY, "azure"], port, "/health/ready", run, **variables) as client:
        assert client.get("/").status_code == client.get("/health/live").status_code == 200
        assert first(client.post("/score", json=ASKED).json()) == "i0"
        authorized = {"Authorization": "Bearer of-the-endpoint"}
        assert client.post("/score", json=ASKED, headers=authorized).status_code == 200


def test_lambda(bundle, started, free_port, folders):
    """All but the folder for temporary files is read-only there, and the whole API is behind the adapter."""
    port, (run, variables) = free_port(), folders
    variables |= {"PORT": str(port)}
    store = Path(variables["TMPDIR"]) / "recsmith.db"
    with started([*ENTRY, "lambda", "--bundle", bundle], port, "/health/ready", run, **variables) as client:
        assert client.post("/recommend", json=ASKED).status_code == 401
        opened = Store.open(f"sqlite:///{store}")
        client.headers["X-API-Key"] = opened.add_key("shop", "writer")
        opened.close()
        wait_for(lambda: client.get("/model").status_code != 401, "a worker that knows the key")
        assert first(client.post("/recommend", json=ASKED).json()) == "i0"
        liked = {"user_id": "u0", "item_id": "i0", "feedback": "like"}
        assert client.post("/feedback", json=liked).json()["status"] == "stored"
        assert first(client.post("/recommend", json=ASKED).json()) != "i0"
    assert list(run.iterdir()) == []


def test_keys_guard_the_routes_where_they_are_wanted(bundle, started, free_port, folders):
    port, (run, variables) = free_port(), folders
    variables |= {"SAGEMAKER_BIND_TO_PORT": str(port), "RECSMITH_AUTH": "keys"}
    with started([*ENTRY, "sagemaker", "--bundle", bundle], port, "/ping", run, **variables) as client:
        assert client.post("/invocations", json=ASKED).status_code == 401
        assert client.post("/score", json=ASKED).status_code == 401


def test_what_each_cloud_wants_by_default(bundle, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    launches = {name: Launch.of(name, {}, bundle) for name in PROVIDERS}
    assert {name: (launch.port, launch.settings.auth) for name, launch in launches.items()} == {
        "sagemaker": (8080, "off"),
        "vertex": (8080, "off"),
        "azure": (31311, "off"),
        "lambda": (8080, "keys"),
    }
    assert {launch.bundle for launch in launches.values()} == {bundle}
    assert {launch.settings.allowed_hosts for launch in launches.values()} == {("*",)}
    stores = {launch.settings.store_url for launch in launches.values()}
    assert stores == {f"sqlite:///{tmp_path}/recsmith.db"}


def test_settings_of_the_environment_win(bundle):
    url = "postgresql://u:p@host/db"
    launch = Launch.of(
        "vertex", {"RECSMITH_STORE_URL": url, "RECSMITH_AUTH": "keys", "RECSMITH_LIST_LENGTH": "9"}, bundle
    )
    assert (launch.settings.store_url, launch.settings.auth) == (url, "keys")
    assert launch.settings.list_length == 9


@pytest.mark.parametrize("port", ["0", "65536", "http", "-1", "80 "])
def test_a_port_that_is_none(bundle, port):
    with pytest.raises(ParameterError, match="AIP_HTTP_PORT"):
        Launch.of("vertex", {"AIP_HTTP_PORT": port}, bundle)


def test_an_unknown_provider(bundle):
    with pytest.raises(ParameterError, match="Did you mean 'azure'"):
        Launch.of("azur", {}, bundle)


def test_two_bundles_in_the_folder_of_the_model(bundle, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).symlink_to(bundle)
    with pytest.raises(BundleError, match="is not a bundle"):
        Launch.of("azure", {"AZUREML_MODEL_DIR": str(tmp_path)})


def test_no_bundle_ends_the_process_with_a_reason(tmp_path):
    done = subprocess.run([*ENTRY, "lambda", "--bundle", tmp_path / "no"], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("Error: ") and "is not a bundle" in done.stderr
    assert done.stderr.count("\n") == 1
