"""The protocols' JSON: what is taken, what is answered, and a sentence for everything else.

The client's pause, which our web server offers, is the worker's turn here.
"""

import base64
import json
import struct
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.core.cache import cache
from django.test import Client

from classifier.bundle import Bundle
from classifier.models import ModelVersion
from config.tests.environment import LABELS, LiveCluster, image_bytes, variant
from predictions import machines, synchronous, tasks
from predictions.inference_requests import InferenceRequest
from predictions.models import ImagePrediction
from predictions.storage import photos
from predictions.tokens import ApiToken

pytestmark = pytest.mark.django_db
MODEL = "/v2/models/classifier"
INFER = f"{MODEL}/infer"
SIZE = 96
BLACK = [0] * (SIZE * SIZE * 3)
IMAGE = base64.b64encode(image_bytes()).decode()


@pytest.fixture(autouse=True)
def _alive(live_cluster: Any, model: ModelVersion) -> None:
    """A model serves, and a worker has just said that it lives."""
    live_cluster()


def work(seconds: float) -> bool:
    tasks.classify_pending()
    return True


def post(client: Client, path: str, body: Any, *, kind: str | None = None, pause: Any = work, **options: Any) -> Any:
    content = body if isinstance(body, bytes) else json.dumps(body)
    if kind is None:
        kind = "image/jpeg" if isinstance(body, bytes) else "application/json"
    return client.post(path, content, kind, **{"client.pause": pause}, **options)


def tensor(datatype: str = "BYTES", shape: Any = (1,), data: Any = (IMAGE,), **more: Any) -> dict[str, Any]:
    return {"inputs": [{"name": "x", "datatype": datatype, "shape": shape, "data": data}], **more}


def assert_nothing_stays() -> None:
    assert not InferenceRequest.objects.exists()
    assert not ImagePrediction.objects.exists()


# --- Hugging Face


@pytest.mark.parametrize("kind", ["image/jpeg", "application/octet-stream", "application/x-www-form-urlencoded", "x"])
def test_bytes_in_labels_out(client: Client, kind: str) -> None:
    response = post(client, "/classify", image_bytes(), kind=kind, headers={"Accept": "image/png"})
    assert response.status_code == 200, response.content
    assert [set(answer) for answer in response.json()] == [{"label", "score"}] * 5
    assert {answer["label"] for answer in response.json()} <= set(LABELS)
    assert_nothing_stays()


def test_json_says_the_same(client: Client) -> None:
    plain = post(client, "/classify?top_k=2", image_bytes()).json()
    lines = "\n".join(IMAGE[start : start + 76] for start in range(0, len(IMAGE), 76))
    parameters = {"top_k": 2, "function_to_apply": "softmax"}
    assert post(client, "/classify", {"inputs": lines, "parameters": parameters}).json() == plain
    assert len(plain) == 2


