"""export_dataset: every format, whose the labels are, and a target that is whole or not there."""

import csv
import io
import json
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User

from classifier.models import ModelVersion
from config.tests.environment import LABELS
from config.tests.service import Commands, photo_variants
from predictions import services, tasks
from predictions.datasets import exporting
from predictions.datasets.foldernames import folder_of, label_of
from predictions.datasets.records import COLUMNS, Split, from_cell, record, to_cell
from predictions.labelmap import LabelMap, LabelRule
from predictions.models import Correction, ImagePrediction
from predictions.tests.commands import Console

pytestmark = pytest.mark.django_db
Submit = Callable[..., ImagePrediction]
HOSTILE = [
    "=1+1",
    "+1",
    "-1",
    "@SUM(A1)",
    "'=1",
    "''",
    "'",
    "a;b",
    'a"b',
    "a,b",
    "тигр 🐅",
    "007",
    "1/2",
    "..",
    "CON",
    "%",
]


@pytest.fixture
def console(capsys: pytest.CaptureFixture[str]) -> Console:
    return Console(capsys)


@pytest.fixture
def rows(submit: Submit, model: ModelVersion) -> list[ImagePrediction]:
    """Twelve classified images, the first of them corrected."""
    for content in photo_variants(12):
        submit("photo.jpg", content)
    tasks.classify_pending()
    first = ImagePrediction.objects.order_by("pk").first()
    assert first
    anna = User.objects.create_user("anna")
    services.correct(ImagePrediction.objects.filter(pk=first.pk), "okapi", 1.0, by=anna, source=Correction.Source.PAGE)
    return list(ImagePrediction.objects.order_by("pk"))


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def images_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.jpg"))


def test_a_record_says_whose_the_label_is(
    console: Console, rows: list[ImagePrediction], model: ModelVersion, tmp_path: Path
) -> None:
    assert console("export_dataset", tmp_path / "all.jsonl").code == 0
    lines = [json.loads(line) for line in (tmp_path / "all.jsonl").read_text().splitlines()]
    assert [line["id"] for line in lines] == [row.pk for row in rows]
    corrected, other = lines[:2]
    assert rows[0].corrected_at
    assert rows[1].classified_at
    assert (corrected["label"], corrected["confidence"], corrected["labelled_by"]) == ("okapi", 1, "person")
    assert (corrected["person"], corrected["labelled_in"]) == ("anna", "page")
    assert corrected["labelled_at"] == rows[0].corrected_at.isoformat()
    assert corrected["model_label"] in LABELS
    assert (other["label"], other["labelled_by"], other["person"]) == (rows[1].top_prediction, "model", None)
    assert other["labelled_at"] == rows[1].classified_at.isoformat()
    assert (other["model_version"], other["sha256"]) == (model.name, rows[1].sha256)


def test_the_columns_are_those_of_a_record(rows: list[ImagePrediction]) -> None:
    rows[0].standing = []  # type: ignore[attr-defined]
    assert tuple(record(rows[0], Split())) == COLUMNS


def test_an_undone_correction_is_no_provenance(console: Console, rows: list[ImagePrediction], tmp_path: Path) -> None:
    services.undo(Correction.objects.get().batch)
    console("export_dataset", tmp_path / "a.csv")
    assert {row["labelled_by"] for row in read_csv(tmp_path / "a.csv")} == {"model"}


def test_csv_has_every_column_and_row(console: Console, rows: list[ImagePrediction], tmp_path: Path) -> None:
    ran = console("export_dataset", tmp_path / "all.csv", "--json")
    assert (ran.code, ran.summary["images"], ran.summary["format"]) == (0, 12, "csv")
    lines = read_csv(tmp_path / "all.csv")
    assert tuple(lines[0]) == COLUMNS
    assert [int(line["id"]) for line in lines] == [row.pk for row in rows]
    assert lines[1]["confidence"] == str(rows[1].confidence)


