"""The templates as they are written, and that README.md is true of them."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from config.tests.environment import ROOT
from deploy.aws.tests.by_api import BY_API, HALF
from deploy.aws.tests.templates import FOLDER, read

TEMPLATES = sorted(path.name for path in FOLDER.glob("*.yaml"))
README = (FOLDER / "README.md").read_text()
# Read by gunicorn, boto3 and Python themselves.
FOREIGN = {"GUNICORN_CMD_ARGS", "AWS_REGION", "TMPDIR"}


@pytest.mark.parametrize("template", TEMPLATES)
def test_cfn_lint_has_nothing_to_say(template: str) -> None:
    regions = ["--regions", "us-east-1", "eu-central-1"]
    command = [str(Path(sys.executable).parent / "cfn-lint"), *regions, "--", str(FOLDER / template)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.stdout.strip() == ""
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("template", TEMPLATES)
def test_cloudformation_can_read_the_yaml(template: str) -> None:
    tokens = yaml.scan((FOLDER / template).read_text())
    assert not [token for token in tokens if isinstance(token, yaml.AnchorToken | yaml.AliasToken)]
    assert (FOLDER / template).stat().st_size < 51_200  # bytes, of a template that is sent along


def test_containers_are_told_only_what_somebody_reads() -> None:
    told = set(re.findall(r"\{Name: ([A-Z_]+), Value", (FOLDER / "scaled.yaml").read_text()))
    documented = set(re.findall(r"`([A-Z_]+)`", (ROOT / "README.md").read_text()))
    assert told - FOREIGN <= documented
    assert len(told) > 15


@pytest.mark.parametrize("template", TEMPLATES)
def test_every_parameter_is_explained(template: str) -> None:
    for name, parameter in read(template).get("Parameters", {}).items():
        assert "Description" in parameter or f"`{name}`" in README, name


def test_readme_says_what_moto_cannot_create() -> None:
    used = {resource["Type"] for name in TEMPLATES for resource in read(name)["Resources"].values()}
    assert BY_API.keys() <= used
    named = set(re.findall(r"`(AWS::\w+::\w+)`", README))
    assert named == BY_API.keys()
    assert BY_API.keys() >= HALF


def test_commands_in_readme_name_files_that_exist() -> None:
    named = set(re.findall(r"deploy/[\w./-]+\.(?:yaml|sh)", README))
    assert {"deploy/aws/network.yaml", "deploy/aws/command.sh"} <= named
    assert [name for name in named if not (ROOT / name).exists()] == []
