"""Running a command as a user does: what it prints, and how it exits."""

import json
from dataclasses import dataclass
from typing import Any

import pytest
from django.core.management import CommandError, call_command


@dataclass
class Ran:
    """What a command left."""

    code: int
    out: str
    err: str
    complaint: str

    @property
    def summary(self) -> dict[str, Any]:
        """Return the summary of --json."""
        summary: dict[str, Any] = json.loads(self.out)
        return summary


class Console:
    """Runs commands in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys

    def __call__(self, name: str, *arguments: object) -> Ran:
        self.capsys.readouterr()
        code, complaint = 0, ""
        try:
            call_command(name, *map(str, arguments))
        except CommandError as error:
            code, complaint = error.returncode, str(error)
        out, err = self.capsys.readouterr()
        return Ran(code, out, err, complaint)
