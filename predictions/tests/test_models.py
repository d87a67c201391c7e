"""The status machine: every arrow, and everyone who is too late."""

import itertools
import threading
from collections.abc import Callable
from datetime import timedelta
from importlib import import_module
from typing import Any

import pytest
from django.apps import apps
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from classifier.models import ModelVersion
from predictions import services
from predictions.models import (
    BATCH,
    MAX_ATTEMPTS,
    Answer,
    Classification,
    Correction,
    ImagePrediction,
    Priority,
    Status,
)

pytestmark = pytest.mark.django_db
Submit = Callable[..., ImagePrediction]
CAT = [{"label": "cat", "confidence": 0.9}, {"label": "dog", "confidence": 0.1}]
DOG = CAT[::-1]


def claim_one() -> ImagePrediction:
    [prediction] = ImagePrediction.objects.claim()
    return prediction


def expire_leases() -> None:
    past = timezone.now() - timedelta(seconds=1)
    ImagePrediction.objects.filter(status=Status.PROCESSING).update(lease_expires_at=past)


def test_a_claim_is_leased(submit: Submit, settings: Any) -> None:
    submit()
    prediction = claim_one()
    prediction.refresh_from_db()
    assert (prediction.status, prediction.attempts) == (Status.PROCESSING, 1)
    assert prediction.lease_expires_at
    seconds = (prediction.lease_expires_at - timezone.now()).total_seconds()
    assert settings.LEASE_SECONDS - 1 < seconds < settings.LEASE_SECONDS + 1
    assert ImagePrediction.objects.claim() == []


def test_the_oldest_are_claimed_first_and_half_is_left_to_others(submit: Submit) -> None:
    ids = [submit().pk for _ in range(6)]
    assert [row.pk for row in ImagePrediction.objects.claim()] == ids[:3]
    assert [row.pk for row in ImagePrediction.objects.claim()] == ids[3:4]


def test_uploads_go_before_what_is_classified_again_or_imported(submit: Submit) -> None:
    bulk = [submit().pk for _ in range(2)]
    ImagePrediction.objects.update(status=Status.DONE)
    assert services.reclassify(ImagePrediction.objects.all()) == 2
    upload = submit().pk
    assert [claim_one().pk for _ in range(3)] == [upload, *bulk]


def test_one_image_alone_is_classified_again_among_the_uploads(submit: Submit) -> None:
    pk = submit().pk
    ImagePrediction.objects.update(status=Status.DONE)
    later = submit().pk
    services.reclassify(ImagePrediction.objects.filter(pk=pk))
    assert [row.pk for row in ImagePrediction.objects.awaited()] == [pk, later]


def test_a_claim_takes_no_more_than_a_batch(submit: Submit) -> None:
    for _ in range(3 * BATCH):
        submit()
    assert len(ImagePrediction.objects.claim()) == BATCH


def test_what_was_tried_before_is_tried_alone(submit: Submit) -> None:
    ids = [submit().pk for _ in range(4)]
    ImagePrediction.objects.filter(pk=ids[0]).update(attempts=1)
    assert [row.pk for row in ImagePrediction.objects.claim()] == ids[:1]
    ImagePrediction.objects.filter(pk=ids[2]).update(attempts=1)
    assert [row.pk for row in ImagePrediction.objects.claim()] == ids[1:2]


def test_claims_from_before_the_clock_was_set_back_expire(submit: Submit) -> None:
    submit()
    claim_one()
    assert ImagePrediction.objects.recover_stale() == (0, 0)
    ImagePrediction.objects.update(lease_expires_at=timezone.now() + timedelta(hours=1))
    assert ImagePrediction.objects.recover_stale() == (1, 0)


