"""The gallery: filters, orders, neighbours, pages, and what is done with many photos at once."""

import itertools
import re
from collections.abc import Callable
from datetime import datetime
from html import unescape
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.contrib.auth.models import Group, User
from django.contrib.staticfiles import finders
from django.test import Client
from django.utils import timezone

from classifier.bundle import Bundle
from classifier.models import ModelVersion
from config.tests.environment import LABELS, ROOT, variant
from predictions import filters, tasks
from predictions.filters import PredictionFilter
from predictions.models import Answer, Correction, ImagePrediction, Status
from predictions.tests.rows import four, row, unsaved  # noqa: F401
from predictions.views import PAGE_SIZE

pytestmark = pytest.mark.django_db
Submit = Callable[..., ImagePrediction]


def chosen(**query: str) -> PredictionFilter:
    return PredictionFilter(query, ImagePrediction.objects.all())


def names(**query: Any) -> list[str]:
    return [prediction.filename for prediction in chosen(**query).qs]


@pytest.mark.usefixtures("four")
@pytest.mark.parametrize(("query", "expected"), [
    ({}, "dcba"), ({"label": "cat"}, "a"), ({"status": "failed"}, "d"), ({"min_confidence": "0.5"}, "cb"),
    ({"max_confidence": "0.5"}, "ca"), ({"min_confidence": "0"}, "cba"), ({"corrected": "true"}, "b"),
    ({"corrected": "false"}, "dca"), ({"q": "CAT"}, "ca"), ({"q": "b"}, "b"), ({"ordering": "id"}, "abcd"),
    ({"ordering": "-confidence"}, "bca"), ({"ordering": "confidence", "corrected": "false"}, "ac"),
    ({"until": "2020-01-01"}, ""),
    ({"status": "done"}, "cba"), ({"label": "cat", "corrected": "true"}, ""),
    ({"min_confidence": "NaN"}, "dcba"), ({"status": "senseless", "label": "dog"}, "b"), ({"ordering": "x"}, "dcba"),
    ({"model_version": "none"}, "dcba"), ({"q": "%"}, ""), ({"since": "yesterday", "q": "a"}, "ca"),
])  # fmt: skip
def test_every_filter_and_order(query: dict[str, str], expected: str) -> None:
    assert "".join(names(**query)) == expected


@pytest.mark.usefixtures("four")
def test_the_model_filters(model: ModelVersion) -> None:
    assert names(model_version=model.name) == ["a"]


@pytest.mark.parametrize("few", [0, 1000])
@pytest.mark.parametrize("order", ["-confidence", "confidence"])
def test_what_is_searched_for_stands_in_order_be_it_few_or_many(
    monkeypatch: pytest.MonkeyPatch, order: str, few: int
) -> None:
    monkeypatch.setattr(filters, "FEW", few)
    for number, name in enumerate(["cat 1", "dog", "cat 2", "cat 3"]):
        row(filename=name, top_prediction="pet", confidence=number / 10)
    expected = ["cat 1", "cat 2", "cat 3"]
    assert names(q="cat", ordering=order) == (expected if order == "confidence" else expected[::-1])


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York"])
def test_days_begin_and_end_at_midnight_of_the_time_zone(settings: Any, zone: str) -> None:
    settings.TIME_ZONE = zone
    for name, moment in (("a", "2026-03-28 23:59:59"), ("b", "2026-03-29"), ("c", "2026-03-29 23:59:59")):
        row(filename=name, created_at=datetime.fromisoformat(moment).replace(tzinfo=ZoneInfo(zone)))
    assert names(since="2026-03-29") == ["c", "b"]
    assert names(until="2026-03-28") == ["a"]
    assert names(since="2026-03-29", until="2026-03-29") == ["c", "b"]
    assert names(since="2026-03-30") == names(until="2026-03-27") == []
    assert names(since="0001-01-01", until="9999-12-31") == ["c", "b", "a"]


@pytest.mark.parametrize("order", ["-id", "id", "-confidence", "confidence"])
def test_neighbours_walk_the_filtered_view(order: str) -> None:
    for number in range(9):
        row(filename=f"{number}", confidence=(number % 3) / 10, top_prediction="dog" if number == 4 else "cat")
    form = chosen(ordering=order, label="cat")
    expected = [prediction.pk for prediction in form.qs]
    assert len(expected) == 8
    current, seen = ImagePrediction.objects.get(pk=expected[0]), []
    assert form.neighbours(current)[0] is None
    while True:
        seen.append(current.pk)
        before, behind = form.neighbours(current)
        assert (before.pk if before else None) == (seen[-2] if len(seen) > 1 else None)
        if behind is None:
            break
        current = ImagePrediction.objects.get(pk=behind.pk)
    assert seen == expected


