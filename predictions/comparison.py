"""Two model versions side by side, over the images that both have answered: a few queries, however many there are."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import NormalDist
from typing import Any, NamedTuple, Self

from django.db import connection
from django.db.models import Exists, OuterRef, Subquery
from django.utils import timezone

from classifier.models import ModelVersion
from predictions.models import Classification, ClassificationQuerySet

BINS = 10
LEVEL = 0.95  # of confidence intervals
FEW = 25  # discordant pairs, below which McNemar's test is exact
TIMED = 10_000  # the newest answers whose times are looked at
NO_ID = 2**63 - 1  # above all ids


def _rule(side: str, other: str) -> str:
    """Return the SQL that joins an answer's rule of the label map. None is looked up for what is `other` anyway."""
    return f"LEFT JOIN predictions_labelrule {side}_rule ON {side}_rule.label = NULLIF({side}.label, {other})"


def _name(side: str) -> str:
    """Return the SQL of what the label map calls an answer, however sure the model is."""
    return f"COALESCE(NULLIF({side}_rule.shown_as, ''), {side}.label)"


def _right(side: str) -> str:
    """Return the SQL of whether an answer is what people said, 1 or 0: the model's label, or what the map calls it."""
    return f"CASE WHEN image.top_prediction IN ({side}.label, {_name(side)}) THEN 1 ELSE 0 END"


def _bin(confidence: str) -> str:
    """Return the SQL of a confidence's bin. By comparison: exact at the edges, and the same in all databases."""
    cases = " ".join(f"WHEN {confidence} < {(number + 1) / BINS} THEN {number}" for number in range(BINS - 1))
    return f"CASE {cases} ELSE {BINS - 1} END"


def _above(confidence: str) -> str:
    """Return the SQL that counts the confidences from each bin's lower edge on."""
    return ", ".join(f"count(*) FILTER (WHERE {confidence} >= {number / BINS})" for number in range(BINS))


# SQL, because the ORM would join the images in between, which takes PostgreSQL twice the time. The index `compared` has
# all that is read. Numbers are the only parameters. Counting in one pass spares SQLite what GROUP BY sorts.
_BOTH = """
    JOIN predictions_classification b ON b.prediction_id = a.prediction_id AND b.model_version_id = %s
"""
_ANSWERED = "a.model_version_id = %s AND a.label IS NOT NULL AND b.label IS NOT NULL"
# Labels that the label map shows as one are the same; most are so without it.
_SAME = f"(a.label = b.label OR {_name('a')} = {_name('b')})"
_PAIRS = f"predictions_classification a {_BOTH} {_rule('a', 'b.label')} {_rule('b', 'a.label')} WHERE {_ANSWERED}"
_AGREEMENT = f"""
    SELECT count(*), count(*) FILTER (WHERE {_SAME}), {_above("a.confidence")}, {_above("b.confidence")} FROM {_PAIRS}
"""  # noqa: S608  (of constants)
_DIFFERING = f"""
    SELECT a.id FROM {_PAIRS} AND NOT {_SAME} AND a.prediction_id < %s ORDER BY a.prediction_id DESC LIMIT %s
"""  # noqa: S608  (of constants)
# CROSS JOIN has SQLite begin with the corrected images, by their index; PostgreSQL begins with what it likes. Who is
# right and the bins are one number, for SQLite sorts by it: by four it takes half as long again.
_CORRECTNESS = f"""
    SELECT (({_right("a")} * 2 + {_right("b")}) * {BINS} + {_bin("a.confidence")}) * {BINS} + {_bin("b.confidence")},
        count(*), sum(a.confidence), sum(b.confidence)
    FROM predictions_imageprediction image CROSS JOIN predictions_classification a {_BOTH}
        {_rule("a", "image.top_prediction")} {_rule("b", "image.top_prediction")}
    WHERE {_ANSWERED} AND a.prediction_id = image.id AND image.corrected_at IS NOT NULL
    GROUP BY 1
"""  # noqa: S608  (of constants)


@dataclass(frozen=True)
class Accuracy:
    """How many of so many corrected images a version got right."""

    right: int
    total: int

    @property
    def share(self) -> float:
        """Return the part that is right, 0 to 1; 0 of none."""
        return self.right / self.total if self.total else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """Return the bounds of its Wilson interval."""
        return wilson(self.right, self.total)


