"""What django-q2's processes share survives the death of whoever holds it: real processes, real signals."""

import multiprocessing
import os
import signal
import time
from datetime import timedelta
from threading import Thread
from typing import Any

import pytest
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.db import OperationalError, connection
from django.utils import timezone
from django_q.brokers import get_broker
from django_q.conf import Conf
from django_q.models import OrmQ, Schedule
from django_q.pusher import pusher

from predictions import cluster, queue, sessions
from predictions.cluster import Queue
from predictions.shared import Flag, ProcessLock, shared_value

fork = multiprocessing.get_context("fork")


def kill_while(target: Any, *arguments: Any) -> None:
    """Kill a process in the middle of target(*arguments)."""
    process = fork.Process(target=target, args=arguments)
    process.start()
    time.sleep(0.2)
    assert process.pid
    os.kill(process.pid, signal.SIGKILL)
    process.join()


def hold(lock: Any) -> None:
    lock.acquire()
    time.sleep(60)


def answer(questions: Any, answers: Any) -> None:
    answers.put(questions.get() + 1)
    answers.close()
    answers.join_thread()


def test_a_reader_killed_while_it_waits_leaves_the_queue_to_the_others() -> None:
    questions, answers = Queue(), Queue()
    kill_while(questions.get)
    process = fork.Process(target=answer, args=(questions, answers))
    process.start()
    questions.put(1)
    assert answers.get(timeout=30) == 2
    process.join(30)
    assert (questions.qsize(), answers.qsize()) == (0, 0)


def test_a_value_locked_by_the_dead_can_be_read() -> None:
    value = shared_value("f", -1)
    kill_while(hold, value.get_lock())
    with value.get_lock():
        value.value = 3
    assert value.value == 3


def test_a_lock_excludes_other_processes_until_it_was_given_back_as_often_as_taken() -> None:
    lock, entered = ProcessLock(), Flag()

    def enter() -> None:
        with lock:
            entered.set()

    with lock:
        with lock:
            process = fork.Process(target=enter)
            process.start()
        assert not entered.wait(0.3)
    process.join(30)
    assert entered.is_set()


def test_a_flag_is_seen_by_every_process() -> None:
    flag = Flag()
    assert not flag.wait(0.01)
    process = fork.Process(target=flag.set)
    process.start()
    assert flag.wait(30)
    process.join()


class Guard:
    """Stands for a sentinel that lives for so many sweeps."""

    def __init__(self, sweeps: int) -> None:
        self.sweeps = sweeps

    def is_alive(self) -> bool:
        self.sweeps -= 1
        return self.sweeps >= 0

    def join(self, seconds: float) -> None:
        assert seconds == cluster.SWEEP_SECONDS


@pytest.mark.django_db(transaction=True)
def test_a_step_that_fails_ends_neither_the_sweep_nor_the_sweeping(caplog: pytest.LogCaptureFixture) -> None:
    failures: list[str] = []

    def away_once(execute: Any, sql: str, *arguments: Any) -> Any:
        if not failures:
            failures.append(sql)
            raise OperationalError("away")
        return execute(sql, *arguments)

    with connection.execute_wrapper(away_once):
        cluster.keep_sweeping(Guard(2))  # type: ignore[arg-type]
    assert caplog.text.count("the next try comes") == 1
    assert "recover_stale failed" in caplog.text


def keep_session(days: int) -> str:
    store = SessionStore()
    store["whose"] = "ada"
    store.set_expiry(timedelta(days=days))
    store.save()
    return str(store.session_key)


@pytest.mark.django_db(transaction=True)
def test_expired_sessions_are_cleared_once_a_day(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(cluster, "monotonic", lambda: now[0])
    monkeypatch.setattr("predictions.sessions.AT_ONCE", 2)
    for _ in range(5):
        keep_session(-1)
    kept = keep_session(1)
    seen = []

    class Clock(Guard):
        def join(self, seconds: float) -> None:
            seen.append(Session.objects.count())
            keep_session(-1)
            now[0] += cluster.DAY / 2

    cluster.keep_sweeping(Clock(4))  # type: ignore[arg-type]
    assert seen == [1, 2, 1, 2]
    assert Session.objects.filter(pk=kept).exists()


@pytest.mark.django_db(transaction=True)
def test_sessions_that_could_not_be_cleared_are_cleared_by_the_next_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    keep_session(-1)
    clear, failures = sessions.clear_expired, [OperationalError("away")]

    def fail_once() -> int:
        if failures:
            raise failures.pop()
        return clear()

    monkeypatch.setattr(sessions, "clear_expired", fail_once)
    cluster.keep_sweeping(Guard(2))  # type: ignore[arg-type]
    assert not Session.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_cluster_leaves_the_bells_that_its_workers_cannot_hear_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    queue.ring(30)
    taken, full = Queue(maxsize=Conf.QUEUE_LIMIT), Flag()
    broker = get_broker()
    dequeue = broker.dequeue

    def end_with_one_more_in_hand() -> Any:
        bells = dequeue()
        if taken.full():
            full.set()
        return bells

    def let_it_end() -> None:
        while not full.is_set():
            time.sleep(0.01)
        taken.get()

    monkeypatch.setattr(broker, "dequeue", end_with_one_more_in_hand)
    waiter = Thread(target=let_it_end)
    waiter.start()
    pusher(taken, full, broker)
    waiter.join()
    assert OrmQ.objects.filter(lock__gt=timezone.now()).count() == Conf.WORKERS + 1


@pytest.mark.django_db
def test_nothing_depends_on_django_q2s_schedules() -> None:
    assert not Schedule.objects.exists()