@pytest.mark.usefixtures("four")
def test_an_image_without_confidence_has_no_neighbours_by_confidence() -> None:
    failed = ImagePrediction.objects.get(filename="d")
    assert chosen(ordering="-confidence").neighbours(failed) == (None, None)


def test_pages_follow_each_other_and_keep_the_filter(client: Client) -> None:
    for number in range(PAGE_SIZE + 5):
        row(filename=f"photo-{number}.jpg")
    first = client.get("/gallery/?label=cat&q=&ordering=id").content.decode()
    assert first.count('name="ids"') == PAGE_SIZE
    address = re.search(r'rel="next" href="([^"]+)"', first)
    assert address
    assert address[1] == "?label=cat&amp;ordering=id&amp;page=2"
    second = client.get("/gallery/" + address[1].replace("&amp;", "&")).content.decode()
    assert second.count('name="ids"') == 5
    assert 'rel="next"' not in second
    assert 'rel="prev" href="?label=cat&amp;ordering=id"' in second
    appended = client.get("/gallery/?page=2", headers={"HX-Request": "true", "HX-Target": "more"}).content.decode()
    assert appended.count('name="ids"') == 5
    assert "<html" not in appended


def test_a_page_behind_the_last_leads_back_to_the_first(client: Client) -> None:
    row()
    page = client.get("/gallery/?page=9&label=cat").content.decode()
    assert 'There are no further photos. <a href="/gallery/?label=cat">' in page
    assert "Nothing here yet" not in page


def test_caches_know_that_htmx_gets_a_part_of_the_page(client: Client) -> None:
    assert {"HX-Request", "HX-Target"} <= set(client.get("/gallery/")["Vary"].split(", "))


def test_a_card_that_asks_again_keeps_the_filter(client: Client) -> None:
    prediction = row(status=Status.PENDING, top_prediction="cat")
    page = client.get("/gallery/?label=cat&ordering=id&page=1").content.decode()
    address = re.search('hx-get="(/gallery/[0-9]+/card[^"]*)"', page)
    assert address
    card = client.get(unescape(address[1])).content.decode()
    for body in (page, card):
        assert f'href="/gallery/{prediction.pk}/?label=cat&amp;ordering=id"' in body
    assert address[0] in card


@pytest.mark.parametrize("query", ["", "?min_confidence=7&ordering=x&raw_label=cat"])
def test_what_describes_a_filter_is_there(client: Client, query: str) -> None:
    page = client.get(f"/gallery/{query}").content.decode()
    described = [name for names in re.findall(r'aria-describedby="([^"]+)"', page) for name in names.split()]
    assert "id_q_helptext" in described
    assert ("id_min_confidence_error" in described) == bool(query)
    assert set(described) <= set(re.findall(r' id="([^"]+)"', page))
    assert 'id="id_min_confidence_helptext">From 0 to 1' in page


def test_filters_in_use_are_in_view(client: Client) -> None:
    """On a narrow page the others wait until somebody asks for them."""
    for query, are_shown in (("", False), ("?q=x&ordering=id", False), ("?label=x", True), ("?min_confidence=7", True)):
        assert ("<details open>" in client.get(f"/gallery/{query}").content.decode()) == are_shown


def test_without_a_script_waiting_photos_say_how_to_look_again(client: Client) -> None:
    prediction = row(status=Status.PENDING)
    assert '<a href="/gallery/?q=x">Look again</a>' in client.get("/gallery/?q=x").content.decode()
    ImagePrediction.objects.filter(pk=prediction.pk).update(status=Status.DONE)
    assert "Look again" not in client.get("/gallery/?q=x").content.decode()


@pytest.mark.parametrize("page", ["0", "-1", "x", "99999999999999999999"])
def test_senseless_pages_do_no_harm(client: Client, page: str) -> None:
    row()
    assert client.get(f"/gallery/?page={page}").status_code == 200


def test_the_gallery_counts_no_rows(client: Client, django_assert_num_queries: Any) -> None:
    for _ in range(5):
        row()
    with django_assert_num_queries(
        4
    ):  # the label rules, once a second; the models to choose from, what is found, the rows
        client.get("/gallery/?q=x&label=cat&corrected=false&ordering=-confidence&min_confidence=0.1")


