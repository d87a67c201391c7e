"""A queue and a user's storage have bounds; whoever meets one is told so, and nothing of the upload is kept."""

import re
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from config.tests.environment import image_bytes
from predictions import admission, services, uploads
from predictions.admission import QueueFull, QuotaExceeded
from predictions.models import ImagePrediction

pytestmark = pytest.mark.django_db
FULL = "2 images wait to be classified already; try again in a moment"


def files(settings: Any) -> list[Path]:
    return [path for path in Path(settings.MEDIA_ROOT).rglob("*") if path.is_file()]


@pytest.fixture
def full(submit: Any, settings: Any) -> None:
    """A queue that takes two, and has them."""
    settings.QUEUE_LIMIT = 2
    submit()
    submit()


@pytest.fixture
def ada(client: Client) -> User:
    user = User.objects.create_user("ada")
    client.force_login(user)
    return user


@pytest.mark.usefixtures("full")
class TestQueue:
    def test_the_api_says_503_and_when_to_come_back(self, client: Client, upload: Any, settings: Any) -> None:
        response = client.post("/predictions/", {"file": upload()})
        assert (response.status_code, response.json()) == (503, {"detail": FULL})
        assert int(response["Retry-After"]) == admission.RETRY_SECONDS
        assert (len(files(settings)), ImagePrediction.objects.count()) == (2, 2)

    def test_there_is_room_as_soon_as_one_waits_no_longer(self, client: Client, upload: Any) -> None:
        ImagePrediction.objects.claim()
        assert client.post("/predictions/", {"file": upload()}).status_code == 201
        assert client.post("/predictions/", {"file": upload()}).status_code == 503

    def test_the_page_says_so_beside_each_name(self, client: Client, upload: Any) -> None:
        response = client.post("/", {"file": [upload("a.jpg"), upload("b.jpg")]})
        assert response.status_code == 503
        assert "Retry-After" in response
        assert response.content.decode().count(FULL) == 2

    def test_the_page_says_when_to_come_back_though_other_files_are_no_images(
        self, client: Client, upload: Any, settings: Any
    ) -> None:
        settings.QUEUE_LIMIT = 3
        response = client.post("/", {"file": [upload(), upload("a.txt", b"no image"), upload()]})
        assert (response.status_code, "Retry-After" in response) == (503, True)

    def test_the_pages_script_is_told_when_to_come_back(self, client: Client, upload: Any) -> None:
        response = client.post("/", {"file": upload()}, headers={"X-Requested-With": "upload.js"})
        assert (response.status_code, response["X-Card"], response["Retry-After"]) == (503, "yes", "10")
        assert FULL in response.content.decode()

    def test_nothing_of_the_file_is_looked_at(self, upload: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(uploads, "inspect", lambda _: pytest.fail("the file was judged"))
        with pytest.raises(QueueFull):
            services.submit(upload())

    def test_of_several_files_those_find_room_that_come_first(self, client: Client, upload: Any, settings: Any) -> None:
        settings.QUEUE_LIMIT = 3
        response = client.post("/predictions/", {"files": [upload(), upload()]})
        assert [result["status"] for result in response.json()] == [201, 503]
        assert int(response["Retry-After"]) == admission.RETRY_SECONDS

    def test_when_nothing_was_refused_for_the_queue_nobody_is_told_to_come_back(
        self, client: Client, upload: Any, settings: Any
    ) -> None:
        settings.QUEUE_LIMIT = 9
        response = client.post("/predictions/", {"files": [upload(), upload("a.txt", b"no image")]})
        assert [result["status"] for result in response.json()] == [201, 400]
        assert "Retry-After" not in response

    def test_what_was_accepted_is_classified_again_all_the_same(self, client: Client) -> None:
        pk = ImagePrediction.objects.latest("pk").pk
        ImagePrediction.objects.filter(pk=pk).update(status="done")
        ImagePrediction.objects.create(width=1, height=1, size=1)
        assert client.post(f"/predictions/{pk}/reclassify/").status_code == 202
        assert ImagePrediction.objects.pending().count() == 3

    def test_nobody_is_turned_away_for_many_that_are_classified_again(self, client: Client, upload: Any) -> None:
        ImagePrediction.objects.update(status="done")
        assert services.reclassify(ImagePrediction.objects.all()) == 2
        assert client.post("/predictions/", {"file": upload()}).status_code == 201

    def test_none_is_no_limit(self, submit: Any, settings: Any) -> None:
        settings.QUEUE_LIMIT = 0
        submit()
        assert ImagePrediction.objects.pending().count() == 3


@pytest.mark.parametrize("ask", [lambda: admission.admit(1, None), ImagePrediction.objects.all().claim])
def test_the_queue_is_judged_and_claimed_by_its_index(settings: Any, submit: Any, ask: Any) -> None:
    """Of a million images, those that are done must not be read; nor all that wait, for those whose turn it is."""
    rows = [ImagePrediction(width=1, height=1, size=1, status="done") for _ in range(2000)]
    ImagePrediction.objects.bulk_create(rows)
    submit()
    settings.QUEUE_LIMIT = 100
    with CaptureQueriesContext(connection) as queries:
        ask()
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("ANALYZE predictions_imageprediction")
        cursor.execute(("EXPLAIN QUERY PLAN " if connection.vendor == "sqlite" else "EXPLAIN ") + queries[0]["sql"])
        plan = str(cursor.fetchall())
    assert re.search("INDEX queue|Scan (Backward )?using queue", plan)
    assert not re.search("TEMP B-TREE|Sort", plan)


class TestQuota:
    @pytest.fixture(autouse=True)
    def _room_for_one(self, settings: Any) -> None:
        settings.QUOTA_MB = 1

    @pytest.fixture
    def large(self, upload: Any) -> Any:
        content = image_bytes("BMP", size=(500, 400))  # 0.6 MB
        return lambda: upload("a.bmp", content)

    def test_the_api_says_507_and_what_would_help(self, client: Client, ada: User, large: Any, settings: Any) -> None:
        assert client.post("/predictions/", {"file": large()}).status_code == 201
        response = client.post("/predictions/", {"file": large()})
        sentence = "Your images take up 0.6 MB and may take up 1 MB; delete some first"
        assert (response.status_code, response.json()) == (507, {"detail": sentence})
        assert (len(files(settings)), ImagePrediction.objects.count()) == (1, 1)

    def test_the_page_says_so(self, client: Client, ada: User, large: Any) -> None:
        response = client.post("/", {"file": [large(), large()]})
        assert response.status_code == 507
        assert "may take up 1 MB" in response.content.decode()

    def test_deleting_makes_room(self, client: Client, ada: User, large: Any) -> None:
        pk = client.post("/predictions/", {"file": large()}).json()["id"]
        client.delete(f"/predictions/{pk}/")
        assert client.post("/predictions/", {"file": large()}).status_code == 201

    def test_others_have_a_quota_of_their_own_and_nobody_none(self, ada: User, large: Any) -> None:
        services.submit(large(), by=ada)
        services.submit(large(), by=User.objects.create_user("bob"))
        services.submit(large())
        services.submit(large())
        with pytest.raises(QuotaExceeded):
            services.submit(large(), by=ada)

    def test_it_is_filled_to_the_last_byte(self, ada: User, upload: Any) -> None:
        content = image_bytes()
        content += b"\0" * (1_000_000 - len(content))
        services.submit(upload("a.jpg", content), by=ada)
        assert admission.stored_bytes(ada) == 1_000_000
        with pytest.raises(QuotaExceeded):
            services.submit(upload(), by=ada)

    def test_none_is_no_quota(self, ada: User, large: Any, settings: Any) -> None:
        settings.QUOTA_MB = 0
        services.submit(large(), by=ada)
        services.submit(large(), by=ada)
