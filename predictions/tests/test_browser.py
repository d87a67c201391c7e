"""The pages as people meet them: Debian's chromium, a live server, a real worker. `make test-browser` runs them."""

import base64
import re
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import pytest
from django.test import RequestFactory
from PIL import Image
from playwright.sync_api import Browser, Dialog, FilePayload, Locator, Page, Route, expect

from classifier.bundle import Bundle
from config import errors
from config.tests.browser import Visitor, accessibility
from config.tests.environment import LABELS, image_bytes
from config.tests.service import Service, wait_until

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("service")]

LABEL = re.compile(f"^({'|'.join(LABELS)})$")
SURE = re.compile(f"^({'|'.join(LABELS)}) \\d+%$")
LONG_NAME = "a" * 60 + "_without_any_place_to_break_the_line_" + "z" * 60 + ".jpg"
SCHEMES: list[Literal["light", "dark"]] = ["light", "dark"]
NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)


def names(count: int) -> list[str]:
    """Return file names that no other test has, in the order of their alphabet."""
    prefix = uuid.uuid4().hex[:8]
    return [f"{prefix}-{number}.jpg" for number in range(count)]


def payload(name: str, content: bytes | None = None) -> FilePayload:
    """Return a file to send; by default a photo with bytes of its own, or the model would not look at it."""
    return {"name": name, "mimeType": "image/jpeg", "buffer": content or image_bytes(comment=uuid.uuid4().bytes)}


def stored(service: Service, files: Iterable[str]) -> list[int]:
    """Upload images by the API; return their ids once they are classified."""
    ids = [service.post(name=name)["id"] for name in files]
    service.wait_done(ids)
    return ids


def wait_for_labels(service: Service, files: list[str]) -> None:
    """Return once the photos that were uploaded together have their labels."""
    service.wait_done([row["id"] for row in service.get(f"/predictions/?q={files[0][:8]}")])


def correct(service: Service, pk: int, label: str) -> None:
    """Say by the API which label is right."""
    answer = {"top_prediction": label, "confidence": 0.9}
    service.http.request("PUT", f"{service.url}/predictions/{pk}/", json=answer)


def drop(page: Page, files: Iterable[FilePayload]) -> None:
    """Drop files on the page, as a script can: in a DataTransfer of its own making."""
    encoded = [[file["name"], base64.b64encode(file["buffer"]).decode()] for file in files]
    transfer = page.evaluate_handle(
        """files => {
            const transfer = new DataTransfer();
            for (const [name, content] of files)
                transfer.items.add(new File([Uint8Array.from(atob(content), c => c.charCodeAt(0))], name));
            return transfer;
        }""",
        encoded,
    )
    target = page.get_by_text("Drop photos")
    target.dispatch_event("dragover", {"dataTransfer": transfer})
    target.dispatch_event("drop", {"dataTransfer": transfer})


def drop_from_desktop(page: Page, paths: Iterable[Path]) -> None:
    """Drop files and folders from the disk on the page, as the browser does it for a hand with a mouse."""
    box = page.get_by_text("Drop photos").bounding_box()
    assert box
    place = {"x": box["x"] + 5, "y": box["y"] + 5}
    data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
    session = page.context.new_cdp_session(page)
    for step in ("dragEnter", "dragOver", "drop"):
        session.send("Input.dispatchDragEvent", {"type": step, **place, "data": data})


def field(page: Page, name: str) -> Locator:
    return page.get_by_label(re.compile(f"^{name}:?$"))


def card(page: Page, name: str) -> Locator:
    return page.get_by_role("listitem").filter(has=page.get_by_role("heading", name=name, exact=True))


def open_card(page: Page, name: str) -> None:
    """Follow a card's link; return when the photo's page is there, with its script."""
    card(page, name).get_by_role("link").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(name)
    page.wait_for_load_state()


def expect_classified(page: Page, files: Iterable[str]) -> None:
    for name in files:
        expect(card(page, name).locator(".label")).to_have_text(SURE)
        expect(card(page, name).get_by_role("meter")).to_have_count(5)


def tab_to(page: Page, target: Locator, most: int = 60) -> None:
    """Press Tab until an element has the focus, and shows it."""
    for _ in range(most):
        if target.evaluate("element => element === document.activeElement"):
            break
        page.keyboard.press("Tab")
    expect(target).to_be_focused()
    assert target.evaluate("element => getComputedStyle(element).outlineStyle") != "none"


