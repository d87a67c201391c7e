"""Bodies that are almost what they should be: multipart with anything in it, and the protocols' JSON."""

import base64
import json
from typing import Any

import pytest
from django.test import Client
from hypothesis import given
from hypothesis import strategies as st

from classifier.models import ModelVersion
from config.tests.environment import LiveCluster
from predictions.inference_requests import InferenceRequest
from predictions.models import ImagePrediction
from predictions.storage import photos
from predictions.tests.corpus import encode, picture
from predictions.tests.test_hostile import END, FORM, part
from predictions.tests.test_inputs import bounded, integers, numbers, texts, values
from predictions.tests.test_protocols import INFER, post

pytestmark = pytest.mark.django_db
PHOTO = encode(picture(size=(20, 20)), "PNG")
IMAGE = base64.b64encode(PHOTO).decode()
parts = st.builds(
    part,
    st.sampled_from(["file", "file", "files", "files", "", "x", "file\0", "f" * 10_000]),
    st.sampled_from([PHOTO, PHOTO, PHOTO[:40], b""]),
    filename=texts,
    kind=st.sampled_from(["", "image/png", "text/html; charset=x", "multipart/mixed; boundary=Y", "x" * 10_000, "\0"]),
)
kinds = [FORM, FORM, FORM, FORM, "multipart/form-data; boundary=-", "multipart/form-data", "x" * 10_000, "\0"]
fragments = st.sampled_from([b"", b"\r\n", b"--X", END, b'"', b"\0", b"Content-Disposition: form-data; name=file"])


@st.composite
def multipart_bodies(draw: st.DrawFn) -> bytes:
    """Return a body of some parts, in which some pieces are replaced."""
    body = b"".join(draw(st.lists(parts, min_size=1, max_size=3))) + END
    for _ in range(draw(st.integers(0, 2))):
        start, end = sorted(draw(st.tuples(*[st.integers(0, len(body))] * 2)))
        piece = draw(fragments | st.binary(max_size=20))
        body = body[:start] + piece + body[draw(st.sampled_from([start, min(start + 2, end), end])) :]
    return body


@bounded
@given(body=multipart_bodies(), kind=st.sampled_from(kinds))
def test_multipart(client: Client, body: bytes, kind: str) -> None:
    for path, answers in (("/predictions/", {201, 207, 400, 415}), ("/", {200, 302, 400})):
        assert client.post(path, body, content_type=kind).status_code in answers
    for row in ImagePrediction.objects.all():
        assert row.filename
        assert row.filename.isprintable()
        assert photos().exists(str(row.image_path.name))


junk = texts | values
images = st.sampled_from([IMAGE, IMAGE, IMAGE[:40], ""]) | junk
wishes = {"top_k": st.just(2) | integers, "record": st.booleans() | junk, "timeout": st.just(9) | numbers}
parameters = st.fixed_dictionaries({}, optional=wishes)
requests = st.fixed_dictionaries({"inputs": images}, optional={"parameters": parameters})
datatypes, shapes = ["BYTES", "BYTES", "UINT8", "FP32", "FP64"], [[1], [1], [1, 1], [1, 1, 1, 3], [1, -1], [2**63], []]
pixels = st.lists(numbers, min_size=3, max_size=3)
tensors = st.fixed_dictionaries(
    {
        "name": st.just("x") | texts,
        "datatype": st.sampled_from(datatypes),
        "shape": st.sampled_from(shapes),
        "data": st.just([IMAGE]) | st.lists(images, max_size=2) | pixels | values,
    },
    optional={"parameters": parameters},
)
names = st.sampled_from(["label", "score", "prediction"]) | texts
outputs = st.lists(st.fixed_dictionaries({"name": names}), max_size=2)
inferences = st.fixed_dictionaries(
    {"inputs": st.lists(tensors, min_size=1, max_size=1)},
    optional={"id": junk, "parameters": parameters, "outputs": outputs},
)


@bounded
@given(body=requests | values)
def test_json_for_classify(client: Client, model: ModelVersion, live_cluster: LiveCluster, body: Any) -> None:
    live_cluster()
    assert_answered(post(client, "/classify", json.dumps(body).encode(), kind="application/json"))


@bounded
@given(body=inferences | values)
def test_json_for_infer(client: Client, model: ModelVersion, live_cluster: LiveCluster, body: Any) -> None:
    live_cluster()
    assert_answered(post(client, INFER, json.dumps(body).encode(), kind="application/json"))


def assert_answered(response: Any) -> None:
    """Assert that there are labels, or a sentence, and that nobody waits any more."""
    assert response.status_code in {200, 400, 504}, response.content  # 504: it asked for less time than that takes
    assert response.status_code == 200 or list(response.json()) == ["error"]
    assert not InferenceRequest.objects.exists()
