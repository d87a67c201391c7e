"""The API answers as its own OpenAPI document says, whatever is sent to it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from config.tests.service import Service

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "40"))  # of each operation and phase
PHOTOS = 20
SECONDS = 12 * EXAMPLES  # in all: what is slow is cut short
# All checks, but for what cannot hold. Made-up credentials would be refused, and nothing behind them asked: access is
# open; with ACCESS=login, config/tests/test_access.py asks every address. No schema tells which bytes are a picture,
# which models are installed, or whether a label is there to be PATCHed. A client's own deadline may pass: 504. What
# breaks the schema is refused by these statuses; beside the usual ones, file by file, or because of its If-Match. But a
# page size that is none is the usual one, and forms hold only text: "0" is no, and what is no file counts as none.
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


@pytest.mark.fuzz
def test_the_api_keeps_to_its_document(service: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    service.wait_done([service.post()["id"] for _ in range(PHOTOS)])
    before = service.pids()
    tester = Path(sys.executable).parent / "st"
    command: list[str | Path] = [
        tester, "run", f"{service.url}/schema", "--seed=1", f"--max-examples={EXAMPLES}", f"--max-time={SECONDS}",
        "--continue-on-failure", "--no-color",
    ]  # fmt: skip
    (tmp_path / "schemathesis.toml").write_text(CONFIGURATION)
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    with capsys.disabled():
        sys.stdout.write(result.stdout[result.stdout.find("= SUMMARY =") :])
    assert result.returncode == 0, result.stdout[-20_000:] + result.stderr[-2000:]
    operations, tested = re.findall(r"(?:Selected: \d+/|Tested: )(\d+)", result.stdout)
    assert tested == operations
    assert "Authentication failed" not in result.stdout
    [requests] = re.findall(r"(\d+) generated", result.stdout)
    assert int(requests) >= min(10 * EXAMPLES, 10_000)
    assert service.pids() == before
    assert "Traceback" not in service.log()