@pytest.mark.parametrize("text", [*HOSTILE, "\t=1", "\r=1", "'''-x", "plain", ""])
def test_cells_are_no_formulas_and_come_back_as_they_were(text: str) -> None:
    cell = to_cell(text)
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert from_cell(cell) == text


@pytest.mark.parametrize(
    "label", [*HOSTILE, "a/b", "a\\b", "a:b?", ".hidden", "dot.", " x ", "aux.txt", "~", "a\x00b", "日" * 200]
)
def test_labels_as_folders_are_safe_and_unambiguous(label: str, tmp_path: Path) -> None:
    name = folder_of(label)
    (tmp_path / "in" / name).mkdir(parents=True)
    assert [path.name for path in (tmp_path / "in").iterdir()] == [name]
    assert not name.startswith(".")
    if len(label) < 100:
        assert label_of(name) == label
    assert folder_of(label + "x") != name
    assert folder_of(label_of(name)) == name or len(label) > 100


def test_the_split_depends_on_content_and_seed_alone() -> None:
    hashes = [f"{number:064x}" for number in range(2000)]
    sides = [Split(0.2, 1).of(content) for content in hashes]
    assert sides == [Split(0.2, 1).of(content) for content in hashes]
    assert 300 < sides.count("validation") < 500
    assert sides != [Split(0.2, 2).of(content) for content in hashes]
    # Who is for validation stays so when the part grows.
    assert all(
        Split(0.3, 1).of(content) == "validation"
        for content, side in zip(hashes, sides, strict=True)
        if side == "validation"
    )
    assert {Split(0).of(content) for content in hashes} == {"train"}
    assert {Split(1).of(content) for content in hashes} == {"validation"}


def test_a_tree_of_images_by_part_and_label(console: Console, rows: list[ImagePrediction], tmp_path: Path) -> None:
    target = tmp_path / "tree"
    services.correct_each(
        {row.pk: services.Truth(label) for row, label in zip(rows, HOSTILE, strict=False)},
        by=None,
        source=Correction.Source.COMMAND,
    )
    ran = console("export_dataset", target, "--validation", "0.5", "--json")
    assert (ran.code, sum(ran.summary["splits"].values())) == (0, 12)
    manifest = {line["file"]: line for line in read_csv(target / "manifest.csv")}
    assert images_below(target) == sorted(manifest)
    assert {name.split("/")[0] for name in manifest} == {"train", "validation"}
    for name, line in manifest.items():
        row = next(row for row in rows if row.pk == int(line["id"]))
        assert (target / name).read_bytes() == Path(row.image_path.path).read_bytes()
        assert (name.split("/")[0], label_of(name.split("/")[1])) == (line["split"], from_cell(line["label"]))


def test_a_tree_can_be_imported_again(console: Console, rows: list[ImagePrediction], tmp_path: Path) -> None:
    before = dict(ImagePrediction.objects.values_list("sha256", "top_prediction"))
    console("export_dataset", tmp_path / "tree.zip")
    services.remove(ImagePrediction.objects.all())
    ran = console("import_images", tmp_path / "tree.zip", "--label-from-folder", "--json")
    assert (ran.code, ran.summary["imported"]) == (0, 12)
    assert dict(ImagePrediction.objects.values_list("sha256", "top_prediction")) == before


def test_zip_files_of_the_same_are_the_same(console: Console, rows: list[ImagePrediction], tmp_path: Path) -> None:
    for name in ("a.zip", "b.zip"):
        console("export_dataset", tmp_path / name)
        time.sleep(2.1)  # a zip file tells the time by two seconds
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert archive.testzip() is None
        assert len(archive.namelist()) == 13
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_only_what_is_chosen(console: Console, rows: list[ImagePrediction], tmp_path: Path) -> None:
    assert console("export_dataset", tmp_path / "a.csv", "--corrected", "--json").summary["labels"] == {"okapi": 1}
    ran = console("export_dataset", tmp_path / "b.csv", "--ids", rows[1].pk, rows[2].pk, "--json")
    assert ran.summary["images"] == 2