def test_finishing_records_the_answer(submit: Submit, model: ModelVersion) -> None:
    submit()
    prediction = claim_one()
    assert ImagePrediction.objects.finish([(prediction, Answer(CAT, 7.5))], model)
    prediction.refresh_from_db()
    assert (prediction.status, prediction.top_prediction, prediction.confidence) == (Status.DONE, "cat", 0.9)
    assert (prediction.all_predictions, prediction.model_version, prediction.error) == (CAT, model, "")
    assert prediction.classified_at
    assert prediction.lease_expires_at is None


def test_failing_records_why(submit: Submit) -> None:
    submit()
    prediction = claim_one()
    assert prediction.fail("The image is damaged")
    prediction.refresh_from_db()
    assert (prediction.status, prediction.error) == (Status.FAILED, "The image is damaged")


def test_a_revived_workers_late_result_is_dropped(submit: Submit, model: ModelVersion) -> None:
    submit()
    late = claim_one()
    expire_leases()
    ImagePrediction.objects.recover_stale()
    newer = claim_one()
    assert not ImagePrediction.objects.finish([(late, Answer(DOG, 7.5))], model)
    assert not late.fail("too late")
    assert ImagePrediction.objects.finish([(newer, Answer(CAT, 7.5))], model)
    assert not ImagePrediction.objects.finish([(late, Answer(DOG, 7.5))], model)
    newer.refresh_from_db()
    assert (newer.top_prediction, newer.attempts) == ("cat", 2)


def test_a_result_from_before_a_reclassification_is_dropped(submit: Submit, model: ModelVersion) -> None:
    """Attempts start anew then, so that the attempt alone would not tell the two claims apart."""
    submit()
    late = claim_one()
    expire_leases()
    ImagePrediction.objects.recover_stale()
    ImagePrediction.objects.finish([(claim_one(), Answer(CAT, 7.5))], model)
    services.reclassify(ImagePrediction.objects.all())
    assert claim_one().attempts == late.attempts == 1
    assert not ImagePrediction.objects.finish([(late, Answer(DOG, 7.5))], model)


def test_a_result_for_a_deleted_image_is_dropped(submit: Submit, model: ModelVersion) -> None:
    submit()
    prediction = claim_one()
    services.remove(ImagePrediction.objects.all())
    assert not ImagePrediction.objects.finish([(prediction, Answer(CAT, 7.5))], model)


def test_expired_claims_return_until_the_attempts_are_used_up(submit: Submit) -> None:
    submit()
    for _ in range(MAX_ATTEMPTS - 1):
        claim_one()
        assert ImagePrediction.objects.recover_stale() == (0, 0)
        expire_leases()
        assert ImagePrediction.objects.recover_stale() == (1, 0)
    claim_one()
    expire_leases()
    assert ImagePrediction.objects.recover_stale() == (0, 1)
    prediction = ImagePrediction.objects.get()
    assert prediction.status == Status.FAILED
    assert "tried 3 times" in prediction.error


def test_a_correction_survives_a_later_answer(submit: Submit, model: ModelVersion) -> None:
    pk = submit().pk
    ImagePrediction.objects.finish([(claim_one(), Answer(CAT, 7.5))], model)
    services.correct(ImagePrediction.objects.filter(pk=pk), "lynx", 1.0, by=None, source=Correction.Source.PAGE)
    services.reclassify(ImagePrediction.objects.all())
    prediction = claim_one()
    assert ImagePrediction.objects.finish([(prediction, Answer(DOG, 7.5))], model)
    prediction.refresh_from_db()
    assert (prediction.top_prediction, prediction.confidence) == ("lynx", 1.0)
    assert prediction.all_predictions == DOG


def test_answers_are_one_update_that_knows_of_corrections(submit: Submit, model: ModelVersion) -> None:
    """Between two, an undone correction would leave its label beside the new answer."""
    submit()
    prediction = claim_one()
    services.correct(ImagePrediction.objects.all(), "lynx", 1.0, by=None, source=Correction.Source.PAGE)
    with CaptureQueriesContext(connection) as captured:
        assert ImagePrediction.objects.finish([(prediction, Answer(CAT, 7.5))], model)
    assert sum(query["sql"].startswith("UPDATE") for query in captured) == 1
    prediction.refresh_from_db()
    assert (prediction.top_prediction, prediction.all_predictions) == ("lynx", CAT)