class TestUpload:
    def test_five_dropped_photos_get_five_labels(self, page: Page) -> None:
        files = names(5)
        page.goto("/")
        drop(page, [payload(name) for name in files])
        expect(page.get_by_role("article")).to_have_count(5)
        expect_classified(page, files)
        expect(page.get_by_role("status").filter(has_text="5 of 5 sent")).to_be_visible()

    def test_five_chosen_photos_get_five_labels(self, page: Page) -> None:
        files = names(5)
        page.goto("/")
        field(page, "Photos").set_input_files([payload(name) for name in files])
        expect_classified(page, files)

    def test_what_is_chosen_before_the_script_has_arrived_is_sent_too(self, page: Page) -> None:
        [name] = names(1)
        held: list[Route] = []
        page.route("**/upload.js", lambda route: held.append(route))  # noqa: PLW0108  (playwright takes no built-in)
        page.goto("/", wait_until="commit")
        field(page, "Photos").set_input_files([payload(name)])
        held[0].continue_()
        expect_classified(page, [name])

    def test_a_dropped_folder_gives_all_its_photos(self, page: Page, tmp_path: Path) -> None:
        files = names(3)
        for name, folder in zip(files, ("", "holiday", "holiday/beach"), strict=True):
            (tmp_path / "drop" / folder).mkdir(parents=True, exist_ok=True)
            (tmp_path / "drop" / folder / name).write_bytes(image_bytes())
        page.goto("/")
        drop_from_desktop(page, [tmp_path / "drop" / files[0], tmp_path / "drop" / "holiday"])
        expect_classified(page, files)

    def test_a_chosen_folder_gives_all_its_photos_by_keyboard_too(self, page: Page, tmp_path: Path) -> None:
        files = names(2)
        for name, folder in zip(files, ("holiday", "holiday/beach"), strict=True):
            (tmp_path / folder).mkdir()
            (tmp_path / folder / name).write_bytes(image_bytes())
        page.on("filechooser", lambda chooser: None)  # from the first listener on, the browser shows no dialogue
        page.goto("/")
        tab_to(page, page.get_by_role("button", name="Choose a folder"))
        with page.expect_file_chooser() as chooser:
            page.keyboard.press("Enter")
        chooser.value.set_files(tmp_path / "holiday")
        expect_classified(page, files)

    def test_what_cannot_be_read_is_said_and_the_rest_of_the_folder_goes_on(self, page: Page) -> None:
        [name] = names(1)
        page.goto("/")
        page.evaluate(
            """([name, content]) => {
                const bytes = Uint8Array.from(atob(content), c => c.charCodeAt(0));
                const readable = { isFile: true, name, file: (resolve) => resolve(new File([bytes], name)) };
                const broken = { isFile: true, name: "locked.jpg", file: (_, reject) => reject(new Error("locked")) };
                const batches = [[broken, readable], []];
                const reader = { readEntries: (resolve) => resolve(batches.shift()) };
                const folder = { isFile: false, name: "folder", createReader: () => reader };
                dropped({ items: [{ webkitGetAsEntry: () => folder }], files: [] });
            }""",
            [name, base64.b64encode(image_bytes()).decode()],
        )
        expect(card(page, "locked.jpg").get_by_role("alert")).to_have_text("It could not be read.")
        expect_classified(page, [name])

    def test_a_bar_shows_how_far_a_photo_is_on_its_way_and_leaving_meanwhile_is_asked_about(self, page: Page) -> None:
        [name] = names(1)
        page.goto("/")
        session = page.context.new_cdp_session(page)
        slow = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 200_000}
        session.send("Network.emulateNetworkConditions", slow)
        field(page, "Photos").set_input_files([payload(name, image_bytes() + bytes(2_000_000))])
        bar = page.get_by_role("progressbar", name=f"Sending {name}")
        wait_until(lambda: 0 < float(bar.evaluate("bar => bar.value")) < 1)
        asked: list[str] = []

        def stay(dialog: Dialog) -> None:
            asked.append(dialog.type)
            dialog.dismiss()

        page.once("dialog", stay)
        page.evaluate("location.assign('/gallery/')")
        wait_until(lambda: asked == ["beforeunload"])
        session.send("Network.emulateNetworkConditions", {**slow, "uploadThroughput": -1})
        expect_classified(page, [name])
        page.goto("/gallery/")  # nobody asks any more
        expect(page.get_by_role("heading", level=1)).to_have_text("Gallery")

    def test_photos_stand_in_the_order_in_which_they_are_sent(self, page: Page) -> None:
        files = names(5)
        page.goto("/")
        field(page, "Photos").set_input_files([payload(name) for name in files])
        expect_classified(page, files)
        expect(page.get_by_role("article").get_by_role("heading")).to_have_text(files)

    def test_a_pasted_photo_gets_a_label(self, page: Page) -> None:
        page.goto("/")
        page.evaluate(
            """content => {
                const clipboardData = new DataTransfer();
                const bytes = Uint8Array.from(atob(content), c => c.charCodeAt(0));
                clipboardData.items.add(new File([bytes], "pasted.jpg"));
                document.dispatchEvent(new ClipboardEvent("paste", { clipboardData }));
            }""",
            base64.b64encode(image_bytes()).decode(),
        )
        expect_classified(page, ["pasted.jpg"])

    @pytest.mark.parametrize("way", ["dropped", "chosen"])
    def test_a_text_file_is_refused_beside_its_name_and_the_rest_succeed(
        self, visitor: Visitor, page: Page, way: str
    ) -> None:
        files = names(4)
        sent = [payload(name) for name in files]
        sent.insert(2, payload("notes.txt", b"no image"))
        page.goto("/")
        if way == "dropped":
            drop(page, sent)
        else:
            field(page, "Photos").set_input_files(sent)
        expect(card(page, "notes.txt").get_by_text("File must be an image")).to_be_visible()
        expect_classified(page, files)

    def test_a_file_that_fails_again_and_again_says_so_and_the_rest_succeed(self, visitor: Visitor, page: Page) -> None:
        files = names(3)
        failing: list[str | None] = []

        def fail_the_first(route: Route) -> None:
            key = route.request.headers.get("idempotency-key")
            failing[:] = failing or [key]
            route.abort("connectionreset") if key == failing[0] else route.continue_()

        page.clock.install(time=NOON)
        page.goto("/")
        page.clock.pause_at(NOON + timedelta(minutes=1))  # each pause lasts until it has been seen
        page.route("**/", fail_the_first)
        field(page, "Photos").set_input_files([payload(name) for name in files])
        for seconds in (1, 2, 4, 8, 15):
            expect(page.get_by_text(f"The connection was lost. Trying again in {seconds} s.")).to_be_visible()
            page.clock.fast_forward(seconds * 1000)
        page.clock.resume()
        expect(page.get_by_role("alert").filter(has_text="connection was lost")).to_have_count(1)
        expect(page.get_by_role("meter")).to_have_count(10)
        visitor.forgive("ERR_CONNECTION_RESET")

    def test_a_photo_whose_answer_is_lost_is_sent_again_and_stored_once(
        self, service: Service, visitor: Visitor, page: Page
    ) -> None:
        [name] = names(1)
        page.goto("/")
        session = page.context.new_cdp_session(page)
        lost: list[str] = []

        def lose_the_first(event: dict[str, Any]) -> None:
            """The server has answered; the browser does not get to see it."""
            way = {"requestId": event["requestId"]}
            if lost:
                session.send("Fetch.continueRequest", way)
            else:
                lost.append(event["requestId"])
                session.send("Fetch.failRequest", {**way, "errorReason": "ConnectionReset"})

        session.on("Fetch.requestPaused", lose_the_first)
        session.send("Fetch.enable", {"patterns": [{"urlPattern": f"{service.url}/", "requestStage": "Response"}]})
        field(page, "Photos").set_input_files([payload(name)])
        expect_classified(page, [name])
        assert len(lost) == 1
        assert len(service.get(f"/predictions/?q={name}")) == 1
        visitor.forgive("ERR_CONNECTION_RESET")

    def test_what_the_server_has_no_time_for_is_sent_again_when_it_says(self, visitor: Visitor, page: Page) -> None:
        files = names(5)
        page.goto("/")
        page.route("**/", lambda route: route.fulfill(status=429, headers={"Retry-After": "4"}), times=3)
        field(page, "Photos").set_input_files([payload(name) for name in files])
        expect(page.get_by_text("The server has too much to do. Trying again in 4 s.")).to_have_count(3)
        expect_classified(page, files)
        visitor.forgive("429")

    @pytest.mark.parametrize("answer", ["lost", "503"])
    def test_a_card_asks_again_though_it_got_no_answer(self, visitor: Visitor, page: Page, answer: str) -> None:
        name = names(1)[0]
        page.clock.install()
        page.goto("/")
        lost = answer == "lost"
        page.route("**/card*", lambda route: route.abort() if lost else route.fulfill(status=503), times=1)
        with page.expect_event("requestfailed" if lost else "requestfinished", lambda request: "/card" in request.url):
            field(page, "Photos").set_input_files([payload(name)])
        page.clock.run_for(31_000)
        expect_classified(page, [name])
        for trouble in ["htmx:", "ERR_FAILED"] if lost else ["503"]:
            visitor.forgive(trouble)

    def test_a_wait_that_is_too_long_is_said_at_once(self, visitor: Visitor, page: Page) -> None:
        page.goto("/")
        answer = {"status": 429, "headers": {"Retry-After": "3600"}, "json": {"detail": "Come back in an hour"}}
        page.route("**/", lambda route: route.fulfill(**answer))
        field(page, "Photos").set_input_files([payload("late.jpg")])
        expect(card(page, "late.jpg")).to_contain_text("Come back in an hour")
        visitor.forgive("429")

    def test_photos_wait_for_a_full_queue_and_lose_nothing(
        self, chromium: Browser, small_bundle: Bundle, tmp_path: Path
    ) -> None:
        files = names(5)
        with Service(tmp_path, small_bundle, QUEUE_LIMIT="2") as service, Visitor(chromium, service.url) as visitor:
            page = visitor.open("/")
            with service.paused_workers():
                field(page, "Photos").set_input_files([payload(name) for name in files])
                expect(page.get_by_text("The server has too much to do.").first).to_be_visible()
            expect(page.get_by_role("status").filter(has_text="5 of 5 sent")).to_be_visible(timeout=60_000)
            expect_classified(page, files)
            assert len(service.get("/predictions/")) == 5
            visitor.forgive("503")
            assert not visitor.troubles

    def test_a_hundred_photos_travel_three_at_a_time(self, page: Page) -> None:
        page.add_init_script(
            """window.most = 0;
            let underWay = 0;
            const { send } = XMLHttpRequest.prototype;
            XMLHttpRequest.prototype.send = function (body) {
                if (body instanceof FormData) {
                    window.most = Math.max(window.most, ++underWay);
                    this.addEventListener("readystatechange", () => { if (this.readyState === 4) underWay--; });
                }
                send.call(this, body);
            };"""
        )
        page.goto("/")
        content = image_bytes(size=(32, 32))
        field(page, "Photos").set_input_files([payload(name, content) for name in names(100)])
        expect(page.get_by_role("status").filter(has_text="100 of 100 sent")).to_be_visible(timeout=60_000)
        expect(page.get_by_role("meter")).to_have_count(500, timeout=60_000)
        assert page.evaluate("window.most") == 3

    @pytest.mark.parametrize("format", ["TIFF", "BMP", "AVIF", "GIF", "WEBP", "PNG"])
    def test_every_format_is_shown(self, page: Page, format: str) -> None:
        """No browser shows TIFF: what stands in for its thumbnail must not be a broken picture."""
        name = f"{uuid.uuid4().hex[:8]}.{format.lower()}"
        page.goto("/")
        field(page, "Photos").set_input_files([payload(name, image_bytes(format))])
        expect_classified(page, [name])
        thumbnail = card(page, name).get_by_role("link").locator("img")
        expect(thumbnail).to_have_attribute("src", re.compile(r"thumbnail\?[0-9a-f]{8}$"))
        expect(thumbnail).to_have_js_property("naturalWidth", 120)
        assert page.request.get(str(thumbnail.get_attribute("src"))).headers["content-type"] == "image/webp"
        open_card(page, name)
        photo = page.get_by_role("figure").get_by_role("img")
        expect(photo).to_be_visible()
        expect(photo).to_have_js_property("complete", True)
        expect(photo).to_have_js_property("naturalWidth", 120)


