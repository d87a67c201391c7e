"""The REST contract, to the letter."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import OperationalError, connection
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from classifier.images import count_scans
from config.errors import API_PATHS
from config.tests.environment import image_bytes
from predictions import services
from predictions.models import Answer, Correction, ImagePrediction, Status
from predictions.tests.corpus import scans_jpeg

pytestmark = pytest.mark.django_db
Submit = Callable[..., ImagePrediction]
KEYS = ["id", "filename", "image_path", "top_prediction", "confidence", "all_predictions", "created_at"]
ANSWER = [{"label": label, "confidence": 0.2} for label in ("ant", "bee", "cat", "dog", "eel")]


def post(client: Client, file: Any, **extra: Any) -> Any:
    return client.post("/predictions/", {"file": file}, **extra)


def put(client: Client, pk: Any, body: Any) -> Any:
    return client.put(f"/predictions/{pk}/", body, content_type="application/json")


def stored(settings: Any) -> list[Path]:
    return [path for path in Path(settings.MEDIA_ROOT).rglob("*") if path.is_file()]


def test_post_answers_at_once_with_its_address(client: Client, upload: Any) -> None:
    response = post(client, upload("cat.jpg"))
    assert response.status_code == 201
    body = response.json()
    assert list(body)[:7] == KEYS
    assert body["filename"] == "cat.jpg"
    assert body["top_prediction"] is body["confidence"] is body["all_predictions"] is None
    assert response["Location"] == f"http://testserver/predictions/{body['id']}/"
    assert client.get(response["Location"]).json() == body


def test_facts_of_the_file_are_kept(client: Client, settings: Any, upload: Any) -> None:
    content = image_bytes(size=(123, 45))
    body = post(client, upload("a.jpg", content)).json()
    assert (body["width"], body["height"], body["size"]) == (123, 45, len(content))
    assert len(body["sha256"]) == 64
    assert (settings.MEDIA_ROOT / body["image_path"]).read_bytes() == content


def test_two_uploads_of_one_name_never_meet(client: Client, settings: Any, upload: Any) -> None:
    first = post(client, upload("cat.jpg", image_bytes(size=(50, 50)))).json()
    second = post(client, upload("cat.jpg", image_bytes(size=(60, 60)))).json()
    assert first["filename"] == second["filename"] == "cat.jpg"
    assert first["image_path"] != second["image_path"]
    assert len(stored(settings)) == 2


@pytest.mark.parametrize(("format", "extension"), [
    ("JPEG", "jpg"), ("PNG", "png"), ("WEBP", "webp"), ("GIF", "gif"), ("BMP", "bmp"), ("TIFF", "tif"),
    ("AVIF", "avif"), ("HEIF", "heic"),
])  # fmt: skip
def test_the_content_counts_and_not_the_declared_type(client: Client, format: str, extension: str) -> None:
    import pillow_heif

    pillow_heif.register_heif_opener()  # to write one
    response = post(client, SimpleUploadedFile("x.txt", image_bytes(format), content_type="text/plain"))
    assert response.status_code == 201, response.json()
    assert response.json()["image_path"].endswith(f".{extension}")
    assert (response.json()["width"], response.json()["height"]) == (120, 80)


@pytest.mark.parametrize("content", [b"text", b"<html></html>", b"\x89PNG", b"GIF", b"%PDF-1.7", bytes(1000)])
def test_what_is_no_image_is_refused(client: Client, settings: Any, upload: Any, content: bytes) -> None:
    response = post(client, upload("cat.jpg", content))
    assert (response.status_code, response.json()) == (400, {"detail": "File must be an image"})
    assert not ImagePrediction.objects.exists()
    assert not stored(settings)


def test_an_empty_file_is_refused(client: Client, upload: Any) -> None:
    response = post(client, upload("cat.jpg", b""))
    assert (response.status_code, response.json()) == (400, {"detail": "The file is empty"})


def test_too_many_bytes_are_refused(client: Client, settings: Any, upload: Any) -> None:
    settings.MAX_UPLOAD_MB = 1
    response = post(client, upload("big.jpg", image_bytes() + bytes(1_000_000)))
    assert response.status_code == 400
    assert response.json()["detail"] == "The file has 1.0 MB; at most 1 MB are accepted"
    assert not stored(settings)


def test_as_many_bytes_as_allowed_are_accepted(client: Client, settings: Any, upload: Any) -> None:
    settings.MAX_UPLOAD_MB = 3  # above what Django keeps in memory
    content = image_bytes()
    assert post(client, upload("big.jpg", content + bytes(3_000_000 - len(content)))).status_code == 201


def test_too_many_pixels_are_refused(client: Client, settings: Any, upload: Any) -> None:
    settings.MAX_UPLOAD_MEGAPIXELS = 1
    response = post(client, upload("wide.png", image_bytes("PNG", size=(1001, 1000))))
    assert response.status_code == 400
    assert response.json()["detail"] == "The image has 1001 x 1000 pixels; at most 1 megapixels are accepted"
    assert post(client, upload("square.png", image_bytes("PNG", size=(1000, 1000)))).status_code == 201


def test_a_request_must_have_one_file(client: Client, upload: Any) -> None:
    for data in ({}, {"file": "text"}, {"image": upload()}, {"file": [upload(), upload()]}):
        response = client.post("/predictions/", data)
        assert response.status_code == 400, data
        assert "Send one file" in response.json()["detail"]
    assert not ImagePrediction.objects.exists()


@pytest.mark.parametrize(("name", "kept"), [
    ("../../etc/passwd.jpg", "passwd.jpg"), ("/a/b.jpg", "b.jpg"), ("kätzchen 🐈.jpg", "kätzchen 🐈.jpg"),
    ("evil\u202egpj.exe", "evilgpj.exe"), (" ", "unnamed"), ("a\tb.jpg", "ab.jpg"),
    ("x" * 600 + ".jpg", "x" * 251 + ".jpg"),
])  # fmt: skip
def test_names_are_kept_but_made_harmless(client: Client, upload: Any, name: str, kept: str) -> None:
    content = image_bytes()
    body = f'--X\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'.encode() + content
    response = client.post("/predictions/", body + b"\r\n--X--", content_type="multipart/form-data; boundary=X")
    assert response.status_code == 201
    assert response.json()["filename"] == kept
    assert re.fullmatch(r"\d{4}/\d\d/\d\d/[0-9a-f]{32}\.jpg", response.json()["image_path"])


def test_the_answer_is_read_as_it_is_recorded(client: Client, submit: Submit, model: Any) -> None:
    prediction = submit()
    [claimed] = ImagePrediction.objects.claim()
    ImagePrediction.objects.finish([(claimed, Answer(ANSWER, 7.5))], model)
    body = client.get(f"/predictions/{prediction.pk}/").json()
    assert (body["status"], body["top_prediction"], body["confidence"]) == ("done", "ant", 0.2)
    assert body["all_predictions"] == ANSWER
    assert body["model_version"] == model.name
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", body["classified_at"])


@pytest.mark.parametrize("pk", ["0", "-1", "999", "abc", "1.5", "1_0", "%201", "%D9%A1", str(2**63), str(2**70), "%00"])
@pytest.mark.parametrize("method", ["get", "put", "delete"])
def test_an_unknown_id_is_not_found(client: Client, method: str, pk: str) -> None:
    body = json.dumps({"top_prediction": "cat", "confidence": 1}) if method == "put" else None
    response = getattr(client, method)(f"/predictions/{pk}/", body, content_type="application/json")
    assert (response.status_code, response.json()) == (404, {"detail": "Prediction not found"})


def test_put_corrects_and_keeps_the_models_answer(client: Client, submit: Submit, model: Any) -> None:
    prediction = submit()
    [claimed] = ImagePrediction.objects.claim()
    ImagePrediction.objects.finish([(claimed, Answer(ANSWER, 7.5))], model)
    response = put(client, prediction.pk, {"top_prediction": "tiger cat", "confidence": 0.75})
    assert response.status_code == 200
    body = response.json()
    assert list(body)[:7] == KEYS
    assert (body["top_prediction"], body["confidence"], body["all_predictions"]) == ("tiger cat", 0.75, ANSWER)
    assert body["corrected_at"]
    correction = Correction.objects.get()
    assert (correction.label_before, correction.label_after, correction.source) == ("ant", "tiger cat", "api")


def test_put_is_possible_before_the_model_has_answered(client: Client, submit: Submit) -> None:
    assert put(client, submit().pk, {"top_prediction": "cat", "confidence": 1}).json()["top_prediction"] == "cat"


@pytest.mark.parametrize("body", [
    {}, [], "x", {"top_prediction": "cat"}, {"confidence": 1}, {"top_prediction": "", "confidence": 1},
    {"top_prediction": "x" * 201, "confidence": 1}, {"top_prediction": "cat", "confidence": 1.01},
    {"top_prediction": "cat", "confidence": -0.1}, {"top_prediction": "cat", "confidence": "high"},
    {"top_prediction": "cat", "confidence": float("nan")}, {"top_prediction": "cat", "confidence": float("inf")},
    {"top_prediction": None, "confidence": None}, {"top_prediction": "a\0b", "confidence": 1},
])  # fmt: skip
def test_a_senseless_correction_is_refused(client: Client, submit: Submit, body: Any) -> None:
    response = put(client, submit().pk, json.dumps(body))
    assert response.status_code == 400, response.json()
    assert not Correction.objects.exists()


def test_delete_takes_row_and_file(
    client: Client, submit: Submit, settings: Any, django_capture_on_commit_callbacks: Any
) -> None:
    prediction = submit("dog.jpg")
    with django_capture_on_commit_callbacks(execute=True):
        response = client.delete(f"/predictions/{prediction.pk}/")
    assert (response.status_code, response.json()) == (200, {"id": prediction.pk, "filename": "dog.jpg"})
    assert not ImagePrediction.objects.exists()
    assert not stored(settings)


def rows(count: int, **values: Any) -> None:
    blank = {"image_path": "x.jpg", "sha256": "0" * 64, "width": 1, "height": 1, "size": 1}
    ImagePrediction.objects.bulk_create(
        ImagePrediction(filename=f"{number}.jpg", **(blank | values)) for number in range(count)
    )


def test_the_list_is_an_array_newest_first(client: Client) -> None:
    rows(3)
    body = client.get("/predictions/").json()
    assert [row["filename"] for row in body] == ["2.jpg", "1.jpg", "0.jpg"]
    assert "Link" not in client.get("/predictions/")


def test_the_list_is_walked_by_its_link_header(client: Client) -> None:
    rows(250)
    seen, url = [], "/predictions/?page_size=100"
    while url:
        response = client.get(url)
        seen += [row["id"] for row in response.json()]
        found = re.search(r'<([^>]+)>; rel="next"', response.get("Link", ""))
        url = found[1] if found else ""
    assert seen == sorted(seen, reverse=True)
    assert len(seen) == 250
    assert 'rel="prev"' in response["Link"]


def test_senseless_pages_are_refused_or_ignored(client: Client) -> None:
    rows(120)
    for cursor in ("senseless", "cD1hYmM=", "cD0lMDA=", "cD05OTk5OTk5OTk5OTk5OTk5OTk5OTk5"):
        assert client.get(f"/predictions/?cursor={cursor}").status_code in {200, 404}, cursor
    for size in ("0", "-5", "x"):
        assert len(client.get(f"/predictions/?page_size={size}").json()) == 100
    assert len(client.get("/predictions/?page_size=100000").json()) == 120


def test_the_list_takes_one_query(
    client: Client, model: Any, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    rows(100, status=Status.DONE, model_version=model, all_predictions=ANSWER)
    with django_assert_num_queries(1):
        assert len(client.get("/predictions/").json()) == 100


def test_browsers_get_pages_of_the_same_addresses(client: Client, submit: Submit) -> None:
    prediction = submit("<b>cat.jpg")
    for path in ("/predictions/", f"/predictions/{prediction.pk}/"):
        response = client.get(path, headers={"Accept": "text/html"})
        assert response["Content-Type"].startswith("text/html")
        assert b"&lt;" in response.content
        assert b"<b>cat" not in response.content


def test_other_methods_are_refused_in_json(client: Client, submit: Submit) -> None:
    assert client.put("/predictions/").status_code == 405
    assert client.post(f"/predictions/{submit().pk}/").json() == {"detail": 'Method "POST" not allowed.'}


def test_json_that_is_nested_without_end_is_refused(client: Client, submit: Submit) -> None:
    assert put(client, submit().pk, "[" * 200_000).status_code == 400


def test_too_many_fields_are_refused_in_json(client: Client) -> None:
    response = client.post("/predictions/", {f"f{number}": "x" for number in range(1100)})
    assert (response.status_code, response["Content-Type"]) == (400, "application/json")


def test_a_missing_slash_loses_no_upload(client: Client, upload: Any) -> None:
    response = client.post("/predictions", {"file": upload()})
    assert (response.status_code, response["Location"]) == (308, "/predictions/")


def test_a_body_of_unknown_length_is_refused(client: Client) -> None:
    response = client.post(
        "/predictions/", b"", content_type="multipart/form-data", headers={"Transfer-Encoding": "chunked"}
    )
    assert response.status_code == 411
    assert "Content-Length" in response.json()["detail"]


@pytest.mark.parametrize(("size", "scans"), [((8000, 6250), 30), ((1000, 1000), 1100), ((60, 40), 11_000)])
def test_a_jpeg_that_would_be_decoded_for_seconds_is_refused(
    client: Client, upload: Any, size: tuple[int, int], scans: int
) -> None:
    response = post(client, upload("a.jpg", scans_jpeg(size, scans)))
    assert (response.status_code, response.json()["detail"][:12]) == (400, "The JPEG has")
    assert post(client, upload("b.jpg", scans_jpeg(size, scans // 3))).status_code == 201


def test_a_scan_is_found_wherever_the_file_is_read_in_two() -> None:
    content = scans_jpeg((60, 40), 20)
    for size in (1, 7, len(content)):
        assert count_scans(content[at : at + size] for at in range(0, len(content), size)) == content.count(b"\xff\xda")


def test_who_deletes_second_finds_nothing(submit: Submit) -> None:
    row = ImagePrediction.objects.filter(pk=submit().pk)
    assert (services.remove(row), services.remove(row)) == (1, 0)


def test_other_media_types_are_refused(client: Client) -> None:
    assert client.post("/predictions/", b"raw", content_type="image/jpeg").status_code == 415


def test_a_database_that_is_away_is_said(client: Client, upload: Any) -> None:
    def away(execute: Any, sql: str, *arguments: Any) -> Any:
        if "predictions_imageprediction" in sql:
            raise OperationalError("server closed the connection")
        return execute(sql, *arguments)

    with connection.execute_wrapper(away):
        response = post(client, upload())
    assert response.status_code == 503
    assert response["Retry-After"]


def test_documentation_comes_from_this_server_alone(client: Client) -> None:
    for path in ("/docs", "/redoc"):
        page = client.get(path).content.decode()
        assert not re.search(r"""(?:src|href)=["'](?:https?:)?//""", page), path
    schema = client.get("/schema", headers={"Accept": "application/json"}).json()
    assert schema["openapi"].startswith("3.")
    one = "/predictions/{id}/"
    assert {"/predictions/", one, f"{one}reclassify/", f"{one}history/", "/label-rules/"} <= set(schema["paths"])
    assert all(f"{path}/".startswith(API_PATHS) for path in schema["paths"])  # so that all their errors are JSON
    roots = {path.split("/")[1] for path in schema["paths"]}
    assert roots == {"predictions", "label-rules", "models", "v2", "classify"}
    listed = schema["paths"]["/predictions/"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert schema["components"]["schemas"][listed["$ref"].split("/")[-1]]["type"] == "array"
    assert "multipart/form-data" in schema["paths"]["/predictions/"]["post"]["requestBody"]["content"]
