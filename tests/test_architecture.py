"""The order of the house: imports go downward only, and what must stay light stays light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import recsmith

ROOT = Path(recsmith.__file__).parent

#: Each layer may import those before it, and itself.
LAYERS = [
    {
        "version",
        "redaction",
        "errors",
        "variables",
        "types",
        "config",
        "kernels",
        "parallel",
        "resources",
        "tables",
        "topk",
        "scan",
        "ann",
    },
    {"protocols"},
    {"data"},
    {"training"},
    {"models"},
    {"recommend", "card", "mapped", "bundle_format", "bundle"},
    {"evaluation", "tracking", "estimate"},
    {"plots"},
    {"experiment"},
    {"serving", "batch", "streaming", "report"},
    {"cli"},
]
STRANGERS = [("training", "evaluation"), ("training", "tracking"), ("evaluation", "tracking"), ("recommend", "models"),
             ("bundle", "models"), ("evaluation", "models")]  # fmt: skip


def imports(file: Path) -> set[str]:
    """First names below recsmith that a file imports at run time."""
    found = set()
    tree = ast.parse(file.read_text(encoding="utf-8"))
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "recsmith":
            parts = node.module.split(".")
            found |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {a.name.split(".")[1] for a in node.names if a.name.startswith("recsmith.")}
    return found


def level(name: str) -> int:
    return next(n for n, layer in enumerate(LAYERS) if name in layer)


FILES = sorted(p for p in ROOT.rglob("*.py") if p.parent != ROOT or p.name != "__init__.py")


@pytest.mark.parametrize("file", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_downward(file):
    own = file.relative_to(ROOT).parts[0].removesuffix(".py")
    for name in imports(file) - {own, "version"}:
        assert level(name) <= level(own), f"{file.name} of {own} imports {name}, which lies above it"
        assert (own, name) not in STRANGERS


def fresh(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_import_is_light():
    heavy = fresh(
        "import sys, recsmith; print([m for m in ('numpy', 'polars', 'numba', 'torch') if m in sys.modules])"
    )
    assert heavy == "[]"


def test_command_line_help_is_light():
    heavy = fresh(
        "import sys, recsmith.cli.main; print([m for m in ('polars', 'numba', 'scipy', 'torch') if m in sys.modules])"
    )
    assert heavy == "[]"


def test_no_torch_in_the_bare_package():
    heavy = fresh(
        "import sys, recsmith as rs; [getattr(rs, n) for n in rs.__all__]; print('torch' in sys.modules)"
    )
    assert heavy == "False"


def test_every_public_name_resolves():
    for name in recsmith.__all__:
        assert getattr(recsmith, name) is not None
    with pytest.raises(AttributeError, match="nothing_like_it"):
        _ = recsmith.nothing_like_it


def test_nothing_pickles():
    for file in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {n.split(".")[0] for n in names} & {
                "pickle",
                "dill",
                "joblib",
                "cloudpickle",
                "shelve",
            }, file
