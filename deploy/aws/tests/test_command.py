"""deploy/aws/command.sh, with the real AWS CLI: one task, where workers run, and its exit status."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.aws.tests.account import Stack
from deploy.aws.tests.templates import FOLDER, REGION


def run(stack: Stack, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "AWS_ENDPOINT_URL": stack.account.url,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": stack.account.key,
        "AWS_SECRET_ACCESS_KEY": stack.account.secret,
        "POLL_SECONDS": "0",
    }
    script: list[str | Path] = [FOLDER / "command.sh", stack.name, *command]
    return subprocess.run(script, env=environment, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.skipif(not shutil.which("jq"), reason="jq is not installed")
def test_a_command_is_run_where_workers_are(scaled: Stack) -> None:
    result = run(scaled, "python", "manage.py", "check_storage", "--mend")
    assert result.returncode == 0, result.stderr
    ecs, cluster = scaled.client("ecs"), scaled.outputs["Cluster"]
    (arn,) = ecs.list_tasks(cluster=cluster)["taskArns"]
    (task,) = ecs.describe_tasks(cluster=cluster, tasks=[arn])["tasks"]
    assert task["taskDefinitionArn"] == scaled.outputs["CommandTask"]
    (override,) = task["overrides"]["containerOverrides"]
    assert override == {"name": "command", "command": ["python", "manage.py", "check_storage", "--mend"]}


def test_a_stack_that_is_not_there_is_an_error(scaled: Stack) -> None:
    missing = Stack(scaled.account, "missing", {})
    result = run(missing)
    assert result.returncode != 0
    assert "missing" in result.stderr
