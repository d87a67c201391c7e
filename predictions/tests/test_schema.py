"""The API answers as its own OpenAPI document says, whatever is sent to it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from classifier.bundle import Bundle
from config.tests.service import Service

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "40"))  # of each operation and phase
PHOTOS = 20
SECONDS = 30 + 12 * EXAMPLES  # in all: what is slow is cut short
# All checks, but for what cannot hold. Made-up credentials would be refused, and nothing behind them asked: access is
# open, and whether anything is given without them is asked below, of a service that wants them. No schema tells which
# bytes are a picture, which models are installed, or whether a label is there to be PATCHed. A client's own deadline
# may pass: 504. What breaks the schema is refused by these statuses; beside the usual ones, file by file, or because
# of its If-Match. But a page size that is none is the usual one, and forms hold only text: "0" is no, and what is no
# file counts as none.
CONFIGURATION = """
[generation]
with-security-parameters = false

[checks]
ignored_auth.enabled = false
object_level_authorization.enabled = false
positive_data_acceptance.enabled = false
not_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", 504]
negative_data_rejection.expected-statuses = [
    400, 401, 403, 404, 405, 406, 409, 411, 413, 414, 415, 422, 428, 429, "5xx", 207, 412
]

[[operations]]
include-name = ["GET /predictions/", "GET /models/", "POST /predictions/", "POST /models/{name}/promote/"]
checks.negative_data_rejection.enabled = false
"""


# What is asked first with a token, then without one, and with one that is none: all of that is to be refused with 401.
WITHOUT_TOKEN = """
[checks]
ignored_auth.enabled = true
"""
TOKEN = """
from django.contrib.auth.models import User
from predictions.tokens import ApiToken
print(ApiToken.objects.create(User.objects.create_superuser("root"), name="tester")[1])
"""


def run_schemathesis(service: Service, folder: Path, configuration: str, *options: str) -> str:
    """Have every operation asked; return what it says of that, once it has found nothing."""
    before = service.pids()
    command: list[str | Path] = [
        Path(sys.executable).parent / "st", "run", f"{service.url}/schema", "--seed=1", f"--max-examples={EXAMPLES}",
        f"--max-time={SECONDS}", "--continue-on-failure", "--no-color", *options,
    ]  # fmt: skip
    (folder / "schemathesis.toml").write_text(configuration)
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout[-20_000:] + result.stderr[-2000:]
    operations, tested = re.findall(r"(?:Selected: \d+/|Tested: )(\d+)", result.stdout)
    assert tested == operations
    assert service.pids() == before
    assert "Traceback" not in service.log()
    return result.stdout


@pytest.mark.fuzz
def test_the_api_keeps_to_its_document(service: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    service.wait_done([service.post()["id"] for _ in range(PHOTOS)])
    said = run_schemathesis(service, tmp_path, CONFIGURATION)
    with capsys.disabled():
        sys.stdout.write(said[said.find("= SUMMARY =") :])
    assert "Authentication failed" not in said
    [requests] = re.findall(r"(\d+) generated", said)
    assert int(requests) >= min(10 * EXAMPLES, 10_000)


@pytest.mark.fuzz
def test_nothing_is_given_without_a_token(small_bundle: Bundle, tmp_path: Path) -> None:
    with Service(tmp_path, small_bundle, ACCESS="login", RATE_LOGINS="") as service:  # or all is answered 429
        token = service.manage("shell", "-c", TOKEN).stdout.split()[-1]
        said = run_schemathesis(
            service, tmp_path, WITHOUT_TOKEN, "--checks=ignored_auth", f"--header=Authorization: Bearer {token}"
        )
    print(said[said.find("= SUMMARY =") :])