def test_many_answers_are_written_by_as_many_queries_as_one(submit: Submit, model: ModelVersion) -> None:
    kinds = itertools.cycle((CAT, DOG))
    for count in (1, 8):
        ids = [submit().pk for _ in range(2 * count)]
        answers = [(prediction, Answer(next(kinds), 7.5)) for prediction in ImagePrediction.objects.claim()]
        assert len(answers) == count
        with CaptureQueriesContext(connection) as captured:
            assert len(ImagePrediction.objects.finish(answers, model)) == count
        assert len(captured) == 3
        for prediction, answer in answers:
            prediction.refresh_from_db()
            assert prediction.all_predictions == prediction.classifications.get().labels == answer.labels
            assert prediction.top_prediction == answer.labels[0]["label"]
        ImagePrediction.objects.filter(pk__in=ids).update(status=Status.DONE)


def test_of_many_answers_those_of_lost_claims_do_not_count(submit: Submit, model: ModelVersion) -> None:
    for _ in range(8):
        submit()
    claimed = ImagePrediction.objects.claim()
    lost, deleted, *kept = claimed
    ImagePrediction.objects.filter(pk=lost.pk).update(lease_expires_at=timezone.now())
    ImagePrediction.objects.filter(pk=deleted.pk).delete()
    assert ImagePrediction.objects.finish([(row, Answer(CAT, 7.5)) for row in claimed], model) == kept
    lost.refresh_from_db()
    assert (lost.status, lost.top_prediction, lost.classifications.count()) == (Status.PROCESSING, None, 0)


def test_bulk_work_is_claimed_by_more_than_uploads_which_come_alone(submit: Submit) -> None:
    ids = [submit().pk for _ in range(80)]
    ImagePrediction.objects.filter(pk__in=ids[:60]).update(priority=Priority.BULK)
    assert [row.pk for row in ImagePrediction.objects.claim(64)] == ids[60:68]
    ImagePrediction.objects.filter(pk__in=ids[62:]).update(status=Status.DONE)
    ImagePrediction.objects.filter(pk__in=ids[60:62]).update(status=Status.PENDING, attempts=0)
    assert [row.pk for row in ImagePrediction.objects.claim(64)] == ids[60:62]
    assert [row.pk for row in ImagePrediction.objects.claim(64)] == ids[:30]
    assert len(ImagePrediction.objects.claim()) == BATCH


def test_what_is_given_back_was_never_tried(submit: Submit) -> None:
    for _ in range(4):
        submit()
    first, second = ImagePrediction.objects.claim()
    ImagePrediction.objects.filter(pk=first.pk).update(lease_expires_at=timezone.now())  # somebody else's by now
    ImagePrediction.objects.give_back([first, second])
    rows = ImagePrediction.objects.in_bulk()
    assert (rows[first.pk].status, rows[first.pk].attempts) == (Status.PROCESSING, 1)
    assert (rows[second.pk].status, rows[second.pk].attempts) == (Status.PENDING, 0)
    assert rows[second.pk].lease_expires_at is None


def test_reclassifying_starts_anew_and_keeps_the_label_meanwhile(submit: Submit, model: ModelVersion) -> None:
    done, failed, _waiting = (submit().pk for _ in range(3))
    ImagePrediction.objects.finish([(claim_one(), Answer(CAT, 7.5))], model)
    claim_one().fail("damaged")
    assert services.reclassify(ImagePrediction.objects.all()) == 2
    rows = ImagePrediction.objects.in_bulk()
    assert {row.status for row in rows.values()} == {Status.PENDING}
    assert rows[done].top_prediction == "cat"
    assert (rows[failed].error, rows[failed].attempts) == ("", 0)