def test_images_without_a_label(console: Console, submit: Submit, tmp_path: Path) -> None:
    submit()
    table = console("export_dataset", tmp_path / "a.csv", "--json").summary
    assert (table["images"], table["unlabelled"]) == (1, 1)
    assert read_csv(tmp_path / "a.csv")[0]["label"] == ""
    tree = console("export_dataset", tmp_path / "tree", "--json").summary
    assert (tree["images"], tree["unlabelled"]) == (0, 1)


def test_a_vanished_file_is_told_and_the_others_go_on(
    console: Console, rows: list[ImagePrediction], tmp_path: Path
) -> None:
    Path(rows[3].image_path.path).unlink()
    for name in ("tree", "tree.zip"):
        ran = console("export_dataset", tmp_path / name, "--json")
        assert (ran.code, ran.summary["images"], ran.summary["unreadable"]) == (1, 11, [rows[3].pk])
        assert "no longer in the storage" in ran.err
    with zipfile.ZipFile(tmp_path / "tree.zip") as archive:
        assert len(archive.namelist()) == 12
    assert len(read_csv(tmp_path / "tree" / "manifest.csv")) == 11


def test_a_file_that_cannot_be_read_is_told_as_that(
    console: Console, rows: list[ImagePrediction], tmp_path: Path
) -> None:
    path = Path(rows[3].image_path.path)
    path.unlink()
    path.mkdir()
    ran = console("export_dataset", tmp_path / "tree", "--json")
    assert (ran.code, ran.summary["images"], ran.summary["unreadable"]) == (1, 11, [rows[3].pk])
    assert "the file cannot be read: Is a directory" in ran.err


def test_a_tree_has_no_class_of_what_the_model_is_unsure_of(
    console: Console, rows: list[ImagePrediction], tmp_path: Path
) -> None:
    LabelRule.objects.bulk_create(LabelRule(label=label, minimum=1) for label in LABELS)
    LabelMap.forget()
    ran = console("export_dataset", tmp_path / "tree", "--validation", "0")
    assert [path.name for path in (tmp_path / "tree" / "train").iterdir()] == ["okapi"]
    assert "11 are unsure by the label map and were left out" in ran.out
    table = console("export_dataset", tmp_path / "a.csv", "--json").summary
    assert (table["images"], table["unsure"]) == (12, 11)


def test_exports_of_similar_names_at_once_leave_each_other_alone(
    console: Console, rows: list[ImagePrediction], tmp_path: Path
) -> None:
    with exporting.create(tmp_path / "a.csv", exporting.CSV):
        for name in ("[a].csv", "a.csv"):
            assert console("export_dataset", tmp_path / name).code == 0
        (tmp_path / "a.csv").unlink()
    assert read_csv(tmp_path / "a.csv") == []


def test_nothing_is_overwritten_unasked(console: Console, rows: list[ImagePrediction], tmp_path: Path) -> None:
    for name in ("a.csv", "tree", "a.zip"):
        assert console("export_dataset", tmp_path / name).code == 0
        ran = console("export_dataset", tmp_path / name, "--ids", rows[0].pk)
        assert (ran.code, ran.complaint) == (2, f"{tmp_path / name} exists; --force replaces it.")
        assert console("export_dataset", tmp_path / name, "--dry-run").code == 2
        assert console("export_dataset", tmp_path / name, "--ids", rows[0].pk, "--force").code == 0
    assert len(read_csv(tmp_path / "a.csv")) == len(read_csv(tmp_path / "tree" / "manifest.csv")) == 1
    assert sorted(path.name for path in tmp_path.iterdir() if path.name[:4] in {"a.cs", "a.zi", "tree", ".tre"}) == [
        "a.csv",
        "a.zip",
        "tree",
    ]