@pytest.mark.parametrize(
    ("path", "body", "sentence"),
    [
        ("/classify", b"", "The file is empty"),
        ("/classify", b"no image", "File must be an image"),
        ("/classify", image_bytes(size=(400, 300))[:2000], "The image is damaged"),
        ("/classify", {}, "The file is empty"),
        ("/classify", [1], "Invalid data"),
        ("/classify", {"inputs": "?"}, "The image must be text in base64"),
        ("/classify", {"inputs": 3}, "The image must be text in base64"),
        ("/classify", {"inputs": IMAGE, "parameters": 3}, "parameters: Invalid data"),
        ("/classify", {"inputs": IMAGE, "parameters": {"function_to_apply": "none"}}, "function_to_apply: "),
        ("/classify", {"inputs": IMAGE, "parameters": {"top_k": 0}}, "top_k: "),
        ("/classify?top_k=many", image_bytes(), "top_k: A valid integer is required"),
        ("/classify?top_k=", image_bytes(), "top_k: A valid integer is required"),
        ("/classify?timeout=nan", image_bytes(), "timeout: "),
        ("/classify?timeout=-1", image_bytes(), "timeout: "),
        ("/classify?record=perhaps", image_bytes(), "record: Must be a valid boolean"),
        ("/classify?record=true&top_k=6", image_bytes(), "top_k: Of a recorded image the 5 best labels are kept"),
        (INFER, {}, "inputs: This field is required"),
        (INFER, tensor(shape=[2]), "Images have the shape [n]; here it is [2], and there are 1"),
        (INFER, tensor(data=[]), "Images have the shape [n]"),
        (INFER, tensor(shape=[0], data=[]), "A request has 1 to 32 images"),
        (INFER, tensor(shape=[33], data=[IMAGE] * 33), "A request has 1 to 32 images"),
        (INFER, tensor(data=[[IMAGE], IMAGE], shape=[2]), "nested unevenly"),
        (INFER, tensor(data=IMAGE), "The data of a tensor are a list"),
        (INFER, tensor("FP64"), "datatype: "),
        (INFER, tensor("FP32", [1, 2], [1, 2]), "Pixels have the shape [n, height, width, 3]"),
        (INFER, tensor("FP32", [1, 1, 1, 3], [1, 2]), "there are 2 numbers"),
        (INFER, tensor("FP32", [1, 1, 1, 3], [1, 2, "3"]), "Pixels are numbers"),
        (INFER, tensor("FP32", [1, 1, 1, 3], [1, 2, 10**400]), "Pixels are numbers"),
        (INFER, tensor("FP32", [1, 1, 1, 3], [1, 2, 255.5]), "Pixels are numbers"),
        (INFER, tensor("UINT8", [1, 1, 1, 3], [1, 2, 2.5]), "Pixels are numbers"),
        (INFER, tensor("UINT8", [1, 0, 1, 3], []), "and at least one"),
        (INFER, tensor("UINT8", [1, 1, 1, 3], [1, 2, 3]), "tensors of shape [n, 96, 96, 3], and not [n, 1, 1, 3]"),
        (INFER, tensor("UINT8", [1, 1, 1, 3], [1, 2, 3], parameters={"record": True}), "Only images can be recorded"),
        (INFER, tensor(outputs=[{"name": "prediction"}]), "Of images that are not recorded"),
        (INFER, tensor(outputs=[{"name": "embedding"}]), "outputs: "),
        (INFER, tensor(id="\ud800"), "id: "),
        (INFER, tensor(id="x" * 1001), "id: "),
    ],
)  # fmt: skip
def test_bad_input_is_answered_with_a_sentence(client: Client, path: str, body: Any, sentence: str) -> None:
    response = post(client, path, body)
    assert (response.status_code, list(response.json())) == (400, ["error"]), response.content
    assert sentence in response.json()["error"]
    assert_nothing_stays()


def test_too_large_a_body_is_not_parsed(client: Client, settings: Any) -> None:
    settings.MAX_UPLOAD_MB = 0.001
    for path, body in (("/classify", bytes(1001)), (INFER, tensor(id="x" * 1_002_000))):
        response = post(client, path, body)
        assert (response.status_code, list(response.json())) == (413, ["error"])


def test_json_may_be_larger_than_forms_by_the_images_in_it(client: Client) -> None:
    large = base64.b64encode(image_bytes("BMP", size=(1000, 700))).decode()
    for path, body in (("/classify", {"inputs": large}), (INFER, tensor(data=[large]))):
        assert post(client, path, body).status_code == 200


@pytest.mark.parametrize(
    "body", [b"[" + b"[]," * 2000 + b"1]", b"[" + b'{"":0},' * 2000 + b"1]", b'"%s"' % bytes(9000)]
)
def test_what_would_take_all_the_memory_is_not_parsed(client: Client, monkeypatch: Any, body: bytes) -> None:
    monkeypatch.setattr(synchronous, "ROOM", 50_000)
    for path in ("/classify", INFER):
        response = post(client, path, body, kind="application/json; charset=utf-7")
        assert (response.status_code, list(response.json())) == (413, ["error"]), response.content
    assert post(client, "/classify", image_bytes()).status_code == 200


def test_who_finds_no_room_beside_the_others_is_refused(client: Client, monkeypatch: Any) -> None:
    monkeypatch.setattr(synchronous, "ROOM", 15 * len(image_bytes()))
    answers: list[Any] = []

    def another(seconds: float) -> bool:
        answers.append(post(Client(), "/classify", image_bytes()))
        return work(seconds)

    for _ in range(3):  # and each gives its own back
        assert post(client, "/classify", image_bytes(), pause=another).status_code == 200
    assert {(answer.status_code, "Retry-After" in answer) for answer in answers} == {(503, True)}


@pytest.mark.parametrize("path", ["/classify", INFER])
def test_too_many_pixels_are_refused_as_uploads_are(client: Client, settings: Any, path: str) -> None:
    settings.MAX_UPLOAD_MEGAPIXELS = 0.001
    response = post(client, path, image_bytes() if path == "/classify" else tensor())
    assert response.status_code == 400
    assert "megapixels are accepted" in response.json()["error"]


# --- Open Inference Protocol


