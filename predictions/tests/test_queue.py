"""The bell: rung when it must be, and no harm if it is lost."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction
from django.utils import timezone
from django_q.models import OrmQ

from predictions import queue, renditions, services
from predictions.models import ImagePrediction

pytestmark = pytest.mark.django_db(transaction=True)
Submit = Callable[..., ImagePrediction]


def bells() -> int:
    return int(OrmQ.objects.count())


def test_an_upload_rings(submit: Submit) -> None:
    submit()
    assert bells() == 1
    assert OrmQ.objects.get().task["func"] == queue.TASK


def test_a_crowd_rings_once_for_every_worker(submit: Submit, settings: Any) -> None:
    settings.WORKERS = 3
    for _ in range(10):
        submit()
    assert bells() == 3


def test_of_several_that_arrive_at_once_the_first_ring(submit: Submit, settings: Any) -> None:
    """Each sees the others wait already when it looks: if newer ones counted, nobody would ring."""
    settings.WORKERS = 2
    rows = [submit() for _ in range(4)]
    OrmQ.objects.all().delete()
    for prediction in reversed(rows):
        queue.ring_for(prediction)
    assert bells() == 2


def test_nothing_rings_for_what_is_rolled_back() -> None:
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        queue.ring()
        raise ZeroDivisionError
    assert bells() == 0


def test_an_upload_is_accepted_when_the_bell_is_broken(submit: Submit, caplog: pytest.LogCaptureFixture) -> None:
    def broken(execute: Any, sql: str, *arguments: Any) -> Any:
        if "django_q_ormq" in sql:
            raise OperationalError("no queue")
        return execute(sql, *arguments)

    with connection.execute_wrapper(broken):
        prediction = submit()
    assert "no queue" in caplog.text
    services.recover_stale()  # the sweep
    assert bells() >= 1
    assert ImagePrediction.objects.claim()[0].pk == prediction.pk


def test_the_sweep_rings_for_nothing_when_nothing_waits() -> None:
    services.recover_stale()
    assert bells() == 0


def test_the_sweep_rings_for_thumbnails_that_nobody_has_made(submit: Submit) -> None:
    submit()
    OrmQ.objects.all().delete()
    ImagePrediction.objects.update(status="done", classified_at=timezone.now() - renditions.PATIENCE)
    services.recover_stale()
    assert bells() == 1


def test_a_worker_that_starts_rings_but_does_not_die_of_it() -> None:
    queue.ring_at_worker_start(proc_name="x")
    assert bells() == 1

    def away(*_: Any) -> None:
        raise OperationalError("away")

    with connection.execute_wrapper(away):
        queue.ring_at_worker_start(proc_name="x")


def test_reclassifying_rings(submit: Submit) -> None:
    submit()
    OrmQ.objects.all().delete()
    ImagePrediction.objects.update(status="failed")
    services.reclassify(ImagePrediction.objects.all())
    assert bells() >= 1