class TestGallery:
    def test_filter_open_correct_undo(self, service: Service, page: Page) -> None:
        files = names(3)
        stored(service, files)
        page.goto("/gallery/")
        field(page, "Search").fill(files[1])
        page.get_by_role("button", name="Show", exact=True).click()
        expect(page.get_by_role("article")).to_have_count(1)
        assert files[1] in page.url
        open_card(page, files[1])
        said = page.locator("strong").first.inner_text()

        field(page, "Right label").fill("snow leopard")
        page.get_by_role("button", name="Correct", exact=True).click()
        expect(page.get_by_role("status").filter(has_text="1 photo corrected to snow leopard")).to_be_visible()
        expect(page.locator("strong").first).to_have_text("snow leopard")
        expect(page.get_by_role("listitem").filter(has_text=f"corrected {said} to snow leopard")).to_have_count(1)

        page.get_by_role("button", name="Undo", exact=True).click()
        expect(page.get_by_role("status").filter(has_text="undone")).to_be_visible()
        expect(page.locator("strong").first).to_have_text(said)
        expect(page.get_by_role("listitem").filter(has_text=re.compile("corrected .* undone"))).to_have_count(1)

    def test_a_filtered_view_has_an_address_and_the_way_back_leads_to_it(self, service: Service, page: Page) -> None:
        files = names(2)
        ids = stored(service, files)
        label = f"label-{uuid.uuid4().hex[:8]}"
        correct(service, ids[0], label)
        page.goto("/gallery/")
        field(page, "Label").fill(label)
        field(page, "Label").press("Enter")
        expect(page.get_by_role("article")).to_have_count(1)
        open_card(page, files[0])
        page.go_back()
        expect(page).to_have_url(re.compile(rf"/gallery/\?.*label={label}"))
        expect(page.get_by_role("article")).to_have_count(1)
        expect(field(page, "Label")).to_have_value(label)
        page.get_by_role("link", name="Show all").click()
        expect(card(page, files[1])).to_have_count(1)

    def test_labels_are_suggested_while_typing(self, service: Service, page: Page) -> None:
        [pk] = stored(service, names(1))
        for path, name in (("/gallery/", "Label"), ("/gallery/", "Right label"), (f"/gallery/{pk}/", "Right label")):
            page.goto(path)
            entry = field(page, name)
            entry.press_sequentially("gn")
            suggested = page.locator(f"datalist#{entry.get_attribute('list')} option")
            expect(suggested.first).to_have_attribute("value", "gnu")
            expect(entry).to_be_focused()

    def test_many_are_deleted_after_a_confirmation(self, service: Service, page: Page) -> None:
        files = names(4)
        stored(service, files)
        page.goto(f"/gallery/?q={files[0][:8]}")
        expect(page.get_by_role("article")).to_have_count(4)
        for name in files[:2]:
            page.get_by_role("checkbox", name=f"Choose {name}").check()
        expect(page.get_by_text("2 chosen")).to_be_visible()
        page.get_by_role("button", name="Delete").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Delete these 2 photos?")
        page.get_by_role("link", name="Keep them").click()
        expect(page.get_by_role("article")).to_have_count(4)

        for name in files[:2]:
            page.get_by_role("checkbox", name=f"Choose {name}").check()
        page.get_by_role("button", name="Delete").click()
        page.get_by_role("button", name="Delete").click()
        expect(page.get_by_role("status").filter(has_text="2 photos deleted")).to_be_visible()
        expect(page.get_by_role("article")).to_have_count(2)
        expect(card(page, files[0])).to_have_count(0)
        expect(card(page, files[3])).to_have_count(1)

    def test_many_are_chosen_with_shift_and_corrected_and_that_undone(self, service: Service, page: Page) -> None:
        files = names(5)
        stored(service, files)
        page.goto(f"/gallery/?q={files[0][:8]}")
        boxes = page.get_by_role("checkbox")
        boxes.nth(1).click()
        boxes.nth(3).click(modifiers=["Shift"])
        expect(page.get_by_text("3 chosen")).to_be_visible()
        page.get_by_role("button", name="Choose all").click()
        expect(page.get_by_text("5 chosen")).to_be_visible()
        boxes.nth(0).click()
        field(page, "Right label").fill("moth")
        field(page, "Right label").press("Enter")
        expect(page.get_by_role("status").filter(has_text="4 photos corrected to moth")).to_be_visible()
        expect(page.get_by_role("article").filter(has_text="moth")).to_have_count(4)
        page.get_by_role("button", name="Undo", exact=True).click()
        expect(page.get_by_role("status").filter(has_text="Correction of 4 photos undone")).to_be_visible()
        expect(page.get_by_role("article").filter(has_text="moth")).to_have_count(0)

    def test_many_are_classified_again(self, service: Service, page: Page) -> None:
        files = names(2)
        stored(service, files)
        page.goto(f"/gallery/?q={files[0][:8]}")
        page.get_by_role("button", name="Choose all").click()
        page.get_by_role("button", name="Classify again").click()
        expect(page.get_by_role("status").filter(has_text="2 photos will be classified again")).to_be_visible()
        expect(page.get_by_text("Waiting for the model")).to_have_count(0)
        expect(page.get_by_role("article").locator("strong")).to_have_text([LABEL, LABEL])

    def test_scrolling_down_brings_further_photos(self, service: Service, page: Page) -> None:
        files = names(130)
        stored(service, files)
        page.goto(f"/gallery/?q={files[0][:8]}")
        expect(page.get_by_role("article")).to_have_count(60)
        for count in (120, 130):
            page.get_by_role("article").last.scroll_into_view_if_needed()
            page.mouse.wheel(0, 10_000)
            expect(page.get_by_role("article")).to_have_count(count)
        expect(page.get_by_role("article").get_by_role("heading")).to_have_text(files[::-1])

    def test_back_leads_to_the_photo_that_was_opened_far_down(self, service: Service, page: Page) -> None:
        files = names(130)
        stored(service, files)
        page.goto(f"/gallery/?q={files[0][:8]}")
        expect(page.get_by_role("article")).to_have_count(60)
        page.get_by_role("article").last.scroll_into_view_if_needed()
        page.mouse.wheel(0, 10_000)
        expect(page.get_by_role("article")).to_have_count(120)
        open_card(page, files[40])
        page.go_back()
        expect(card(page, files[40])).to_be_in_viewport()
        page.get_by_role("link", name="Back one page").click()
        expect(card(page, files[129])).to_have_count(1)

    def test_the_buttons_stay_in_view_while_photos_are_chosen(self, service: Service, page: Page) -> None:
        files = names(30)
        stored(service, files)
        page.goto(f"/gallery/?q={files[0][:8]}")
        button = page.get_by_role("button", name="Delete")
        page.get_by_role("checkbox", name=f"Choose {files[0]}").check()
        expect(button).to_be_in_viewport()
        page.get_by_role("checkbox", name=f"Choose {files[0]}").uncheck()
        expect(button).not_to_be_in_viewport()

    def test_correcting_without_a_label_loses_no_choice(self, service: Service, page: Page) -> None:
        files = names(2)
        stored(service, files)
        page.goto(f"/gallery/?q={files[0][:8]}")
        page.get_by_role("button", name="Choose all").click()
        page.get_by_role("button", name="Correct", exact=True).click()
        expect(field(page, "Right label")).to_be_focused()
        expect(page.get_by_text("2 chosen")).to_be_visible()

    def test_a_card_that_changes_keeps_the_focus(self, service: Service, page: Page) -> None:
        with service.paused_workers():
            [name] = names(1)
            service.post(name=name)
            page.goto(f"/gallery/?q={name[:8]}")
            link = card(page, name).get_by_role("link")
            tab_to(page, link)
        expect(card(page, name).locator("strong")).to_have_text(LABEL)
        expect(link).to_be_focused()

    def test_the_least_sure_are_corrected_one_after_the_other_by_keyboard_alone(
        self, service: Service, page: Page
    ) -> None:
        files = names(3)
        ids = stored(service, files)
        for pk, confidence in zip(ids, (0.2, 0.1, 0.3), strict=True):
            service.query(f"UPDATE predictions_imageprediction SET confidence = {confidence} WHERE id = {pk}")
        page.goto(f"/gallery/?q={files[0][:8]}&ordering=confidence")
        open_card(page, files[1])
        field(page, "Right label").focus()
        for name in (files[0], files[2]):
            page.keyboard.type("moth")
            page.keyboard.press("Shift+Enter")
            expect(page.get_by_role("heading", level=1)).to_have_text(name)
            expect(field(page, "Right label")).to_be_focused()
            expect(page.get_by_role("figure")).to_be_in_viewport()
        assert [service.get(f"/predictions/{pk}/")["label"] == "moth" for pk in ids] == [True, True, False]

    def test_arrow_keys_lead_through_the_filtered_view_only(self, service: Service, page: Page) -> None:
        files = names(3)
        ids = stored(service, [files[0], *names(1), files[1], *names(1), files[2]])
        page.goto(f"/gallery/?q={files[0][:8]}")
        open_card(page, files[2])
        heading = page.get_by_role("heading", level=1)
        for key, name in (("ArrowRight", files[1]), ("ArrowRight", files[0]), ("ArrowLeft", files[1])):
            page.keyboard.press(key)
            expect(heading).to_have_text(name)
            page.wait_for_load_state()
        field(page, "Right label").press("ArrowRight")
        expect(page).to_have_url(re.compile(f"/gallery/{ids[2]}/"))

    def test_a_photo_is_deleted_from_its_page(self, service: Service, page: Page, visitor: Visitor) -> None:
        [pk] = stored(service, names(1))
        page.goto(f"/gallery/{pk}/")
        page.get_by_role("button", name="Delete").click()
        page.get_by_role("button", name="Delete").click()
        expect(page.get_by_role("status").filter(has_text="1 photo deleted")).to_be_visible()


