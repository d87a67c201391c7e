"""The API answers as its own OpenAPI document says, whatever is sent to it."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
import json

import pytest

from config.tests.service import Service

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "40"))  # of each operation and phase
PHOTOS = 20
# Everything but what cannot hold:
EXCLUDED = ",".join([
    # The access is open; with ACCESS=login, config/tests/test_access.py asks every address.
    "ignored_auth",
    "object_level_authorization",
])  # fmt: skip


@pytest.mark.fuzz
def test_the_api_keeps_to_its_document(service: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    service.wait_done([service.post()["id"] for _ in range(PHOTOS)])
    before = service.pids()
    report = tmp_path / "report.ndjson"
    tester = Path(sys.executable).parent / "st"
    command = [
        tester, "run", f"{service.url}/schema", "--checks=all", f"--exclude-checks={EXCLUDED}", "--seed=1",
        f"--max-examples={EXAMPLES}", "--continue-on-failure", "--no-color", f"--report-ndjson-path={report}",
    ]  # fmt: skip
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    with capsys.disabled():
        sys.stdout.write(result.stdout[-2500:])
    assert result.returncode == 0, result.stdout[-20_000:] + result.stderr[-2000:]
    assert service.pids() == before
    assert "Traceback" not in service.log()
