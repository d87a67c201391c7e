"""What a label can be is judged the same, wherever it comes from."""

from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from predictions.labelmap import UNPRINTABLE, LabelRule
from predictions.models import Correction, ImagePrediction
from predictions.tests.commands import Console

pytestmark = pytest.mark.django_db
PHOTOS = "/admin/predictions/imageprediction/"


@pytest.mark.parametrize("label", ["two\nlines", "turned\u202earound", "bell\x07"])
def test_a_label_that_is_none_is_refused_everywhere(
    admin_client: Client, submit: Any, label: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pk = submit().pk
    for method in (admin_client.put, admin_client.patch):
        body = {"top_prediction": label, "confidence": 1}
        response = method(f"/predictions/{pk}/", body, content_type="application/json")
        assert (response.status_code, response.json()) == (400, {"top_prediction": [UNPRINTABLE]})
    page = admin_client.post("/gallery/change", {"action": "correct", "label": label, "ids": [pk]}, follow=True)
    assert UNPRINTABLE in page.content.decode()
    chosen = {"action": "correct", "_selected_action": [pk], "confirmed": "yes", "label": label, "confidence": "1"}
    assert UNPRINTABLE in admin_client.post(PHOTOS, {**chosen, "index": "0"}).content.decode()
    edited = {"form-TOTAL_FORMS": 1, "form-INITIAL_FORMS": 1, "form-0-id": pk, "form-0-top_prediction": label}
    assert UNPRINTABLE in admin_client.post(PHOTOS, {**edited, "_save": "Save"}).content.decode()
    rule = {"labels": "cat", "shown_as": label, "minimum": "0"}
    assert UNPRINTABLE in admin_client.post("/admin/predictions/labelrule/add/", rule).content.decode()
    folder = tmp_path / "in" / label
    folder.mkdir(parents=True)
    (folder / "a.jpg").write_bytes(Path(ImagePrediction.objects.get().image_path.path).read_bytes())
    ran = Console(capsys)("import_images", folder, "--label-from-folder", "--json")
    assert (ran.code, len(ran.summary["refused"])) == (1, 1)
    assert not Correction.objects.exists()
    assert not LabelRule.objects.exists()