@dataclass(frozen=True)
class McNemar:
    """Whether two versions' accuracies differ by more than chance, judged by the images that only one got right."""

    only_a: int
    only_b: int

    @property
    def p(self) -> float:
        """Return the probability of a difference as large as this, or larger, if both were equally good."""
        return mcnemar(self.only_a, self.only_b)

    def __str__(self) -> str:
        return "p < 0.0001" if self.p < 0.0001 else f"p = {self.p:.4f}"

    @property
    def is_exact(self) -> bool:
        """Return whether the probability is the binomial one, and no approximation."""
        return self.only_a + self.only_b < FEW


@dataclass(frozen=True)
class Reliability:
    """Corrected images whose confidence is at least `low` and under `high`: how sure the model was, and how right."""

    low: float
    high: float
    count: int
    confidence: float  # mean, 0 to 1; 0 of none
    accuracy: float


@dataclass(frozen=True)
class Latency:
    """Milliseconds of decoding and inference, of a version's newest answers."""

    answers: int
    median: float
    p95: float


@dataclass(frozen=True)
class Side:
    """One of two versions. `histogram` counts the answers of BINS bins of equal width, the last one up to 1."""

    version: ModelVersion
    histogram: list[int]
    latency: Latency | None
    accuracy: Accuracy
    reliability: list[Reliability]

    @property
    def ece(self) -> float | None:
        """Return the expected calibration error: the mean distance of confidence and accuracy; None without images.

        Guo et al., On calibration of modern neural networks, ICML 2017, equation 3.
        """
        total = sum(item.count for item in self.reliability)
        apart = sum(item.count * abs(item.accuracy - item.confidence) for item in self.reliability)
        return apart / total if total else None


@dataclass(frozen=True)
class Comparison:
    """Everything about two versions, as it was at one moment."""

    at: datetime
    images: int  # that both have answered
    agreeing: int
    a: Side
    b: Side
    mcnemar: McNemar

    @property
    def corrected(self) -> int:
        """Return how many of the images people have corrected: what accuracy and calibration are measured on."""
        return self.a.accuracy.total


@dataclass(frozen=True)
class Correctness:
    """What two versions said of the corrected images that both have answered; `truth` is what people said last."""

    a: Accuracy
    b: Accuracy
    mcnemar: McNemar
    reliability_a: list[Reliability]
    reliability_b: list[Reliability]


def compare(a: ModelVersion, b: ModelVersion) -> Comparison:
    """Ask the database for everything but the photos."""
    now, found = timezone.now(), correctness(a, b)
    [(images, agreeing, *above)] = _rows(_AGREEMENT, a, b)
    return Comparison(
        at=now,
        images=images,
        agreeing=agreeing,
        a=Side(a, _histogram(above[:BINS]), latency(a, b), found.a, found.reliability_a),
        b=Side(b, _histogram(above[BINS:]), latency(b, a), found.b, found.reliability_b),
        mcnemar=found.mcnemar,
    )


def _histogram(above: Sequence[int]) -> list[int]:
    """Return how many are in each bin, of how many are above each bin's lower edge."""
    return [count - higher for count, higher in zip(above, [*above[1:], 0], strict=True)]


def correctness(a: ModelVersion, b: ModelVersion) -> Correctness:
    """Compare both with what people said: the newest correction of each image that is not undone."""
    cells = [_Cell.read(*row) for row in _rows(_CORRECTNESS, a, b)]
    total = sum(cell.images for cell in cells)
    return Correctness(
        Accuracy(sum(cell.images for cell in cells if cell.right[0]), total),
        Accuracy(sum(cell.images for cell in cells if cell.right[1]), total),
        McNemar(
            sum(cell.images for cell in cells if cell.right == (1, 0)),
            sum(cell.images for cell in cells if cell.right == (0, 1)),
        ),
        *(_reliability(cells, side) for side in (0, 1)),
    )


