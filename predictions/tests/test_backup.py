"""Backups: whole or not there, taking no room twice, restored as they were or refused."""

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from classifier.bundle import Bundle
from config.tests.chaos import check_storage
from config.tests.environment import image_bytes
from config.tests.service import Commands
from predictions import services
from predictions.backups import making
from predictions.backups.database import BackupError
from predictions.models import ImagePrediction

Submit = Callable[..., ImagePrediction]
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _pg_dump_is_new_enough(db: None) -> None:
    """PostgreSQL's own program makes the dump, and refuses a server that is newer than itself."""
    if connection.vendor == "postgresql":
        server = connection.pg_version // 10_000  # type: ignore[attr-defined]  # PostgreSQL's alone
        command = ["sh", "-c", "pg_dump --version || echo there is no pg_dump"]
        said = subprocess.run(command, capture_output=True, text=True).stdout
        if int((re.findall(r"\d+", said) or ["0"])[0]) < server:
            pytest.skip(f"the server is PostgreSQL {server}: {said}")


def backup(folder: Path, **options: Any) -> Path:
    call_command("backup", folder, verbosity=0, **options)
    return making.backups(folder)[-1]


def test_a_restored_backup_is_what_was_backed_up(tmp_path: Path, small_bundle: Bundle) -> None:
    """With the real commands, from one installation into an empty one, on the database that the tests use."""
    photos = tmp_path / "photos" / "okapi"
    photos.mkdir(parents=True)
    for number in range(5):
        (photos / f"{number}.jpg").write_bytes(image_bytes(size=(100 + number, 90)))
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    with Commands(tmp_path / "old", small_bundle) as old, Commands(tmp_path / "new", None) as new:
        old.manage("import_images", str(photos.parent), "--label-from-folder")
        old.manage("reclassify", "--all")
        made = old.manage("backup", str(tmp_path / "backups")).stdout.strip()
        assert new.manage("restore", made, check=False).returncode == 2  # it has tables
        new.empty_database()
        restored = new.manage("restore", made)
        assert restored.stdout.startswith("5 photos")
        for table in ("imageprediction", "classification", "correction"):
            rows = f"SELECT * FROM predictions_{table} ORDER BY id"
            assert len(new.query(rows)) == 5
            assert new.query(rows) == old.query(rows)
        assert not check_storage(new)
        assert "serves" in new.manage("install_model", "--check").stdout


def test_a_second_backup_links_to_the_files_of_the_first(submit: Submit, tmp_path: Path) -> None:
    submit()
    name = str(submit().image_path.name)
    first = backup(tmp_path / "backups")
    later = str(submit().image_path.name)
    first = first.rename(first.with_name("2000-01-01T000000Z"))  # they are named by the second
    second = backup(tmp_path / "backups")
    assert (second / "media" / name).stat().st_ino == (first / "media" / name).stat().st_ino
    assert (second / "media" / later).exists()
    assert not (first / "media" / later).exists()
    making.forget(tmp_path / "backups", 1)
    assert not first.exists()
    assert (second / "media" / name).read_bytes() == image_bytes()


def test_what_changes_between_the_two_passes_is_right_in_the_end(submit: Submit, tmp_path: Path) -> None:
    """One file is half written at first, one comes, one goes: with its row, which the database still has."""
    half, gone = submit(), submit()
    content = image_bytes()
    Path(half.image_path.path).write_bytes(content[:100])
    came: list[str] = []

    def take(path: Path) -> None:
        Path(half.image_path.path).write_bytes(content)
        came.append(str(submit().image_path.name))
        path.write_bytes(b"the database, as of now")
        services.remove(ImagePrediction.objects.filter(pk=gone.pk))

    made = making.make(tmp_path / "backups", lambda _: None, take=take)
    for name in (half.image_path.name, gone.image_path.name, came[0]):
        assert (made / "media" / str(name)).read_bytes() == content


def test_a_backup_that_fails_leaves_nothing(submit: Submit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    submit()

    def fail(path: Path) -> None:
        raise BackupError("pg_dump failed: no")

    with pytest.raises(BackupError):
        making.make(tmp_path / "backups", lambda _: None, take=fail)
    assert [path.name for path in (tmp_path / "backups").iterdir()] == [".lock"]


def test_the_rest_of_a_killed_backup_is_cleared_away(submit: Submit, tmp_path: Path) -> None:
    rest = tmp_path / "backups" / ".2000-01-01T000000Z"
    rest.mkdir(parents=True)
    backup(tmp_path / "backups")
    assert not rest.exists()


def test_two_backups_at_once_are_refused(tmp_path: Path) -> None:
    def again(path: Path) -> None:
        with pytest.raises(CommandError, match="Another process"):
            call_command("backup", tmp_path)
        path.touch()

    making.make(tmp_path, lambda _: None, take=again)


def test_only_their_owner_may_look_into_backups(tmp_path: Path) -> None:
    made = backup(tmp_path / "backups")
    assert (tmp_path / "backups").stat().st_mode & 0o077 == made.stat().st_mode & 0o077 == 0


def test_what_is_no_backup_is_not_restored(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="is no backup"):
        call_command("restore", tmp_path)
    made = backup(tmp_path / "backups")
    with (made / "database").open("ab") as file:
        file.write(b"?")
    with pytest.raises(CommandError, match="damaged"):
        call_command("restore", made)


def test_nothing_is_restored_over_media(submit: Submit, tmp_path: Path) -> None:
    submit()
    made = backup(tmp_path / "backups")
    with pytest.raises(CommandError, match="media or models already"):
        call_command("restore", made, database_restored=True)


def test_lost_and_damaged_photos_are_named(
    submit: Submit, settings: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a database that has been restored elsewhere."""
    whole, lost, damaged = submit(), submit(), submit()
    made = backup(tmp_path / "backups")
    shutil.rmtree(settings.MEDIA_ROOT)
    (made / "media" / str(lost.image_path.name)).unlink()
    (made / "media" / str(damaged.image_path.name)).write_bytes(b"?")
    with pytest.raises(SystemExit):
        call_command("restore", made, database_restored=True)
    assert Path(whole.image_path.path).read_bytes() == image_bytes()
    assert not Path(lost.image_path.path).exists()
    said = capsys.readouterr().out.splitlines()[-2:]
    assert said == [f"missing: the file of prediction {lost.pk}", f"damaged: the file of prediction {damaged.pk}"]
