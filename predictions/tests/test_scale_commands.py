"""Thousands of real photos by the commands, in processes of their own: what they take, and that a kill loses nothing.

make test-scale prints times and memory, which are this machine's; what must hold are ratios, and bounds of memory.
"""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import pytest

from classifier.bundle import Bundle
from config.tests.environment import PHOTOS, image_bytes
from config.tests.service import Commands, photo_variants, scaled, session, wait_until
from predictions.tests.filling import PATTERN

pytestmark = pytest.mark.scale
EXPORTED, IMPORTED = scaled(100_000), scaled(2_000)
MEGABYTES = 200  # that exporting may take
# Of the command's processor time for a photo to what decoding and inference take: 1.25 is what 0.8 of the floor allows
# on a quiet machine. Others, on this one, cost both of them more, but not the same.
MOST_TIMES = 2


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    """Many rows, and their files: the rows repeat themselves, and so do the files."""
    with Commands(tmp_path_factory.mktemp("exported"), None) as commands:
        commands.manage("shell", "-c", f"from predictions.tests.filling import fill; fill({EXPORTED})")
        media = commands.folder / "var" / "media" / "2024" / "01" / "01"
        media.mkdir(parents=True)
        (media / "0.jpg").write_bytes(image_bytes(size=(640, 480), quality=90))
        for number in range(1, min(PATTERN, EXPORTED)):
            (media / f"{number}.jpg").hardlink_to(media / "0.jpg")
        yield commands


@pytest.mark.parametrize("name", ["labels.csv", "labels.jsonl", "dataset.zip", "dataset"])
def test_an_export_takes_little_memory_however_many_images_it_has(exported: Commands, name: str) -> None:
    megabytes, seconds = exported.usage("export_dataset", str(exported.folder / name))
    print(f"\nexport of {EXPORTED:,} images as {name}: {megabytes:.0f} MiB at most, {seconds:.0f} s of a processor")
    assert megabytes < MEGABYTES


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos that differ in their bytes, real ones where they are at hand, in folders; among them two that are none."""
    root = tmp_path_factory.mktemp("photos")
    real = [path.read_bytes() for path in sorted(PHOTOS.glob("*.jp*g"))]
    originals = cycle(real or photo_variants(1))
    for number, content in enumerate(islice(originals, IMPORTED)):
        path = root / f"{number // 100}" / f"{number:05}.jpg"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content + b"variant %d" % number)  # behind the end of a JPEG: as much work, another SHA-256
    (root / "others").mkdir()
    (root / "others" / "corrupt.jpg").write_bytes(next(originals)[:100])
    (root / "others" / "notes.txt").write_text("Photos of last summer.")
    return root


@pytest.fixture(scope="module")
def imported(real_bundle: Bundle, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    """The photos, imported by the first test that wants them, and not classified yet."""
    with Commands(tmp_path_factory.mktemp("imported"), real_bundle, LEASE_SECONDS="5") as commands:
        summary, err = run(commands, "import_images", str(folder), code=1)
        print(f"\n{summary['imported']:,} photos imported in {summary['seconds']} s")
        assert (summary["imported"], summary["already_there"]) == (IMPORTED, 0)
        refused = {Path(entry["file"]).name: entry["reason"] for entry in summary["refused"]}
        assert refused.keys() == {"corrupt.jpg", "notes.txt"}
        assert all(" " in reason and f"{name}: {reason}" in err for name, reason in refused.items())
        yield commands


def run(commands: Commands, *arguments: str, code: int = 0) -> tuple[dict[str, Any], str]:
    """Run a command to its end, however long that takes; return its summary, and what it says beside."""
    process = commands.begin(*arguments, "--json")
    out, err = process.communicate()
    assert process.returncode == code, err
    summary: dict[str, Any] = json.loads(out)
    return summary, err


def state(commands: Commands) -> dict[int, tuple[str, str]]:
    """Return the status of each photo, and when it was classified."""
    found = commands.query("SELECT id, status, classified_at FROM predictions_imageprediction ORDER BY id")
    return {pk: (status, str(moment)) for pk, status, moment in found}


def kill_half_way(commands: Commands, process: subprocess.Popen[str]) -> dict[int, tuple[str, str]]:
    """End a command, and all processes of it, when half of the photos are done; return the state then."""
    wait_until(lambda: sum(row[0] == "done" for row in state(commands).values()) >= IMPORTED // 2, 3600)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    wait_until(lambda: not session(process.pid), 20)
    return state(commands)


def test_a_second_import_finds_everything_there(imported: Commands, folder: Path) -> None:
    summary, _ = run(imported, "import_images", str(folder), code=1)
    assert (summary["imported"], summary["already_there"], len(summary["refused"])) == (0, IMPORTED, 2)
    assert len(state(imported)) == IMPORTED


def test_killed_half_way_and_resumed_no_photo_is_lost_or_classified_twice(imported: Commands) -> None:
    run(imported, "reclassify", "--all")
    imported.query("""UPDATE predictions_imageprediction SET all_predictions = '[{"label": "unicorn"}]'""")
    before = state(imported)
    running = imported.begin("reclassify", "--all", "--json")
    wait_until(lambda: any(row[0] == "pending" for row in state(imported).values()))
    between = kill_half_way(imported, running)
    done = {pk for pk, row in between.items() if row[0] == "done"}
    assert IMPORTED // 2 <= len(done) < IMPORTED

    summary, _ = run(imported, "reclassify", "--all")
    after = state(imported)
    print(f"\nkilled when {len(done):,} of {IMPORTED:,} were done; the rest took {summary['seconds']} s")
    assert (summary["resumed"], summary["classified"], summary["changed"]) == (True, IMPORTED, IMPORTED)
    assert (summary["failed"], summary["waiting"], summary["deleted"]) == (0, 0, 0)
    assert after.keys() == before.keys()
    assert {pk: after[pk] for pk in done} == {pk: between[pk] for pk in done}
    assert all(row[0] == "done" and row[1] > before[pk][1] for pk, row in after.items())
    # One answer of the one version for each, whoever wrote it.
    assert imported.query("SELECT count(*) FROM predictions_classification") == [(IMPORTED,)]


def test_classifying_again_takes_little_more_than_decoding_and_inference(imported: Commands, folder: Path) -> None:
    """Three times in turns with the floor, since other work on the machine comes and goes."""
    for _ in range(3):
        floor = json.loads(imported.manage("benchmark", "--photos", str(folder / "0"), "--json").stdout)
        summary, _ = run(imported, "reclassify", "--all")
        rate = summary["classified"] / summary["seconds"]
        print(f"\n{rate:.0f} images/s, {rate / floor['floor_images_per_s']:.2f} of the floor", end=" ")
        print(f"of {floor['floor_images_per_s']:.0f}; the command's start and end count")
    _, start = imported.usage("reclassify", "--ids", str(min(state(imported))))
    _, seconds = imported.usage("reclassify", "--all")
    milliseconds = 1000 * (seconds - start) / IMPORTED
    print(
        f"{milliseconds:.1f} ms of a processor for each photo, {floor['photo_ms']:.1f} of them decoding and inference"
    )
    print(f"{start:.1f} s of a processor to start and to end, however many there are")
    assert milliseconds < MOST_TIMES * floor["photo_ms"]
