"""import_corrections: an export that comes back from a spreadsheet; all of its edits, or none."""

import csv
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import load_command_class

from classifier.models import ModelVersion
from config.tests.service import photo_variants
from predictions import services, tasks
from predictions.datasets import revisions
from predictions.datasets.records import to_cell
from predictions.management import reporting
from predictions.models import Correction, ImagePrediction
from predictions.tests.commands import Console

pytestmark = pytest.mark.django_db
Submit = Callable[..., ImagePrediction]
HOSTILE = ["=1+1", "-x", "'=1", "''", 'a "b", c; d', "тигр 🐅", "007", "@home"]


@pytest.fixture
def console(capsys: pytest.CaptureFixture[str]) -> Console:
    return Console(capsys)


@pytest.fixture
def rows(submit: Submit, model: ModelVersion) -> list[ImagePrediction]:
    for content in photo_variants(8):
        submit("photo.jpg", content)
    tasks.classify_pending()
    return list(ImagePrediction.objects.order_by("pk"))


class Sheet:
    """An export, opened in a spreadsheet."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            self.names, self.rows = list(reader.fieldnames or []), list(reader)

    def save(self, encoding: str = "utf-8-sig", **options: Any) -> Path:
        with self.path.open("w", encoding=encoding, newline="") as file:
            writer = csv.DictWriter(file, self.names, **options)
            writer.writeheader()
            writer.writerows(self.rows)
        return self.path


@pytest.fixture
def sheet(console: Console, rows: list[ImagePrediction], tmp_path: Path) -> Sheet:
    assert console("export_dataset", tmp_path / "sheet.csv").code == 0
    return Sheet(tmp_path / "sheet.csv")


def labels() -> dict[int, str | None]:
    return dict(ImagePrediction.objects.order_by("pk").values_list("pk", "top_prediction"))


def reasons(ran: Any) -> dict[int, str]:
    return {conflict["line"]: conflict["reason"] for conflict in ran.summary["conflicts"]}


def test_export_edit_import_export_without_a_difference(
    console: Console, sheet: Sheet, rows: list[ImagePrediction], tmp_path: Path
) -> None:
    anna = User.objects.create_user("anna")
    for row, label in zip(sheet.rows[1:], HOSTILE, strict=False):
        row["label"] = to_cell(label)
    ran = console("import_corrections", sheet.save(), "--by", "anna", "--json")
    assert (ran.code, ran.summary["rows"], ran.summary["corrected"]) == (0, 8, 7)
    assert list(labels().values()) == [rows[0].top_prediction, *HOSTILE[:7]]
    assert set(Correction.objects.values_list("corrected_by", "source", "confidence")) == {(anna.pk, "command", 1.0)}
    console("export_dataset", tmp_path / "again.csv")
    again = Sheet(tmp_path / "again.csv")
    assert [(row["id"], row["label"]) for row in again.rows] == [(row["id"], row["label"]) for row in sheet.rows]
    assert console("import_corrections", again.path, "--json").summary["corrected"] == 0
    assert Correction.objects.count() == 7


def test_an_export_without_edits_changes_nothing(console: Console, sheet: Sheet) -> None:
    before = labels()
    ran = console("import_corrections", sheet.path, "--json")
    assert (ran.code, ran.summary["corrected"], ran.summary["rows"]) == (0, 0, 8)
    assert (labels(), Correction.objects.count()) == (before, 0)


def test_a_second_time_changes_nothing(console: Console, sheet: Sheet) -> None:
    sheet.rows[0]["label"] = "okapi"
    sheet.save()
    console("import_corrections", sheet.path)
    ran = console("import_corrections", sheet.path, "--json")
    assert (ran.code, ran.summary["corrected"], ran.summary["already_there"]) == (0, 0, 1)
    assert Correction.objects.count() == 1


@pytest.mark.parametrize(
    "options",
    [
        {"encoding": "utf-8-sig", "delimiter": ";"},
        {"encoding": "utf-8", "delimiter": "\t", "lineterminator": "\n"},
        {"encoding": "utf-8", "quoting": csv.QUOTE_ALL, "lineterminator": "\r\n"},
        {"encoding": "utf-8", "lineterminator": "\r"},
    ],
)
def test_files_as_spreadsheets_write_them(console: Console, sheet: Sheet, options: dict[str, Any]) -> None:
    sheet.rows[2]["label"] = "größer; als, alles"
    assert console("import_corrections", sheet.save(**options)).code == 0
    assert labels()[int(sheet.rows[2]["id"])] == "größer; als, alles"


def test_other_columns_may_be_gone_and_rows_too(console: Console, sheet: Sheet) -> None:
    sheet.names = ["label_exported", "label", "sha256", "id"]
    sheet.rows = [{name: row[name] for name in sheet.names} for row in sheet.rows[3:5]]
    sheet.rows[0]["label"] = " okapi "
    assert console("import_corrections", sheet.save()).code == 0
    assert labels()[int(sheet.rows[0]["id"])] == "okapi"


def test_conflicts_are_listed_and_nothing_is_changed(
    console: Console, sheet: Sheet, rows: list[ImagePrediction]
) -> None:
    for row in sheet.rows:
        row["label"] = "okapi"
    services.correct(ImagePrediction.objects.filter(pk=rows[1].pk), "emu", 1, by=None, source=Correction.Source.PAGE)
    services.correct(ImagePrediction.objects.filter(pk=rows[0].pk), "okapi", 1, by=None, source=Correction.Source.PAGE)
    services.remove(ImagePrediction.objects.filter(pk=rows[2].pk))
    sheet.rows[3]["sha256"] = "0" * 64
    sheet.rows[4]["label"] = ""
    sheet.rows[5]["label"] = "x" * 201
    sheet.rows[6]["label"] = "two\nlines"
    sheet.rows += [
        {**sheet.rows[7], "label": "newt"},
        {**sheet.rows[7], "id": "1.5"},
        {**sheet.rows[7], "id": "9" * 40},
    ]
    before, count = labels(), Correction.objects.count()
    for options in ([], ["--dry-run"]):
        ran = console("import_corrections", sheet.save(), "--json", *options)
        assert (ran.code, ran.complaint) == (1, "9 conflicts: nothing was changed.")
        found = reasons(ran)
        assert found == {
            3: f"Meanwhile its label has become emu; it was {sheet.rows[1]['label_exported']}",
            4: "There is no such image",
            5: "The image with this id is another one: its SHA-256 differs",
            6: "The label is empty",
            7: "The label is longer than 200 letters",
            9: "The label has line breaks or other control characters",
            11: "The file gives this image two labels: okapi and newt",
            12: "The id is no number",
            13: "The id is no number",
        }
        assert (labels(), Correction.objects.count()) == (before, count)
    assert f"line 4, id {rows[2].pk}: There is no such image" in ran.err


def test_rows_with_too_many_or_too_few_cells(console: Console, sheet: Sheet) -> None:
    lines = sheet.path.read_text().splitlines()
    sheet.path.write_text("\n".join([lines[0], lines[1] + ",more", "", lines[2].rsplit(",", 5)[0]]))
    reason = f"The row has more or less than {len(sheet.names)} cells"
    assert reasons(console("import_corrections", sheet.path, "--json")) == {2: reason, 4: reason}


def test_a_dry_run_changes_nothing(console: Console, sheet: Sheet) -> None:
    sheet.rows[0]["label"] = "okapi"
    ran = console("import_corrections", sheet.save(), "--dry-run")
    assert (ran.code, Correction.objects.count()) == (0, 0)
    assert "8 rows: 1 would be corrected, 0 were already" in ran.out


def test_an_error_half_way_changes_nothing(console: Console, sheet: Sheet, monkeypatch: pytest.MonkeyPatch) -> None:
    for row in sheet.rows:
        row["label"] = "okapi"
    monkeypatch.setattr(services, "CHUNK", 3)
    real, calls = Correction.objects.bulk_create, []

    def fails(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise RuntimeError
        return real(*arguments)

    monkeypatch.setattr(Correction.objects, "bulk_create", fails)
    before = labels()
    with pytest.raises(RuntimeError):
        console("import_corrections", sheet.save())
    monkeypatch.undo()
    assert (labels(), Correction.objects.count()) == (before, 0)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "its first line must name the columns id, sha256, label, label_exported"),
        (b"name,age\nanna,7\n", "its first line must name the columns"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "is not UTF-8 text"),
        ("id,label\n1,größer".encode("utf-16"), "is not UTF-8 text"),
        (b'id,sha256,label,label_exported\n1,x,"caf\xe9",y\n', "is not UTF-8 text"),
        (b'id,sha256,label,label_exported\n1,x,"open,y\n', "is no CSV file"),
        (b"id,sha256,label,label_exported\n1,x," + b"a" * 200_000 + b",y\n", "is no CSV file"),
    ],
)
def test_wrong_files(console: Console, tmp_path: Path, content: bytes, sentence: str) -> None:
    (tmp_path / "wrong.csv").write_bytes(content)
    ran = console("import_corrections", tmp_path / "wrong.csv")
    assert ran.code == 2
    assert sentence in ran.complaint


def test_no_file_a_folder_and_nobody(console: Console, sheet: Sheet, tmp_path: Path) -> None:
    assert console("import_corrections", tmp_path / "none.csv").complaint.endswith("No such file or directory.")
    assert console("import_corrections", tmp_path).code == 2
    assert console("import_corrections", sheet.path, "--by", "nobody").code == 2


def test_it_tells_how_far_it_is(console: Console, sheet: Sheet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revisions, "CHUNK", 2)
    monkeypatch.setattr(reporting, "LOG_SECONDS", 0)
    for row in sheet.rows[3:]:
        row["label"] = "okapi"
    ran = console("import_corrections", sheet.save())
    told = re.findall(r"^import_corrections: (\d+) of 8 ", ran.err, re.MULTILINE)
    assert list(map(int, told)) == [3, 5, 7, 8, 8]


@pytest.mark.parametrize("name", ["reclassify", "import_images", "export_dataset", "import_corrections"])
def test_help_names_every_exit_code(name: str) -> None:
    said = load_command_class("predictions", name).help
    assert all(f"{code} " in said.partition("Exit code: ")[2] for code in (0, 1, 2, 130))
