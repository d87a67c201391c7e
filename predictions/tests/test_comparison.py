"""Two versions side by side: the figures are the rows', and the statistics the textbooks'."""

import random
import statistics
import time
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from classifier.models import ModelVersion
from predictions import comparison, comparison_charts, services
from predictions.charts import ABOVE, HEIGHT
from predictions.labelmap import LabelRule
from predictions.models import Classification, Correction, ImagePrediction, Status

pytestmark = pytest.mark.django_db
Said = tuple[str, float]


@pytest.fixture
def versions() -> list[ModelVersion]:
    return [
        ModelVersion.objects.create(name=name, backbone="MobileNetV2", digest=name, serving=name == "a")
        for name in ("a", "b", "c")
    ]


def answer(version: ModelVersion, photo: ImagePrediction, said: Said, milliseconds: float | None = 5) -> None:
    label, confidence = said
    labels = [{"label": label, "confidence": confidence}]
    Classification.objects.create(
        prediction=photo, model_version=version, labels=labels, label=label, confidence=confidence,
        milliseconds=milliseconds,
    )  # fmt: skip


def photo(*answers: tuple[ModelVersion, Said], truth: str = "", **fields: Any) -> ImagePrediction:
    """Make a photo that versions have answered, and, with a truth, somebody has corrected."""
    given = {"filename": "cat.jpg", "sha256": "0" * 64, "width": 1, "height": 1, "size": 1, "status": Status.DONE}
    row = ImagePrediction.objects.create(**given, **fields)
    for version, said in answers:
        answer(version, row, said)
    if truth:
        correct(row, truth)
    return row


def correct(row: ImagePrediction, truth: str) -> Any:
    rows = ImagePrediction.objects.filter(pk=row.pk)
    return services.correct(rows, truth, 1, by=None, source=Correction.Source.PAGE)


def test_only_images_that_both_have_answered_count(versions: list[ModelVersion]) -> None:
    a, b, c = versions
    photo((a, ("cat", 0.9)), (b, ("cat", 0.35)))
    photo((a, ("cat", 0.9)), (b, ("dog", 0.3)), (c, ("cat", 0.1)))
    photo((a, ("cat", 0.9)), (c, ("cat", 0.1)))
    photo((b, ("cat", 0.9)))
    photo()
    found = comparison.compare(a, b)
    assert (found.images, found.agreeing) == (2, 1)
    assert found.a.histogram == [0] * 9 + [2]
    assert found.b.histogram == [0, 0, 0, 2, 0, 0, 0, 0, 0, 0]
    assert found.corrected == 0
    assert found.a.ece is None
    assert (found.mcnemar.only_a, found.mcnemar.p) == (0, 1)


@pytest.mark.parametrize(("confidence", "number"), [(0, 0), (0.1, 1), (0.3, 3), (0.6, 6), (0.7, 7), (0.999, 9), (1, 9)])
def test_a_bin_has_its_lower_edge(versions: list[ModelVersion], confidence: float, number: int) -> None:
    a, b, _ = versions
    photo((a, ("cat", confidence)), (b, ("cat", 0.5)), truth="cat")
    found = comparison.compare(a, b)
    assert found.a.histogram[number] == found.a.reliability[number].count == 1


def test_the_truth_is_the_newest_correction_that_stands(versions: list[ModelVersion]) -> None:
    a, b, _ = versions
    both = (a, ("cat", 0.9)), (b, ("dog", 0.9))
    photo(*both, truth="cat")
    overruled = photo(*both, truth="cat")
    correct(overruled, "dog")
    undone = photo(*both)
    services.undo(correct(undone, "dog"))
    photo(*both, truth="eel")
    photo(*both)
    found = comparison.correctness(a, b)
    assert (found.a.right, found.b.right, found.a.total, found.b.total) == (1, 1, 3, 3)
    assert (found.mcnemar.only_a, found.mcnemar.only_b) == (1, 1)


def test_a_label_is_right_too_if_people_know_it_by_another_name(versions: list[ModelVersion]) -> None:
    a, b, _ = versions
    LabelRule.objects.create(label="beagle", shown_as="dog")
    LabelRule.objects.create(label="siamese", minimum=0.9)
    for truth in ("dog", "beagle", "siamese"):
        photo((a, ("beagle", 0.9)), (b, ("siamese", 0.4)), truth=truth)
    found = comparison.correctness(a, b)
    assert (found.a.right, found.b.right, found.a.total) == (2, 1, 3)
    assert (found.mcnemar.only_a, found.mcnemar.only_b) == (2, 1)


