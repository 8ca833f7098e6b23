"""Imports point one way, every contract about that can be broken, and the guides describe the tree as it is."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("fleet_jwks", "rig", "scenarios", "stub_server")
COMMAND = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"

WRONG_IMPORTS = {
    "layers": ("rig/evidence/pack.py", "import rig.truth.reader"),
    "offline": ("rig/checks/rows.py", "import psycopg"),
    "handed-in": ("rig/locust_bridge/gather.py", "import scenarios.mix"),
    "scenarios": ("scenarios/ladder.py", "from rig.profile import load_profile"),
    "service": ("stub_server/null.py", "import rig.errors"),
    "target": ("rig/run/scenarios.py", "import stub_server.null"),
    "locust": ("rig/engine/pool.py", "import locust"),
    "locust-master": ("rig/cli/main.py", "import rig.locust_bridge.master"),
}


def linted(root: Path) -> subprocess.CompletedProcess[str]:
    """What import-linter says of the packages below a directory."""
    return subprocess.run(
        [sys.executable, "-c", COMMAND],
        cwd=root,
        env={"PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=60,
    )


def contracts() -> dict[str, dict[str, Any]]:
    """Each contract of pyproject.toml by its id."""
    document = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return {contract["id"]: contract for contract in document["tool"]["importlinter"]["contracts"]}


def test_imports_point_one_way() -> None:
    done = linted(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(contracts())} kept, 0 broken" in done.stdout


def test_every_contract_can_be_broken(tmp_path: Path) -> None:
    assert set(contracts()) == set(WRONG_IMPORTS)
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for file, line in WRONG_IMPORTS.values():
        with (tmp_path / file).open("a") as source:
            source.write(f"\n{line}\n")
    done = linted(tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    for contract in contracts().values():
        name = contract["name"]
        assert re.search(rf"^{re.escape(name)} BROKEN", done.stdout, re.MULTILINE), name


def described_rooms() -> list[tuple[int, str]]:
    """The layer and the name of each room that docs/ARCHITECTURE.md lists, top to bottom."""
    page = (ROOT / "docs" / "ARCHITECTURE.md").read_text()
    rows = re.findall(r"^\| (\d+) \| `rig/([a-z_]+)(?:/|\.py)` \|", page, re.MULTILINE)
    return [(int(layer), room) for layer, room in rows]


def test_the_architecture_page_lists_the_rooms_of_the_tree() -> None:
    folders = {path.parent.name for path in (ROOT / "rig").glob("*/__init__.py")}
    modules = {path.stem for path in (ROOT / "rig").glob("[a-z]*.py")}
    rooms = [room for _, room in described_rooms()]
    assert set(rooms) == folders | modules
    assert len(rooms) == len(set(rooms))


def test_the_architecture_page_lists_the_rooms_in_the_order_of_the_layers() -> None:
    layers = contracts()["layers"]["layers"]
    assert described_rooms() == [
        (number, room) for number, layer in enumerate(layers, 1) for room in layer.split(" | ")
    ]


@pytest.mark.parametrize("guide", ["docs/ARCHITECTURE.md", "CONTRIBUTING.md"])
def test_every_path_that_a_guide_names_exists(guide: str) -> None:
    page = (ROOT / guide).read_text()
    paths = set(re.findall(r"`((?:ci|docs|fleet_jwks|rig|scenarios|stub_server|tests)/[\w./-]*)`", page))
    assert paths
    assert [path for path in sorted(paths) if not (ROOT / path).exists()] == []
