"""Pictures stay in their frames, whatever the figures."""

from datetime import timedelta

import pytest
from django.utils import timezone

from predictions import charts
from predictions.dashboard import Bin, Day, Figures, Queue, Ranking
from predictions.scales import top_of


def figures(count: int) -> Figures:
    """Return figures that are all the same."""
    now = timezone.now()
    ranking = Ranking([("x" * 200, count)] * 20, more=True)
    days = [Day(now.date(), count, count)] * 30
    bins = [Bin(number / 10, (number + 1) / 10, count, 0) for number in range(10)]
    return Figures(now, days, Queue(count, count, timedelta(days=count)), ranking, bins, ranking)


@pytest.mark.parametrize("count", [0, 1, 9, 123, 999_999, 10**8])
def test_nothing_is_drawn_outside_its_picture(count: int) -> None:
    drawn = charts.draw(figures(count))
    for chart in (drawn.uploads, drawn.classifications, drawn.confidence):
        assert all(len(mark.text) <= 4 for mark in chart.scale)
        for column in chart.columns:
            assert 0 <= float(column.y.removesuffix("em")) <= charts.ABOVE + charts.HEIGHT
            assert float(column.x.rstrip("%")) + float(column.width.rstrip("%")) <= 100
    for bars in (drawn.queue, drawn.labels, drawn.mistakes):
        assert all(float(bar.width.rstrip("%")) <= 100 and len(bar.label) <= 40 for bar in bars.bars)
    assert 0 <= float(drawn.age.at.rstrip("%")) <= 100
    assert drawn.labels.bars[0].count == f"{count:,}"


def test_one_among_a_million_is_seen() -> None:
    million = figures(10**6)
    days = [*million.days[1:], Day(million.at.date(), 1, 0)]
    queue = Queue(waiting=10**6, processing=1, oldest=None)
    drawn = charts.draw(Figures(million.at, days, queue, million.labels, million.confidence, million.mistakes))
    assert float(drawn.uploads.columns[-1].height.removesuffix("em")) > 0
    assert float(drawn.classifications.columns[-1].height.removesuffix("em")) == 0
    assert float(drawn.queue.bars[1].width.rstrip("%")) > 0


@pytest.mark.parametrize(
    ("seconds", "words"), [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7_200, "2 h"), (86_400 * 3.5, "3 days")]
)
def test_ages_are_said_in_words(seconds: float, words: str) -> None:
    age = charts.draw(Figures(**{**vars(figures(1)), "queue": Queue(1, 0, timedelta(seconds=seconds))})).age
    assert words in age.words


@pytest.mark.parametrize(("most", "top"), [(0, 2), (1, 2), (2, 2), (3, 4), (9, 10), (10, 20), (81, 100), (999, 1000)])
def test_scales_end_at_round_numbers(most: int, top: int) -> None:
    assert top_of(most) == top