class TestDetail:
    def test_a_photo_that_lies_on_its_side_stands_upright(self, service: Service, page: Page) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6  # the camera was turned by a quarter
        pk = service.post(image_bytes(size=(160, 80), exif=exif))["id"]
        page.goto(f"/gallery/{pk}/")
        photo = page.locator("#photo img")
        expect(photo).to_have_js_property("naturalHeight", 160)
        size = photo.bounding_box()
        assert size
        assert size["height"] == 2 * size["width"]

    def test_a_correction_is_undone_in_the_history(self, service: Service, page: Page) -> None:
        [pk] = stored(service, names(1))
        correct(service, pk, "okapi")
        page.goto(f"/gallery/{pk}/")
        page.get_by_role("button", name="Undo the correction to okapi").click()
        expect(page.locator("strong").first).to_have_text(LABEL)

    def test_a_page_that_waits_renews_itself_and_keeps_what_is_typed(self, page: Page, service: Service) -> None:
        with service.paused_workers():
            pk = service.post(image_bytes("BMP", size=(90, 60)), "waiting.bmp")["id"]
            page.goto(f"/gallery/{pk}/")
            expect(page.get_by_text("Waiting for the model")).to_be_visible()
            field(page, "Right label").fill("half a wor")
        expect(page.locator("#history")).to_contain_text("said")
        expect(page.locator("#facts")).to_contain_text("Model")
        expect(field(page, "Right label")).to_have_value("half a wor")
        # No browser-proof picture of a BMP exists before a worker has made it.
        expect(page.locator("#photo img")).to_have_js_property("naturalWidth", 90)