@pytest.mark.django_db(transaction=True)
def test_workers_that_claim_at_once_never_share_an_image(submit: Submit) -> None:
    ids = {submit().pk for _ in range(60)}
    claims: list[list[int]] = [[] for _ in range(4)]
    start = threading.Barrier(4)

    def work(mine: list[int]) -> None:
        start.wait()
        while rows := ImagePrediction.objects.claim():
            mine += [row.pk for row in rows]
        connection.close()

    threads = [threading.Thread(target=work, args=(mine,)) for mine in claims]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(pk for mine in claims for pk in mine) == sorted(ids)
    assert set(ImagePrediction.objects.values_list("attempts", flat=True)) == {1}


def test_who_cannot_tell_whose_a_claim_is_takes_none(submit: Submit) -> None:
    """Two claims with leases that end in the same microsecond."""
    for _ in range(3):
        submit()
    rows, lease = list(ImagePrediction.objects.order_by("pk")), timezone.now()
    other = ImagePrediction.objects.filter(pk=rows[1].pk)
    other.update(status=Status.PROCESSING, attempts=1, lease_expires_at=lease)
    assert ImagePrediction.objects.all()._lease(rows, lease) == []


def test_who_loses_a_part_of_a_batch_keeps_the_rest(submit: Submit) -> None:
    for _ in range(3):
        submit()
    rows = list(ImagePrediction.objects.order_by("pk"))
    ImagePrediction.objects.filter(pk=rows[1].pk).update(status=Status.PROCESSING, attempts=1)
    assert [row.pk for row in ImagePrediction.objects.all()._lease(rows, timezone.now())] == [rows[0].pk, rows[2].pk]


def test_rows_name_themselves(submit: Submit) -> None:
    prediction = submit("cat.jpg")
    assert str(prediction) == f"{prediction.pk}: cat.jpg"
    services.correct(ImagePrediction.objects.all(), "lynx", 1.0, by=None, source=Correction.Source.PAGE)
    assert str(Correction.objects.get()) == "none -> lynx"


def test_every_version_keeps_its_newest_answer(submit: Submit, model: ModelVersion) -> None:
    newer = ModelVersion.objects.create(name="newer", backbone="x", digest="x")
    submit()
    ImagePrediction.objects.finish([(claim_one(), Answer(CAT, 7.5))], model)
    for version, answer in ((model, DOG), (newer, CAT)):
        services.reclassify(ImagePrediction.objects.all())
        ImagePrediction.objects.finish([(claim_one(), Answer(answer, 8.5))], version)
    said = Classification.objects.order_by("pk").values_list("model_version__name", "labels", "milliseconds")
    assert list(said) == [(model.name, DOG, 8.5), ("newer", CAT, 8.5)]


def test_the_history_tells_who_said_what_newest_first(submit: Submit, model: ModelVersion) -> None:
    pk = submit().pk
    ImagePrediction.objects.finish([(claim_one(), Answer(CAT, 7.5))], model)
    services.correct(ImagePrediction.objects.all(), "lynx", 1.0, by=None, source=Correction.Source.PAGE)
    newest, oldest = ImagePrediction.objects.get(pk=pk).history()
    assert isinstance(newest, Correction)
    assert isinstance(oldest, Classification)


def test_answers_from_before_there_was_a_history_are_kept(submit: Submit, model: ModelVersion) -> None:
    submit()
    ImagePrediction.objects.finish([(claim_one(), Answer(CAT, 7.5))], model)
    Classification.objects.all().delete()
    import_module("predictions.migrations.0003_classification").keep_answers(apps, None)
    [kept] = Classification.objects.all()
    assert (kept.labels, kept.model_version, kept.milliseconds) == (CAT, model, None)
    assert kept.created_at == ImagePrediction.objects.get().classified_at