@pytest.mark.parametrize("asked", [{}, {"q": "c"}, {"ordering": "confidence"}, {"q": "c", "ordering": "confidence"}])
def test_eight_queries_do_whatever_the_filter_and_whoever_asks(
    client: Client, settings: Any, model: ModelVersion, django_assert_max_num_queries: Any, asked: dict[str, str]
) -> None:
    settings.ACCESS = "login"
    user = User.objects.create_user("ada")
    user.groups.add(Group.objects.get(name="labelers"))
    client.force_login(user)
    for _ in range(PAGE_SIZE + 1):
        row(model_version=model, corrected_at=timezone.now())
    everything = asked | {"label": "cat", "status": "done", "min_confidence": "0.1", "max_confidence": "0.9"}
    everything |= {"corrected": "true", "model_version": model.name}
    everything |= {"since": "2020-01-01", "until": "2999-01-01"}
    with django_assert_max_num_queries(8):
        assert client.get("/gallery/", everything).content.count(b'name="ids"') == PAGE_SIZE


def test_pages_are_light() -> None:
    """A page's own CSS and JS stay under 40 KB together; htmx comes from django-htmx."""
    static = ROOT / "static"
    sizes = {path.name: path.stat().st_size for path in static.rglob("*") if path.suffix in {".css", ".js"}}
    assert {"site.css", "gallery.js", "upload.js"} <= set(sizes)
    assert sum(sizes.values()) < 40_000


def test_a_full_page_of_real_photos_is_far_below_a_megabyte(
    client: Client, submit: Submit, model: ModelVersion, photos: dict[Path, str]
) -> None:
    for number, path in zip(range(PAGE_SIZE), itertools.cycle(photos), strict=False):
        submit(path.name, path.read_bytes() + b"%d" % number)
    tasks.drain(lambda: True)
    page = client.get("/gallery/").content
    fetched = [
        unescape(address) for address in re.findall(r'<(?:img|link|script)[^>]*(?:src|href)="([^"]+)', page.decode())
    ]
    thumbnails = [len(client.get(address).getvalue()) for address in fetched if "thumbnail" in address]
    static = [finders.find(address.removeprefix("/static/")) for address in fetched if "/static/" in address]
    assert (len(thumbnails), len(fetched)) == (PAGE_SIZE, PAGE_SIZE + len(static))
    assert len(page) + sum(thumbnails) + sum(Path(str(path)).stat().st_size for path in static) < 850_000


def post(client: Client, **data: Any) -> Any:
    return client.post("/gallery/change", data | {"back": "/gallery/?label=cat"}, follow=True)


def test_a_correction_tells_how_many_had_that_label_before(client: Client) -> None:
    rows = [row(), row(top_prediction="lynx")]
    page = post(client, action="correct", label="lynx", ids=[prediction.pk for prediction in rows])
    assert "2 photos corrected to lynx. 1 of them had that label before" in page.content.decode()


def test_many_are_corrected_and_undone_in_one_go(client: Client) -> None:
    rows = [row(confidence=0.3) for _ in range(3)]
    page = post(client, action="correct", label="lynx", ids=[prediction.pk for prediction in rows[:2]])
    assert page.redirect_chain == [("/gallery/?label=cat", 302)]
    assert "2 photos corrected to lynx" in page.content.decode()
    assert names(label="lynx", corrected="true") == ["x.jpg"] * 2
    undo = re.search(r'action="(/gallery/undo/[^"]+)"', page.content.decode())
    assert undo
    assert "Correction of 2 photos undone" in client.post(undo[1], follow=True).content.decode()
    assert names(label="lynx") == names(corrected="true") == []
    assert Correction.objects.filter(undone_at__isnull=False).count() == 2


def test_undoing_shows_what_was_before(client: Client, submit: Submit, model: ModelVersion) -> None:
    prediction = submit()
    [claimed] = ImagePrediction.objects.claim()
    ImagePrediction.objects.finish([(claimed, Answer([{"label": "cat", "confidence": 0.9}], 7.5))], model)
    for label in ("lynx", "tiger"):
        post(client, action="correct", label=label, ids=[prediction.pk])
    shown = []
    for correction in Correction.objects.all():
        client.post(f"/gallery/undo/{correction.batch}")
        client.post(f"/gallery/undo/{correction.batch}")  # twice does no more
        prediction.refresh_from_db()
        shown.append((prediction.top_prediction, prediction.confidence, prediction.corrected_at is not None))
    assert shown == [("lynx", 1.0, True), ("cat", 0.9, False)]