def test_calibration(versions: list[ModelVersion]) -> None:
    a, b, _ = versions
    for number in range(4):
        photo((a, ("cat", 0.8)), (b, ("cat", 0.05)), truth="cat" if number else "dog")
    photo((a, ("dog", 0.2)), (b, ("cat", 0.05)), truth="cat")
    found = comparison.compare(a, b)
    assert [(item.count, round(item.confidence, 6), item.accuracy) for item in found.a.reliability if item.count] == [
        (1, 0.2, 0),
        (4, 0.8, 0.75),
    ]
    assert found.a.ece == pytest.approx((1 * 0.2 + 4 * 0.05) / 5)
    assert found.b.ece == pytest.approx(0.8 - 0.05)


def test_latency_is_that_of_images_which_both_looked_at(versions: list[ModelVersion]) -> None:
    a, b, _ = versions
    times = [float(number) for number in range(1, 101)]
    for milliseconds in times:
        row = photo((b, ("cat", 0.5)))
        answer(a, row, ("cat", 0.5), milliseconds)
    answer(a, photo((b, ("cat", 0.5))), ("cat", 0.5), None)  # bytes that were known
    photo((a, ("cat", 0.5)))
    found = comparison.latency(a, b)
    assert found
    assert (found.answers, found.median) == (100, 50.5)
    assert found.p95 == pytest.approx(statistics.quantiles(times, n=100, method="inclusive")[94])
    assert comparison.latency(a, ModelVersion.objects.get(name="c")) is None


def test_one_time_is_median_and_p95(versions: list[ModelVersion]) -> None:
    a, b, _ = versions
    photo((a, ("cat", 0.5)), (b, ("cat", 0.5)))
    assert comparison.latency(a, b) == comparison.Latency(1, 5, 5)


def test_where_they_differ_the_newest_comes_first(versions: list[ModelVersion]) -> None:
    a, b, _ = versions
    rows = [photo((a, ("cat", 0.9)), (b, (label, 0.8))) for label in ("dog", "cat", "eel")]
    found = [(row.prediction_id, row.label, vars(row)["other_label"]) for row in comparison.differing(a, b, 3)]
    assert found == [(rows[2].pk, "cat", "eel"), (rows[0].pk, "cat", "dog")]
    assert [row.prediction_id for row in comparison.differing(a, b, 1, before=rows[2].pk)] == [rows[0].pk]


def test_labels_that_are_shown_as_one_are_the_same(versions: list[ModelVersion], client: Client) -> None:
    a, b, _ = versions
    LabelRule.objects.create(label="beagle", shown_as="dog", minimum=0.9)
    LabelRule.objects.create(label="poodle", shown_as="dog")
    LabelRule.objects.create(label="siamese", minimum=0.9)  # shown as itself
    pairs = [("beagle", "poodle"), ("poodle", "dog"), ("siamese", "siamese"), ("beagle", "siamese"), ("siamese", "cat")]
    rows = [photo((a, (one, 0.5)), (b, (other, 0.5))) for one, other in pairs]
    for one, other in ((a, b), (b, a)):
        found = comparison.compare(one, other)
        assert (found.images, found.agreeing) == (5, 3)
        assert [row.prediction_id for row in comparison.differing(one, other, 9)] == [rows[4].pk, rows[3].pk]


def test_a_comparison_takes_about_as_long_as_reading_the_answers(versions: list[ModelVersion]) -> None:
    """With a rule for each label, and all photos corrected. Rules looked up by the row would make it ten times."""
    a, b, _ = versions
    count, labels = 5000, [f"label {number}" for number in range(1000)]
    LabelRule.objects.bulk_create([LabelRule(label=label, shown_as=f"{label}!") for label in labels])
    common = {"filename": "", "sha256": "0" * 64, "width": 1, "height": 1, "size": 1, "corrected_at": timezone.now()}
    rows = ImagePrediction.objects.bulk_create(
        ImagePrediction(top_prediction=labels[number % 1000], **common) for number in range(count)
    )
    for version, apart in ((a, 0), (b, 100)):
        Classification.objects.bulk_create(
            Classification(
                prediction=row, model_version=version, labels=[], confidence=0.5,
                label=labels[number % 1000 if number % 1000 >= apart else 0],
            ) for number, row in enumerate(rows)
        )  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    answers = Classification.objects.values_list("prediction_id", "model_version_id", "label", "confidence")
    assert comparison.compare(a, b).agreeing == count * 0.9 + count / 1000
    assert fastest(lambda: comparison.compare(a, b)) < 4 * fastest(lambda: list(answers.all()))


def fastest(run: Callable[[], object]) -> float:
    """Return the seconds of the fastest of some runs."""
    times = []
    for _ in range(5):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