def test_the_metadata_describe_what_infer_takes_and_gives(client: Client, model: ModelVersion) -> None:
    assert set(client.get("/v2").json()) == {"name", "version", "extensions"}
    assert client.get("/v2/").json() == client.get("/v2").json()
    metadata = client.get("/v2/models/classifier").json()
    assert set(metadata) == {"name", "versions", "platform", "inputs", "outputs"}
    assert metadata["versions"] == [model.name]
    assert client.get(f"/v2/models/classifier/versions/{model.name}").json() == metadata
    assert metadata["inputs"][1] == {"name": "pixels", "datatype": "FP32", "shape": [-1, SIZE, SIZE, 3]}
    answer = post(client, INFER, tensor()).json()
    assert [(output["name"], output["datatype"]) for output in answer["outputs"]] == [
        (output["name"], output["datatype"]) for output in metadata["outputs"]
    ]


def test_images_become_tensors(client: Client, model: ModelVersion) -> None:
    answer = post(client, INFER, tensor(shape=[2, 1], data=[[IMAGE], [IMAGE]], id="7", parameters={"top_k": 3})).json()
    assert (answer["model_name"], answer["model_version"], answer["id"]) == ("classifier", model.name, "7")
    label, score, version = answer["outputs"]
    assert (label["shape"], len(label["data"]), label["data"][:3]) == ([2, 3], 6, label["data"][3:])
    assert (score["shape"], score["datatype"], len(score["data"])) == ([2, 3], "FP32", 6)
    assert (version["shape"], version["data"]) == ([2], [model.name] * 2)
    plain = post(client, "/classify?top_k=3", image_bytes()).json()
    assert [answer["label"] for answer in plain] == label["data"][:3]
    assert [answer["score"] for answer in plain] == score["data"][:3]
    assert_nothing_stays()


@pytest.mark.parametrize("datatype", ["FP32", "UINT8"])
@pytest.mark.parametrize("data", [BLACK, [[[[0] * 3] * SIZE] * SIZE]])
def test_pixels_are_taken_flat_and_nested(client: Client, model: ModelVersion, datatype: str, data: Any) -> None:
    path = f"/v2/models/classifier/versions/{model.name}/infer"
    body = tensor(datatype, [1, SIZE, SIZE, 3], data, outputs=[{"name": "score"}], parameters={"top_k": 7})
    [output] = post(client, path, body).json()["outputs"]
    assert (output["name"], output["shape"]) == ("score", [1, 7])
    assert sum(output["data"]) == pytest.approx(1, abs=1e-3)


LENGTH = "Inference-Header-Content-Length"
BINARY = {"binary_data_output": True, "top_k": 3}


def behind(data: bytes, datatype: str, shape: Sequence[int] = (1,), *, size: int | None = None) -> Any:
    """Return a body with a tensor behind the JSON, and the header, as Triton's clients send them."""
    parameters = {"binary_data_size": len(data) if size is None else size}
    about = {"name": "x", "datatype": datatype, "shape": shape, "parameters": parameters}
    head = json.dumps({"inputs": [about], "parameters": BINARY}).encode()
    return head + data, {LENGTH: str(len(head))}


def with_lengths(*elements: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(element)) + element for element in elements)


def read_binary(response: Any) -> tuple[dict[str, Any], bytes]:
    assert (response.status_code, response["Content-Type"]) == (200, "application/octet-stream"), response.content
    length = int(response[LENGTH])
    return json.loads(response.content[:length]), response.content[length:]


@pytest.mark.parametrize("kind", ["application/octet-stream", ""])  # Triton's client names none
def test_images_may_be_sent_and_labels_had_in_binary(client: Client, model: ModelVersion, kind: str) -> None:
    body, header = behind(with_lengths(image_bytes(), image_bytes()), "BYTES", [2])
    found, data = read_binary(post(client, INFER, body, kind=kind, headers=header))
    plain = post(client, INFER, tensor(shape=[2], data=[IMAGE, IMAGE], parameters={"top_k": 3})).json()
    sizes = [output.pop("parameters")["binary_data_size"] for output in found["outputs"]]
    labels, scores, _ = (output.pop("data") for output in plain["outputs"])
    assert found == plain
    assert sum(sizes) == len(data)
    assert data[: sizes[0]] == with_lengths(*map(str.encode, labels))
    assert list(struct.unpack("<6f", data[sizes[0] : sizes[0] + sizes[1]])) == pytest.approx(scores)
    assert data[sizes[0] + sizes[1] :] == with_lengths(*[model.name.encode()] * 2)


