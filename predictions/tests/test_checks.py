"""manage.py check says at the start what would go wrong later."""

import runpy
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import cache
from django.core.management import CommandError, call_command

from config.stores import Media
from config.tests.environment import ROOT
from predictions.checks import (
    limits_are_shared,
    storage_is_writable,
    worker_status_is_shared,
    worker_status_is_shared_by_machines,
)

BUCKET = Media({}, Path(), "https://photos.s3.eu-central-1.amazonaws.com")


def test_all_is_well() -> None:
    assert storage_is_writable() == worker_status_is_shared() == []


def test_an_unwritable_folder_is_an_error(settings: Any, tmp_path: Path) -> None:
    settings.DATA_DIR = tmp_path / "gone"
    assert [message.id for message in storage_is_writable()] == ["predictions.E001"]


def test_a_cache_that_is_not_shared_is_a_warning(settings: Any) -> None:
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    assert [message.id for message in worker_status_is_shared()] == ["predictions.W001"]


def test_a_cache_in_a_folder_is_a_warning_where_photos_are_in_a_bucket(settings: Any) -> None:
    assert worker_status_is_shared_by_machines() == []
    settings.MEDIA = BUCKET
    assert [message.id for message in worker_status_is_shared_by_machines()] == ["predictions.W003"]
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache"}}
    assert worker_status_is_shared_by_machines() == []


def test_limits_of_several_machines_are_a_warning_though_each_has_one_web_process(settings: Any) -> None:
    settings.MEDIA, settings.LIMITS_URL, settings.WEB_WORKERS = BUCKET, "memory://", 1
    settings.RATES = {"uploads": [object()]}
    assert [message.id for message in limits_are_shared()] == ["predictions.W002"]


def test_limits_that_each_web_process_counts_by_itself_are_a_warning(settings: Any) -> None:
    settings.LIMITS_URL, settings.WEB_WORKERS = "memory://", 3
    [message] = limits_are_shared()
    assert (message.id, "3 web processes" in message.msg) == ("predictions.W002", True)


@pytest.mark.parametrize(
    "fine", [{"LIMITS_URL": "redis://redis:6379/0"}, {"WEB_WORKERS": 1}, {"RATES": {"uploads": [], "reads": []}}]
)
def test_limits_that_hold_are_none(settings: Any, fine: dict[str, Any]) -> None:
    for name, value in fine.items():
        setattr(settings, name, value)
    assert limits_are_shared() == []


def test_the_check_knows_how_many_web_processes_there_are(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    monkeypatch.delenv("WEB_WORKERS", raising=False)
    monkeypatch.setenv(
        "PROMETHEUS_MULTIPROC_DIR", "set"
    )  # or it would make one, for this process and all that it starts
    assert runpy.run_path(str(ROOT / "deploy" / "gunicorn.conf.py"))["workers"] == settings.WEB_WORKERS


@pytest.mark.django_db
def test_check_worker_fails_without_one() -> None:
    cache.clear()
    with pytest.raises(CommandError, match="No worker is alive"):
        call_command("check_worker")
