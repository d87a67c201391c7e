"""A million photos: the admin's lists ask as little as with a thousand, and its actions not more for more photos.

make test-scale prints the times, which are this machine's; what must hold are numbers of queries and ratios.
"""

import statistics
import time
from typing import Any, NamedTuple

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from classifier.models import ModelVersion
from config.tests.service import scaled
from predictions.models import Correction, ImagePrediction, Status
from predictions.services import CHUNK
from predictions.tests.filling import fill

pytestmark = [pytest.mark.scale, pytest.mark.django_db]
FEW, MANY = 1_000, scaled(1_000_000)
PHOTOS, CORRECTIONS = "/admin/predictions/imageprediction/", "/admin/predictions/correction/"
MOST_QUERIES = 15
# Of a page of the large table to one of the small one. A scan of a million rows is several hundred.
MOST_TIMES = 6
TRIES = 4  # the quickest counts: others use the machine, too
DATES = ("", "created_at__year=2024", "created_at__year=2024&created_at__month=3")
DAY = f"{DATES[2]}&created_at__day=9"
ORDERS = ("", *(f"o={sign}{column}" for column in (3, 4, 5, 8) for sign in ("", "-")))


def filters() -> list[str]:
    """Return each choice of each filter."""
    versions = [f"model_version__id__exact={pk}" for pk in ModelVersion.objects.values_list("pk", flat=True)]
    bands, corrected = [f"band={number}" for number in range(5)], ["corrected=yes", "corrected=no"]
    labels = [f"label=label {number}" for number in (0, 500, 5000)]
    return ["", *labels, *(f"status={status}" for status in Status.values), *bands, *corrected, *versions]


def addresses() -> list[str]:
    """Return the list's pages: every filter with every order, and with every level of the dates."""
    queries = [(chosen, order) for chosen in filters() for order in ORDERS]
    queries += [(chosen, date) for chosen in filters() for date in (*DATES[1:], DAY)]
    return [f"{PHOTOS}?{'&'.join(filter(None, parts))}" for parts in queries] + [CORRECTIONS]


def clock() -> float:
    """Return the seconds that this process has worked; with PostgreSQL, which works beside it, those that passed."""
    return time.process_time() if connection.vendor == "sqlite" else time.perf_counter()


class Page(NamedTuple):
    """What it took to make a page."""

    address: str
    seconds: float
    statements: list[str]


def ask(client: Client, address: str, enough: float) -> Page:
    """Ask for a page, some more times if it took longer than is good enough."""
    least = float("inf")
    for _ in range(TRIES):
        with CaptureQueriesContext(connection) as captured:
            start = clock()
            response = client.get(address)
            least = min(least, clock() - start)
        assert response.status_code == 200, address
        if least <= enough:
            break
    return Page(address, least, [query["sql"] for query in captured])


def report(title: str, pages: list[Page]) -> None:
    slowest = sorted(pages, key=lambda page: -page.seconds)[:5]
    median = statistics.median(page.seconds for page in pages)
    print(f"\n{title}: {len(pages)} pages, median {median * 1000:.0f} ms, the slowest:")
    for page in slowest:
        print(f"  {page.seconds * 1000:5.0f} ms, {len(page.statements)} queries  {page.address}")


@pytest.fixture(scope="module")
def few(django_db_setup: None, django_db_blocker: Any) -> float:
    """The seconds that a page takes of a small table, which grows to the large one then. Only a run of this sees it."""
    from django.contrib.auth.models import User

    with django_db_blocker.unblock():
        fill(FEW)
        client = Client()
        client.force_login(User.objects.create_superuser("of the small table"))
        pages = [ask(client, address, 0) for address in (PHOTOS, f"{PHOTOS}?o=4", f"{PHOTOS}?corrected=no", PHOTOS)]
        report(f"{FEW:,} photos", pages)
        Correction.objects.all().delete()
        ImagePrediction.objects.all().delete()
        ModelVersion.objects.all().delete()
        start = time.perf_counter()
        fill(MANY)
        print(f"{MANY:,} photos made in {time.perf_counter() - start:.0f} s")
    return statistics.median(page.seconds for page in pages)


def test_the_list_asks_little_whatever_is_chosen_and_takes_little_longer_than_a_small_one(
    few: float, admin_client: Client
) -> None:
    pages = [ask(admin_client, address, few * MOST_TIMES / 2) for address in addresses()]
    report(f"{MANY:,} photos", pages)
    assert [page for page in pages if len(page.statements) > MOST_QUERIES] == []
    assert [page for page in pages if any("COUNT(" in sql.upper() for sql in page.statements)] == []
    searches = [ask(admin_client, f"{PHOTOS}?q={text}", 0) for text in ("label 500", "9999.jpg", "no such text")]
    report("searches", searches)
    if connection.vendor == "postgresql":  # by trigrams; SQLite reads all rows
        pages += searches
    late = [(page.address, page.seconds / few) for page in pages if page.seconds > MOST_TIMES * few]
    assert late == []


def mark(count: int) -> str:
    """Give so many photos a label of their own; return it."""
    label = f"all {count} of them"
    ids = list(
        ImagePrediction.objects.filter(status=Status.DONE, corrected_at=None).values_list("pk", flat=True)[:count]
    )
    assert len(ids) == count
    for start in range(0, count, CHUNK):
        ImagePrediction.objects.filter(pk__in=ids[start : start + CHUNK]).update(top_prediction=label)
    return label


def post(client: Client, address: str, **data: Any) -> tuple[float, int, str]:
    """Send an action's form; return the seconds and the queries that it took, and what the page says of it."""
    with CaptureQueriesContext(connection) as captured:
        start = time.perf_counter()
        response: Any = client.post(address, data)
        seconds = time.perf_counter() - start
    assert response.status_code == 302
    return seconds, len(captured), " ".join(str(message) for message in response.wsgi_request._messages)


def correct_and_undo(client: Client, count: int) -> tuple[float, int, int]:
    """Correct so many photos by the list's action, and undo that; return the seconds, and the queries of each."""
    address, label = f"{PHOTOS}?label={mark(count)}", f"right, {count} times"
    [first] = ImagePrediction.objects.filter(top_prediction=f"all {count} of them").values_list("pk", flat=True)[:1]
    chosen = {"action": "correct", "_selected_action": [first], "select_across": "1", "confirmed": "yes"}
    seconds, corrected, said = post(client, address, **chosen, label=label, confidence="1")
    assert f"{count:,} photos corrected" in said
    rows = ImagePrediction.objects.filter(top_prediction=label)
    assert rows.count() == count
    [word] = Correction.objects.filter(label_after=label).values_list("pk", flat=True)[:1]
    undoing, undone, said = post(client, CORRECTIONS, action="undo", _selected_action=[word])
    assert f"Correction of {count:,} photos undone" in said
    assert rows.count() == 0
    print(f"\n{count:,} photos corrected in {seconds:.2f} s by {corrected} queries,", end=" ")
    print(f"undone in {undoing:.2f} s by {undone}")
    return seconds + undoing, corrected, undone


def test_an_action_asks_a_few_times_for_every_thousand_photos(few: float, admin_client: Client) -> None:
    quick, corrected, undone = correct_and_undo(admin_client, CHUNK)
    slow, *asked = correct_and_undo(admin_client, 10 * CHUNK)
    # For a thousand, a query that reads them and, on SQLite, ten that write their corrections: it bounds their length.
    assert asked[0] - corrected <= 9 * 11
    assert asked[1] == undone
    assert slow < 20 * quick  # ten, were the machine ours alone; a hundred, were all gone through for each of them