class TestKeyboard:
    def test_a_photo_is_uploaded_found_and_corrected_by_keyboard_alone(self, page: Page) -> None:
        files = names(2)
        page.on("filechooser", lambda chooser: None)  # from the first listener on, the browser shows no dialogue
        page.goto("/")
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
        tab_to(page, field(page, "Photos"))
        with page.expect_file_chooser() as chooser:
            page.keyboard.press("Enter")
        chooser.value.set_files([payload(name) for name in files])
        expect_classified(page, files)

        page.keyboard.press("Home")
        link = page.get_by_role("link", name="Gallery", exact=True)
        for _ in range(30):
            if link.evaluate("element => element === document.activeElement"):
                break
            page.keyboard.press("Shift+Tab")
        expect(link).to_be_focused()
        page.keyboard.press("Enter")
        tab_to(page, field(page, "Search"))
        page.keyboard.type(files[0][:8])
        page.keyboard.press("Enter")
        expect(page.get_by_role("article")).to_have_count(2)

        newest, oldest = page.get_by_role("article").get_by_role("heading").all_inner_texts()
        tab_to(page, card(page, newest).get_by_role("link"))
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_have_text(newest)
        page.wait_for_load_state()
        page.keyboard.press("ArrowRight")
        expect(page.get_by_role("heading", level=1)).to_have_text(oldest)
        tab_to(page, field(page, "Right label"))
        page.keyboard.type("okapi")
        page.keyboard.press("Enter")
        expect(page.get_by_role("status").filter(has_text="corrected to okapi")).to_be_visible()
        tab_to(page, page.get_by_role("button", name="Undo", exact=True))
        page.keyboard.press("Enter")
        expect(page.get_by_role("status").filter(has_text="undone")).to_be_visible()

    def test_photos_are_chosen_and_deleted_by_keyboard_alone(self, service: Service, page: Page) -> None:
        files = names(2)
        stored(service, files)
        page.goto(f"/gallery/?q={files[0][:8]}")
        for name in reversed(files):
            tab_to(page, page.get_by_role("checkbox", name=f"Choose {name}"))
            page.keyboard.press("Space")
        for _ in range(30):
            if page.get_by_role("button", name="Delete").evaluate("element => element === document.activeElement"):
                break
            page.keyboard.press("Shift+Tab")
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_have_text("Delete these 2 photos?")
        tab_to(page, page.get_by_role("button", name="Delete"))
        page.keyboard.press("Enter")
        expect(page.get_by_role("status").filter(has_text="2 photos deleted")).to_be_visible()


RIVAL = "rival-" + "r" * 60
ROOT = "root"


@pytest.fixture(scope="module")
def serving(service: Service, small_bundle: Bundle) -> str:
    """The version that serves; RIVAL is beside it, and worse: what people say that photos show, it never says."""
    target = service.folder / "var" / "models" / RIVAL
    shutil.copytree(small_bundle.path, target)
    (target / "README.md").write_text(f"# Card\n{'w' * 300}")
    code = (
        "from pathlib import Path; from classifier.bundle import Bundle; from classifier.models import ModelVersion;"
        f"ModelVersion.objects.install(Bundle.read(Path({str(target)!r})), serve=False)"
    )
    service.manage("shell", "-c", code)
    ids = stored(service, [LONG_NAME, *names(3)])
    service.manage("models", "evaluate", RIVAL)
    wrong = f"(SELECT id FROM classifier_modelversion WHERE name = '{RIVAL}')"
    service.query(f"UPDATE predictions_classification SET label = 'okapi' WHERE model_version_id = {wrong}")
    for pk in ids:
        correct(service, pk, service.get(f"/predictions/{pk}/")["top_prediction"])
    [name] = [version["name"] for version in service.get("/models/") if version["serving"]]
    return str(name)


def make_root(service: Service) -> None:
    """Make the account that may do everything, if it is not there."""
    code = "from django.contrib.auth.models import User; User.objects.filter(username='root').exists() or"
    service.manage("shell", "-c", f"{code} User.objects.create_superuser('{ROOT}', password='{ROOT}')")


