"""import_images: everything that lies on a disk, each content once, and again after a kill."""

import os
import zipfile
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from PIL import ExifTags, Image

from classifier.models import ModelVersion
from config.tests.environment import image_bytes
from config.tests.service import photo_variants
from predictions import services, tasks
from predictions.admission import StorageFull
from predictions.models import Correction, ImagePrediction, Status
from predictions.tests.commands import Console

pytestmark = pytest.mark.django_db


@pytest.fixture
def console(capsys: pytest.CaptureFixture[str]) -> Console:
    return Console(capsys)


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def pack(path: Path, files: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def names() -> list[str]:
    return list(ImagePrediction.objects.order_by("pk").values_list("filename", flat=True))


def labels() -> dict[str, str | None]:
    return dict(ImagePrediction.objects.values_list("filename", "top_prediction"))


def test_a_folder_with_all_below_it(console: Console, tmp_path: Path) -> None:
    a, b, c = photo_variants(3)
    folder = write(
        tmp_path / "in",
        {"b.jpg": b, "deep/er/c.jpg": c, "a.jpg": a, "notes.txt": b"hello", "broken.jpg": b"\xff\xd8\xff", "none": b""},
    )
    ran = console("import_images", folder)
    assert (ran.code, ran.complaint) == (1, "3 refused.")
    assert "3 imported, 0 there already" in ran.out
    assert f"{folder}/notes.txt: File must be an image" in ran.err
    assert f"{folder}/none: The file is empty" in ran.err
    assert "import: 6 of 6" in ran.err
    assert names() == ["a.jpg", "b.jpg", "c.jpg"]
    assert set(ImagePrediction.objects.values_list("status", flat=True)) == {Status.PENDING}
    assert not Correction.objects.exists()
    assert (folder / "a.jpg").read_bytes() == a


def test_a_second_time_nothing_is_imported(console: Console, tmp_path: Path) -> None:
    a, b = photo_variants(2)
    folder = write(tmp_path / "in", {"a.jpg": a, "copy of a.jpg": a, "b.jpg": b})
    first = console("import_images", folder, "--json")
    assert (first.code, first.summary["imported"], first.summary["already_there"]) == (0, 2, 1)
    (folder / "b.jpg").rename(folder / "renamed.jpg")
    second = console("import_images", folder, "--json")
    assert (second.code, second.summary["imported"], second.summary["already_there"]) == (0, 0, 3)
    assert ImagePrediction.objects.count() == 2


def test_hidden_files_litter_and_loops_are_passed_over(console: Console, tmp_path: Path) -> None:
    a, b, c = photo_variants(3)
    files = {"a.jpg": a, ".hidden.jpg": b, ".git/b.jpg": b, "Thumbs.db": b"x", "__MACOSX/._a.jpg": b"x"}
    folder = write(tmp_path / "in", files)
    (folder / "loop").symlink_to(folder)
    pack(folder / "more.zip", {"c.jpg": c, "__MACOSX/c.jpg": b, "sub/.DS_Store": b"x"})
    assert console("import_images", folder).code == 0
    assert names() == ["a.jpg", "c.jpg"]


def test_a_pipe_a_dead_link_and_a_closed_folder_are_refused(
    console: Console, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(tmp_path / "in", {"a.jpg": image_bytes(), "closed/b.jpg": image_bytes()})
    os.mkfifo(folder / "pipe")
    (folder / "dead").symlink_to(tmp_path / "nowhere")
    real = os.scandir

    def scandir(path: Any) -> Any:  # root, as whom tests may run, can read every folder
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    refused = {
        entry["file"]: entry["reason"] for entry in console("import_images", folder, "--json").summary["refused"]
    }
    assert refused == {
        f"{folder}/pipe": "It is no regular file",
        f"{folder}/dead": "The file cannot be read: No such file or directory",
        f"{folder}/closed": "The folder cannot be read: Permission denied",
    }
    assert names() == ["a.jpg"]


def test_a_zip_file_by_itself(console: Console, tmp_path: Path) -> None:
    a, b = photo_variants(2)
    path = pack(tmp_path / "in.ZIP", {"a.jpg": a, "../../evil/b.jpg": b, "\x1b[2Jnotes.txt": b"x", "inner.zip": b"PK"})
    ran = console("import_images", path)
    assert ran.code == 1
    assert names() == ["a.jpg", "b.jpg"]
    assert "\x1b" not in ran.err
    assert not (tmp_path.parent / "evil").exists()


def test_damaged_and_encrypted_zip_files(console: Console, tmp_path: Path) -> None:
    good = pack(tmp_path / "a.zip", {"a.jpg": image_bytes()}, zipfile.ZIP_STORED).read_bytes()
    flagged = bytearray(good)
    flagged[6] |= 1  # "encrypted", in the member's header and in the directory
    flagged[good.index(b"PK\x01\x02") + 8] |= 1
    damaged = bytearray(good)
    damaged[200] ^= 255
    write(
        tmp_path / "in",
        {"no.zip": b"hello", "flagged.zip": bytes(flagged), "damaged.zip": bytes(damaged), "cut.zip": good[:500]},
    )
    ran = console("import_images", tmp_path / "in", "--json")
    reasons = {Path(entry["file"]).relative_to(tmp_path).parts[1]: entry["reason"] for entry in ran.summary["refused"]}
    assert reasons["no.zip"] == "The zip file cannot be read: File is not a zip file"
    assert "encrypted" in reasons["flagged.zip"]
    assert "Bad CRC-32" in reasons["damaged.zip"]
    assert "cut.zip" in reasons
    assert not names()


def test_zip_bombs_are_not_unpacked(console: Console, tmp_path: Path, settings: Any) -> None:
    settings.MAX_UPLOAD_MB = 1
    bomb = pack(tmp_path / "bomb.zip", {"zeros.jpg": bytes(30_000_000)})
    pack(tmp_path / "lzma.zip", {"zeros.jpg": bytes(900_000)}, zipfile.ZIP_LZMA)
    # One that claims to be small: no more than it claims is unpacked.
    content = bytearray(bomb.read_bytes())
    for header, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        start = content.index(header) + offset
        content[start : start + 4] = (1000).to_bytes(4, "little")
    (tmp_path / "liar.zip").write_bytes(content)
    ran = console("import_images", *(tmp_path / name for name in ("bomb.zip", "lzma.zip", "liar.zip")), "--json")
    reasons = [entry["reason"] for entry in ran.summary["refused"]]
    assert reasons[0] == "The file has 30.0 MB; at most 1 MB are accepted"
    assert reasons[1] == "It is compressed by another method than deflate"
    assert reasons[2].startswith("It cannot be unpacked") or reasons[2] == "File must be an image"
    assert not names()


def test_labels_from_folders(console: Console, tmp_path: Path) -> None:
    a, b, c, d = photo_variants(4)
    anna = User.objects.create_user("anna")
    folder = write(tmp_path / "cats", {"a.jpg": a, "tabby/b.jpg": b, "either%2For/c.jpg": c})
    archive = pack(tmp_path / "dogs.zip", {"d.jpg": d})
    ran = console("import_images", folder, archive, "--label-from-folder", "--by", "anna")
    assert ran.code == 0
    assert labels() == {"a.jpg": "cats", "b.jpg": "tabby", "c.jpg": "either/or", "d.jpg": "dogs"}
    assert "4 labelled:" in ran.out
    for correction in Correction.objects.all():
        assert (correction.corrected_by, correction.source, correction.confidence) == (anna, "command", 1)
    assert set(ImagePrediction.objects.values_list("uploaded_by", flat=True)) == {anna.pk}
    console("import_images", folder, archive, "--label-from-folder")
    assert Correction.objects.count() == 4


def test_the_label_outlives_the_classification(console: Console, tmp_path: Path, model: ModelVersion) -> None:
    folder = write(tmp_path / "okapi", {"a.jpg": image_bytes()})
    console("import_images", folder, "--label-from-folder")
    tasks.classify_pending()
    row = ImagePrediction.objects.get()
    assert (row.status, row.top_prediction, row.confidence) == (Status.DONE, "okapi", 1)
    assert row.all_predictions


def test_an_import_that_was_killed_before_it_labelled_makes_up_for_it(console: Console, tmp_path: Path) -> None:
    folder = write(tmp_path / "cat", {"a.jpg": image_bytes()})
    console("import_images", folder)
    assert labels() == {"a.jpg": None}
    ran = console("import_images", folder, "--label-from-folder", "--json")
    assert (ran.summary["already_there"], ran.summary["labels"]) == (1, {"cat": 1})
    assert labels() == {"a.jpg": "cat"}


def test_a_label_contradicting_a_persons_is_a_conflict(console: Console, tmp_path: Path) -> None:
    a, b = photo_variants(2)
    folder = write(tmp_path / "in", {"cat/a.jpg": a, "cat/b.jpg": b, "dog/a.jpg": a})
    for _ in range(2):
        ran = console("import_images", folder, "--label-from-folder", "--json")
        assert (ran.code, ran.complaint) == (1, "1 in conflict.")
        assert ran.summary["conflicts"] == [
            {
                "file": f"{folder}/dog/a.jpg",
                "reason": "The image is there already, and labelled cat; its folder says dog",
            }
        ]
        assert labels() == {"a.jpg": "cat", "b.jpg": "cat"}


def test_a_dry_run_says_the_same_and_changes_nothing(console: Console, tmp_path: Path) -> None:
    a, b = photo_variants(2)
    folder = write(tmp_path / "in", {"cat/a.jpg": a, "cat/b.jpg": b, "dog/a.jpg": a, "cat/x.txt": b"x"})
    dry = console("import_images", folder, "--label-from-folder", "--dry-run", "--json").summary
    assert not ImagePrediction.objects.exists()
    real = console("import_images", folder, "--label-from-folder", "--json").summary
    for key in ("imported", "already_there", "labels", "refused", "conflicts"):
        assert dry[key] == real[key], key


def test_a_full_storage_ends_it_and_the_labels_so_far_are_kept(
    console: Console, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(tmp_path / "cat", dict(zip(("a.jpg", "b.jpg", "c.jpg"), photo_variants(3), strict=True)))
    real, calls = services.bring_in, []

    def submit(*arguments: Any, **options: Any) -> ImagePrediction:
        calls.append(arguments)
        if len(calls) == 2:
            raise StorageFull
        return real(*arguments, **options)

    monkeypatch.setattr(services, "bring_in", submit)
    ran = console("import_images", folder, "--label-from-folder")
    assert (ran.code, labels()) == (1, {"a.jpg": "cat"})
    assert ran.complaint.startswith("There is no room for more files")


def test_wrong_usage(console: Console, tmp_path: Path) -> None:
    assert console("import_images", tmp_path / "nowhere").code == 2
    ran = console("import_images", tmp_path, "--by", "nobody")
    assert (ran.code, ran.complaint) == (2, "There is no user named nobody.")


def test_waiting_without_a_worker_ends(console: Console, tmp_path: Path) -> None:
    write(tmp_path / "in", {"a.jpg": image_bytes()})
    ran = console("import_images", tmp_path / "in", "--wait")
    assert (ran.code, ran.complaint) == (1, "1 still waiting.")
    assert "No worker is alive" in ran.err


def test_waiting_tells_what_failed(
    console: Console, tmp_path: Path, model: ModelVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = image_bytes(size=(400, 300))
    write(tmp_path / "in", {"a.jpg": photo, "cut.jpg": photo[: len(photo) // 2]})

    def worker() -> int:
        tasks.classify_pending()
        return 1

    monkeypatch.setattr("predictions.management.commands.import_images.live_workers", worker)
    ran = console("import_images", tmp_path / "in", "--wait", "--json")
    assert (ran.code, ran.summary["imported"], ran.summary["failed"], ran.summary["waiting"]) == (1, 2, 1, 0)


def test_names_of_other_encodings_and_endless_ones(console: Console, tmp_path: Path) -> None:
    folder = write(tmp_path / "in", {"é" * 100 + ".jpg": image_bytes()})
    (folder / os.fsdecode(b"caf\xe9.jpg")).write_bytes(image_bytes() + b"2")
    assert console("import_images", folder, "--label-from-folder").code == 0
    assert sorted(names()) == ["caf.jpg", "é" * 100 + ".jpg"]


@pytest.mark.parametrize("size", [0, 5])
def test_progress_lines_come_while_it_lasts(
    console: Console, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr("predictions.management.reporting.LOG_SECONDS", 0)
    write(tmp_path / "in", {f"{number}.jpg": content for number, content in enumerate(photo_variants(size))})
    (tmp_path / "in").mkdir(exist_ok=True)
    lines = [line for line in console("import_images", tmp_path / "in").err.splitlines() if line]
    assert len(lines) == size + 1
    assert lines[-1].startswith(f"import: {size} of {size}")


def test_the_bounds_of_users_are_not_those_of_who_runs_the_service(
    console: Console, tmp_path: Path, settings: Any
) -> None:
    settings.QUEUE_LIMIT, settings.QUOTA_MB = 1, 0.000_001
    User.objects.create_user("ada")
    folder = write(tmp_path / "in", {f"{number}.jpg": content for number, content in enumerate(photo_variants(3))})
    assert console("import_images", folder, "--by", "ada").code == 0
    assert ImagePrediction.objects.pending().count() == 3
    assert not ImagePrediction.objects.awaited().exists()


def test_a_content_is_known_again_without_its_metadata(console: Console, tmp_path: Path, settings: Any) -> None:
    settings.STRIP_METADATA = True
    exif = Image.Exif()
    exif[ExifTags.Base.Artist] = "Ada"
    folder = write(tmp_path / "in", {"a.jpg": image_bytes(exif=exif)})
    assert console("import_images", folder, "--json").summary["imported"] == 1
    assert console("import_images", folder, "--json").summary["already_there"] == 1
    assert ImagePrediction.objects.count() == 1