@pytest.mark.parametrize(("datatype", "code"), [("FP32", "f"), ("UINT8", "B")])
def test_pixels_may_be_sent_in_binary_and_each_output_had_as_it_is_wanted(
    client: Client, datatype: str, code: str
) -> None:
    body, header = behind(array(code, BLACK).tobytes(), datatype, [1, SIZE, SIZE, 3])
    found, data = read_binary(post(client, INFER, body, headers=header))
    wanted = [{"name": "score", "parameters": {"binary_data": True}}, {"name": "label"}]
    some, scores = read_binary(post(client, INFER, tensor(datatype, [1, SIZE, SIZE, 3], BLACK, outputs=wanted)))
    assert [("data" in output) for output in some["outputs"]] == [False, True]
    assert data[found["outputs"][0]["parameters"]["binary_data_size"] :][:12] == scores[:12]


@pytest.mark.parametrize(
    ("sent", "sentence"),
    [
        (behind(with_lengths(b"x"), "BYTES"), "File must be an image"),
        (behind(with_lengths(b"x")[:-1], "BYTES"), "each behind its length"),
        (behind(b"x", "BYTES"), "each behind its length"),
        (behind(with_lengths(*[b""] * 33), "BYTES"), "up to 32 elements"),
        (behind(bytes(3), "FP32"), "no whole number of elements"),
        (behind(bytes(3), "UINT8", size=4), "3 bytes, which is not the binary_data_size"),
        (behind(struct.pack("<3f", 0, float("nan"), 0), "FP32", [1, 1, 1, 3]), "numbers from 0 to 255"),
        ((b"{}", {LENGTH: "x"}), "is the length of the JSON"),
        ((b"{}", {LENGTH: "3"}), "is the length of the JSON"),
        ((b"{}", {LENGTH: "1"}), "JSON parse error"),
        ((b"[]", {LENGTH: "2"}), "Invalid data"),
    ],
)
def test_what_is_wrong_in_binary_is_said(client: Client, sent: tuple[bytes, dict[str, str]], sentence: str) -> None:
    response = post(client, INFER, sent[0], headers=sent[1])
    assert response.status_code == 400
    assert sentence in response.json()["error"]
    assert_nothing_stays()


@pytest.mark.parametrize("path", ["/v2/models/x", "/v2/models/x/ready", f"{MODEL}/versions/x", f"{MODEL}/versions/%00"])
def test_what_there_is_not_is_404(client: Client, path: str) -> None:
    for response in (client.get(path), post(client, f"{path.removesuffix('/ready')}/infer", tensor())):
        assert (response.status_code, list(response.json())) == (404, ["error"])


def test_errors_outside_the_views_have_the_protocols_form(client: Client) -> None:
    for path in ("/v2/nothing", "/v2/models/classifier/nothing", "/classify/nothing"):
        assert (client.get(path).status_code, list(client.get(path).json())) == (404, ["error"])
    assert (client.get("/classify").status_code, list(client.get("/classify").json())) == (405, ["error"])


# --- Waiting


@pytest.mark.parametrize("path", ["/classify?timeout=0", "/classify?timeout=0&record=true"])
def test_a_passed_deadline_leaves_nothing(client: Client, path: str) -> None:
    response = post(client, path, image_bytes())
    assert response.status_code == 504
    assert response.json()["error"].startswith("There was no answer within 0 seconds")
    assert_nothing_stays()
    assert not list(photos().listdir("")[1])


def test_a_client_may_ask_for_less_and_not_for_more(client: Client, settings: Any) -> None:
    settings.INFER_SECONDS = 0.01
    response = post(client, "/classify?timeout=3600", image_bytes(), pause=lambda seconds: True)
    assert "within 0.01 seconds" in response.json()["error"]


@pytest.mark.parametrize("path", ["/classify", "/classify?record=true"])
def test_who_has_gone_is_not_waited_for(client: Client, path: str) -> None:
    pauses: list[float] = []

    def gone(seconds: float) -> bool:
        pauses.append(seconds)
        return False

    post(client, path, image_bytes(), pause=gone)
    assert len(pauses) == 1
    assert_nothing_stays()


def test_without_a_worker_it_is_said_at_once(client: Client) -> None:
    cache.clear()
    response = post(client, "/classify", image_bytes())
    assert (response.status_code, "Retry-After" in response) == (503, True)
    assert "No worker is alive" in response.json()["error"]
    assert client.get("/v2/health/ready").status_code == 503
    assert client.get("/v2/health/live").json() == {"live": True}
    ready = client.get("/v2/models/classifier/ready")
    assert (ready.status_code, ready.json()) == (503, {"name": "classifier", "ready": False})


