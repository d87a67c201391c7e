"""reclassify: the chosen images, at once and to the end, whatever happens on the way."""

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from classifier.bundle import Bundle
from classifier.models import ModelVersion
from config.tests.environment import LABELS, image_bytes
from config.tests.service import Commands, photo_variants, session, wait_until
from predictions import queue, services, tasks
from predictions.bulk import reclassification
from predictions.models import Classification, Correction, ImagePrediction, Reclassification, Status
from predictions.tests.commands import Console

Submit = Callable[..., ImagePrediction]
COUNT = 40


@pytest.fixture
def console(capsys: pytest.CaptureFixture[str]) -> Console:
    return Console(capsys)


@pytest.fixture
def rang(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    rung: list[int] = []
    monkeypatch.setattr(queue, "ring", lambda times=1: rung.append(times))
    return rung


@pytest.fixture
def rows(submit: Submit, model: ModelVersion) -> list[ImagePrediction]:
    for number, content in enumerate(photo_variants(4)):
        submit(f"{number}.jpg", content)
    tasks.classify_pending()
    return list(ImagePrediction.objects.order_by("pk"))


def pending() -> list[int]:
    return list(ImagePrediction.objects.pending().order_by("pk").values_list("pk", flat=True))


def say(row: ImagePrediction, label: str, confidence: float = 0.5) -> None:
    """Let the model have said something else of a row."""
    labels = [{"label": label, "confidence": confidence}]
    ImagePrediction.objects.filter(pk=row.pk).update(
        all_predictions=labels, top_prediction=label, confidence=confidence
    )


def test_options_choose_the_rows(console: Console, rows: list[ImagePrediction], rang: list[int]) -> None:
    a, b, c, d = rows
    for row in rows:
        say(row, "cat", 0.9)
    say(a, "dog")
    say(b, "emu", 0.3)
    ImagePrediction.objects.filter(pk=c.pk).update(status=Status.FAILED)
    ImagePrediction.objects.filter(pk=d.pk).update(created_at=timezone.now() - timedelta(days=10))
    day = f"{timezone.now() - timedelta(days=5):%Y-%m-%d}"
    before = [row.pk for row in rows]
    for options, expected in (
        (["--label", "dog"], [a]),
        (["--below", "0.5"], [b]),
        (["--below", "0.6"], [a, b]),
        (["--below", "0.6", "--label", "emu"], [b]),
        (["--status", "failed"], [c]),
        (["--until", day], [d]),
        (["--since", day], [a, b, c]),
        (["--ids", a.pk, d.pk, 10**6], [a, d]),
        (["--model-version", a.model_version], [a, b, c, d]),
        (["--all"], [a, b, c, d]),
    ):
        statuses = dict(ImagePrediction.objects.values_list("pk", "status"))
        dry = console("reclassify", *options, "--dry-run", "--json")
        assert (dry.code, dry.summary["chosen"], pending()) == (0, len(expected), []), options
        ran = console("reclassify", *options, "--queue", "--json")
        assert (ran.code, ran.summary["queued"]) == (0, len(expected)), options
        assert pending() == [row.pk for row in expected], options
        for pk, status in statuses.items():
            ImagePrediction.objects.filter(pk=pk).update(status=status)
    assert [row.pk for row in ImagePrediction.objects.order_by("pk")] == before
    assert rang


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ([], "Say which images, or --all of them."),
        (["--all", "--label", "cat"], "Say which images, or --all of them."),
        (["--since", "yesterday"], "--since: Enter a valid date."),
        (["--model-version", "gone"], "--model-version: Select a valid choice"),
        (["--below", "1.5"], "--below: a confidence is a number from 0 to 1."),
        (["--below", "nan"], "--below: a confidence is a number from 0 to 1."),
        (["--ids", *range(1, 10_002)], "--ids: at most 10000 at once."),
    ],
)
def test_wrong_usage_changes_nothing(
    console: Console, rows: list[ImagePrediction], options: list[Any], sentence: str
) -> None:
    ran = console("reclassify", *options)
    assert (ran.code, ran.complaint[: len(sentence)]) == (2, sentence)
    assert pending() == []


@pytest.mark.parametrize("pk", [2**63, "9" * 5000, 0, "x"])
@pytest.mark.django_db
def test_what_no_row_could_have_is_no_id(console: Console, pk: Any) -> None:
    assert console("reclassify", "--ids", pk).complaint == f"Error: argument --ids: {pk} is no id"


