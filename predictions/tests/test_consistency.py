"""Storage and database agree, or manage.py check_storage says where not, and mends it."""

import json
import os
import time
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.management import CommandError, call_command
from django.db import OperationalError, connection
from django.test import Client
from django.utils import timezone
from django_q.models import OrmQ
from pytest_django.fixtures import DjangoAssertNumQueries, DjangoCaptureOnCommitCallbacks

from classifier.models import ModelVersion
from predictions import consistency, renditions, tasks
from predictions.consistency import Kind
from predictions.models import FILE_GONE, ImagePrediction, Status

pytestmark = pytest.mark.django_db
Submit = Callable[..., ImagePrediction]


def found(**options: Any) -> tuple[int, Counter[str]]:
    """Run the command; return its exit code and what it found."""
    out, code = StringIO(), 0
    try:
        call_command("check_storage", json=True, stdout=out, **options)
    except SystemExit as end:
        code = int(str(end.code))
    *lines, last = [json.loads(line) for line in out.getvalue().splitlines()]
    kinds = Counter(line["found"] for line in lines)
    assert {kind: count for kind, count in last["counts"].items() if count} == kinds
    return code, kinds


def age(path: str | Path, seconds: int = 7200) -> None:
    os.utime(path, (time.time() - seconds,) * 2)


def path_of(prediction: ImagePrediction) -> Path:
    return Path(prediction.image_path.path)


def test_an_untouched_installation_is_consistent(settings: Any) -> None:
    settings.MEDIA_ROOT.rmdir()
    assert found() == (0, {})


def test_what_uploads_and_workers_write_is_consistent(submit: Submit, model: ModelVersion, settings: Any) -> None:
    for name in ("a.jpg", "b.bmp"):
        submit(name)
    tasks.classify_pending()
    files = [path for path in settings.MEDIA_ROOT.rglob("*") if path.is_file()]
    assert len(files) > 2
    for path in files:
        age(path)
    assert found() == (0, {})


def test_old_files_without_a_row_are_deleted_and_young_ones_left(submit: Submit, model: ModelVersion) -> None:
    prediction, kept = submit(), submit()
    tasks.classify_pending()
    names = renditions.files_of(prediction)[:2]
    ImagePrediction.objects.filter(pk=prediction.pk).delete()  # what a kill between rows and files leaves
    strange = default_storage.save("somewhere/else.txt", ContentFile(b"?"))
    assert found() == (0, {})
    for name in (*names, strange):
        age(default_storage.path(name))
    assert found() == (1, {Kind.FILE_WITHOUT_ROW: 3})
    assert default_storage.exists(names[0])
    assert found(mend=True) == (1, {Kind.FILE_WITHOUT_ROW: 3})
    assert not any(default_storage.exists(name) for name in (*names, strange))
    assert path_of(kept).exists()
    assert found() == (0, {})


def test_the_grace_period_is_an_option(submit: Submit) -> None:
    prediction = submit()
    age(path_of(prediction), seconds=60)
    ImagePrediction.objects.all().delete()
    assert found(grace=120) == (0, {})
    assert found(grace=30) == (1, {Kind.FILE_WITHOUT_ROW: 1})


def test_rests_of_interrupted_uploads_are_deleted(settings: Any) -> None:
    rest = Path(settings.FILE_UPLOAD_TEMP_DIR) / "tmpabc.upload.jpg"
    rest.touch()
    assert found(mend=True) == (0, {})
    age(rest)
    assert found(mend=True) == (1, {Kind.UNFINISHED_UPLOAD: 1})
    assert not rest.exists()


def test_a_classified_image_without_its_file_keeps_its_label_and_says_so(
    submit: Submit, model: ModelVersion, client: Client
) -> None:
    prediction = submit()
    tasks.classify_pending()
    content = path_of(prediction).read_bytes()
    path_of(prediction).unlink()
    assert found() == (1, {Kind.ROW_WITHOUT_FILE: 1})
    assert ImagePrediction.objects.get().error == ""
    assert found(mend=True) == (1, {Kind.ROW_WITHOUT_FILE: 1})
    prediction.refresh_from_db()
    assert (prediction.status, prediction.error) == (Status.DONE, FILE_GONE)
    assert prediction.top_prediction
    assert FILE_GONE in client.get(f"/gallery/{prediction.pk}/").content.decode()
    assert found() == (0, {})
    path_of(prediction).write_bytes(content)  # from a backup
    assert found(mend=True) == (1, {Kind.FILE_IS_BACK: 1})
    prediction.refresh_from_db()
    assert (prediction.status, prediction.error) == (Status.DONE, "")
    assert found() == (0, {})


