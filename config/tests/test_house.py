"""What holds the house together: migrations are complete, imports are pure, production refuses to start half set up."""

import os
import subprocess
import sys

import pytest
from django.core.management import call_command

from config.tests.environment import ROOT

NATIVE = "ai_edge_litert", "tensorflow", "keras", "numpy"


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env={**os.environ, **environment}, cwd=ROOT, capture_output=True, text=True)


@pytest.mark.django_db
def test_migrations_are_complete() -> None:
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)


def test_the_web_process_loads_no_inference_runtime() -> None:
    code = f"import sys, config.wsgi; print([name for name in {NATIVE!r} if name in sys.modules])"
    assert run(code).stdout.strip() == "[]"


def test_the_worker_loads_no_native_runtime_before_it_forks() -> None:
    code = (
        "import sys, django; django.setup(); import django_q.cluster, predictions.tasks;"
        f"print([name for name in {NATIVE!r} if name in sys.modules])"
    )
    assert run(code, DJANGO_SETTINGS_MODULE="config.settings").stdout.strip() == "[]"


def test_the_worker_loads_no_pages_before_it_forks() -> None:
    code = (
        "import sys, django; django.setup(); from django.core.management import load_command_class as load;"
        "command = load('predictions', 'qcluster'); command.check(tags=command.requires_system_checks);"
        "print([name for name in ('config.urls', 'predictions.api', 'predictions.views') if name in sys.modules])"
    )
    assert run(code, DJANGO_SETTINGS_MODULE="config.settings").stdout.strip() == "[]"


def test_inference_loads_no_tensorflow() -> None:
    code = "import sys, classifier.runtime; print('tensorflow' in sys.modules or 'keras' in sys.modules)"
    assert run(code).stdout.strip() == "False"


@pytest.mark.parametrize("missing", ["SECRET_KEY", "ALLOWED_HOSTS"])
def test_production_refuses_to_start_without(missing: str) -> None:
    given = {"SECRET_KEY": "s" * 60, "ALLOWED_HOSTS": "example.org"} | {missing: ""}
    result = run("import config.settings", ENVIRONMENT="prod", **given)
    assert result.returncode != 0
    assert f"{missing} must be set when ENVIRONMENT=prod" in result.stderr


def test_an_unknown_environment_is_refused() -> None:
    assert "it must be dev or prod" in run("import config.settings", ENVIRONMENT="production").stderr


def test_the_secret_key_of_an_installation_is_random_and_stays(tmp_path: "os.PathLike[str]") -> None:
    code = "import config.settings as s; print(s.SECRET_KEY)"
    keys = [run(code, DATA_DIR=f"{tmp_path}/{name}").stdout for name in ("a", "a", "b")]
    assert len(keys[0]) > 50
    assert keys[0] == keys[1] != keys[2]
