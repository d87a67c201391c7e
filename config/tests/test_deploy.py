"""deploy/ as far as it can be tried without a Docker engine; `make verify-deploy` has the tools for the rest."""

import fnmatch
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from config.tests.environment import ROOT

DEPLOY = ROOT / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text().replace("\\\n", "")
SECRETS = {"SECRET_KEY_FILE": "/run/secrets/secret_key", "DATABASE_URL_FILE": "/run/secrets/database_url"}


def run(*command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, env={**os.environ, **environment}, cwd=ROOT, capture_output=True, text=True)


# --- The build context -----------------------------------------------------------------------------------------------


def is_sent(path: str) -> bool:
    """Say what .dockerignore says of a path: the last pattern that matches it, or a folder that it is in, counts."""
    sent = True
    folders = [path, *map(str, Path(path).parents)]
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if line and not line.startswith("#"):
            pattern = line.removeprefix("!").removeprefix("**/")
            places = [Path(folder).name for folder in folders] if "**/" in line else folders
            if any(fnmatch.fnmatchcase(place, pattern) for place in places):
                sent = line.startswith("!")
    return sent


def test_what_the_dockerfile_copies_is_there_and_is_sent_to_the_builder() -> None:
    copied = [
        path for line in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE) for path in line.split()
    ]
    assert {"manage.py", "predictions", "deploy/entrypoint.sh", "requirements/production.txt"} <= set(copied)
    assert [path for path in copied if path != "." and not (ROOT / path).exists()] == []
    assert [path for path in copied if path != "." and not is_sent(path)] == []


@pytest.mark.parametrize(
    "path", [".git/config", ".venv/bin/python", "var/db.sqlite3", "deploy/.env", "deploy/secrets/secret_key", ".env"]
)
def test_nothing_private_is_sent_to_the_builder(path: str) -> None:
    assert not is_sent(path)


def test_every_tracked_file_that_tests_need_is_sent_to_the_builder() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split(
        "\n"
    )
    assert {path for path in tracked if path and not is_sent(path)} <= {".pre-commit-config.yaml"}


def test_what_the_web_image_does_without_is_locked_for_the_workers() -> None:
    names = re.findall(r"^([\w.-]+)", (ROOT / "requirements" / "inference.in").read_text(), re.MULTILINE)
    locked = (ROOT / "requirements" / "production.txt").read_text().replace("-", ".")
    assert {"numpy", "ai-edge-litert"} <= set(names)
    assert [name for name in names if f"\n{name.replace('-', '.')}==" not in locked] == []


# --- Compose files ---------------------------------------------------------------------------------------------------


def compose(name: str) -> Any:
    return yaml.safe_load((DEPLOY / name).read_text())


def test_what_runs_in_production_has_no_rights_and_is_bounded() -> None:
    services = compose("compose.prod.yaml")["services"]
    assert set(services) == {"web", "worker", "migrate", "db", "caddy"}
    for name in ("web", "worker", "migrate", "caddy"):
        assert services[name]["read_only"], name
        assert services[name]["cap_drop"] == ["ALL"], name
    for name, service in services.items():
        assert "no-new-privileges:true" in service["security_opt"], name
        assert set(service["deploy"]["resources"]["limits"]) == {"memory", "cpus", "pids"}, name
    assert [name for name, service in services.items() if "ports" in service] == ["caddy"]
    assert services["migrate"]["restart"] == "no"


def test_no_secret_of_production_stands_in_an_environment() -> None:
    production = compose("compose.prod.yaml")
    for name in ("web", "worker", "migrate"):
        environment = production["services"][name]["environment"]
        assert SECRETS.items() <= environment.items()
        assert not {"SECRET_KEY", "DATABASE_URL"} & environment.keys()


def test_make_secrets_makes_what_the_compose_files_mount_and_never_changes_it(tmp_path: Path) -> None:
    script = tmp_path / "make-secrets.sh"
    shutil.copy(DEPLOY / script.name, script)
    assert run(script).returncode == 0
    made = {f"secrets/{path.name}": path.read_text() for path in (tmp_path / "secrets").iterdir()}
    mounted = compose("compose.prod.yaml")["secrets"] | compose("compose.metrics.yaml")["secrets"]
    written_by_people = {"secrets/alert_webhook"}
    assert set(made) == {secret["file"] for secret in mounted.values()} - written_by_people
    assert len(set(made.values())) == len(made)
    assert min(map(len, made.values())) >= 64
    assert f":{made['secrets/database_password']}@" in made["secrets/database_url"]
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700
    (tmp_path / "secrets" / "metrics_token").unlink()
    assert run(script).returncode == 0
    again = {f"secrets/{path.name}": path.read_text() for path in (tmp_path / "secrets").iterdir()}
    assert {name for name in made if made[name] != again[name]} == {"secrets/metrics_token"}


def test_development_is_where_the_tutorial_has_it() -> None:
    services = compose("compose.yaml")["services"]
    assert services["web"]["ports"] == ["127.0.0.1:8004:8000"]
    assert "..:/app" in services["worker"]["volumes"]
    assert services["db"]["image"].startswith("postgres:17")
    assert "CREATE DATABASE classification_test" in (DEPLOY / "databases.sql").read_text()


