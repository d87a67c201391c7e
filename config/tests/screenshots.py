"""Pictures of the pages for people who read about them: `make screenshots`, or `python -m config.tests.screenshots`.

Shows generated pictures, which may be published. With --photos it shows those of a folder, outside docs/.
"""

import argparse
import colorsys
import os
import random
import shutil
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image, ImageDraw, ImageFilter
from playwright.sync_api import FilePayload, Page, expect, sync_playwright

from classifier.bundle import Bundle
from config.tests.browser import ARGUMENTS, CHROMIUM, Visitor
from config.tests.environment import KERAS_FILES, ROOT, build_small, pytest_unconfigure
from config.tests.service import Service

SIZE = 960, 720
FEWEST_COLOURS = 16
LARGEST = 150_000  # bytes of one screenshot: they are fetched with every clone
FORMATS = {".jpg", ".jpeg", ".png", ".webp"}
WORDS = "dunes harbour meadow lanterns tulips reef glacier market orchard canyon aurora kites"
ACCOUNT = "labeler"
NOT_A_PHOTO: FilePayload = {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"no image"}
WEIGHTS = ROOT.parent / "shared" / "model" / "keras"  # beside the project, as .ci/run finds them


def pictures() -> Iterator[tuple[str, bytes]]:
    """Draw a dozen colourful pictures: a sky, hills, and things round and straight; the same ones every time."""
    for number, name in enumerate(WORDS.split()):
        chance = random.Random(number)
        hue = number / 12

        def colour(shift: float, value: float, hue: float = hue) -> tuple[int, ...]:
            return tuple(round(255 * part) for part in colorsys.hsv_to_rgb((hue + shift) % 1, 0.65, value))

        sky = Image.linear_gradient("L").resize(SIZE)
        image = Image.composite(Image.new("RGB", SIZE, colour(0.1, 0.95)), Image.new("RGB", SIZE, colour(0, 0.6)), sky)
        draw = ImageDraw.Draw(image)
        x, y = chance.randrange(150, 800), chance.randrange(90, 260)
        draw.ellipse((x - 70, y - 70, x + 70, y + 70), fill=colour(0.5, 1))
        for layer in range(4):
            heights = [chance.randrange(250 + 100 * layer, 400 + 90 * layer) for _ in range(7)]
            ridge = [(160 * place, height) for place, height in enumerate(heights)]
            draw.polygon([(0, 720), *ridge, (960, 720)], fill=colour(0.08 * layer + 0.2, 0.75 - 0.14 * layer))
        for _ in range(5 + number):
            x, y, r = chance.randrange(960), chance.randrange(420, 700), chance.randrange(12, 48)
            shape = draw.ellipse if number % 2 else draw.rectangle
            shape((x - r, y - r, x + r, y + r), fill=colour(chance.choice([0.4, 0.5, 0.6]), 0.95))
        file = BytesIO()
        image.filter(ImageFilter.GaussianBlur(1)).save(file, "JPEG", quality=88)
        yield f"{name}.jpg", file.getvalue()


def photos(folder: Path | None) -> list[FilePayload]:
    """Return what to show: a folder's photos, or generated ones."""
    found = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in FORMATS] if folder else []
    shown = [(path.name, path.read_bytes()) for path in found] or list(pictures())
    return [{"name": name, "mimeType": "image/jpeg", "buffer": content} for name, content in shown]


def bundles(folder: Path, files: list[FilePayload]) -> list[Bundle]:
    """Return the real model and the same in 8-bit integers if its weights are at hand, else a small one alone."""
    homes = [Path(os.environ.get("KERAS_HOME", Path.home() / ".keras")), WEIGHTS]
    real = next((home for home in homes if all((home / "models" / name).exists() for name in KERAS_FILES)), None)
    if not real:
        return [build_small(folder / "bundle")]
    os.environ["KERAS_HOME"] = str(real)
    from classifier.export import export  # TensorFlow
    from classifier.sources import mobilenet_v2

    seen = []
    for file in files:
        seen.append(folder / file["name"])
        seen[-1].write_bytes(file["buffer"])
    return [export(mobilenet_v2(), folder / "bundle"), export(mobilenet_v2(), folder / "bundle", calibrate=seen)]


def add(service: Service, bundle: Bundle) -> None:
    """Install a version beside the one that serves, and have it answer all photos."""
    target = service.folder / "var" / "models" / bundle.name
    shutil.copytree(bundle.path, target)
    code = (
        "from pathlib import Path; from classifier.bundle import Bundle; from classifier.models import ModelVersion;"
        f"ModelVersion.objects.install(Bundle.read(Path({str(target)!r})), serve=False)"
    )
    service.manage("shell", "-c", code)
    service.manage("models", "evaluate", bundle.name)


