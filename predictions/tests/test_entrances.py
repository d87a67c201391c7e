"""The hostile files through the other entrances: the page, and the protocols whose clients wait for the answer."""

import base64
import json
import re
from itertools import islice

import pytest
from django.test import Client

from classifier.models import ModelVersion
from config.tests.environment import LiveCluster
from config.tests.service import Service
from predictions.inference_requests import InferenceRequest
from predictions.tests.corpus import Fate, Sample, corpus, small_corpus
from predictions.tests.test_hostile import FORM, MEMORY, assert_fate, multipart, peaks
from predictions.tests.test_protocols import INFER, post

PAGE, CLASSIFY = "/", "/classify"
ENTRANCES = [PAGE, CLASSIFY, INFER]


def body_of(sample: Sample, entrance: str) -> tuple[bytes, str]:
    """Return what carries a file to an entrance, and its type."""
    if entrance == PAGE:
        return multipart(sample), FORM
    if entrance == CLASSIFY:
        return sample.content, "image/jpeg"
    text = base64.b64encode(sample.content).decode()
    tensor = {"name": "x", "datatype": "BYTES", "shape": [1], "data": [text]}
    return json.dumps({"inputs": [tensor]}).encode(), "application/json"


def assert_answer(sample: Sample, status: int, answer: bytes) -> None:
    """Assert that an entrance's answer is one that the file may have; the page accepts before anybody decodes it."""
    if status == 302:
        assert sample.fate is not Fate.REFUSED, sample.name
    elif status == 200:
        assert_fate(sample, Fate.DONE, "")
    else:
        assert status == 400, (sample.name, status, answer[:200])
        [reason] = re.findall(r"</strong>: (.+?)</li>", answer.decode()) or [json.loads(answer)["error"]]
        assert_fate(sample, Fate.NOT_DONE if sample.fate is Fate.NOT_DONE else Fate.REFUSED, reason)


@pytest.mark.parametrize(("first", "entrance"), list(enumerate(ENTRANCES)))
def test_a_third_of_the_small_files_each(
    client: Client, model: ModelVersion, live_cluster: LiveCluster, first: int, entrance: str
) -> None:
    for sample in islice(small_corpus(), first, None, len(ENTRANCES)):
        live_cluster()
        body, kind = body_of(sample, entrance)
        response = post(client, entrance, body, kind=kind)
        assert_answer(sample, response.status_code, response.content)
    assert not InferenceRequest.objects.exists()


@pytest.mark.fuzz
@pytest.mark.parametrize("entrance", ENTRANCES)
def test_the_whole_corpus_on_the_live_service(service: Service, entrance: str) -> None:
    service.wait_done([service.post()["id"]])
    before, cookie = service.pids(), service.http.request("HEAD", service.url).headers["Set-Cookie"].split(";")[0]
    form = {"Cookie": cookie, "X-CSRFToken": cookie.partition("=")[2]}  # as the page's script sends it
    for sample in corpus():
        body, kind = body_of(sample, entrance)
        headers = form | {"Content-Type": kind}
        response = service.http.request("POST", service.url + entrance, body=body, headers=headers, redirect=False)
        assert_answer(sample, response.status, response.data)
    service.wait_done(list(service.rows()), seconds=600)
    assert service.pids() == before
    assert max(peaks(service).values()) < MEMORY
