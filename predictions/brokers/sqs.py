"""Bells in SQS."""

from __future__ import annotations

import os
from functools import cache
from threading import Lock
from typing import Any

import boto3
from botocore.config import Config
from django_q.brokers import Broker
from django_q.conf import Conf

from predictions.brokers import ANSWER_SECONDS, CONNECT_SECONDS

# How long SQS is asked for the next bell. No longer: a cluster that is told to stop waits for the end of it.
LONG_POLL_SECONDS = 5
_making = Lock()


class Sqs(Broker):  # type: ignore[misc]  # django-q2 has no types
    """Bells in a queue of SQS, which gives one that nobody has acknowledged to the next who asks.

    django-q2's own connects before it forks, so that processes write into each other's connections; and it creates the
    queue if there is none, which no worker should be allowed to.
    """

    def enqueue(self, task: str) -> str:
        """Send a bell; return its id. It is tried once: somebody waits for it, and what it leaves the sweep finds."""
        return str(self._call("send_message", is_waited_for=True, MessageBody=task)["MessageId"])

    def dequeue(self) -> list[tuple[str, str]]:
        """Return bells with the receipts by which they are acknowledged; none if none comes in LONG_POLL_SECONDS."""
        answer = self._call(
            "receive_message",
            MaxNumberOfMessages=1,  # more would wait here while another machine's workers are idle
            VisibilityTimeout=Conf.RETRY,
            WaitTimeSeconds=LONG_POLL_SECONDS,
        )
        return [(message["ReceiptHandle"], message["Body"]) for message in answer.get("Messages", ())]

    def acknowledge(self, task_id: str) -> None:
        """Delete a bell that was answered."""
        self._call("delete_message", ReceiptHandle=task_id)

    delete = fail = acknowledge

    def queue_size(self) -> int:
        """Return how many bells wait, roughly."""
        return self._count("ApproximateNumberOfMessages")

    def lock_size(self) -> int:
        """Return how many bells are being answered, roughly."""
        return self._count("ApproximateNumberOfMessagesNotVisible")

    def purge_queue(self) -> None:
        """Forget all bells."""
        self._call("purge_queue")

    def ping(self) -> bool:
        """Return True: a queue that is away ends no cluster that starts, and comes back."""
        return True

    def info(self) -> str:
        """Return what this is, for people."""
        return f"SQS {Conf.SQS['queue']}"

    def _count(self, attribute: str) -> int:
        answer = self._call("get_queue_attributes", AttributeNames=[attribute])
        return int(answer["Attributes"][attribute])

    def _call(self, action: str, *, is_waited_for: bool = False, **arguments: Any) -> dict[str, Any]:
        with _making:
            client, url = _sqs(os.getpid(), is_waited_for)
        answer: dict[str, Any] = getattr(client, action)(QueueUrl=url, **arguments)
        return answer


@cache
def _sqs(pid: int, is_waited_for: bool) -> tuple[Any, str]:
    """Return this process's client, which threads may share, and the queue's address."""
    config = Config(
        connect_timeout=CONNECT_SECONDS,
        read_timeout=ANSWER_SECONDS if is_waited_for else LONG_POLL_SECONDS + ANSWER_SECONDS,
        retries={"mode": "standard", "total_max_attempts": 1 if is_waited_for else 2},
    )
    client = boto3.session.Session().client("sqs", region_name=Conf.SQS["region"], config=config)
    return client, client.get_queue_url(QueueName=Conf.SQS["queue"])["QueueUrl"]