def test_a_correction_that_was_undone_before_says_so(client: Client) -> None:
    post(client, action="correct", label="lynx", ids=[row().pk])
    address = f"/gallery/undo/{Correction.objects.get().batch}"
    assert "Correction of 1 photo undone" in client.post(address, follow=True).content.decode()
    assert "That correction had been undone before" in client.post(address, follow=True).content.decode()


def test_a_correction_is_undone_from_the_history_with_all_that_were_made_together(client: Client) -> None:
    one, other = row(), row()
    post(client, action="correct", label="lynx", ids=[one.pk])
    post(client, action="correct", label="puma", ids=[one.pk, other.pk])
    history = client.get(f"/gallery/{one.pk}/").content.decode().split("<h2>History</h2>")[1]
    puma, lynx = (found.batch for found in one.corrections.all())
    assert re.findall(r'action="([^"]+)"', history) == [f"/gallery/undo/{puma}", f"/gallery/undo/{lynx}"]
    assert "Undo for all 2 photos" in history
    client.post(f"/gallery/undo/{lynx}")
    history = client.get(f"/gallery/{one.pk}/").content.decode().split("<h2>History</h2>")[1]
    assert history.count("Undo") == 1


def test_undoing_before_the_model_has_answered(client: Client, submit: Submit) -> None:
    prediction = submit()
    post(client, action="correct", label="lynx", ids=[prediction.pk])
    client.post(f"/gallery/undo/{Correction.objects.get().batch}")
    prediction.refresh_from_db()
    assert (prediction.top_prediction, prediction.confidence, prediction.corrected_at) == (None, None, None)


def test_deleting_asks_first(client: Client, submit: Submit) -> None:
    prediction = submit("cat.jpg")
    page = post(client, action="delete", ids=[prediction.pk]).content.decode()
    assert "Delete this photo?" in page
    assert ImagePrediction.objects.exists()
    page = post(client, action="delete", ids=[prediction.pk], confirmed="yes").content.decode()
    assert "1 photo deleted" in page
    assert not ImagePrediction.objects.exists()


def test_who_does_not_delete_after_all_comes_back_to_where_that_was_asked_for(client: Client) -> None:
    pk = row().pk
    for data, kept in (
        ({}, "/gallery/?label=cat"),
        ({"keep": f"/gallery/{pk}/?label=cat"}, f"/gallery/{pk}/?label=cat"),
    ):
        page = post(client, action="delete", ids=[pk], **data).content.decode()
        assert f'<a href="{kept}">Keep them</a>' in page
    page = client.post("/gallery/change", {"action": "delete", "ids": pk}).content.decode()
    assert '<a href="/gallery/">Keep them</a>' in page


def test_the_photos_that_are_gone_do_not_count(client: Client) -> None:
    page = post(client, action="correct", label="lynx", ids=[row().pk, 999]).content.decode()
    assert "1 photo corrected to lynx" in page


def test_correcting_leads_to_the_photo_that_was_next_before(client: Client) -> None:
    """In the order of confidence, a corrected photo has another place, and other neighbours."""
    least, second, _ = (row(confidence=confidence) for confidence in (0.1, 0.2, 0.9))
    page = client.get(f"/gallery/{least.pk}/?ordering=confidence").content.decode()
    then = re.search('name="back" value="([^"]+)" aria', page)
    assert then
    form = {"action": "correct", "label": "lynx", "ids": least.pk, "back": ["/elsewhere", unescape(then[1])]}
    assert client.post("/gallery/change", form)["Location"] == f"/gallery/{second.pk}/?ordering=confidence#right-label"
    assert "Correct, then next" not in client.get(f"/gallery/{least.pk}/?label=lynx").content.decode()


def test_many_are_classified_again(client: Client) -> None:
    done, failed, waiting = row(), row(status=Status.FAILED), row(status=Status.PENDING)
    page = post(client, action="reclassify", ids=[done.pk, failed.pk, waiting.pk]).content.decode()
    assert "2 photos will be classified again" in page
    assert ImagePrediction.objects.pending().count() == 3


