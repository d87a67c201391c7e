"""Counting, in memory and in a Redis."""

import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import Client
from limits.errors import StorageError

from config import rates
from config.settings import rates as parse
from config.tests.test_house import run

pytestmark = pytest.mark.django_db
REDIS = "redis://127.0.0.1:6379/0"


def statuses(client: Client, path: str, times: int, **options: Any) -> list[int]:
    return [client.get(path, **options).status_code for _ in range(times)]


def test_no_count_is_lost_between_threads() -> None:
    counter = rates.MemoryCounter()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: counter.incr("key", 60), range(4000)))
    assert sorted(found) == list(range(1, 4001))


def test_what_is_over_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    counter = rates.MemoryCounter()
    now = 1000.0
    monkeypatch.setattr("config.rates.monotonic", lambda: now)
    for number in range(100):
        counter.incr(f"key{number}", 30)
    counter.incr("long", 3600)
    now += rates.SWEEP_SECONDS
    assert counter.incr("new", 30) == 1
    assert len(counter) == 2


@pytest.fixture
def redis(settings: Any) -> Iterator[Any]:
    """A real Redis, with keys of this test's own."""
    client = __import__("redis").Redis.from_url(REDIS, socket_connect_timeout=1)
    try:
        client.ping()
    except Exception as error:
        pytest.skip(f"there is no Redis: {error}")
    client.prefix = f"test-{uuid.uuid4().hex[:8]}"
    yield client
    for key in client.scan_iter(f"{client.prefix}:*"):
        client.delete(key)
    client.close()


def test_processes_share_a_redis(
    client: Client, allow: Any, settings: Any, redis: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    counters = [rates.SharedCounter(REDIS, redis.prefix) for _ in range(2)]
    monkeypatch.setattr(rates, "counter", lambda _: counters[0])
    allow(reads="2/hour")
    assert client.get("/predictions/").status_code == 200
    monkeypatch.setattr(rates, "counter", lambda _: counters[1])
    assert statuses(client, "/predictions/", 2) == [200, 429]
    keys = list(redis.scan_iter(f"{redis.prefix}:*"))
    assert len(keys) == 1
    assert 0 < redis.ttl(keys[0]) <= 3600


def test_a_look_at_a_redis_is_forgotten_too(redis: Any) -> None:
    counter = rates.SharedCounter(REDIS, redis.prefix)
    assert [counter.incr("key", 60, amount) for amount in (0, 0, 1, 0)] == [0, 0, 1, 1]
    assert 0 < redis.ttl(f"{redis.prefix}:key") <= 60


def test_without_its_redis_a_process_counts_by_itself_and_says_so_once(
    client: Client, allow: Any, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.LIMITS_URL = "redis://127.0.0.1:1"  # nobody listens there
    allow(reads="3/hour")
    assert statuses(client, "/predictions/", 5) == [200, 200, 200, 429, 429]
    assert caplog.text.count("this process counts by itself") == 1


def test_a_redis_that_is_back_is_asked_again(redis: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    counter = rates.SharedCounter(REDIS, redis.prefix)
    incr = counter._shared.incr
    monkeypatch.setattr(counter._shared, "incr", lambda *_: (_ for _ in ()).throw(StorageError(OSError("away"))))
    assert counter.incr("key", 60) == 1
    monkeypatch.setattr(counter._shared, "incr", incr)
    assert counter.incr("key", 60) == 2
    now = time.monotonic()
    monkeypatch.setattr("config.rates.monotonic", lambda: now + rates.AWAY_SECONDS)
    assert counter.incr("key", 60) == 1  # the Redis', which has heard of none


def test_rates_are_read_as_they_are_written() -> None:
    assert [str(rate) for rate in parse("10/minute; 50/hour")] == ["10 per 1 minute", "50 per 1 hour"]
    assert parse(" ") == []
    with pytest.raises(ImproperlyConfigured, match="'often' is no rate"):
        parse("often")


def test_a_wrong_address_of_a_redis_ends_the_start() -> None:
    assert run("import config.wsgi", LIMITS_URL="nonsense://x").returncode != 0
    assert run("import config.wsgi", LIMITS_URL="redis://127.0.0.1:1").returncode == 0


def test_dev_limits_passwords_only_and_prod_everything() -> None:
    code = "import config.settings as s; print(sorted(name for name, rates in s.RATES.items() if rates))"
    assert run(code).stdout.strip() == "['logins']"
    prod = {"ENVIRONMENT": "prod", "SECRET_KEY": "s" * 60, "ALLOWED_HOSTS": "example.org"}
    assert run(code, **prod).stdout.strip() == "['logins', 'parts', 'reads', 'uploads', 'writes']"
