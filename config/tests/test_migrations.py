"""Every migration leaves the version before able to work: during an update, old and new run on one database."""

import pytest
from django.db import connection
from django_migration_linter import MigrationLinter

# Names of migrations that drop what has been unused since the version before, and so may break older ones only.
CONTRACTING: set[str] = set()


@pytest.mark.django_db
def test_no_migration_breaks_the_version_before(capsys: pytest.CaptureFixture[str]) -> None:
    """By the SQL that Django would send: dropped, renamed or altered columns, and those that old INSERTs lack."""
    if connection.vendor != "postgresql":
        pytest.skip("it reads PostgreSQL's SQL: set DATABASE_TEST_URL")
    linter = MigrationLinter(include_apps=["predictions", "classifier"], ignore_name=CONTRACTING, no_cache=True)
    linter.lint_all_migrations()
    assert linter.nb_total >= 12
    assert not linter.has_errors, capsys.readouterr().out
