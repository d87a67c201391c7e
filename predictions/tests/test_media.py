"""Files as people look at them: upright, small, cached, and unable to run anything."""

import errno
from collections.abc import Callable
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import pillow_heif
import pytest
from django.core.files.storage import default_storage
from django.test import Client
from django.utils import timezone
from PIL import Image

from classifier.models import ModelVersion
from config.tests.environment import image_bytes
from predictions import renditions, services, tasks
from predictions.models import ImagePrediction
from predictions.storage import DurableFileSystemStorage

pytestmark = pytest.mark.django_db
Submit = Callable[..., ImagePrediction]


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers remember nothing of the tests before, and wait for no other."""
    renditions._sketches.clear()
    renditions._owed.clear()
    monkeypatch.setattr(renditions, "PATIENCE", timedelta(0))


def open_rendition(prediction: ImagePrediction, kind: str) -> Image.Image:
    return Image.open(BytesIO(Path(default_storage.path(renditions.name_of(prediction, kind))).read_bytes()))


def body(response: Any) -> bytes:
    return b"".join(response.streaming_content)


def photo_with_exif(orientation: int = 6) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif.get_ifd(0x8769)[0x9003] = "2024:05:06 07:08:09"
    exif.get_ifd(0x8825)[1] = "N"
    return image_bytes(size=(800, 400), exif=exif)


def test_workers_make_thumbnails(submit: Submit, model: ModelVersion, client: Client) -> None:
    prediction = submit("a.jpg", photo_with_exif())
    tasks.classify_pending()
    thumbnail = open_rendition(prediction, renditions.THUMBNAIL)
    assert (thumbnail.format, thumbnail.size) == ("WEBP", (160, 320))
    assert not thumbnail.getexif()
    prediction.refresh_from_db()
    assert str(prediction.taken_at) == "2024-05-06 07:08:09+00:00"
    assert "<dt>Taken</dt><dd>May 6, 2024, 7:08 a.m.</dd>" in client.get(f"/gallery/{prediction.pk}/").content.decode()
    response = client.get(f"/gallery/{prediction.pk}/thumbnail")
    assert response["Content-Type"] == "image/webp"
    assert body(response)[:4] == b"RIFF"


def test_a_thumbnail_without_room_is_made_once_there_is_room(
    submit: Submit, model: ModelVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    prediction = submit()
    with monkeypatch.context() as patch:
        patch.setattr(DurableFileSystemStorage, "_save", full)
        tasks.classify_pending()
    assert not default_storage.exists(renditions.name_of(prediction, renditions.THUMBNAIL))
    assert renditions.missing().get() == prediction  # whoever hears the next bell may make it
    tasks.classify_pending()
    assert open_rendition(prediction, renditions.THUMBNAIL).size == (120, 80)


@pytest.mark.parametrize("format", ["HEIF", "TIFF", "BMP"])
def test_what_browsers_cannot_show_has_a_picture_that_they_can(
    submit: Submit, model: ModelVersion, client: Client, format: str
) -> None:
    pillow_heif.register_heif_opener()  # to write one
    prediction = submit("a", image_bytes(format, size=(2500, 100)))
    tasks.classify_pending()
    response = client.get(f"/gallery/{prediction.pk}/view")
    assert response["Content-Type"] == "image/webp"
    assert Image.open(BytesIO(body(response))).size == (2048, 82)
    original = client.get(f"/gallery/{prediction.pk}/image?download")
    assert original["Content-Disposition"].startswith("attachment")
    assert body(original) == Path(prediction.image_path.path).read_bytes()


def test_what_browsers_can_show_is_shown_as_it_is(submit: Submit, client: Client) -> None:
    assert body(client.get(f"/gallery/{submit().pk}/view")) == image_bytes()


def test_until_there_is_a_thumbnail_the_original_stands_in_if_it_is_small(submit: Submit, client: Client) -> None:
    small, large = submit(), submit("a.jpg", image_bytes() + bytes(100_000))
    for prediction, stand_in in ((small, f"/gallery/{small.pk}/view"), (large, "/static/placeholder.svg")):
        response = client.get(f"/gallery/{prediction.pk}/thumbnail")
        assert response["Location"] == stand_in
        assert "no-store" in response["Cache-Control"]


def test_a_thumbnail_has_another_address_than_what_stood_in_for_it_or_that_of_another_image(
    submit: Submit, model: ModelVersion, client: Client
) -> None:
    prediction = submit()
    assert "/thumbnail?waiting" in client.get("/gallery/").content.decode()
    tasks.classify_pending()
    address = f"/gallery/{prediction.pk}/thumbnail?{prediction.sha256[:8]}"
    assert f'src="{address}"' in client.get("/gallery/").content.decode()
    assert body(client.get(address))[:4] == b"RIFF"
    assert f"/view?{prediction.sha256[:8]}" in client.get(f"/gallery/{prediction.pk}/").content.decode()


@pytest.mark.parametrize("name", ["image", "view"])
def test_browsers_keep_files_and_run_nothing(submit: Submit, client: Client, name: str) -> None:
    address = f"/gallery/{submit().pk}/{name}"
    response = client.get(address)
    body(response)
    assert response["X-Content-Type-Options"] == "nosniff"
    assert response["Content-Security-Policy"] == "default-src 'none'; sandbox"
    assert {"private", "immutable", "max-age=31536000"} <= set(response["Cache-Control"].split(", "))
    again = client.get(address, headers={"If-None-Match": response["ETag"]})
    assert (again.status_code, again.content, again["ETag"]) == (304, b"", response["ETag"])


def test_a_missing_file_is_not_found(submit: Submit, client: Client) -> None:
    prediction = submit()
    Path(prediction.image_path.path).unlink()
    assert client.get(f"/gallery/{prediction.pk}/image").status_code == 404
    assert client.get("/gallery/999/thumbnail").status_code == 404


def test_deleting_takes_the_renditions_too(
    submit: Submit, model: ModelVersion, settings: Any, django_capture_on_commit_callbacks: Any
) -> None:
    submit("a.bmp", image_bytes("BMP"))
    tasks.classify_pending()
    assert len([path for path in settings.MEDIA_ROOT.rglob("*") if path.is_file()]) == 3
    with django_capture_on_commit_callbacks(execute=True):
        services.remove(ImagePrediction.objects.all())
    assert not [path for path in settings.MEDIA_ROOT.rglob("*") if path.is_file()]


def test_a_thumbnail_that_cannot_be_made_is_not_tried_for_ever(
    submit: Submit, model: ModelVersion, caplog: pytest.LogCaptureFixture
) -> None:
    prediction = submit()
    tasks.classify_pending()
    ImagePrediction.objects.update(rendered_at=None)
    Path(prediction.image_path.path).write_bytes(b"changed on the disk")
    assert renditions.make_next()
    assert "no thumbnail" in caplog.text
    assert not renditions.make_next()


def test_thumbnails_give_way_to_new_images(
    submit: Submit, model: ModelVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = submit()
    tasks.classify_pending()
    ImagePrediction.objects.update(rendered_at=None)
    other = submit()
    monkeypatch.setattr(ImagePrediction.objects.all().__class__, "claim", lambda self: [])
    rung: list[int] = []
    monkeypatch.setattr("predictions.queue.ring", lambda: rung.append(1))
    tasks.classify_pending()
    assert rung == [1]
    assert first.pk != other.pk


def test_one_decoding_serves_labels_and_thumbnails_of_a_whole_burst(
    submit: Submit, model: ModelVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[ImagePrediction] = []
    read = renditions.read

    def counting(prediction: ImagePrediction) -> Image.Image:
        opened.append(prediction)
        return read(prediction)

    monkeypatch.setattr(renditions, "read", counting)
    monkeypatch.setattr(renditions, "SKETCHES", 5)
    files = [("a.bmp", image_bytes("BMP"))] * 5 + [("a.jpg", image_bytes())] * 15
    # Bytes that were seen before would not be looked at.
    predictions = [submit(name, content + b"%d" % number) for number, (name, content) in enumerate(files)]
    tasks.classify_pending()
    assert opened == predictions
    for prediction in predictions:
        assert open_rendition(prediction, renditions.THUMBNAIL).size == (120, 80)
    assert open_rendition(predictions[0], renditions.VIEW).size == (120, 80)


@pytest.mark.parametrize("size", [(2100, 2100), (2400, 2100), (2560, 2048), (640, 520)])
def test_a_jpeg_is_decoded_to_enough_pixels_for_its_thumbnail(
    submit: Submit, model: ModelVersion, size: tuple[int, int]
) -> None:
    prediction = submit("a.jpg", image_bytes(size=size))
    tasks.classify_pending()
    assert max(open_rendition(prediction, renditions.THUMBNAIL).size) == 320


def test_an_image_that_was_tried_before_gets_its_labels_before_its_thumbnail(
    submit: Submit, model: ModelVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Should its thumbnail end every worker, it has its labels still."""
    prediction = submit("a.bmp", image_bytes("BMP"))

    def dies(*_: Any) -> None:
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(renditions, "_write", dies)
        for _ in range(2):
            with pytest.raises(SystemExit):
                tasks.classify_pending()
            ImagePrediction.objects.filter(status="processing").update(lease_expires_at=timezone.now())
            services.recover_stale()
    tasks.classify_pending()
    prediction.refresh_from_db()
    assert (prediction.status, prediction.attempts) == ("done", 2)
    assert not default_storage.exists(renditions.name_of(prediction, renditions.THUMBNAIL))


def test_labels_do_not_wait_for_a_storage_that_takes_no_thumbnail(
    submit: Submit, model: ModelVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any) -> None:
        raise ConnectionError("The storage is away")

    prediction = submit()
    with monkeypatch.context() as patch:
        patch.setattr(DurableFileSystemStorage, "_save", away)
        tasks.classify_pending()
    prediction.refresh_from_db()
    assert prediction.status == "done"
    tasks.classify_pending()
    assert open_rendition(prediction, renditions.THUMBNAIL).size == (120, 80)


def test_an_image_deleted_while_it_is_classified_leaves_no_thumbnail(
    submit: Submit, model: ModelVersion, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit()
    make = renditions.make

    def and_delete(prediction: ImagePrediction, *rest: Any) -> bool:
        made = make(prediction, *rest)
        ImagePrediction.objects.all().delete()
        return made

    monkeypatch.setattr(renditions, "make", and_delete)
    tasks.classify_pending()
    assert not list((settings.MEDIA_ROOT / "renditions").rglob("*.webp"))