@pytest.mark.django_db
def test_without_a_usable_model_it_does_not_start(console: Console, submit: Submit) -> None:
    submit()
    ImagePrediction.objects.update(status=Status.DONE)
    ran = console("reclassify", "--all")
    assert (ran.code, pending()) == (2, [])
    assert "install_model" in ran.complaint


def test_the_outcome_compares_before_and_after(rows: list[ImagePrediction], model: ModelVersion) -> None:
    a, b, c, d = rows
    say(a, "unicorn")
    say(b, "unicorn")
    Path(c.image_path.path).unlink()
    services.correct(ImagePrediction.objects.filter(pk=b.pk), "okapi", 1, by=None, source=Correction.Source.PAGE)
    run = reclassification.begin(ImagePrediction.objects.all(), "all", model)
    ImagePrediction.objects.filter(pk=d.pk).delete()
    tasks.drain(lambda: True)
    result = reclassification.outcome(run)
    assert (result.classified, result.failed, result.deleted, result.corrected) == (2, 1, 1, 1)
    assert sum(result.changes.values()) == 2
    assert {before for before, _ in result.changes} == {"unicorn"}
    assert {after for _, after in result.changes} <= set(LABELS)


@pytest.mark.parametrize("overrule", [False, True])
def test_a_correction_survives_unless_overruled(
    rows: list[ImagePrediction], model: ModelVersion, overrule: bool
) -> None:
    services.correct(ImagePrediction.objects.all(), "okapi", 1, by=None, source=Correction.Source.PAGE)
    Classification.objects.all().delete()
    reclassification.begin(ImagePrediction.objects.all(), "all", model, overrule=overrule)
    tasks.drain(lambda: True)
    for row in ImagePrediction.objects.all():
        assert row.all_predictions
        assert row.top_prediction == (row.all_predictions[0]["label"] if overrule else "okapi")
        assert row.classifications.count() == row.corrections.count() == 1


@pytest.mark.parametrize(
    "options", [["--corrected"], ["--label", "okapi"], ["--raw-label", "okapi"], ["--below", "0.05"], ["--all"]]
)
def test_overruling_classifies_what_was_chosen_though_it_no_longer_matches(
    console: Console, rows: list[ImagePrediction], options: list[str]
) -> None:
    corrected = ImagePrediction.objects.filter(pk=rows[0].pk)
    services.correct(corrected, "okapi", 0.01, by=None, source=Correction.Source.PAGE)
    ran = console("reclassify", *options, "--overrule", "--queue", "--json")
    assert (ran.code, ran.summary["queued"]) == (0, len(rows) if options == ["--all"] else 1)
    assert rows[0].pk in pending()
    assert list(corrected.values_list("top_prediction", "corrected_at")) == [(rows[0].top_prediction, None)]


def test_a_run_that_overrules_awaits_what_was_chosen(rows: list[ImagePrediction], model: ModelVersion) -> None:
    services.correct(ImagePrediction.objects.all(), "okapi", 1, by=None, source=Correction.Source.PAGE)
    chosen = ImagePrediction.objects.filter(top_prediction="okapi")
    run = reclassification.begin(chosen, "label", model, overrule=True)
    assert run.ids() == pending() == [row.pk for row in rows]


