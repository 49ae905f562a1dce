"""Compose and Kubernetes: the schemas of their authors, and what only this service wants of them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from recsmith.serving.settings import PREFIX, Settings

DEPLOY = Path(__file__).parents[3] / "deploy"
COMPOSE = DEPLOY / "compose.yaml"
MANIFESTS = {path.stem: yaml.safe_load(path.read_text()) for path in sorted((DEPLOY / "k8s").glob("*.yaml"))}
KUSTOMIZATION = MANIFESTS.pop("kustomization")
KUBERNETES = ("1.34", "1.37")  # preStop with sleep is stable since the first
DRAIN_SECONDS = 30  # of a worker, from SIGTERM on


@pytest.fixture(scope="module")
def compose():
    return yaml.safe_load(COMPOSE.read_text())


PODS = {
    "deployment": MANIFESTS["deployment"]["spec"]["template"]["spec"],
    "retraining": MANIFESTS["retraining"]["spec"]["jobTemplate"]["spec"]["template"]["spec"],
}


@pytest.fixture(params=PODS)
def pod(request):
    """Each pod in turn."""
    return PODS[request.param]


@pytest.fixture
def container(pod):
    (only,) = pod["containers"]
    assert only["image"] == "recsmith"
    return only


@pytest.fixture(scope="module")
def served():
    """The container of the service."""
    return PODS["deployment"]["containers"][0]


def checked_by_schema(file: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", file]
    return subprocess.run(command, capture_output=True, text=True)


def test_compose_follows_its_schema(tmp_path):
    done = checked_by_schema(COMPOSE)
    assert done.returncode == 0, done.stdout
    wrong = tmp_path / "compose.yaml"
    wrong.write_text(COMPOSE.read_text().replace("restart:", "restarts:"))
    assert checked_by_schema(wrong).returncode == 1


def test_all_parts_of_compose_restart_and_say_whether_they_are_well(compose):
    services = compose["services"]
    assert set(services) == {"service", "postgres", "redis"}
    assert all(part["restart"] == "unless-stopped" for part in services.values())
    assert all("healthcheck" in services[name] for name in ("postgres", "redis"))
    assert services["service"]["build"]["target"] == "service"  # whose image has a check of its own
    assert services["service"]["depends_on"]["postgres"] == {"condition": "service_healthy"}


def test_compose_keeps_what_must_not_be_lost(compose):
    assert compose["services"]["postgres"]["volumes"] == ["postgres:/var/lib/postgresql/data"]
    assert "postgres" in compose["volumes"]


def test_no_secret_stands_in_compose(compose):
    """Each variable is in the example of the file of secrets, where the password is empty."""
    example = dict(
        line.split("=", 1)
        for line in (DEPLOY / "env.example").read_text().splitlines()
        if line and line[0] != "#"
    )
    used = set(re.findall(r"\$\{(\w+)", COMPOSE.read_text()))
    assert used == set(example)
    assert example["POSTGRES_PASSWORD"] == ""
    assert ".env" in (DEPLOY / ".gitignore").read_text().split()
    passwords = re.findall(r"PASSWORD.*|postgresql://.*", COMPOSE.read_text())
    assert all("${POSTGRES_PASSWORD:?" in line for line in passwords)


def test_the_service_may_finish_its_requests(compose, served):
    assert int(compose["services"]["service"]["stop_grace_period"].removesuffix("s")) > DRAIN_SECONDS
    pause = served["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert PODS["deployment"]["terminationGracePeriodSeconds"] > pause + DRAIN_SECONDS


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("name", MANIFESTS)
def test_manifests_follow_their_schemas(name, version):
    kubernetes_validate.validate(MANIFESTS[name], version, strict=True)


def test_a_schema_would_find_a_wrong_name():
    wrong = {**MANIFESTS["service"], "spec": {**MANIFESTS["service"]["spec"], "port": 80}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, KUBERNETES[-1], strict=True)


def test_the_kustomization_names_all_manifests():
    assert {Path(name).stem for name in KUSTOMIZATION["resources"]} == set(MANIFESTS)
    assert all((DEPLOY / "k8s" / name).is_file() for name in KUSTOMIZATION["resources"])
    assert [image["name"] for image in KUSTOMIZATION["images"]] == ["recsmith"]


def test_what_names_another_part_finds_it(served):
    deployment, budget, autoscaler = (MANIFESTS[n] for n in ("deployment", "disruption_budget", "autoscaler"))
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    selectors = (
        deployment["spec"]["selector"]["matchLabels"],
        budget["spec"]["selector"]["matchLabels"],
        MANIFESTS["service"]["spec"]["selector"],
    )
    assert all(selector == labels for selector in selectors)
    target = autoscaler["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == (deployment["kind"], deployment["metadata"]["name"])
    assert MANIFESTS["service"]["spec"]["ports"][0]["targetPort"] == served["ports"][0]["name"]


def test_volumes_are_there(pod, container):
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == set(volumes)
    claim = volumes["bundles"]["persistentVolumeClaim"]["claimName"]
    assert claim == MANIFESTS["bundles"]["metadata"]["name"]


def test_probes_ask_what_they_should(served):
    asked = {name: served[name]["httpGet"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert {name: probe["path"] for name, probe in asked.items()} == {
        "startupProbe": "/health/ready",
        "livenessProbe": "/health/live",
        "readinessProbe": "/health/ready",
    }
    assert {probe["port"] for probe in asked.values()} == {"http"}


def test_pods_may_do_no_more_than_they_must(pod, container):
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    own = container["securityContext"]
    assert own["allowPrivilegeEscalation"] is False
    assert own["readOnlyRootFilesystem"] is True
    assert own["capabilities"] == {"drop": ["ALL"]}
    assert {"cpu", "memory"} <= set(container["resources"]["requests"])
    assert "memory" in container["resources"]["limits"]


def test_a_pod_can_always_be_moved():
    """Fewer may be away than there are at least, and the autoscaler alone sets their number."""
    assert (
        MANIFESTS["autoscaler"]["spec"]["minReplicas"]
        > MANIFESTS["disruption_budget"]["spec"]["maxUnavailable"]
    )
    assert "replicas" not in MANIFESTS["deployment"]["spec"]


def test_variables_are_settings_and_secrets_are_references(compose, container):
    assert container["envFrom"] == [{"configMapRef": {"name": MANIFESTS["config"]["metadata"]["name"]}}]
    named = {variable["name"]: variable for variable in container["env"]}
    assert all("secretKeyRef" in variable["valueFrom"] for variable in named.values())
    config = {name: text for name, text in MANIFESTS["config"]["data"].items() if name.startswith(PREFIX)}
    told = {*named, *config, *compose["services"]["service"]["environment"]}
    assert {name.removeprefix(PREFIX).lower() for name in told} <= set(Settings.model_fields)
    Settings.load(environment=config)
    used = re.findall(r"\$\((\w+)\)", " ".join(container["args"]))
    assert set(used) <= set(MANIFESTS["config"]["data"])
