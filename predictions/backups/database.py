"""A database's whole content in one file, taken while others go on writing, and put back into an empty database."""

import contextlib
import hashlib
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

from django.db import connection
from django.db.backends.postgresql.client import DatabaseClient


class BackupError(Exception):
    """A backup cannot be made, or not be restored. The message says why, to people."""


def dump(path: Path) -> None:
    """Write the content as of one moment into a new file. Raises BackupError."""
    if connection.vendor == "postgresql":
        _run("pg_dump", "--format=custom", "--no-owner", "--no-privileges", f"--file={path}")
        return
    with contextlib.closing(_sqlite(Path(connection.settings_dict["NAME"]))) as source:
        _copy(source, path)


def load(path: Path) -> None:
    """Fill the database, which must be empty, from such a file. Raises BackupError."""
    if connection.vendor == "postgresql":
        options = ("--exit-on-error", "--single-transaction", "--no-owner", "--no-privileges", "--no-comments")
        _run("pg_restore", *options, str(path), "--dbname")
        return
    connection.close()
    with contextlib.closing(_sqlite(path)) as source:
        _copy(source, Path(connection.settings_dict["NAME"]))


def accept(path: Path) -> None:
    """Write what arrives on standard input, a dump that somebody else makes, into a new file. Raises BackupError."""
    with path.open("xb") as file:
        shutil.copyfileobj(sys.stdin.buffer, file)
    if path.stat().st_size == 0:
        raise BackupError("Nothing came on standard input: the dump has failed.")


def is_empty() -> bool:
    """Return whether the database has no tables."""
    return not connection.introspection.table_names()


def sha256(path: Path) -> str:
    """Return a file's checksum, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _copy(source: sqlite3.Connection, path: Path) -> None:
    """Copy a whole SQLite database, as of one moment: with its journal, which a copy of the file would lack."""
    try:
        with contextlib.closing(sqlite3.connect(path)) as target:
            source.backup(target)
            target.execute("PRAGMA journal_mode=DELETE")  # one file; the service sets its own
            [[verdict]] = target.execute("PRAGMA quick_check(1)").fetchall()
    except sqlite3.Error as error:
        raise BackupError(f"SQLite cannot copy its database to {path}: {error}") from error
    if verdict != "ok":
        raise BackupError(f"SQLite's copy is damaged, as the database may be: {verdict}")


def _sqlite(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)


def _run(program: str, *options: str) -> None:
    """Run a program of PostgreSQL on the database."""
    command, environment = DatabaseClient.settings_to_cmd_args_env(connection.settings_dict, list(options))
    command[0] = program
    try:
        environment = {**os.environ, **(environment or {})}
        subprocess.run(command, env=environment, check=True, capture_output=True, text=True)  # noqa: S603
    except FileNotFoundError as error:
        hint = "install PostgreSQL's client programs, of the server's version or newer (postgresql-client)"
        raise BackupError(f"There is no {program}: {hint}, or see deploy/README.md for how to do without.") from error
    except subprocess.CalledProcessError as error:
        raise BackupError(f"{program} failed: {error.stderr.strip()}") from error
