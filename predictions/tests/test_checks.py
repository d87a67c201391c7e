"""manage.py check says at the start what would go wrong later."""

from pathlib import Path
from typing import Any

import pytest
from django.core.cache import cache
from django.core.management import CommandError, call_command

from predictions.checks import storage_is_writable, worker_status_is_shared


def test_all_is_well() -> None:
    assert storage_is_writable() == worker_status_is_shared() == []


def test_an_unwritable_folder_is_an_error(settings: Any, tmp_path: Path) -> None:
    settings.DATA_DIR = tmp_path / "gone"
    assert [message.id for message in storage_is_writable()] == ["predictions.E001"]


def test_a_cache_that_is_not_shared_is_a_warning(settings: Any) -> None:
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    assert [message.id for message in worker_status_is_shared()] == ["predictions.W001"]


@pytest.mark.django_db
def test_check_worker_fails_without_one() -> None:
    cache.clear()
    with pytest.raises(CommandError, match="No worker is alive"):
        call_command("check_worker")
