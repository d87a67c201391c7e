"""S3 and SQS on this machine: moto's server, as a process of its own, and what can happen on the way to it."""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import pytest
import urllib3

REGION, BUCKET, QUEUE = "eu-central-1", "photos", "bells"
KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_EC2_METADATA_DISABLED": "true"}


class Aws:
    """A server with an empty bucket and an empty queue. It lists three names at a time: all lists have pages."""

    def __init__(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        command = [sys.executable, "-m", "moto.server", "--port", str(self.port)]
        environment = {**os.environ, **KEYS, "MOTO_S3_DEFAULT_MAX_KEYS": "3", "PYTHONWARNINGS": "ignore"}
        silent: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(command, env=environment, **silent)

    def __enter__(self) -> Self:
        from config.tests.service import wait_until

        wait_until(self._answers)
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()

    def client(self, service: str) -> Any:
        """Return boto3's client of a service."""
        import boto3

        session: Any = boto3.session.Session(aws_access_key_id="test", aws_secret_access_key="test")
        return session.client(service, endpoint_url=self.url, region_name=REGION)

    def set_up(self) -> None:
        """Empty everything; make the bucket, private as new ones are, and the queue."""
        urllib3.request("POST", f"{self.url}/moto-api/reset")
        self.client("s3").create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
        self.client("sqs").create_queue(QueueName=QUEUE)

    def names(self) -> list[str]:
        """Return the names of all files in the bucket."""
        pages = self.client("s3").get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
        return sorted(entry["Key"] for page in pages for entry in page.get("Contents", ()))

    def environment(self, url: str = "") -> dict[str, str]:
        """Return what a service needs to use it, over another address if need be."""
        return {**KEYS, "AWS_REGION": REGION, "AWS_ENDPOINT_URL": url or self.url}

    def _answers(self) -> bool:
        with suppress(urllib3.exceptions.HTTPError):
            return urllib3.request("GET", f"{self.url}/moto-api/", retries=False).status == 200
        return False


class Way:
    """The way to a server, which can be closed: connections are then refused, and those that there are break."""

    def __init__(self, port: int) -> None:
        self.target = port
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.open_ends: list[socket.socket] = []
        self._serve()

    def close(self) -> None:
        """Refuse what comes, break what is there."""
        for end in (self.listener, *self.open_ends):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self.open_ends.clear()

    def reopen(self) -> None:
        """Let everything pass again."""
        self.listener = socket.create_server(("127.0.0.1", self.port))
        self._serve()

    def _serve(self) -> None:
        threading.Thread(target=self._accept, args=(self.listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):  # closed
            while True:
                client, _ = listener.accept()
                server = socket.create_connection(("127.0.0.1", self.target))
                self.open_ends += [client, server]
                for source, target in ((client, server), (server, client)):
                    threading.Thread(target=self._pass_on, args=(source, target), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)


@pytest.fixture(scope="session")
def aws_server() -> Iterator[Aws]:
    """One server a test process."""
    with Aws() as server:
        yield server


@pytest.fixture
def aws(aws_server: Aws) -> Aws:
    """That server, with nothing in it but an empty bucket and an empty queue."""
    aws_server.set_up()
    return aws_server


def storages(url: str, bucket: str = BUCKET, prefix: str = "some/prefix") -> dict[str, Any]:
    """Return Django's setting for photos in a bucket, made as the settings make it."""
    from django.conf import settings

    from config import stores

    media = stores.media(f"s3://{bucket}/{prefix}", Path(), region=REGION, endpoint=url)
    return {**settings.STORAGES, "default": media.storage}


@pytest.fixture
def s3(aws: Aws, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Aws:
    """Photos are in the bucket, for this test."""
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    settings.STORAGES = storages(aws.url)
    return aws
