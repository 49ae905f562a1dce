"""The Dockerfile: what a linter and the rules of the house want of it, and its commands as processes."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
DOCKERFILE = ROOT / "deploy" / "Dockerfile"
BIN = Path(sys.executable).parent


def stages() -> dict[str, list[tuple[str, str]]]:
    """The instructions of each target, those of its base first."""
    text = re.sub(r"(?m)^\s*#.*\n", "", DOCKERFILE.read_text())
    found: dict[str, list[tuple[str, str]]] = {}
    own: list[tuple[str, str]] = []
    for line in re.sub(r"\\\n\s*", " ", text).splitlines():
        if not line.strip():
            continue
        instruction, rest = line.split(maxsplit=1)
        if instruction == "FROM":
            base, _, name = rest.split()
            own = found[name] = list(found.get(base, []))
        own.append((instruction, rest))
    return found


STAGES = stages()
TARGETS = [name for name in STAGES if name not in ("build", "base")]


def last(target: str, instruction: str) -> str:
    return [rest for name, rest in STAGES[target] if name == instruction][-1]


def environment(target: str) -> dict[str, str]:
    pairs = [shlex.split(rest) for name, rest in STAGES[target] if name == "ENV"]
    return dict(pair.split("=", 1) for part in pairs for pair in part)


def command(target: str) -> list[str]:
    return [*json.loads(last(target, "ENTRYPOINT")), *json.loads(last(target, "CMD"))]


def test_a_linter_finds_nothing():
    done = subprocess.run([BIN / "hadolint", DOCKERFILE], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_is_built_when_no_target_is_named():
    assert list(STAGES)[-1] == "service"
    assert command("service")[:4] == ["recsmith", "serve", "/bundle", "--host"]
    assert "HEALTHCHECK" in dict(STAGES["service"])


@pytest.mark.parametrize("target", TARGETS)
def test_no_target_builds(target):
    used = [(name, rest) for name, rest in STAGES[target] if name in ("RUN", "COPY", "ADD")]
    assert not any(tool in rest for name, rest in used for tool in ("pip", "apt-get", "build-essential"))
    copied = [rest for name, rest in used if name != "RUN"]
    assert all("--from=" in rest for rest in copied)


@pytest.mark.parametrize("target", [name for name in TARGETS if name != "sagemaker"])
def test_nobody_is_root(target):
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", last(target, "USER"))


def test_all_that_is_installed_is_pinned():
    runs = [rest for name, rest in STAGES["build"] if name == "RUN"]
    installs = [part for rest in runs for part in rest.split("&&") if " install " in part]
    assert len(installs) == 2
    assert all("--constraint constraints.txt" in part for part in installs)


def test_what_is_copied_is_let_through():
    open_again = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"}
    copied = {
        name for instruction, rest in STAGES["build"] if instruction == "COPY" for name in rest.split()[:-1]
    }
    assert copied == open_again
    assert all((ROOT / name).exists() for name in copied)


def test_the_container_serves(bundle, started, free_port, tmp_path):
    """The command of the image as it is, but for folders and the port; with a key made as one does there."""
    port = free_port()
    entry, *words = [str(bundle) if word == "/bundle" else word for word in command("service")]
    home = tmp_path / "data"
    home.mkdir()
    made = subprocess.run(
        [BIN / entry, "keys", "add", "shop", "--json"], cwd=home, capture_output=True, text=True, check=True
    )
    asked = {"user_id": "u0", "num_recommendations": 1}
    paths = {"PATH": str(BIN), "NUMBA_CACHE_DIR": str(tmp_path / "numba")}
    with started(
        [BIN / entry, *words, "--port", str(port)],
        port,
        "/health/ready",
        home,
        **environment("service") | paths,
    ) as client:
        check = json.loads(last("service", "HEALTHCHECK").split("CMD", 1)[1].replace("8000", str(port)))
        assert subprocess.run([sys.executable, *check[1:]]).returncode == 0
        assert client.post("/recommend", json=asked).status_code == 401
        client.headers["X-API-Key"] = json.loads(made.stdout)["secret"]
        (first,) = client.post("/recommend", json=asked).json()["recommendations"]
        assert first["item_id"] == "i0"
    assert subprocess.run([sys.executable, *check[1:]], stderr=subprocess.DEVNULL).returncode != 0
