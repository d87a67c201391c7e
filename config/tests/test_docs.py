"""README is true: its curl lines run, its commands and variables exist, its tree is the disk's."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
from django.core.management import get_commands
from packaging.utils import canonicalize_name

from config.tests.environment import ROOT, image_bytes
from config.tests.service import Service

README = (ROOT / "README.md").read_text()
SOURCES = (
    "config/settings.py",
    "config/clients.py",
    "deploy/gunicorn.conf.py",
    "predictions/tests/test_inputs.py",
    "Makefile",
)
CODE = "".join((ROOT / path).read_text() for path in SOURCES)
# Read by Keras itself.
FOREIGN = {"KERAS_HOME"}
VARIABLES = {
    name
    for row in re.findall(r"^\| (`[A-Z0-9_`, ]+`) \|", README, re.MULTILINE)
    for name in re.findall(r"[A-Z0-9_]+", row)
}


@pytest.mark.xdist_group("service")
def test_the_curl_examples_run(service: Service, tmp_path: Path) -> None:
    (tmp_path / "cat.jpg").write_bytes(image_bytes())
    lines = re.findall(r"^curl .*$", README, re.MULTILINE)
    assert len(lines) >= 7
    first = service.post()["id"]
    for line in lines:
        line = line.replace("http://127.0.0.1:8000", service.url).replace("/predictions/1/", f"/predictions/{first}/")
        command = shlex.split(line.replace("curl ", "curl --fail --silent --show-error --max-time 20 ", 1))
        result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert result.returncode == 0, (line, result.stderr)
        assert result.stdout[0] in "[{"


def test_every_command_exists() -> None:
    table = re.search(r"## Commands.*?(?=\n## )", README, re.DOTALL)
    assert table
    named = re.findall(r"^\| `(\w+)` \|", table[0], re.MULTILINE)
    ours = {name for name, app in get_commands().items() if app in {"predictions", "classifier"}}
    assert set(named) == ours | {"qcluster"}


def test_every_make_target_exists() -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    named = set(re.findall(r"\bmake ([a-z-]+)(?=[`\s#])", README)) - {"yourself"}
    assert {"run", "test", "test-browser", "check", "lock"} <= named <= set(targets)


def test_every_variable_is_read_and_every_variable_read_is_documented() -> None:
    read = set(re.findall(r"""(?:env(?:\.\w+)?\(|environ\.get\()\s*["']([A-Z0-9_]+)["']""", CODE))
    assert read <= VARIABLES
    assert read | FOREIGN == VARIABLES


def test_the_tree_is_the_disks() -> None:
    named = {name for line in README.split("```")[-2].splitlines() for name in re.findall(r"^(\w+)/|(\w+\.\w+)", line)}
    names = {folder or file for folder, file in named}
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    folders = {path.split("/")[0] for path in tracked if "/" in path and not path.startswith(".")}
    assert folders <= names
    assert all((ROOT / name).exists() for name in names)


def test_licences_are_listed_of_all_that_runs_in_production() -> None:
    """make sbom lists what is installed here; on other systems, and with other Pythons, some more would be."""
    lock = (ROOT / "requirements" / "production.txt").read_text()
    locked = dict(re.findall(r"^([\w.-]+)==[^ ]+( ;)?", lock, re.MULTILINE))
    rows = (ROOT / "docs" / "licences.md").read_text().splitlines()[2:]
    listed = {canonicalize_name(row.split()[1]) for row in rows}
    assert {name for name, condition in locked.items() if not condition} <= listed <= set(locked)


def test_the_threat_model_names_tests_that_exist() -> None:
    named = re.findall(r"`((?:config|predictions|classifier)/tests/[^`]+)`", (ROOT / "SECURITY.md").read_text())
    assert len(named) > 10
    assert [path for path in named if not (ROOT / path).exists()] == []
