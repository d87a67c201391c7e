"""Whatever people and programs type, or send as files: an answer that is no failure of ours."""

import json
import os
import random
from io import BytesIO
from typing import Any
from urllib.parse import urlencode

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from classifier.images import NotAnImage, open_image, taken_at
from classifier.resizing import shrink
from predictions import metadata, services, uploads
from predictions.models import ImagePrediction
from predictions.tests.corpus import FORMATS, encode, mutated, picture

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "40"))
bounded = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
texts = st.one_of(
    st.text(max_size=300),
    st.text("\0\x1b\u202e\u200b\ud7ff%<>&\"'/\\\n", max_size=30),
    st.sampled_from(
        ["a" * 10_000, "\0", "../../etc/passwd", "\u202egpj.exe", "<script>", "NaN", "-1", "1e999", "{}", "[]"]
    ),
)
integers = st.one_of(st.integers(), st.sampled_from([-(2**63) - 1, -(2**63), 2**31, 2**63 - 1, 2**63, 2**64, 10**400]))
numbers = st.one_of(st.floats(), integers, st.booleans(), st.none())
values = st.recursive(
    numbers | texts, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=6
)
FILTERS = ["q", "label", "status", "min_confidence", "max_confidence", "corrected", "model_version", "since", "until"]
PLACES = ["ordering", "page", "page_size", "cursor", "compact", "download", "back", "format", ""]
queries = st.dictionaries(st.sampled_from(FILTERS + PLACES), texts | numbers.map(str), max_size=6)

pytestmark = pytest.mark.django_db


@pytest.fixture
def photo(submit: Any) -> ImagePrediction:
    """Return a photo that is there, with a label."""
    prediction: ImagePrediction = submit()
    ImagePrediction.objects.update(top_prediction="cat", confidence=0.5)
    return prediction


@bounded
@given(label=values, confidence=values, method=st.sampled_from(["put", "patch"]))
def test_corrections(client: Client, photo: ImagePrediction, label: Any, confidence: Any, method: str) -> None:
    body = json.dumps({"top_prediction": label, "confidence": confidence})
    response = getattr(client, method)(f"/predictions/{photo.pk}/", body, content_type="application/json")
    assert response.status_code in {200, 400}
    if response.status_code == 200:
        assert 0 <= response.json()["confidence"] <= 1
        assert 0 < len(response.json()["top_prediction"]) <= 200
        assert client.get(f"/gallery/{photo.pk}/").status_code == 200


@bounded
@given(body=st.one_of(st.binary(max_size=200), values.map(lambda value: json.dumps(value).encode())))
def test_bodies(client: Client, photo: ImagePrediction, body: bytes) -> None:
    for method in (client.put, client.patch):
        assert method(f"/predictions/{photo.pk}/", body, content_type="application/json").status_code in {200, 400}


@bounded
@given(query=queries)
def test_query_strings(client: Client, photo: ImagePrediction, query: dict[str, str]) -> None:
    asked = urlencode(query, errors="surrogatepass")
    assert client.get(f"/predictions/?{asked}", headers={"Accept": "application/json"}).status_code in {200, 400, 404}
    for path in ("/gallery/", f"/gallery/{photo.pk}/", f"/gallery/{photo.pk}/card", "/labels", "/dashboard/"):
        assert client.get(f"{path}?{asked}").status_code == 200, path


@bounded
@given(
    action=st.sampled_from(["correct", "reclassify", "delete", "", "x"]) | texts,
    label=texts,
    ids=st.lists(integers.map(str) | texts, max_size=4),
    back=texts | st.sampled_from(["//example.org", "https://example.org/", "javascript:alert(1)", "/gallery/?q=1"]),
)
def test_changes_of_many(
    client: Client, photo: ImagePrediction, *, action: str, label: str, ids: list[str], back: str
) -> None:
    form = {"action": action, "label": label, "ids": [str(photo.pk), *ids], "back": back}
    response = client.post("/gallery/change", form)
    assert response.status_code in {200, 302}
    if response.status_code == 302:
        assert "example.org" not in response["Location"].split("?")[0].removeprefix("/gallery/")
        assert not response["Location"].startswith(("javascript:", "//"))