def test_what_is_no_export_is_never_replaced(console: Console, rows: list[ImagePrediction], tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter").touch()
    assert console("export_dataset", tmp_path / "home", "--force").code == 2
    assert console("export_dataset", tmp_path / "home", "--format", "csv", "--force").code == 2
    assert (tmp_path / "home" / "letter").exists()


def test_an_export_that_fails_leaves_what_was_there(
    console: Console, rows: list[ImagePrediction], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    console("export_dataset", tmp_path / "a.csv")
    before = (tmp_path / "a.csv").read_bytes()
    (tmp_path / ".a.csv.killed.partial").mkdir()

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(exporting.CsvWriter, "add", full)
    ran = console("export_dataset", tmp_path / "a.csv", "--force")
    assert (ran.code, "No space left on device" in ran.complaint) == (1, True)
    assert (tmp_path / "a.csv").read_bytes() == before
    assert not list(tmp_path.glob(".a.csv*"))


def test_a_dry_run_writes_nothing(console: Console, rows: list[ImagePrediction], tmp_path: Path) -> None:
    dry = console("export_dataset", tmp_path / "tree", "--dry-run", "--json")
    assert not (tmp_path / "tree").exists()
    real = console("export_dataset", tmp_path / "tree", "--json")
    for key in ("images", "splits", "labels", "unlabelled"):
        assert dry.summary[key] == real.summary[key]


@pytest.mark.parametrize(
    "arguments",
    [
        ["x.pdf"],
        ["-", "--format", "zip"],
        ["nowhere/a.csv"],
        ["a.csv", "--validation", "2"],
        ["a.csv", "--validation", "nan"],
        ["a.csv", "--until", "x"],
    ],
)
def test_wrong_usage(console: Console, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert console("export_dataset", *arguments).code == 2
    assert not (tmp_path / "a.csv").exists()


def test_no_query_per_image(
    console: Console, rows: list[ImagePrediction], tmp_path: Path, django_assert_max_num_queries: Any
) -> None:
    with django_assert_max_num_queries(6):  # one for the label rules
        console("export_dataset", tmp_path / "a.csv")


# --- As processes of their own ---

FILL = """
from django.utils import timezone
from predictions.models import *
from classifier.models import ModelVersion
version = ModelVersion.objects.create(name="m", backbone="m", digest="m")
labels = [{"label": f"label {n}", "confidence": 0.9 - n / 10} for n in range(5)]
def row(n):
    return ImagePrediction(filename=f"photo {n}.jpg", image_path=f"2026/01/01/{n}.jpg", sha256=f"{n:064x}", width=640,
        height=480, size=100_000, status="done", all_predictions=labels, top_prediction="label 0", confidence=0.9,
        model_version=version, classified_at=timezone.now(), corrected_at=timezone.now())
made = ImagePrediction.objects.bulk_create(map(row, range(COUNT)), batch_size=500)
Correction.objects.bulk_create((Correction(prediction=p, label_after="label 0", confidence=1, source="page",
    created_at=p.corrected_at) for p in ImagePrediction.objects.all()), batch_size=500)
"""


def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    with Commands(tmp_path, None) as commands:
        commands.manage("shell", "-c", FILL.replace("COUNT", "15_000"))
        few, _ = commands.usage("export_dataset", str(tmp_path / "few.csv"), "--ids", *map(str, range(1, 6000)))
        many, _ = commands.usage("export_dataset", str(tmp_path / "many.csv"))
        assert len((tmp_path / "many.csv").read_text().splitlines()) == 15_001
        assert many < few + 15
        assert many < 200


def test_to_stdout_and_into_a_pipe_that_closes(tmp_path: Path) -> None:
    with Commands(tmp_path, None) as commands:
        commands.manage("shell", "-c", FILL.replace("COUNT", "3000"))
        ran = commands.manage("export_dataset", "-", "--format", "jsonl")
        assert [json.loads(line)["id"] for line in ran.stdout.splitlines()] == list(range(1, 3001))
        assert "3000 images went to -" in ran.stderr
        table = list(csv.DictReader(io.StringIO(commands.manage("export_dataset", "-").stdout.lstrip("\ufeff"))))
        assert len(table) == 3000
        with commands.begin("export_dataset", "-") as running:
            assert running.stdout
            assert running.stderr
            running.stdout.readline()
            running.stdout.close()
            assert "Traceback" not in running.stderr.read()
        assert running.returncode == 1