def test_with_one_it_is_ready(client: Client, model: ModelVersion) -> None:
    assert client.get("/v2/health/ready").json() == {"live": True, "ready": True}
    for path in ("/v2/models/classifier/ready", f"/v2/models/classifier/versions/{model.name}/ready"):
        assert client.get(path).json() == {"name": "classifier", "ready": True}


def test_a_version_that_no_machine_has_is_refused_at_once(
    client: Client, small_bundle: Bundle, tmp_path: Path, install: Any, model: ModelVersion
) -> None:
    newer = install(variant(small_bundle, tmp_path, "b"))
    (model.path / "model.tflite").unlink()
    machines.report()
    for version, status in ((model, 503), (newer, 200)):
        response = post(client, f"{MODEL}/versions/{version.name}/infer", tensor())
        assert response.status_code == status, response.content
    assert_nothing_stays()


@pytest.mark.parametrize("record", ["true", "false"])
def test_a_full_queue_refuses(client: Client, submit: Any, settings: Any, record: str) -> None:
    submit()
    settings.QUEUE_LIMIT = 1
    response = post(client, f"/classify?record={record}", image_bytes())
    assert (response.status_code, "Retry-After" in response) == (503, True)
    assert ImagePrediction.objects.count() == 1


def test_no_more_wait_than_there_are_places(client: Client, settings: Any, live_cluster: LiveCluster) -> None:
    settings.INFER_SECONDS = 60  # the first waits while twelve ask, on however slow a machine
    answers: list[int] = []

    def another(seconds: float) -> bool:
        live_cluster()  # a report counts for three seconds
        answers.append(post(Client(), "/classify", image_bytes(), pause=another).status_code)
        return False

    post(client, "/classify", image_bytes(), pause=another)
    assert answers[0] == 503  # of the last, who found no place
    assert len(answers) == synchronous.MAX_WAITING
    live_cluster()
    assert post(client, "/classify", image_bytes()).status_code == 200


# --- Recorded


def test_a_recorded_image_is_like_an_upload(client: Client, settings: Any) -> None:
    settings.ACCESS = "login"
    user = User.objects.create_user("ada")
    user.groups.add(Group.objects.get(name="labelers"))
    token = {"Authorization": f"Bearer {ApiToken.objects.create(user)[1]}"}
    response = post(client, "/classify?record=true&top_k=2", image_bytes(), headers=token)
    assert response.status_code == 200, response.content
    row = ImagePrediction.objects.get()
    assert response["Location"].endswith(f"/predictions/{row.pk}/")
    assert (row.status, row.uploaded_by, row.filename) == ("done", user, "unnamed")
    labels = [label["label"] for label in row.all_predictions or []]
    assert [answer["label"] for answer in response.json()] == labels[:2]
    assert photos().exists(str(row.image_path.name))


def test_recorded_tensors_say_under_which_ids(client: Client) -> None:
    answer = post(client, INFER, tensor(shape=[2], data=[IMAGE, IMAGE], parameters={"record": True})).json()
    [output] = [output for output in answer["outputs"] if output["name"] == "prediction"]
    assert (output["datatype"], output["shape"]) == ("INT64", [2])
    assert output["data"] == sorted(ImagePrediction.objects.values_list("pk", flat=True))


def test_all_are_recorded_or_none(client: Client) -> None:
    broken = base64.b64encode(image_bytes(size=(400, 300))[:2000]).decode()
    for second in (broken, base64.b64encode(b"no image").decode()):
        body = tensor(shape=[2], data=[IMAGE, second], parameters={"record": True})
        response = post(client, INFER, body)
        assert response.status_code == 400, response.content
        assert_nothing_stays()


def test_every_image_counts_for_the_rate_of_uploads(client: Client, allow: Any) -> None:
    allow(uploads="5/hour")
    response = post(client, INFER, tensor(shape=[4], data=[IMAGE] * 4))
    assert response["RateLimit-Remaining"] == "1"
    assert post(client, "/classify", image_bytes())["RateLimit-Remaining"] == "0"
    refused = post(client, "/classify", image_bytes())
    assert (refused.status_code, list(refused.json())) == (429, ["error"])


def test_forms_of_other_sites_cannot_send_with_a_session(settings: Any) -> None:
    settings.ACCESS = "login"
    client = Client(enforce_csrf_checks=True)
    user = User.objects.create_user("ada")
    user.groups.add(Group.objects.get(name="labelers"))
    client.force_login(user)
    response = post(client, "/classify", image_bytes(), kind="text/plain")
    assert (response.status_code, list(response.json())) == (403, ["error"])