@pytest.mark.parametrize("back", ["0", "x" * 5000, "/" + "x" * 5000, "//example.org", "gallery", "\0"])
def test_a_way_back_that_is_none_leads_to_the_gallery(client: Client, photo: ImagePrediction, back: str) -> None:
    response = client.post("/gallery/change", {"action": "reclassify", "ids": [photo.pk], "back": back})
    assert (response.status_code, response["Location"]) == (302, "/gallery/")


@bounded
@given(pk=integers.map(str) | texts)
def test_ids(client: Client, pk: str) -> None:
    from urllib.parse import quote

    asked = quote(pk, safe="", errors="surrogatepass")
    for path in (
        f"/predictions/{asked}/",
        f"/predictions/{asked}/history/",
        f"/gallery/{asked}/",
        f"/gallery/{asked}/view",
    ):
        assert client.get(path).status_code in {200, 301, 302, 308, 404}, path
    assert client.post(f"/gallery/undo/{asked}").status_code in {302, 404}


@bounded
@given(name=texts)
def test_names(client: Client, name: str) -> None:
    prediction = services.submit(SimpleUploadedFile("x", encode(picture(size=(20, 20)), "PNG")))
    ImagePrediction.objects.filter(pk=prediction.pk).update(
        filename=uploads.printable(name)[: uploads.NAME_LENGTH] or "unnamed"
    )
    shown = client.get(f"/predictions/{prediction.pk}/").json()["filename"]
    assert shown
    assert shown.isprintable()
    for path in ("", "card", "image", "image?download"):
        response = client.get(f"/gallery/{prediction.pk}/{path}")
        assert response.status_code == 200
        # close() would end the test's connection to the database, too.
        for closer in response._resource_closers if response.streaming else ():  # type: ignore[attr-defined]
            closer()


@pytest.mark.parametrize("format", FORMATS)
@bounded
@given(seed=st.integers(0, 2**32))
def test_damaged_files(format: str, seed: int) -> None:
    import pillow_heif

    pillow_heif.register_heif_opener()
    chance = random.Random(seed)
    content = mutated(encode(picture(chance.choice(["RGB", "L"]), (60, 40)), format), chance)
    accepted, refusal = outcome(uploads.inspect, SimpleUploadedFile("x", content))
    if accepted is None:
        assert isinstance(refusal, uploads.UploadRejected)
        return
    # What is accepted has a header that holds: only its pixels, which nobody has looked at yet, may be damaged still.
    image = open_image(BytesIO(content))
    taken_at(image)
    _, damage = outcome(shrink, image, 64)
    assert damage is None or str(damage).startswith("The image is damaged and cannot be decoded")
    _, refusal = outcome(uploads.without_metadata, SimpleUploadedFile("x", content), accepted)
    assert refusal is None or (isinstance(refusal, uploads.UploadRejected) and refusal.reason == "metadata")


def outcome(do: Any, *arguments: Any) -> tuple[Any, Exception | None]:
    """Return what came of it: a result, or one of the two errors that are allowed, with a sentence for the sender."""
    try:
        return do(*arguments), None
    except (NotAnImage, uploads.UploadRejected) as error:
        sentence, internals = str(error), ("0x", "Errno", "Traceback", "object at", "Error", "/")
        clear = sentence.isprintable() and sentence[0].isupper() and not sentence.endswith((":", ": "))
        assert clear, sentence
        assert not any(map(sentence.count, internals)), sentence
        return None, error


@bounded
@given(content=st.binary(max_size=300), magic=st.sampled_from([*metadata.STRIPPERS]))
def test_what_strippers_make_of_anything(content: bytes, magic: str) -> None:
    try:
        metadata.strip(content, magic, 6)
    except metadata.CannotStrip:
        pass