@pytest.fixture(scope="module")
def addresses(service: Service, serving: str) -> dict[str, str]:
    """Every page by its name, with photos of long names and labels, corrected ones, and one that is refused."""
    ids = stored(service, [LONG_NAME, *names(3)])
    for pk, label in zip(ids, ("l" * 200, "short"), strict=False):
        correct(service, pk, label)
    make_root(service)
    return {
        "upload": "/",
        "gallery": "/gallery/",
        "an empty gallery": "/gallery/?q=there-is-no-such-photo",
        "a wrong filter": "/gallery/?min_confidence=7",
        "detail": f"/gallery/{ids[0]}/",
        "dashboard": "/dashboard/",
        "models": "/dashboard/models/",
        "two models": f"/dashboard/models/compare/?a={serving}&b={RIVAL}",
        "two models without answers": f"/dashboard/models/compare/?a={serving}&b={RIVAL}&before=1",
        "a worse model": "/dashboard/models/",
        "login": "/login",
        "a model to remove": "/dashboard/models/",
        "forgotten password": "/password/forgotten",
        "account": "/account/",
        "password": "/password/change",
        "not found": "/gallery/999999999/",
        "failed": "/failed",
        "delete": f"/gallery/{ids[0]}/",
    }


PAGES = [
    "upload",
    "gallery",
    "an empty gallery",
    "a wrong filter",
    "detail",
    "dashboard",
    "models",
    "two models",
    "two models without answers",
    "a worse model",
    "a model to remove",
    "login",
    "forgotten password",
    "account",
    "password",
    "not found",
    "failed",
    "delete",
]
PERSONAL = {"account", "password"}


def log_in(page: Page, address: str) -> None:
    """Log in as somebody who may do everything."""
    page.goto(address)
    field(page, "Username").fill(ROOT)
    field(page, "Password").fill(ROOT)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url(lambda url: "login" not in urlsplit(url).path)


def fail(route: Route) -> None:
    """Answer with the page of a failure, which nobody can have on purpose."""
    answer = errors.respond(RequestFactory().get("/failed"), 500)
    route.fulfill(status=500, content_type="text/html", body=answer.content)


def show_uploads(page: Page) -> None:
    field(page, "Photos").set_input_files([payload(LONG_NAME), payload("b" * 200, b"no image")])
    expect(page.get_by_text("File must be an image")).to_be_visible()
    expect_classified(page, [LONG_NAME])


def show_correction(page: Page) -> None:
    field(page, "Right label").fill("w" * 200)
    page.get_by_role("button", name="Correct", exact=True).click()
    expect(page.get_by_role("button", name="Undo", exact=True)).to_be_visible()


def show_question(page: Page, button: str, way_out: str) -> None:
    page.get_by_role("button", name=button).click()
    expect(page.get_by_role("link", name=way_out)).to_be_visible()


def show_details(page: Page) -> None:
    for summary in page.locator("summary").all():
        summary.click()


def show_token(page: Page) -> None:
    field(page, "What it is for").fill("w" * 60)
    page.get_by_role("button", name="Make a token").click()
    expect(page.get_by_text("It is shown this once only")).to_be_visible()


def show_refusal(page: Page) -> None:
    for entry in page.get_by_role("main").locator("input[type=password]").all():
        entry.fill("abc")
    page.get_by_role("button", name="Change").click()
    expect(page.locator(".errorlist").first).to_be_visible()


# What is done on a page, so that it has something to show, and which answer that provokes.
STATES: dict[str, Callable[[Page], None]] = {
    "upload": show_uploads,
    "detail": show_correction,
    "models": show_details,
    "two models": show_details,
    "a worse model": lambda page: show_question(page, f"Promote {RIVAL}", "Leave it as it is"),
    "a model to remove": lambda page: show_question(page, f"Remove {RIVAL}", "Leave it as it is"),
    "account": show_token,
    "password": show_refusal,
    "delete": lambda page: show_question(page, "Delete", "Keep them"),
}
TROUBLES = {"a worse model": "409", "not found": "404", "failed": "500"}


def show(visitor: Visitor, addresses: dict[str, str], name: str, **options: object) -> Page:
    """Open a page by its name, in a state that has something to show."""
    page = visitor.open(**options)  # type: ignore[arg-type]
    if name in PERSONAL:
        log_in(page, "/login")
    page.route("**/failed", fail)
    page.goto(addresses[name])
    if name in STATES:
        STATES[name](page)
    if name in TROUBLES:
        visitor.forgive(TROUBLES[name])
    page.wait_for_load_state("networkidle")
    return page


class TestEveryPage:
    @pytest.mark.parametrize("name", PAGES)
    def test_it_never_scrolls_sideways(self, visitor: Visitor, addresses: dict[str, str], name: str) -> None:
        page = show(visitor, addresses, name, width=320)
        for width in (320, 360, 2560):
            page.set_viewport_size({"width": width, "height": 800})
            assert page.locator("html").evaluate("root => root.scrollWidth - root.clientWidth") <= 0, width
            wide = page.evaluate(
                """() => [...document.querySelectorAll("body *:not(svg *)")]
                    .filter(element => element.getBoundingClientRect().right > innerWidth + 1)
                    .map(element => element.outerHTML.slice(0, 80))"""
            )
            assert not wide, width

    @pytest.mark.parametrize("name", PAGES)
    def test_axe_finds_nothing(self, visitor: Visitor, addresses: dict[str, str], name: str) -> None:
        page = show(visitor, addresses, name)
        for scheme in SCHEMES:
            page.emulate_media(color_scheme=scheme)
            assert not accessibility(page), scheme

    @pytest.mark.parametrize("path", ["/docs", "/redoc", "/admin/", "/predictions/", "/models/", "/label-rules/"])
    def test_pages_of_the_framework_need_nothing_foreign_or_inline(
        self, visitor: Visitor, page: Page, path: str
    ) -> None:
        page.goto(path)
        page.wait_for_load_state("networkidle")
        for operation in page.locator(".opblock-summary-control").all():
            operation.click()
        for tab in page.locator("[name=raw-tab]").all():
            tab.click()
        if path == "/redoc":
            visitor.forgive("cdn.redoc.ly")  # its logo, which our policy for that page blocks: nothing is sent

    @pytest.mark.parametrize("name", PAGES)
    def test_targets_are_large_enough_for_a_thumb(self, visitor: Visitor, addresses: dict[str, str], name: str) -> None:
        """24 CSS pixels, or room around: what WCAG 2.2 asks for, beyond axe's default rules."""
        page = show(visitor, addresses, name, width=360, has_touch=True)
        small = page.evaluate(
            """() => [...document.querySelectorAll("button, input:not([type=hidden]), select, nav a")]
                .filter(element => element.checkVisibility())
                .filter(element => Math.min(element.offsetWidth, element.offsetHeight) < 24)
                .map(element => element.outerHTML.slice(0, 80))"""
        )
        assert not small

    @pytest.mark.parametrize("path", ["", "{}/change/"])
    @pytest.mark.parametrize("width", [360, 1280])
    def test_what_the_admin_shows_of_photos_is_accessible(
        self, visitor: Visitor, service: Service, path: str, width: int
    ) -> None:
        [pk] = stored(service, names(1))
        correct(service, pk, "okapi")
        make_root(service)
        page = visitor.open(width=width, bypass_csp=True)
        log_in(page, f"/admin/login/?next=/admin/predictions/imageprediction/{path.format(pk)}")
        expect(page.locator(".thumbnail, .photo img").first).to_be_visible()
        # The label of Django's search field is a picture with a text, which that rule does not see.
        assert [found for found in accessibility(page) if not found.startswith("label-title-only")] == []


