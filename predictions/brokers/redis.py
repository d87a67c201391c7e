"""Bells in Redis."""

from __future__ import annotations

import redis
from django_q.brokers import Broker, redis_broker
from django_q.conf import Conf

from predictions.brokers import ANSWER_SECONDS, CONNECT_SECONDS


class Redis(redis_broker.Redis):  # type: ignore[misc]  # django-q2 has no types
    """Bells in a list of Redis. One that was taken off it dies with the worker: the sweep rings anew for its images."""

    # Who is alive is said in the cache, as with every other broker: that is where /readyz looks.
    set_stat, get_stat, get_stats = Broker.set_stat, Broker.get_stat, Broker.get_stats

    def ping(self) -> bool:
        """Return True, as the database's does: a Redis that is away ends no cluster that starts, and comes back."""
        return True

    @staticmethod
    def get_connection(list_key: str | None = None) -> redis.Redis:  # noqa: ARG004  (django-q2 calls with it)
        """Return a client; threads may share it, and after a fork it connects anew."""
        return redis.Redis.from_url(Conf.REDIS, socket_connect_timeout=CONNECT_SECONDS, socket_timeout=ANSWER_SECONDS)