class _Cell(NamedTuple):
    """Corrected images that both versions have in the same bin, and are as right about: pairs of a's and b's."""

    right: tuple[int, int]  # 1 or 0
    bins: tuple[int, int]
    images: int
    confidence: tuple[float, float]  # sums

    @classmethod
    def read(cls, number: int, images: int, sure_a: float, sure_b: float) -> Self:
        """Take a row of _CORRECTNESS apart."""
        right, bins = divmod(number, BINS**2)
        return cls(divmod(right, 2), divmod(bins, BINS), images, (sure_a, sure_b))


def _rows(sql: str, a: ModelVersion, b: ModelVersion, *more: int) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, [b.pk, a.pk, *more])
        return list(cursor.fetchall())


def _reliability(cells: Sequence[_Cell], side: int) -> list[Reliability]:
    """Return the bins of a reliability diagram of one side.

    DeGroot and Fienberg, The comparison and evaluation of forecasters, The Statistician 32 (1983), pages 12 to 22.
    """
    counts, right, sure = [0] * BINS, [0] * BINS, [0.0] * BINS
    for cell in cells:
        number = cell.bins[side]
        counts[number] += cell.images
        right[number] += cell.images * cell.right[side]
        sure[number] += cell.confidence[side]
    return [
        Reliability(
            number / BINS, (number + 1) / BINS, count, sure[number] / (count or 1), right[number] / (count or 1)
        )
        for number, count in enumerate(counts)
    ]


def latency(version: ModelVersion, other: ModelVersion) -> Latency | None:
    """Return how long a version took for the newest TIMED images that both looked at; None if it looked at none.

    Bytes that were known took no time, and do not count.
    """
    looked_at = Classification.objects.filter(model_version=version, milliseconds__isnull=False)
    newest = looked_at.filter(Exists(_of(other))).order_by("-prediction_id")[:TIMED]
    times = [time for time in newest.values_list("milliseconds", flat=True) if time is not None]
    if not times:
        return None
    cuts = statistics.quantiles(times, n=20, method="inclusive") if len(times) > 1 else times * 19
    return Latency(len(times), statistics.median(times), cuts[-1])


def differing(a: ModelVersion, b: ModelVersion, count: int, *, before: int = NO_ID) -> list[Classification]:
    """Return a's answers that b contradicts, with `other_label` and `other_confidence`, the newest photos first.

    So many of them, of photos whose ids are below `before`.
    """
    ids = [pk for (pk,) in _rows(_DIFFERING, a, b, before, count)]
    return list(
        Classification.objects.filter(pk__in=ids)
        .annotate(other_label=Subquery(_of(b).values("label")), other_confidence=Subquery(_of(b).values("confidence")))
        .select_related("prediction")
        .defer("labels", "prediction__all_predictions")
        .order_by("-prediction_id")
    )


def _of(version: ModelVersion) -> ClassificationQuerySet:
    """Return a version's answer to the image of an outer query's."""
    return Classification.objects.order_by().filter(model_version=version, prediction=OuterRef("prediction"))


def wilson(right: int, total: int, level: float = LEVEL) -> tuple[float, float]:
    """Return the score interval of a proportion, 0 to 1: unlike Wald's, it is of use for few images and near 0 and 1.

    Wilson, Probable inference, the law of succession, and statistical inference, JASA 22 (1927), pages 209 to 212.
    """
    if not total:
        return 0.0, 1.0
    z, share = NormalDist().inv_cdf((1 + level) / 2), right / total
    middle = share + z * z / (2 * total)
    reach = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    scale = 1 + z * z / total
    return max(0.0, (middle - reach) / scale), min(1.0, (middle + reach) / scale)


def mcnemar(only_a: int, only_b: int) -> float:
    """Return the two-sided p of paired answers, of which so many only one or the other got right.

    McNemar, Psychometrika 12 (1947), pages 153 to 157: of fewer than FEW the exact binomial probability, otherwise
    chi-squared of one degree of freedom with the continuity correction of Edwards, Psychometrika 13 (1948), pages 185
    to 187.
    """
    discordant = only_a + only_b
    if discordant < FEW:
        fewer = sum(math.comb(discordant, number) for number in range(min(only_a, only_b) + 1))
        return min(1.0, fewer / 2.0 ** (discordant - 1))
    chi_squared = max(abs(only_a - only_b) - 1, 0) ** 2 / discordant
    return math.erfc(math.sqrt(chi_squared / 2))