@pytest.mark.parametrize(("data", "sentence"), [
    ({"action": "delete"}, "Choose at least one photo"), ({"action": "delete", "ids": ["x"]}, "Choose at least one"),
    ({"action": "correct", "ids": ["1"], "label": " "}, "Say which label is right"),
    ({"action": "correct", "ids": ["999"], "label": "cat"}, "Those photos are gone"),
])  # fmt: skip
def test_what_cannot_be_done_says_why(client: Client, data: dict[str, Any], sentence: str) -> None:
    row()
    assert sentence in post(client, **data).content.decode()
    assert not Correction.objects.exists()


def test_thousands_are_corrected_in_one_go(client: Client) -> None:
    rows = ImagePrediction.objects.bulk_create([unsaved() for _ in range(3000)])
    page = post(client, action="correct", label="lynx", ids=[prediction.pk for prediction in rows])
    assert "3000 photos corrected to lynx" in page.content.decode()


@pytest.mark.parametrize("pk", [10**18, 2**63, 10**30, "9" * 5000, "²"])
def test_ids_that_no_row_can_have_do_no_harm(client: Client, pk: Any) -> None:
    assert "Choose at least one photo" in post(client, action="delete", ids=[pk]).content.decode()


def test_the_way_back_leads_nowhere_else(client: Client) -> None:
    for target in ("https://evil.example/", "//evil.example/", "javascript:alert(1)"):
        response = client.post("/gallery/change", {"action": "delete", "back": target})
        assert response["Location"] == "/gallery/", target


def test_labels_are_suggested_from_the_model_and_from_people(client: Client, model: ModelVersion) -> None:
    prediction = row()
    post(client, action="correct", label="beetle <b>", ids=[prediction.pk])
    assert suggestions(client, "BEE") == ["bee", "beetle &lt;b&gt;"]
    assert client.get("/labels").content.decode().count("<option") == len(LABELS) + 1


def test_labels_of_all_models_that_answer_are_suggested(
    client: Client, model: ModelVersion, install: Any, small_bundle: Bundle, tmp_path: Path
) -> None:
    install(variant(small_bundle, tmp_path, "new"))
    assert suggestions(client, "bee") == []
    ModelVersion.objects.set_shares({model.name: 10})
    assert (suggestions(client, "bee"), suggestions(client, "new6")) == (["bee"], ["new6"])


def suggestions(client: Client, typed: str) -> list[str]:
    return re.findall(r'<option value="([^"]*)"', client.get("/labels", {"label": typed}).content.decode())


def test_labels_that_people_gave_are_suggested_however_often_they_gave_others(client: Client) -> None:
    prediction = row()
    for label in ["lynx one", *["lynx two"] * 25]:
        post(client, action="correct", label=label, ids=[prediction.pk])
    assert suggestions(client, "lynx") == ["lynx one", "lynx two"]
    client.post(f"/gallery/undo/{Correction.objects.get(label_after='lynx one').batch}")
    assert suggestions(client, "lynx") == ["lynx two"]


def test_underscores_and_spaces_are_the_same_to_suggestions(client: Client) -> None:
    prediction = row()
    for label in ("Snow_leopard", "snow plough"):
        post(client, action="correct", label=label, ids=[prediction.pk])
    assert suggestions(client, "snow l") == suggestions(client, "snow_l") == ["Snow_leopard"]
    assert suggestions(client, "w_p") == ["snow plough"]


def test_suggestions_survive_a_model_whose_files_are_gone(client: Client, model: ModelVersion) -> None:
    ModelVersion.objects.update(digest="1" * 64)
    (model.path / "labels.json").unlink()
    assert client.get("/labels?label=a").status_code == 200


def test_the_detail_page_tells_the_whole_story(client: Client, submit: Submit, model: ModelVersion) -> None:
    prediction = submit("cat <b>.jpg")
    [claimed] = ImagePrediction.objects.claim()
    ImagePrediction.objects.finish([(claimed, Answer([{"label": "cat", "confidence": 0.912}], 7.5))], model)
    post(client, action="correct", label="lynx", ids=[prediction.pk])
    page = client.get(f"/gallery/{prediction.pk}/?label=lynx").content.decode()
    for part in (
        "cat &lt;b&gt;.jpg",
        "lynx",
        "0.91",
        model.name,
        "120 \N{MULTIPLICATION SIGN} 80 pixels",
        "corrected",
        "<meter",
    ):
        assert part in page, part
    assert "<b>.jpg" not in page
