"""GET /predictions/: filters, orders, and pages that follow each other whatever the order."""

import itertools
import re

import pytest
from django.test import Client

from predictions.models import ImagePrediction
from predictions.tests.rows import four, row  # noqa: F401

pytestmark = pytest.mark.django_db


def walk(client: Client, address: str, relation: str = "next") -> list[list[int]]:
    """Return the ids of each page from an address on."""
    pages = []
    while address:
        response = client.get(address)
        assert response.status_code == 200, response.content
        pages.append([found["id"] for found in response.json()])
        link = re.search(rf'<([^>]+)>; rel="{relation}"', response.get("Link", ""))
        address = link[1] if link else ""
    return pages


@pytest.mark.usefixtures("four")
@pytest.mark.parametrize(("query", "expected"), [
    ("", "dcba"), ("label=cat", "a"), ("status=failed", "d"), ("min_confidence=0.5", "cb"), ("corrected=true", "b"),
    ("corrected=false&min_confidence=0.3", "c"), ("max_confidence=.5&ordering=confidence", "ac"), ("q=CAT", "ca"),
    ("ordering=-confidence", "bca"), ("ordering=id", "abcd"), ("label=", "dcba"),
    ("since=2020-01-01&until=2020-12-31", ""),
])  # fmt: skip
def test_every_filter_and_order(client: Client, query: str, expected: str) -> None:
    assert "".join(found["filename"] for found in client.get(f"/predictions/?{query}").json()) == expected


@pytest.mark.parametrize(("query", "field"), [
    ("status=senseless", "status"), ("min_confidence=2", "min_confidence"), ("max_confidence=NaN", "max_confidence"),
    ("corrected=maybe", "corrected"), ("ordering=filename", "ordering"), ("since=yesterday", "since"),
    ("model_version=none", "model_version"), ("label=" + "x" * 201, "label"), ("label=%00", "label"),
])  # fmt: skip
def test_a_senseless_filter_is_refused_by_name(client: Client, query: str, field: str) -> None:
    response = client.get(f"/predictions/?{query}")
    assert response.status_code == 400
    assert list(response.json()) == [field]


@pytest.mark.parametrize("ordering", ["id", "-id", "confidence", "-confidence"])
def test_pages_follow_each_other_both_ways_though_thousands_are_equally_sure(client: Client, ordering: str) -> None:
    for confidence in [1.0] * 8 + [0.1 + 0.2, 1 / 3, None]:
        row(confidence=confidence)
    [expected] = walk(client, f"/predictions/?ordering={ordering}")
    forward = walk(client, f"/predictions/?ordering={ordering}&page_size=3")
    assert list(itertools.chain(*forward)) == expected
    assert len(expected) == (10 if "confidence" in ordering else 11)
    assert len(set(expected)) == len(expected)
    last = f"/predictions/?ordering={ordering}&page_size=3"
    while 'rel="next"' in (response := client.get(last))["Link"]:
        last = re.findall(r'<([^>]+)>; rel="next"', response["Link"])[0]
    assert walk(client, last, "prev")[::-1] == forward


def test_a_page_keeps_its_place_when_images_come_and_go(client: Client) -> None:
    ids = [row().pk for _ in range(6)]
    first = client.get("/predictions/?page_size=2")
    row()
    ImagePrediction.objects.filter(pk__in=[ids[4], ids[3]]).delete()  # also the one that the cursor points at
    following = re.findall(r'<([^>]+)>; rel="next"', first["Link"])[0]
    assert [found["id"] for found in client.get(following).json()] == [ids[2], ids[1]]


def test_a_cursor_of_another_order_is_not_found(client: Client) -> None:
    for _ in range(3):
        row()
    response = client.get("/predictions/?page_size=1&ordering=confidence")
    following = re.findall(r'<([^>]+)>; rel="next"', response["Link"])[0]
    assert client.get(following.replace("ordering=confidence", "ordering=id")).status_code == 404


def test_the_browsable_list_shows_its_filters(client: Client) -> None:
    page = client.get("/predictions/?status=done", headers={"Accept": "text/html"}).content.decode()
    assert 'name="min_confidence"' in page