class TestBanner:
    def test_a_service_without_a_model_says_so_and_keeps_what_is_uploaded(
        self, chromium: Browser, tmp_path: Path
    ) -> None:
        with Service(tmp_path, None) as service, Visitor(chromium, service.url) as visitor:
            for scheme in SCHEMES:
                page = visitor.open("/", width=360, color_scheme=scheme)
                expect(page.get_by_role("status").filter(has_text="No model is installed")).to_be_visible()
                field(page, "Photos").set_input_files([payload("early.jpg")])
                expect(card(page, "early.jpg").get_by_text("Waiting for the model")).to_be_visible()
                assert page.locator("html").evaluate("root => root.scrollWidth - root.clientWidth") <= 0
                assert not accessibility(page)
            assert not visitor.troubles


class TestModels:
    @pytest.fixture(params=[True, False], ids=["with JavaScript", "without"])
    def page(self, visitor: Visitor, request: pytest.FixtureRequest) -> Page:
        return visitor.open("/", java_script_enabled=request.param)

    def test_two_are_compared_the_worse_one_promoted_all_the_same_and_taken_back(
        self, service: Service, serving: str, visitor: Visitor, page: Page
    ) -> None:
        page.get_by_role("link", name="Models").click()
        field(page, "Version").select_option(serving)
        field(page, "with").select_option(RIVAL)
        page.get_by_role("button", name="Compare").click()
        expect(page.get_by_role("heading", level=1)).to_have_text(f"{serving} and {RIVAL}")
        expect(page.get_by_role("row", name="Right on corrected photos")).to_contain_text("0 of ")
        expect(page.get_by_role("img", name=f"Accuracy of {RIVAL}")).to_be_visible()
        expect(page.get_by_role("article").first).to_contain_text("okapi")
        page.get_by_role("link", name="All models").click()
        page.get_by_role("button", name=f"Promote {RIVAL}").click()
        expect(page.get_by_role("main")).to_contain_text(f"{RIVAL} is worse than {serving}")
        page.get_by_role("button", name="Promote it all the same").click()
        expect(page.get_by_role("status")).to_contain_text(f"{RIVAL} serves.")
        wait_until(lambda: self.newest(service) == RIVAL)
        page.get_by_role("button", name=f"Roll back to {serving}").click()
        expect(page.get_by_role("status")).to_contain_text(f"{serving} serves again.")
        wait_until(lambda: self.newest(service) == serving)
        visitor.forgive("409")

    def test_a_share_is_given_by_keyboard_alone(self, service: Service, serving: str, page: Page) -> None:
        page.goto("/dashboard/models/")
        box = field(page, f"{RIVAL}, percent")
        tab_to(page, box)
        page.keyboard.press("Control+A")
        page.keyboard.type("40")
        page.keyboard.press("Enter")
        expect(page.get_by_role("status")).to_contain_text(f"{serving} answers 60 %, {RIVAL} answers 40 %")
        box = field(page, f"{RIVAL}, percent")
        expect(box).to_have_value("40")
        box.fill("0")
        box.press("Enter")
        expect(page.get_by_role("status")).to_contain_text(f"{serving} answers 100 %")

    def newest(self, service: Service) -> str:
        """Return which version classifies a new photo."""
        pk = service.post(image_bytes(comment=uuid.uuid4().bytes))["id"]
        return str(service.wait_done([pk])[0]["model_version"])