# Newcombe, Two-sided confidence intervals for the single proportion, Statistics in Medicine 17 (1998), table I.
@pytest.mark.parametrize(
    ("right", "total", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0000, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson(right: int, total: int, low: float, high: float) -> None:
    assert comparison.wilson(right, total) == pytest.approx((low, high), abs=5e-5)
    mirrored = comparison.wilson(total - right, total)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=5e-5)


def test_nothing_is_known_of_no_image() -> None:
    assert comparison.wilson(0, 0) == (0, 1)


# By hand: exact 2 * (1 + 8) / 2**8 and so on; of 59 and 6, chi-squared is (53 - 1)**2 / 65 = 41.6.
@pytest.mark.parametrize(
    ("only_a", "only_b", "p"),
    [(0, 0, 1), (1, 7, 18 / 256), (7, 1, 18 / 256), (0, 5, 2 / 32), (3, 3, 1), (12, 12, 1), (20, 20, 1),
     (59, 6, 1.12e-10), (10, 20, 0.1003)],
)  # fmt: skip
def test_mcnemar(only_a: int, only_b: int, p: float) -> None:
    assert comparison.mcnemar(only_a, only_b) == pytest.approx(p, rel=5e-3)


def test_mcnemar_of_millions_is_a_number() -> None:
    assert 0 <= comparison.mcnemar(10**7, 1) < 1e-9


def test_exact_and_approximate_agree_where_they_meet() -> None:
    exact = comparison.mcnemar(7, 17)
    approximate = comparison.mcnemar(7, 18)
    assert exact == pytest.approx(0.0639, abs=1e-4)
    assert approximate == pytest.approx(0.0455, abs=1e-4)


def test_figures_are_those_of_a_plain_count(versions: list[ModelVersion]) -> None:
    """Over random rows, whatever SQL does is what a loop does."""
    a, b, _ = versions
    chance = random.Random(1)
    rows: list[tuple[Said, Said, str]] = []
    for _ in range(120):
        said = [(chance.choice("xyz"), round(chance.random(), 2)) for _ in "ab"]
        rows.append((said[0], said[1], chance.choice(["", "x", "y"])))
    for said_a, said_b, truth in rows:
        photo((a, said_a), (b, said_b), truth=truth)
    found = comparison.compare(a, b)
    known = [row for row in rows if row[2]]
    assert found.agreeing == sum(one[0] == other[0] for one, other, _ in rows)
    for side, position in ((found.a, 0), (found.b, 1)):
        assert side.histogram == bins(row[position][1] for row in rows)  # type: ignore[misc]
        assert side.accuracy.right == sum(row[position][0] == row[2] for row in known)
        assert [item.count for item in side.reliability] == bins(row[position][1] for row in known)  # type: ignore[misc]
        assert sum(item.accuracy * item.count for item in side.reliability) == pytest.approx(side.accuracy.right)


def bins(confidences: Iterable[float]) -> list[int]:
    counts = [0] * 10
    for confidence in confidences:
        counts[sum(confidence >= number / 10 for number in range(1, 10))] += 1
    return counts


def test_a_comparison_takes_as_many_queries_for_any_number(versions: list[ModelVersion], client: Client) -> None:
    a, b, _ = versions
    counts = []
    for _ in range(2):
        for number in range(30):
            photo((a, ("cat", 0.9)), (b, ("dog", 0.3)), truth="cat" if number % 2 else "")
        with CaptureQueriesContext(connection, ) as queries:  # fmt: skip
            assert client.get("/dashboard/models/compare/?a=a&b=b").status_code == 200
        counts.append(len(queries))
    assert counts[0] == counts[1] <= 8


@pytest.mark.parametrize("truth", ["", "cat"])
def test_pictures_stay_in_their_frames(versions: list[ModelVersion], truth: str) -> None:
    a, b, _ = versions
    for number in range(11):
        photo((a, ("cat", number / 10)), (b, ("dog", 0.3)), truth=truth)
    for drawn in comparison_charts.draw(comparison.compare(a, b)):
        for chart in (drawn.confidence, drawn.reliability):
            for column in chart.columns:
                assert 0 <= float(column.y.removesuffix("em")) <= ABOVE + HEIGHT
                assert float(column.x.rstrip("%")) + float(column.width.rstrip("%")) <= 100
            for target in chart.targets:
                assert ABOVE <= float(target.y.removesuffix("em")) <= ABOVE + HEIGHT
        assert bool(drawn.accuracy.at) == bool(truth)
        if truth:
            assert float(drawn.accuracy.low.rstrip("%")) + float(drawn.accuracy.width.rstrip("%")) <= 100.01