def test_requeueing_and_its_record_are_one(
    rows: list[ImagePrediction], model: ModelVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise RuntimeError

    monkeypatch.setattr(Reclassification.objects, "create", fails)
    with pytest.raises(RuntimeError):
        reclassification.begin(ImagePrediction.objects.all(), "all", model)
    assert pending() == []


# --- Real processes, really killed ---

in_one_process = pytest.mark.xdist_group("reclassify")  # the images are classified once for all of them


@pytest.fixture(scope="module")
def classified(small_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    """Classified images that take a while to decode."""
    folder = tmp_path_factory.mktemp("reclassify")
    with Commands(folder, small_bundle, LEASE_SECONDS="4") as commands:
        (folder / "in").mkdir()
        picture = image_bytes("PNG", size=(2500, 2000))
        for number in range(COUNT):
            (folder / "in" / f"{number:02}.png").write_bytes(picture + b"%d" % number)
        commands.manage("import_images", str(folder / "in"))
        yield commands


@pytest.fixture
def commands(classified: Commands) -> Commands:
    """The same, all done, and no run to resume, whatever the test before has left."""
    unfinished = "SELECT count(*) FROM predictions_imageprediction WHERE status <> 'done'"
    if classified.query(unfinished) != [(0,)] or classified.query("SELECT 1 FROM predictions_reclassification"):
        classified.manage("reclassify", "--all", "--anew")
    return classified


def state(commands: Commands) -> dict[int, tuple[str, str]]:
    """Return the status of each image, and when it was classified."""
    found = commands.query("SELECT id, status, classified_at FROM predictions_imageprediction ORDER BY id")
    return {pk: (status, str(moment)) for pk, status, moment in found}


def half_done(commands: Commands, before: dict[int, tuple[str, str]]) -> bool:
    return sum(row != before[pk] and row[0] == "done" for pk, row in state(commands).items()) >= COUNT // 3


def summary(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    result: dict[str, Any] = json.loads(out)
    return result


@in_one_process
@pytest.mark.parametrize("whom", ["it alone", "all its processes"])
def test_killed_half_way_and_resumed_no_image_is_lost_or_done_twice(commands: Commands, whom: str) -> None:
    before = state(commands)
    assert [status for status, _ in before.values()] == ["done"] * COUNT
    commands.query("""UPDATE predictions_imageprediction SET all_predictions = '[{"label": "unicorn"}]'""")
    first = commands.begin("reclassify", "--all", "--json")
    wait_until(lambda: half_done(commands, before))
    (os.kill if whom == "it alone" else os.killpg)(first.pid, signal.SIGKILL)
    first.communicate()
    wait_until(lambda: not session(first.pid), 20)

    between = state(commands)
    done = {pk for pk, row in between.items() if row[0] == "done"}
    assert COUNT // 3 <= len(done) < COUNT

    result = summary(commands.begin("reclassify", "--all", "--json"))
    after = state(commands)
    assert (result["resumed"], result["classified"], result["failed"], result["waiting"]) == (True, COUNT, 0, 0)
    assert after.keys() == before.keys()
    assert {pk: after[pk] for pk in done} == {pk: between[pk] for pk in done}
    assert all(row[0] == "done" and row[1] > before[pk][1] for pk, row in after.items())
    # The report is on the whole, the part done before the kill too.
    assert (result["changed"], {change["before"] for change in result["changes"]}) == (COUNT, {"unicorn"})

    again = summary(commands.begin("reclassify", "--all", "--json"))
    assert (again["resumed"], again["classified"], again["changed"]) == (False, COUNT, 0)
    assert all(row[1] > after[pk][1] for pk, row in state(commands).items())


@in_one_process
def test_a_process_that_dies_is_replaced(commands: Commands) -> None:
    before = state(commands)
    running = commands.begin("reclassify", "--all", "--json")
    wait_until(lambda: any(row[0] == "processing" for row in state(commands).values()))
    found = subprocess.run(["pgrep", "-P", str(running.pid)], capture_output=True, text=True)
    os.kill(int(found.stdout.split()[0]), signal.SIGKILL)
    result = summary(running)
    assert (result["classified"], result["failed"]) == (COUNT, 0)
    assert all(row[1] > before[pk][1] for pk, row in state(commands).items())


@in_one_process
def test_ctrl_c_ends_it_with_a_sentence_and_leaves_no_claim(commands: Commands) -> None:
    before = state(commands)
    running = commands.begin("reclassify", "--all", "--json")
    wait_until(lambda: half_done(commands, before))
    os.killpg(running.pid, signal.SIGINT)
    out, err = running.communicate(timeout=60)
    assert (running.returncode, out) == (130, "")
    assert "The same command again goes on from here" in err
    assert "Traceback" not in err
    assert {row[0] for row in state(commands).values()} == {"done", "pending"}
    assert summary(commands.begin("reclassify", "--all", "--json"))["resumed"]


@in_one_process
def test_another_choice_or_anew_does_not_resume(commands: Commands) -> None:
    before = state(commands)
    first = commands.begin("reclassify", "--all")
    wait_until(lambda: half_done(commands, before))
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    one = min(before)
    other = summary(commands.begin("reclassify", "--ids", str(one), "--json"))
    assert (other["resumed"], other["classified"]) == (False, 1)
    between = state(commands)
    result = summary(commands.begin("reclassify", "--all", "--anew", "--json"))
    assert (result["resumed"], result["classified"]) == (False, COUNT)
    assert all(row[1] > between[pk][1] for pk, row in state(commands).items())
    assert commands.query("SELECT count(*) FROM predictions_reclassification") == [(0,)]
