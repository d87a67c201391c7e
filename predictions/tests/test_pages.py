"""The upload page, and what is common to all pages."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from predictions.models import ImagePrediction

pytestmark = pytest.mark.django_db


def test_one_photo_leads_to_its_page(client: Client, upload: Any) -> None:
    response = client.post("/", {"file": upload("cat.jpg")})
    assert response.status_code == 302
    page = client.get(response["Location"]).content.decode()
    assert "cat.jpg" in page
    assert "hx-trigger" in page  # it looks again while the photo waits
    assert '<noscript><meta http-equiv="refresh"' in page


def test_several_photos_lead_to_the_gallery(client: Client, upload: Any) -> None:
    assert client.post("/", {"file": [upload("a.jpg"), upload("b.jpg")]})["Location"] == "/gallery/"
    page = client.get("/gallery/").content.decode()
    assert "a.jpg" in page
    assert "b.jpg" in page


def test_a_refused_file_says_why_and_the_others_go_on(client: Client, upload: Any) -> None:
    response = client.post("/", {"file": [upload("a.jpg"), upload("notes.txt", b"text")]})
    page = response.content.decode()
    assert response.status_code == 400
    assert "notes.txt</strong>: File must be an image" in page
    assert ImagePrediction.objects.get().filename == "a.jpg"


def test_the_script_gets_one_card(client: Client, upload: Any) -> None:
    headers = {"X-Requested-With": "upload.js"}
    response = client.post("/", {"file": upload("cat.jpg")}, headers=headers)
    assert (response.status_code, response["X-Card"]) == (200, "yes")
    page = response.content.decode()
    assert page.strip().startswith("<article")
    address = f"/gallery/{ImagePrediction.objects.get().pk}/card"
    assert f'hx-get="{address}"' in page
    ImagePrediction.objects.update(status="done", top_prediction="lynx", confidence=0.5)
    labelled = client.get(address).content.decode()
    assert "lynx" in labelled
    assert "hx-get" in labelled  # the thumbnail is still to come
    ImagePrediction.objects.update(rendered_at=timezone.now())
    assert "hx-get" not in client.get(address).content.decode()
    refused = client.post("/", {"file": upload("<i>.txt", b"text")}, headers=headers)
    assert (refused.status_code, refused["X-Card"]) == (200, "yes")  # a 400 would be an error in the console
    assert "&lt;i&gt;.txt" in refused.content.decode()
    assert "File must be an image" in refused.content.decode()


@pytest.mark.parametrize(("waited", "expected"), [(-5, 700), (0, 700), (60, 6700), (3600, 30_000)])
def test_a_page_looks_again_the_less_often_the_longer_a_photo_waits(
    client: Client, submit: Any, waited: int, expected: int
) -> None:
    pk = submit().pk
    ImagePrediction.objects.update(queued_at=timezone.now() - timedelta(seconds=waited))
    for address in (f"/gallery/{pk}/", f"/gallery/{pk}/card"):
        found = re.search(r"load delay:(\d+)ms", client.get(address).content.decode())
        assert found
        assert expected <= int(found[1]) < expected + 700


def test_what_keeps_uploads_waiting_is_said(client: Client) -> None:
    page = client.get("/").content.decode()
    assert "No model is installed" in page
    assert "No worker is alive" in page


def test_nothing_chosen_says_so(client: Client) -> None:
    assert b"Choose at least one photo" in client.post("/").content


def test_the_gallery_takes_few_queries(client: Client, submit: Any, django_assert_max_num_queries: Any) -> None:
    for _ in range(10):
        submit()
    with django_assert_max_num_queries(3):  # one for the label rules
        client.get("/gallery/")


def test_unknown_addresses_have_a_way_back(client: Client) -> None:
    response = client.get("/gallery/99/")
    assert response.status_code == 404
    assert b"/gallery/" in response.content


def test_a_name_is_never_a_type(client: Client, upload: Any) -> None:
    """What is served as an image was accepted as one; a name that says HTML must not make it HTML."""
    client.post("/", {"file": upload("evil.html")})
    response = client.get(f"/gallery/{ImagePrediction.objects.get().pk}/image")
    response.close()
    assert response["Content-Type"] == "image/jpeg"