@pytest.mark.parametrize(
    "names", [["compose.yaml"], ["compose.prod.yaml"], ["compose.prod.yaml", "compose.metrics.yaml"]]
)
def test_docker_reads_the_compose_files(names: list[str]) -> None:
    if run("sh", "-c", "docker compose version").returncode:
        pytest.skip("there is no docker compose")
    files = [word for name in names for word in ("--file", DEPLOY / name)]
    result = run("docker", "compose", *files, "config", "--services", SITE="photos.example.org")
    services = set().union(*(compose(name)["services"] for name in names))
    assert set(result.stdout.split()) == services, result.stderr


# --- Releases --------------------------------------------------------------------------------------------------------

# In Docker's place: notes what it would start, and fails to start whatever has "broken" in its name.
DOCKER = """#!/bin/sh
image=$(sed -n s/^WEB_IMAGE=//p .env)
case "$*" in *" up "*) echo "$image by $(cat compose.prod.yaml)" >> ../log; [ "$image" != broken ] ;; esac
"""


@pytest.fixture
def host(tmp_path: Path) -> Any:
    """A host's checkout, without Docker: host("a") releases images and commit a, and returns what was started."""
    deploy = tmp_path / "deploy"
    deploy.mkdir()
    shutil.copy(DEPLOY / "release.sh", deploy)
    shutil.copy(DEPLOY / ".env.example", deploy / ".env")
    (tmp_path / ".gitignore").write_text("/*\n!deploy\ndeploy/*.env\n")
    (tmp_path / "docker").write_text(DOCKER)
    (tmp_path / "docker").chmod(0o755)
    git = ("git", "-C", tmp_path, "-c", "user.name=n", "-c", "user.email=n@example.org")
    run(*git, "init", "--quiet")

    def release(*arguments: str) -> tuple[int, list[str]]:
        (tmp_path / "log").write_text("")
        if "--rollback" not in arguments:
            (deploy / "compose.prod.yaml").write_text(arguments[0])
            run(*git, "add", "--all")
            run(*git, "commit", "--quiet", "--message", arguments[0])
        status = run(deploy / "release.sh", *arguments, PATH=f"{tmp_path}:{os.environ['PATH']}").returncode
        return status, (tmp_path / "log").read_text().splitlines()

    return release


def test_a_release_that_does_not_run_leaves_the_one_before(host: Any, tmp_path: Path) -> None:
    assert host("one", "w", "m") == (0, ["one by one"])
    assert host("broken", "w", "m") == (1, ["broken by broken", "one by one"])
    assert host("two", "w", "m") == (0, ["two by two"])
    assert host("--rollback") == (0, ["one by one"])
    # So that every other command of docker compose means the same images.
    settings = (tmp_path / "deploy" / ".env").read_text()
    assert settings.startswith((DEPLOY / ".env.example").read_text())
    assert re.findall("(.*)_IMAGE=(.*)", settings) == [("WEB", "one"), ("WORKER", "w"), ("MIGRATE", "m")]


def test_the_first_release_has_nothing_to_go_back_to(host: Any, tmp_path: Path) -> None:
    assert host("broken", "w", "m") == (1, ["broken by broken"])
    assert host("--rollback")[0] != 0
    assert host("one") == (2, [])
    assert (tmp_path / "deploy" / ".env").read_text() == (DEPLOY / ".env.example").read_text()


def test_a_release_without_compose_file_does_not_start_what_is_for_development(host: Any, tmp_path: Path) -> None:
    (tmp_path / "deploy" / ".env").write_text("SITE=photos.example.org\n")
    assert host("one", "w", "m") == (2, [])


# In AWS' place: says one after the other what is in the file "answers", and then fails.
AWS = """#!/bin/sh
case "$*" in
    *send-command*) echo id ;;
    *--query?Status*) answer=$(sed 1q answers); sed -i 1d answers; echo "$answer"; [ -n "$answer" ] ;;
    *) echo output ;;
esac
"""


@pytest.mark.parametrize(
    ("answers", "status"),
    [(["InProgress", "", "Success"], 0), (["Failed"], 1), (["Pending"], 1)],
    ids=["done", "failed", "unknown for good"],
)
def test_a_remote_command_ends_as_it_did_or_when_nobody_can_tell(
    tmp_path: Path, answers: list[str], status: int
) -> None:
    for name, text in {"aws": AWS, "jq": "#!/bin/sh", "sleep": "#!/bin/sh"}.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    (tmp_path / "answers").write_text("\n".join([*answers, ""]))
    command = ["bash", str(DEPLOY / "remote.sh"), "i-1", "true"]
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    assert subprocess.run(command, cwd=tmp_path, env=environment, timeout=60).returncode == status


def test_actions_are_pinned_and_nothing_may_write_but_where_it_must() -> None:
    text = (ROOT / ".github" / "workflows" / "main.yml").read_text()
    uses = re.findall(r"uses: (.*)", text)
    assert uses
    assert [use for use in uses if not re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v[\d.]+", use)] == []
    workflow = yaml.safe_load(text)
    assert workflow["permissions"] == {}
    rights = {name: set(job["permissions"].items()) for name, job in workflow["jobs"].items()}
    assert {name: given - {("contents", "read")} for name, given in rights.items()} == {
        "test": set(),
        "images": {("packages", "write")},
        "deploy": {("id-token", "write")},
    }
    assert "refs/heads/main" in workflow["jobs"]["deploy"]["if"]
    assert workflow["jobs"]["deploy"]["environment"]["name"] == "production"
