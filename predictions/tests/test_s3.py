"""Photos in a bucket: all that touches a file works there, nobody gets one unsigned, and an outage loses none."""

import logging
from collections.abc import Callable, Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import urllib3
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone
from PIL import Image

from classifier.models import ModelVersion
from config.tests.aws import BUCKET, Aws, storages
from config.tests.environment import image_bytes
from predictions import consistency, readiness, renditions, services, tasks
from predictions.models import ImagePrediction, Status
from predictions.storage import StorageAway, photos

pytestmark = [pytest.mark.django_db, pytest.mark.xdist_group("aws")]
Submit = Callable[..., ImagePrediction]


class Refusing(BaseHTTPRequestHandler):
    """An S3 that has too much to do."""

    def refuse(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(503)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = refuse  # noqa: N815  (http.server's names)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(params=["refused", "503", "no bucket"])
def outage(request: pytest.FixtureRequest, s3: Aws, settings: Any) -> Iterator[Callable[[], None]]:
    """Let the storage go away; it is back when the test calls what it gets."""
    there, server = settings.STORAGES, None
    if request.param == "refused":
        settings.STORAGES = storages("http://127.0.0.1:9")
    elif request.param == "503":
        server = ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
        Thread(target=server.serve_forever, daemon=True).start()
        settings.STORAGES = storages(f"http://127.0.0.1:{server.server_port}")
    else:
        settings.STORAGES = storages(s3.url, bucket="another")

    def end() -> None:
        settings.STORAGES = there

    yield end
    if server:
        server.shutdown()
        server.server_close()


def stored(aws: Aws, name: str | None) -> Any:
    return aws.client("s3").get_object(Bucket=BUCKET, Key=f"some/prefix/{name}")


def test_a_photo_goes_its_whole_way(s3: Aws, submit: Submit, model: ModelVersion, client: Client) -> None:
    answer = client.post("/predictions/", {"file": SimpleUploadedFile("cat.bmp", image_bytes("BMP"))})
    assert answer.status_code == 201, answer.content
    tasks.classify_pending()
    [row] = ImagePrediction.objects.all()
    assert row.status == Status.DONE
    name = row.image_path.name
    renditions = [f"some/prefix/renditions/{name}.{kind}.webp" for kind in ("thumbnail", "view")]
    assert s3.names() == [f"some/prefix/{name}", *renditions]
    shown = fetch(client.get(f"/gallery/{row.pk}/view"))
    assert (shown.headers["Content-Type"], Image.open(BytesIO(shown.data)).format) == ("image/webp", "WEBP")
    assert fetch(client.get(f"/gallery/{row.pk}/thumbnail")).data[:4] == b"RIFF"
    assert fetch(client.get(f"/gallery/{row.pk}/image")).data == image_bytes("BMP")


def fetch(response: Any, method: str = "GET") -> Any:
    """Follow a redirect into the bucket as a browser does, without any key."""
    assert response.status_code == 302
    return urllib3.request(method, response["Location"])


def test_files_are_shown_by_signed_addresses_only(s3: Aws, submit: Submit, client: Client) -> None:
    prediction = submit('Küche ".jpg')
    response = client.get(f"/gallery/{prediction.pk}/image?download")
    address = urlsplit(response["Location"])
    assert parse_qs(address.query)["X-Amz-Expires"] == ["300"]
    assert response["Cache-Control"] == "private, max-age=240"
    file = fetch(response)
    assert file.headers["Content-Type"] == "image/jpeg"
    assert file.headers["Content-Disposition"].startswith("attachment; filename*=utf-8''K%C3%BCche%20%22.jpg")
    assert "private" in file.headers["Cache-Control"]
    assert urllib3.request("GET", response["Location"].split("?")[0]).status == 403
    inline = fetch(client.get(f"/gallery/{prediction.pk}/image"))
    assert inline.headers["Content-Disposition"].startswith("inline")
    assert fetch(client.head(f"/gallery/{prediction.pk}/image"), "HEAD").status == 200


def test_nobody_gets_an_address_who_may_not_see_the_photo(
    s3: Aws, submit: Submit, client: Client, settings: Any
) -> None:
    settings.ACCESS = "login"
    assert "/login" in client.get(f"/gallery/{submit().pk}/image")["Location"]


def test_a_file_is_what_it_is_whatever_its_sender_says(s3: Aws, client: Client) -> None:
    page = SimpleUploadedFile("x.html", image_bytes(), content_type="text/html")
    name = client.post("/predictions/", {"file": page}).json()["image_path"]
    assert stored(s3, name)["ContentType"] == "image/jpeg"


def test_metadata_is_taken_out_there_too(s3: Aws, submit: Submit, settings: Any) -> None:
    settings.STRIP_METADATA = True
    exif = Image.Exif()
    exif[0x010F] = "secret camera"
    name = submit("a.jpg", image_bytes(exif=exif)).image_path.name
    assert b"secret" not in stored(s3, name)["Body"].read()


def test_deleting_many_takes_all_their_files(
    s3: Aws, submit: Submit, model: ModelVersion, django_capture_on_commit_callbacks: Any
) -> None:
    for number in range(5):
        submit("a.jpg", image_bytes() + b"%d" % number)
    tasks.classify_pending()
    assert len(s3.names()) == 10
    with django_capture_on_commit_callbacks(execute=True):
        services.remove(ImagePrediction.objects.all())
    assert s3.names() == []


def test_check_storage_finds_what_is_lost_and_what_is_left_over(s3: Aws, submit: Submit, model: ModelVersion) -> None:
    rows = [submit("a.jpg", image_bytes() + b"%d" % number) for number in range(5)]
    tasks.classify_pending()
    s3.client("s3").delete_object(Bucket=BUCKET, Key=f"some/prefix/{rows[1].image_path.name}")
    ImagePrediction.objects.filter(pk=rows[3].pk).delete()

    def found() -> list[tuple[str, str]]:
        return sorted((one.kind, one.name) for one in consistency.check(timedelta(0), lambda _: None))

    left_over = rows[3].image_path.name
    assert found() == [
        ("file without a row", left_over),
        ("file without a row", f"renditions/{left_over}.thumbnail.webp"),
        ("row without a file", rows[1].image_path.name),
    ]
    assert not list(consistency._files_without_row(photos(), timedelta(hours=1), lambda _: None))
    for one in consistency.check(timedelta(0), lambda _: None):
        one.mend()
    assert found() == []


def test_datasets_come_and_go(s3: Aws, model: ModelVersion, tmp_path: Path) -> None:
    (tmp_path / "okapi").mkdir()
    (tmp_path / "okapi" / "1.jpg").write_bytes(image_bytes())
    call_command("import_images", tmp_path / "okapi", "--label-from-folder")
    call_command("export_dataset", tmp_path / "out")
    [copy] = (tmp_path / "out").rglob("*.jpg")
    assert copy.read_bytes() == image_bytes()


def test_readyz_asks_the_bucket(s3: Aws) -> None:
    assert readiness.check_storage() == "ok"


def test_while_it_is_away_uploads_are_refused_and_leave_nothing(
    outage: Callable[[], None], s3: Aws, client: Client, tmp_path: Path
) -> None:
    answer = client.post("/predictions/", {"file": SimpleUploadedFile("a.jpg", image_bytes())})
    assert (answer.status_code, answer["Retry-After"]) == (503, "10")
    assert answer.json() == {"detail": "The storage for photos is not available, try again in a moment"}
    page = client.post("/", {"file": SimpleUploadedFile("a.jpg", image_bytes())})
    assert (page.status_code, page["Retry-After"]) == (503, "10")
    (tmp_path / "a.jpg").write_bytes(image_bytes())
    with pytest.raises(CommandError, match="the same command goes on"):
        call_command("import_images", tmp_path / "a.jpg")
    ready = client.get("/readyz")
    assert ready.status_code == 503
    assert "does not answer" in ready.json()["checks"]["storage"]
    assert not ImagePrediction.objects.exists()
    outage()
    assert s3.names() == []
    assert client.post("/predictions/", {"file": SimpleUploadedFile("a.jpg", image_bytes())}).status_code == 201


def test_while_it_is_away_pages_and_backups_say_so(s3: Aws, submit: Submit, client: Client, settings: Any) -> None:
    pk = submit().pk
    assert photos().size(str(submit().image_path)) == len(image_bytes())
    settings.STORAGES = storages("http://127.0.0.1:9")
    response = client.get(f"/gallery/{pk}/thumbnail")
    assert (response.status_code, response["Retry-After"]) == (503, "10")
    with pytest.raises(StorageAway):
        photos().size("any")


def test_an_outage_of_any_length_loses_no_accepted_photo(
    s3: Aws, submit: Submit, model: ModelVersion, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor does it count as an attempt: an hour has more of those than an image."""
    rows = [submit("a.jpg", image_bytes() + b"%d" % number) for number in range(3)]
    there = settings.STORAGES
    settings.STORAGES = storages("http://127.0.0.1:9")
    for _ in range(5):
        tasks.classify_pending()
        states = set(ImagePrediction.objects.values_list("status", "attempts"))
        assert states == {(Status.PROCESSING, 0), (Status.PENDING, 0)}
        assert ImagePrediction.objects.filter(status=Status.PROCESSING).count() == 1
        ImagePrediction.objects.filter(status=Status.PROCESSING).update(lease_expires_at=timezone.now())
        services.recover_stale()
    assert "The sweep rings again" in caplog.text
    settings.STORAGES = there
    tasks.classify_pending()
    assert set(ImagePrediction.objects.values_list("status", "attempts")) == {(Status.DONE, 1)}
    assert len(s3.names()) == 2 * len(rows)


def keep_as(aws: Aws, prediction: ImagePrediction, storage_class: str) -> None:
    """Move a photo to GLACIER, where S3 refuses (403) whoever wants to read it, or back."""
    key = f"some/prefix/{prediction.image_path.name}"
    aws.client("s3").put_object(Bucket=BUCKET, Key=key, Body=image_bytes(), StorageClass=storage_class)


def try_again() -> None:
    """Let the lease of what was tried end, and have the images classified."""
    ImagePrediction.objects.filter(status=Status.PROCESSING).update(lease_expires_at=timezone.now())
    services.recover_stale()
    tasks.classify_pending()


def test_a_photo_that_is_refused_alone_fails_after_three_attempts(s3: Aws, submit: Submit, model: ModelVersion) -> None:
    refused, other = submit("a.jpg", image_bytes()), submit("b.jpg", image_bytes() + b"b")
    keep_as(s3, refused, "GLACIER")
    tasks.classify_pending()
    refused.refresh_from_db()
    assert (refused.status, refused.attempts) == (Status.PROCESSING, 0)  # nothing tells it from an outage yet
    tasks.classify_pending()
    states = []
    for _ in range(4):
        try_again()
        refused.refresh_from_db()
        states.append((refused.status, refused.attempts))
    assert states == [(Status.PROCESSING, 1), (Status.PROCESSING, 2), (Status.FAILED, 3), (Status.FAILED, 3)]
    assert refused.error.startswith("The storage refuses this file, though it gives others")
    other.refresh_from_db()
    assert (other.status, other.attempts) == (Status.DONE, 1)


def test_a_bucket_that_refuses_every_photo_fails_none(s3: Aws, submit: Submit, model: ModelVersion) -> None:
    earlier = submit("a.jpg", image_bytes())
    tasks.classify_pending()
    rows = [submit("a.jpg", image_bytes() + b"%d" % number) for number in range(2)]
    for row in [earlier, *rows]:
        keep_as(s3, row, "GLACIER")
    for _ in range(5):
        try_again()
        assert set(ImagePrediction.objects.exclude(pk=earlier.pk).values_list("attempts", flat=True)) == {0}
    for row in [earlier, *rows]:
        keep_as(s3, row, "STANDARD")
    try_again()
    assert set(ImagePrediction.objects.values_list("status", "attempts")) == {(Status.DONE, 1)}


def test_the_thumbnail_of_a_photo_that_is_refused_is_given_up(s3: Aws, submit: Submit, model: ModelVersion) -> None:
    submit("a.jpg", image_bytes())
    tasks.classify_pending()
    same = submit("b.jpg", image_bytes())  # known by its bytes: its file is read for the thumbnail only
    keep_as(s3, same, "GLACIER")
    tasks.classify_pending()
    same.refresh_from_db()
    assert (same.status, bool(same.rendered_at)) == (Status.DONE, True)
    assert not renditions._owed
    assert not photos().exists(renditions.name_of(same, renditions.THUMBNAIL))


def test_thumbnails_are_made_once_it_is_back(
    s3: Aws, submit: Submit, model: ModelVersion, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit()
    with monkeypatch.context() as patch:
        patch.setattr("predictions.renditions._save", away)
        tasks.classify_pending()
    assert ImagePrediction.objects.get().status == Status.DONE
    assert len(s3.names()) == 1
    tasks.classify_pending()
    assert len(s3.names()) == 2


def away(*_: Any) -> None:
    raise StorageAway


def test_a_photo_whose_file_is_gone_fails_and_does_not_wait(s3: Aws, submit: Submit, model: ModelVersion) -> None:
    prediction = submit()
    photos().delete(str(prediction.image_path.name))
    tasks.classify_pending()
    prediction.refresh_from_db()
    assert (prediction.status, prediction.error) == (Status.FAILED, "The file is no longer in the storage")


def test_deleting_while_it_is_away_leaves_the_files_to_check_storage(
    s3: Aws, submit: Submit, settings: Any, django_capture_on_commit_callbacks: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    submit()
    settings.STORAGES = storages("http://127.0.0.1:9")
    with django_capture_on_commit_callbacks(execute=True):
        assert services.remove(ImagePrediction.objects.all()) == 1
    assert "files stay in the bucket" in caplog.text
    assert len(s3.names()) == 1