@pytest.fixture(scope="module")
def guarded(small_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service for people with an account, of whom there is one."""
    folder = tmp_path_factory.mktemp("guarded")
    password = {"DJANGO_SUPERUSER_PASSWORD": "a good one"}
    with Service(folder, small_bundle, ACCESS="login", **password) as guarded:
        guarded.manage("createsuperuser", "--noinput", "--username", "ada", "--email", "ada@example.org")
        yield guarded


class TestLogin:
    @pytest.fixture
    def page(self, chromium: Browser, guarded: Service) -> Iterator[Page]:
        """The upload page, after logging in."""
        with Visitor(chromium, guarded.url) as visitor:
            page = visitor.open("/")
            field(page, "Username").fill("ada")
            field(page, "Password").fill("a good one")
            field(page, "Password").press("Enter")
            expect(page).to_have_url(f"{guarded.url}/")
            yield page
        # Whatever asks after the session has ended may be answered so; what the person sees is what is tested.
        assert not [trouble for trouble in visitor.troubles if not re.search("40[13]", trouble)]

    def test_who_has_logged_in_uploads_and_logs_out(self, page: Page) -> None:
        [name] = names(1)
        field(page, "Photos").set_input_files([payload(name)])
        expect_classified(page, [name])
        page.get_by_role("button", name="Log out").click()
        page.goto("/gallery/")
        expect(field(page, "Password")).to_be_visible()

    def test_the_page_with_a_name_in_it_fits_and_pleases_axe(self, page: Page) -> None:
        page.set_viewport_size({"width": 360, "height": 640})
        assert page.locator("html").evaluate("root => root.scrollWidth - root.clientWidth") <= 0
        assert not accessibility(page)

    def test_a_session_that_ended_meanwhile_is_said(self, page: Page) -> None:
        page.context.clear_cookies(name="sessionid")
        field(page, "Photos").set_input_files([payload("late.jpg")])
        expect(card(page, "late.jpg")).to_contain_text(re.compile("log(ged)? (in|out)", re.IGNORECASE))

    def test_a_card_that_asks_again_after_the_session_ended_leads_to_the_login(self, page: Page) -> None:
        field(page, "Photos").set_input_files([payload("waiting.jpg")])
        expect(page.get_by_text("Waiting for the model")).to_be_visible()
        page.context.clear_cookies(name="sessionid")
        expect(field(page, "Password")).to_be_visible()
        expect(page.get_by_role("main")).to_have_count(1)  # not the login page in place of the card


class TestWithoutJavaScript:
    @pytest.fixture
    def page(self, visitor: Visitor) -> Page:
        return visitor.open(java_script_enabled=False)

    def test_one_photo_is_uploaded_classified_and_corrected(self, page: Page) -> None:
        [name] = names(1)
        page.goto("/")
        field(page, "Photos").set_input_files([payload(name)])
        page.get_by_role("button", name="Upload").click()
        expect(page.get_by_role("heading", level=1)).to_have_text(name)
        expect(page.locator("strong").first).to_have_text(LABEL)  # the page looks again by itself
        field(page, "Right label").fill("okapi")
        page.get_by_role("button", name="Correct", exact=True).click()
        expect(page.get_by_role("status").filter(has_text="1 photo corrected to okapi")).to_be_visible()
        expect(page.locator("strong").first).to_have_text("okapi")
        page.get_by_role("button", name="Undo", exact=True).click()
        expect(page.get_by_role("status").filter(has_text="undone")).to_be_visible()
        expect(page.locator("strong").first).to_have_text(LABEL)

    def test_several_are_uploaded_and_a_refused_one_says_why(
        self, service: Service, visitor: Visitor, page: Page
    ) -> None:
        files = names(2)
        page.goto("/")
        field(page, "Photos").set_input_files([*(payload(name) for name in files), payload("notes.txt", b"no image")])
        page.get_by_role("button", name="Upload").click()
        expect(page.get_by_role("alert")).to_contain_text("notes.txt")
        expect(page.get_by_role("alert")).to_contain_text("File must be an image")
        for name in files:
            expect(card(page, name)).to_have_count(1)
        wait_for_labels(service, files)
        page.get_by_role("link", name="Look for it in the gallery").click()
        expect(card(page, files[0]).locator("strong")).to_have_text(LABEL)
        visitor.forgive("400")

    def test_photos_that_wait_are_looked_at_again(self, service: Service, page: Page) -> None:
        files = names(2)
        with service.paused_workers():
            page.goto("/")
            field(page, "Photos").set_input_files([payload(name) for name in files])
            page.get_by_role("button", name="Upload").click()
            expect(page.get_by_role("link", name="Look again")).to_be_visible()
        wait_for_labels(service, files)
        page.get_by_role("link", name="Look again").click()
        expect(card(page, files[0]).locator("strong")).to_have_text(LABEL)

    def test_many_are_filtered_and_deleted(self, service: Service, page: Page) -> None:
        files = names(3)
        stored(service, files)
        page.goto("/gallery/")
        field(page, "Search").fill(files[0][:8])
        page.get_by_role("button", name="Show", exact=True).click()
        expect(page.get_by_role("article")).to_have_count(3)
        for name in files[:2]:
            page.get_by_role("checkbox", name=f"Choose {name}").check()
        page.get_by_role("button", name="Delete").click()
        page.get_by_role("button", name="Delete").click()
        expect(page.get_by_role("status").filter(has_text="2 photos deleted")).to_be_visible()
        expect(page.get_by_role("article")).to_have_count(1)

    def test_further_pages_are_a_link_away(self, service: Service, page: Page) -> None:
        files = names(61)
        stored(service, files)
        page.goto(f"/gallery/?q={files[0][:8]}")
        expect(page.get_by_role("article")).to_have_count(60)
        page.get_by_role("link", name="Further photos").click()
        expect(page.get_by_role("article")).to_have_count(1)
        page.get_by_role("link", name="Back one page").click()
        expect(page.get_by_role("article")).to_have_count(60)


class TestLabelRules:
    """The admin's pages of the label map: what a rule would change is told while one types."""

    @pytest.fixture(autouse=True)
    def _no_rules(self, service: Service) -> Iterator[None]:
        yield
        service.manage("shell", "-c", "from predictions.labelmap import LabelRule; LabelRule.objects.all().delete()")

    def enter(self, visitor: Visitor, service: Service, **options: Any) -> Page:
        make_root(service)
        page = visitor.open(width=360, **options)
        log_in(page, "/admin/login/?next=/admin/predictions/labelrule/add/")
        expect(page.get_by_label("Model's labels")).to_be_visible()
        return page

    def test_the_form_is_accessible_and_narrow(self, visitor: Visitor, service: Service) -> None:
        page = self.enter(visitor, service, bypass_csp=True)
        assert accessibility(page) == []
        assert page.locator("html").evaluate("root => root.scrollWidth - root.clientWidth") <= 0
        page.get_by_label("Model's labels").fill("no label of the model's")
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_text("Rules saved: 1.")).to_be_visible()
        assert [found for found in accessibility(page) if "form-0" in found or "preview" in found] == []

    def test_what_would_change_is_told_while_one_types(self, visitor: Visitor, service: Service) -> None:
        admin = self.enter(visitor, service)
        [pk] = stored(service, names(1))
        label = service.get(f"/predictions/{pk}/")["label"]
        said = f"top_prediction = '{label}' AND corrected_at IS NULL"  # a person's word is never mapped
        [(count,)] = service.query(f"SELECT count(*) FROM predictions_imageprediction WHERE {said}")
        told = admin.get_by_role("status").filter(has_text="would show")
        admin.get_by_label("Add a label").fill(label)
        expect(admin.locator("#model-labels option")).to_have_attribute("value", label)
        admin.keyboard.press("Enter")
        admin.get_by_label("Shown as").press_sequentially("animal")
        expect(told).to_have_text(f"Photos that would show another label: {count}.")
        admin.get_by_role("button", name="Save").click()
        expect(admin.get_by_text(f"Photos that show another label now: {count}.")).to_be_visible()

        admin.get_by_label("Minimum confidence").fill("1")
        expect(told).to_have_text(f"Photos that would show another label: {count}.")
        admin.get_by_label("Minimum confidence").fill("7")
        expect(admin.get_by_text("less than or equal to 1")).to_be_visible()
        admin.get_by_label("Minimum confidence").fill("1")
        expect(told).to_have_text(f"Photos that would show another label: {count}.")
        admin.get_by_role("button", name="Save").click()
        expect(admin.get_by_text(f"Photos that show another label now: {count}.")).to_be_visible()
        admin.wait_for_timeout(1100)  # so soon all processes agree
        admin.goto("/gallery/?label=unsure")
        shown = admin.locator(".card strong")
        expect(shown.first).to_be_visible()
        assert set(shown.all_inner_texts()) == {"unsure"}
