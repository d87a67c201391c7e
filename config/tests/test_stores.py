"""Addresses of stores and brokers: what they become, and what is said of those that cannot be."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.core.exceptions import ImproperlyConfigured

from config import stores
from config.tests.aws import KEYS
from config.tests.environment import ROOT

OPTIONAL = "boto3", "botocore", "storages", "psycopg_pool", "redis"


def settings_of(code: str, **environment: str) -> Any:
    """Run code on settings of its own, `s`; return the JSON that it prints."""
    command = [sys.executable, "-c", f"import json, sys; import config.settings as s; {code}"]
    result = subprocess.run(command, env={**os.environ, **environment}, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@pytest.mark.parametrize("url", ["", "kafka://host", "redis://", "sqs://eu-central-1", "sqs:///bells", "orm"])
def test_a_broker_that_there_is_not_is_refused(url: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="BROKER_URL must be"):
        stores.broker(url)


@pytest.mark.parametrize("address", ["gs://photos", "s3://", "file:///photos"])
def test_a_store_that_there_is_not_is_refused(address: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="must be a folder or"):
        stores.media(address, Path(), "eu-central-1", "")


@pytest.mark.parametrize(
    "make",
    [lambda: stores.broker("sqs://eu-central-1/bells"), lambda: stores.media("s3://photos", Path(), "eu-west-1", "")],
)
def test_a_library_that_is_missing_is_named(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "find_spec", lambda name: None)
    with pytest.raises(ImproperlyConfigured, match=r"boto3.* must be installed: pip install .*production\.txt"):
        make()


def test_a_folder_of_photos_can_be_elsewhere(tmp_path: Path) -> None:
    assert settings_of("print(json.dumps(str(s.MEDIA_ROOT)))", MEDIA=str(tmp_path)) == str(tmp_path)


def test_what_is_not_used_is_not_loaded() -> None:
    code = f"import config.wsgi, predictions.queue; print(json.dumps([n for n in {OPTIONAL!r} if n in sys.modules]))"
    assert settings_of(code) == []


@pytest.mark.parametrize("endpoint", ["", "http://127.0.0.1:8150"])
def test_pages_may_show_pictures_from_the_bucket_and_nowhere_else(endpoint: str) -> None:
    """The host that the policy allows is the one that signed addresses lead to."""
    code = (
        "import config.wsgi; from predictions.storage import photos;"
        "a = photos().address('a.jpg', content_type='image/jpeg', disposition='inline', method='GET');"
        "print(json.dumps([s.CONTENT_SECURITY_POLICY['DIRECTIVES'], a]))"
    )
    aws = {**KEYS, "AWS_REGION": "eu-central-1", "AWS_ENDPOINT_URL_S3": endpoint, "MEDIA": "s3://photos/some/prefix"}
    policy, address = settings_of(code, **aws)
    origin = "{0.scheme}://{0.netloc}".format(urlsplit(address))
    assert policy["img-src"] == ["'self'", "data:", origin]
    assert not [name for name, hosts in policy.items() if origin in hosts and name != "img-src"]
    assert "/some/prefix/a.jpg?" in address


SERVER = "postgres://u@127.0.0.1:1/x?sslmode=disable"


@pytest.mark.parametrize(
    ("loaded", "connections", "pooled"),
    [("config.wsgi", "24", True), ("config.wsgi", "1", True), ("config.wsgi", "0", False), ("json", "24", False)],
)
def test_the_web_alone_has_a_pool_as_large_as_it_is_told_to_be(loaded: str, connections: str, pooled: bool) -> None:
    code = f"import {loaded}, json, config.settings as s; print(json.dumps(s.DATABASES))"
    environment = {**os.environ, "DATABASE_TEST_URL": SERVER, "DATABASE_POOL": connections}
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=True)
    database = json.loads(result.stdout)["default"]
    assert database["OPTIONS"]["sslmode"] == "disable"
    assert database["CONN_MAX_AGE"] == (0 if pooled else 60)
    assert database["OPTIONS"].get("pool", {}).get("max_size") == (int(connections) if pooled else None)
