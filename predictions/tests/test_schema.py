"""The API answers as its own OpenAPI document says, whatever is sent to it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from config.tests.service import Service

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "40"))  # of each operation and phase
PHOTOS = 20
SECONDS = 12 * EXAMPLES  # in all: what is slow is cut short
# Everything but what cannot hold:
EXCLUDED = (
    # Access is open here. With ACCESS=login, config/tests/test_access.py asks every address.
    "ignored_auth",
    "object_level_authorization",
    # No schema tells which bytes are a picture, which models are installed, or whether a label is there to be PATCHed.
    "positive_data_acceptance",
)
# A request that breaks the schema is refused by these; beside the usual ones, file by file, or because of its If-Match.
CONFIGURATION = """
[checks.negative_data_rejection]
expected-statuses = [400, 401, 403, 404, 405, 406, 409, 411, 413, 414, 415, 422, 428, 429, "5xx", 207, 412]
"""


@pytest.mark.fuzz
def test_the_api_keeps_to_its_document(service: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    service.wait_done([service.post()["id"] for _ in range(PHOTOS)])
    before = service.pids()
    tester = Path(sys.executable).parent / "st"
    command: list[str | Path] = [
        tester, "run", f"{service.url}/schema", "--checks=all", f"--exclude-checks={','.join(EXCLUDED)}", "--seed=1",
        f"--max-examples={EXAMPLES}", f"--max-time={SECONDS}", "--continue-on-failure", "--no-color",
    ]  # fmt: skip
    (tmp_path / "schemathesis.toml").write_text(CONFIGURATION)
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    with capsys.disabled():
        sys.stdout.write(result.stdout[result.stdout.find("= SUMMARY =") :])
    assert result.returncode == 0, result.stdout[-20_000:] + result.stderr[-2000:]
    assert service.pids() == before
    assert "Traceback" not in service.log()
