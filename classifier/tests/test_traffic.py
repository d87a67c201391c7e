"""Shares of the traffic: decided by content, always the whole, and changed as one."""

import hashlib
from collections import Counter

import pytest
from django.db import IntegrityError, transaction

from classifier.models import ModelVersion
from classifier.traffic import Traffic, TrafficError

# A share of a half is off by half a point in two of three sets of as many images, by chance alone.
IMAGES = [hashlib.sha256(b"image %d" % number).hexdigest() for number in range(10_000)]


@pytest.fixture
def versions(db: None) -> list[ModelVersion]:
    """Three versions, of which the last one serves."""
    return [ModelVersion.objects.create(name=name, backbone="b", digest=name, serving=name == "c") for name in "abc"]


def traffic() -> Traffic:
    found = ModelVersion.objects.traffic()
    assert found
    return found


def met(images: list[str] = IMAGES) -> dict[str, str]:
    """Return which version each image meets, by name."""
    now = traffic()
    return {image: now.version_for(image).name for image in images}


@pytest.mark.parametrize("shares", [{}, {"a": 1}, {"a": 10, "b": 30}, {"a": 50}, {"a": 33, "b": 33}, {"a": 100}])
def test_each_version_has_its_share_within_a_point(versions: list[ModelVersion], shares: dict[str, int]) -> None:
    ModelVersion.objects.set_shares(shares)
    counts = Counter(met().values())
    for name, share in {"a": 0, "b": 0, "c": 100 - sum(shares.values()), **shares}.items():
        assert abs(counts[name] / 100 - share) <= 1, (name, counts)


def test_the_same_photo_always_meets_the_same_version(versions: list[ModelVersion]) -> None:
    ModelVersion.objects.set_shares({"a": 20, "b": 30})
    before = met()
    assert met() == before
    ModelVersion.objects.set_shares({"a": 20, "b": 40})
    moved = [image for image, name in met().items() if name != before[image]]
    assert len(moved) / len(IMAGES) == pytest.approx(0.1, abs=0.01)
    assert {before[image] for image in moved} == {"c"}


def test_the_serving_version_has_what_the_others_leave(versions: list[ModelVersion]) -> None:
    assert {version.name: share for version, share in traffic().shares().items()} == {"c": 100}
    now = ModelVersion.objects.set_shares({"a": 15, "c": 85}, shadows=["b"])
    assert {version.name: share for version, share in now.shares().items()} == {"c": 85, "a": 15}
    assert [version.name for version in now.shadows] == ["b"]
    now = ModelVersion.objects.set_shares({"b": 5})
    assert {version.name: share for version, share in now.shares().items()} == {"c": 95, "b": 5}
    assert now.shadows == []


@pytest.mark.parametrize(
    ("shares", "shadows", "reason"),
    [
        ({"a": 101}, [], "percentages"),
        ({"a": -1}, [], "percentages"),
        ({"a": 60, "b": 41}, [], "percentages"),
        ({"nobody": 1}, [], "No version nobody"),
        ({}, ["nobody"], "No version nobody"),
        ({"c": 80}, [], "has what the others leave: 100"),
        ({"a": 10}, ["a"], "both answer and be a shadow"),
    ],
)
def test_impossible_shares_change_nothing(
    versions: list[ModelVersion], shares: dict[str, int], shadows: list[str], reason: str
) -> None:
    ModelVersion.objects.set_shares({"a": 7})
    with pytest.raises(TrafficError, match=reason):
        ModelVersion.objects.set_shares(shares, shadows)
    assert {version.name: share for version, share in traffic().shares().items()} == {"c": 93, "a": 7}


def test_without_a_serving_version_there_is_no_traffic(db: None) -> None:
    assert ModelVersion.objects.traffic() is None
    with pytest.raises(TrafficError, match="No model is installed"):
        ModelVersion.objects.set_shares({})


def test_who_is_promoted_has_all_of_it_and_the_previous_one_is_known(versions: list[ModelVersion]) -> None:
    a, b, c = versions
    ModelVersion.objects.promote(c)
    ModelVersion.objects.set_shares({"a": 10}, shadows=["b"])
    ModelVersion.objects.promote(b)
    assert traffic() == Traffic(b, [], [])
    assert ModelVersion.objects.previous() == c
    assert not ModelVersion.objects.get(pk=a.pk).share


def test_the_database_refuses_what_is_no_percentage(versions: list[ModelVersion]) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        ModelVersion.objects.filter(name="a").update(share=101)