def save(page: Page, path: Path) -> None:
    """Write what is in view as a PNG with as many colours as the size allows."""
    page.wait_for_load_state("networkidle")
    shot = Image.open(BytesIO(page.screenshot())).convert("RGB")
    colours = 256
    while True:
        shot.quantize(colours, kmeans=2, dither=Image.Dither.NONE).save(path, optimize=True)
        if path.stat().st_size <= LARGEST or colours == FEWEST_COLOURS:
            break
        colours //= 2


def fill(visitor: Visitor, files: list[FilePayload]) -> None:
    """Upload everything by the page, and put two labels right."""
    page = visitor.open("/")
    page.get_by_label("Photos", exact=True).set_input_files(files[2:])
    expect(page.get_by_role("meter")).to_have_count(5 * len(files[2:]))
    for number in (1, 2):
        page.goto("/gallery/")
        page.get_by_role("article").nth(number).get_by_role("link").click()
        page.get_by_label("Right label").fill("landscape")
        page.get_by_role("button", name="Correct", exact=True).click()
        expect(page.get_by_role("button", name="Undo", exact=True)).to_be_visible()


def shoot(visitor: Visitor, files: list[FilePayload], scheme: str, to: Path) -> None:
    """Save every page in one colour scheme."""
    page = visitor.open("/", color_scheme=scheme)
    page.get_by_label("Photos", exact=True).set_input_files([*files[:2], NOT_A_PHOTO])
    expect(page.get_by_role("meter")).to_have_count(10)
    expect(page.get_by_text("File must be an image")).to_be_visible()
    save(page, to / f"upload-{scheme}.png")
    page.goto("/gallery/")
    for box in page.get_by_role("checkbox").all()[:2]:
        box.check()
    page.mouse.move(0, 0)
    save(page, to / f"gallery-{scheme}.png")
    page.get_by_role("button", name="Delete").click()
    expect(page.get_by_role("link", name="Keep them")).to_be_visible()
    save(page, to / f"delete-{scheme}.png")
    page.get_by_role("button", name="Delete").click()
    expect(page.get_by_text("2 photos deleted")).to_be_visible()
    page.goto("/gallery/?corrected=true")
    page.get_by_role("article").first.get_by_role("link").click()
    expect(page.get_by_label("Right label")).to_be_visible()
    save(page, to / f"detail-{scheme}.png")
    for name, path in (("dashboard", "/dashboard/"), ("models", "/dashboard/models/"), ("not-found", "/gallery/0/")):
        page.goto(path)
        save(page, to / f"{name}-{scheme}.png")
    page.goto("/dashboard/models/")
    if (compare := page.get_by_role("button", name="Compare")).count():
        compare.click()
        save(page, to / f"compare-{scheme}.png")
    page.goto("/login?next=/account/")
    save(page, to / f"login-{scheme}.png")
    page.get_by_label("Username").fill(ACCOUNT)
    page.get_by_label("Password").fill(ACCOUNT)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("button", name="Make a token")).to_be_visible()
    save(page, to / f"account-{scheme}.png")


def shoot_all(files: list[FilePayload], to: Path) -> None:
    """Fill a service and save every page of it, light and dark."""
    to.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as folder, sync_playwright() as playwright:
        first, *others = bundles(Path(folder), files)
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        with Service(Path(folder), first) as service, Visitor(browser, service.url) as visitor:
            fill(visitor, files)
            for bundle in others:
                add(service, bundle)
            user = f"User.objects.create_user('{ACCOUNT}', password='{ACCOUNT}')"
            make = f"from django.contrib.auth.models import *; {user}.groups.set(Group.objects.filter(name='labelers'))"
            service.manage("shell", "-c", make)
            for scheme in ("light", "dark"):
                shoot(visitor, files, scheme, to)
        browser.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, help="a folder of photos to show instead of generated pictures")
    parser.add_argument(
        "--to", type=Path, help="the folder to write to; default docs/screenshots, or var/ for --photos"
    )
    options = parser.parse_args()
    to: Path = (options.to or ROOT / ("var" if options.photos else "docs") / "screenshots").resolve()
    if options.photos and to.is_relative_to(ROOT / "docs"):
        parser.error("photos of others are not for docs/, which is published: choose another folder")
    shoot_all(photos(options.photos), to)


if __name__ == "__main__":
    try:
        main()
    finally:
        pytest_unconfigure()  # removes the DATA_DIR that importing config.tests.environment made