def test_a_waiting_image_without_its_file_fails_and_is_classified_once_the_file_is_back(
    submit: Submit, model: ModelVersion
) -> None:
    prediction = submit()
    content = path_of(prediction).read_bytes()
    path_of(prediction).unlink()
    found(mend=True)
    prediction.refresh_from_db()
    assert (prediction.status, prediction.error) == (Status.FAILED, FILE_GONE)
    assert found() == (0, {})
    path_of(prediction).write_bytes(content)
    assert found(mend=True) == (1, {Kind.FILE_IS_BACK: 1})
    tasks.classify_pending()
    prediction.refresh_from_db()
    assert (prediction.status, prediction.error) == (Status.DONE, "")


@pytest.mark.parametrize("lose", [Path.unlink, partial(Path.write_bytes, data=b"")], ids=["missing", "empty"])
def test_a_thumbnail_lost_in_a_power_cut_is_made_again(
    submit: Submit,
    model: ModelVersion,
    client: Client,
    lose: Callable[[Path], object],
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    prediction = submit()
    tasks.classify_pending()
    thumbnail = Path(default_storage.path(renditions.name_of(prediction, renditions.THUMBNAIL)))
    lose(thumbnail)
    assert client.get(f"/gallery/{prediction.pk}/thumbnail").status_code == 302  # to the photo
    assert found() == (0, {})  # it may be in the making
    assert found(grace=0) == (1, {Kind.NO_THUMBNAIL: 1})
    with django_capture_on_commit_callbacks(execute=True):
        assert found(grace=0, mend=True) == (1, {Kind.NO_THUMBNAIL: 1})
    assert OrmQ.objects.exists()  # a bell
    ImagePrediction.objects.update(classified_at=timezone.now() - renditions.PATIENCE)
    tasks.classify_pending()
    assert found(grace=0) == (0, {})
    answer = client.get(f"/gallery/{prediction.pk}/thumbnail")
    assert answer.status_code == 200
    assert b"".join(answer).startswith(b"RIFF")


def test_an_earlier_reason_of_a_failure_is_kept(submit: Submit) -> None:
    prediction = submit()
    ImagePrediction.objects.update(status=Status.FAILED, error="The image is damaged")
    path_of(prediction).unlink()
    found(mend=True)
    assert ImagePrediction.objects.get().error == f"The image is damaged. {FILE_GONE}"
    assert found() == (0, {})


def test_what_a_worker_found_missing_is_known(submit: Submit, model: ModelVersion) -> None:
    path_of(submit()).unlink()
    tasks.classify_pending()
    assert found() == (0, {})


def test_a_row_deleted_under_our_eyes_is_no_finding(submit: Submit, monkeypatch: pytest.MonkeyPatch) -> None:
    path_of(submit()).unlink()

    def exists(name: str) -> bool:
        ImagePrediction.objects.all().delete()
        return False

    monkeypatch.setattr(default_storage, "exists", exists)
    assert list(consistency._rows(default_storage, lambda count: None)) == []


def test_queries_grow_with_batches_and_not_with_files(
    submit: Submit, monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    monkeypatch.setattr(consistency, "BATCH", 5)
    for _ in range(10):
        submit()
    seen: list[int] = []
    with django_assert_num_queries(2 + 3 + 1):
        assert list(consistency.check(timedelta(0), seen.append)) == []
    assert seen == [5, 5, 5, 5]


def test_people_get_sentences(submit: Submit) -> None:
    prediction = submit()
    path_of(prediction).unlink()
    out = StringIO()
    with pytest.raises(SystemExit):
        call_command("check_storage", stdout=out)
    assert f"row without a file: {prediction.image_path.name} (prediction {prediction.pk})" in out.getvalue()
    assert "1 x row without a file: mend with --mend." in out.getvalue()
    ImagePrediction.objects.all().delete()
    out = StringIO()
    call_command("check_storage", stdout=out)
    assert "Storage and database agree." in out.getvalue()


def test_a_check_that_cannot_run_says_so_by_its_exit_code(submit: Submit) -> None:
    def away(*_: Any) -> None:
        raise OperationalError("away")

    submit()
    with connection.execute_wrapper(away), pytest.raises(CommandError, match="could not be finished") as error:
        call_command("check_storage")
    assert error.value.returncode == 2
