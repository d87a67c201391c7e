"""The dashboard: its figures are the rows', and its pictures say them to everybody."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from django.test import Client
from django.utils import timezone

from predictions import dashboard, services
from predictions.dashboard import Ranking
from predictions.models import Correction, ImagePrediction, Status

pytestmark = pytest.mark.django_db

PICTURES = ["uploads", "classifications", "queue", "age", "confidence", "labels", "mistakes"]


def image(**fields: Any) -> ImagePrediction:
    return ImagePrediction.objects.create(filename="cat.jpg", sha256="0" * 64, width=1, height=1, size=1, **fields)


def done(label: str = "cat", confidence: float = 0.5, **fields: Any) -> ImagePrediction:
    moment = {"classified_at": timezone.now(), **fields}
    return image(status=Status.DONE, top_prediction=label, confidence=confidence, **moment)


def correct(prediction: ImagePrediction, label: str) -> Any:
    row = ImagePrediction.objects.filter(pk=prediction.pk)
    return services.correct(row, label, 1, by=None, source=Correction.Source.PAGE)


def page(client: Client) -> str:
    response = client.get("/dashboard/")
    assert response.status_code == 200
    return response.content.decode()


def pictures(html: str) -> dict[str, ET.Element]:
    """Return the outermost pictures by the beginning of their ids. Parsing them shows that they are well-formed."""
    found = [ET.fromstring(svg) for svg in re.findall(r'<svg class="chart".*?\n</svg>', html, re.DOTALL)]
    return {svg.attrib["aria-labelledby"].split("-")[0]: svg for svg in found}


def test_an_empty_database_has_a_dashboard(client: Client) -> None:
    html = page(client)
    assert html.count("None in 30 days.") == 4  # said by the page and by each picture
    assert "No photo waits." in html
    assert "None yet." in html
    assert set(pictures(html)) == set(PICTURES) - {"labels", "mistakes"}


def test_days_without_images_are_zero() -> None:
    now = timezone.now()
    done(created_at=now - timedelta(days=2), classified_at=now)
    image(created_at=now - timedelta(days=2))
    image(created_at=now - timedelta(days=29))
    image(created_at=now - timedelta(days=31))
    image(created_at=now + timedelta(days=2))
    days = dashboard.figures().days
    assert [day.date for day in days] == [now.date() - timedelta(days=29 - number) for number in range(30)]
    assert {29 - number: day.uploads for number, day in enumerate(days) if day.uploads} == {2: 2, 29: 1}
    assert [day.classifications for day in days] == [0] * 29 + [1]


def test_days_are_those_of_the_time_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timezone, "now", lambda: datetime(2026, 3, 30, 12, tzinfo=UTC))
    image(created_at=datetime(2026, 3, 28, 22, 30, tzinfo=UTC))
    image(created_at=datetime(2026, 3, 28, 23, 30, tzinfo=UTC))
    image(created_at=datetime(2026, 3, 29, 21, 30, tzinfo=UTC))  # the clocks have changed that night
    with timezone.override("Europe/Berlin"):
        days = dashboard.figures().days
    assert [(day.date.day, day.uploads) for day in days[-3:]] == [(28, 1), (29, 2), (30, 0)]


def test_the_queue_and_its_oldest() -> None:
    now = timezone.now()
    image(queued_at=now - timedelta(minutes=5))
    image()
    image(queued_at=None)  # written by an older version
    image(status=Status.PROCESSING, queued_at=now - timedelta(hours=3), lease_expires_at=now)
    done()
    image(status=Status.FAILED, queued_at=now - timedelta(hours=4))
    queue = dashboard.figures().queue
    assert (queue.waiting, queue.processing) == (3, 1)
    assert queue.oldest
    assert timedelta(minutes=5) <= queue.oldest < timedelta(minutes=6)


def test_an_old_image_that_is_classified_again_has_not_waited_since_its_upload() -> None:
    month = timezone.now() - timedelta(days=30)
    done(created_at=month, queued_at=month)
    ImagePrediction.objects.all().requeue()
    queue = dashboard.figures().queue
    assert queue.waiting == 1
    assert queue.oldest
    assert queue.oldest < timedelta(minutes=1)


def test_a_clock_ahead_makes_no_negative_age() -> None:
    image(queued_at=timezone.now() + timedelta(minutes=1))
    assert dashboard.figures().queue.oldest == timedelta()


def test_the_most_frequent_labels() -> None:
    image()
    for number in range(22):
        for _ in range(2 if number == 7 else 1):
            done(f"label {number:02}")
    labels = dashboard.figures().labels
    assert labels.counts[:3] == [("label 07", 2), ("label 00", 1), ("label 01", 1)]
    assert len(labels.counts) == dashboard.TOP
    assert labels.more


def test_every_confidence_has_its_bin() -> None:
    for confidence in (0, 0.05, 0.1, 0.29999, 0.3, 0.95, 1):
        done(confidence=confidence)
    correct(done(confidence=0.2), "dog")
    bins = dashboard.figures().confidence
    assert [item.model for item in bins] == [2, 1, 1, 1, 0, 0, 0, 0, 0, 2]
    assert [item.people for item in bins] == [0] * 9 + [1]


def test_what_the_model_gets_wrong() -> None:
    for _ in range(2):
        correct(done("cat"), "lynx")
    correct(done("dog"), "wolf")
    assert dashboard.figures().mistakes == Ranking([("cat", 2), ("dog", 1)], more=False)


def test_what_the_model_did_not_get_wrong() -> None:
    correct(done("right"), "right")
    correct(image(), "before the answer")
    services.undo(correct(done("taken back"), "other"))
    again = done("cat")
    first = correct(again, "person's")
    correct(again, "better")
    services.undo(first)
    assert dashboard.figures().mistakes == Ranking([], more=False)  # of `again` only the model's first label was undone
    correct(done("twice"), "first")
    twice = ImagePrediction.objects.latest("pk")
    correct(twice, "second")
    assert dashboard.figures().mistakes == Ranking([("twice", 1)], more=False)


def test_it_takes_eight_queries_beside_the_label_rules(client: Client, django_assert_max_num_queries: Any) -> None:
    for number in range(30):
        correct(done(f"label {number}"), "cat")
        image()
    with django_assert_max_num_queries(9):
        page(client)


def test_pictures_have_alternatives(client: Client) -> None:
    correct(done(confidence=0.2), "dog")
    image()
    html = page(client)
    drawn = pictures(html)
    assert list(drawn) == PICTURES
    for name, svg in drawn.items():
        named = {child.attrib["id"]: child.text for child in svg if child.tag in {"title", "desc"}}
        assert svg.attrib["role"] == "img"
        assert svg.attrib["aria-labelledby"].split() == [f"{name}-title", f"{name}-desc"] == list(named)
        assert all(named.values())
    assert html.count("<details>") == html.count("<table ") == 6  # the age is one number, which the page says in words
    assert re.search(r'<th scope="row">20% to 30%</th><td>0</td><td>0</td>', html)
    assert re.search(r'<th scope="row">90% to 100%</th><td>0</td><td>1</td>', html)
    assert re.search(r'<th scope="row">cat</th><td>1</td>', html)
    assert len(re.findall(r' id="', html)) == len(set(re.findall(r' id="([^"]*)"', html)))


def test_it_keeps_to_a_strict_content_security_policy(client: Client) -> None:
    correct(done(), "dog")
    main = page(client).partition("<main")[2]
    assert not re.search(r"<script|<style|\sstyle=|\son\w+=", main)


def test_labels_are_text_whatever_they_contain(client: Client) -> None:
    evil = "<script>alert(1)</script>&\"'"
    correct(done(evil), "</title></svg><img src=x>")
    html = page(client)
    assert "<script>alert" not in html
    assert "<img" not in html
    assert "&lt;script&gt;alert(1)" in html
    assert "".join(pictures(html)["mistakes"].itertext()).count(evil) == 2  # the bar, and the sentence
