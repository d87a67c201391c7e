"""POST of several files in one request."""

from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from config.tests.environment import image_bytes
from predictions.models import ImagePrediction

pytestmark = pytest.mark.django_db


def test_each_file_gets_its_own_answer(client: Client, upload: Any) -> None:
    files = [upload("a.jpg"), SimpleUploadedFile("notes.txt", b"no image"), upload("b.png", image_bytes("PNG"))]
    response = client.post("/predictions/", {"files": files})
    assert response.status_code == 207
    first, refused, last = response.json()
    assert (first["filename"], first["status"], first["prediction"]["status"]) == ("a.jpg", 201, "pending")
    assert refused == {"filename": "notes.txt", "status": 400, "detail": "File must be an image"}
    assert client.get(f"/predictions/{last['prediction']['id']}/").json() == last["prediction"]
    assert ImagePrediction.objects.count() == 2


def test_one_field_or_the_other(client: Client, upload: Any) -> None:
    for data in ({"file": upload(), "files": [upload()]}, {"file": [upload(), upload()]}, {}):
        response = client.post("/predictions/", data)
        assert response.status_code == 400
        assert '"files"' in response.json()["detail"]
    assert not ImagePrediction.objects.exists()


def test_a_full_disk_refuses_each_file_alone(client: Client, upload: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    from predictions.storage import DurableFileSystemStorage

    save, calls = DurableFileSystemStorage._save, iter(range(9))

    def full_at_second(self: Any, name: str, content: Any) -> str:
        if next(calls) == 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        return save(self, name, content)

    monkeypatch.setattr(DurableFileSystemStorage, "_save", full_at_second)
    response = client.post("/predictions/", {"files": [upload(), upload(), upload()]})
    assert [result["status"] for result in response.json()] == [201, 507, 201]
