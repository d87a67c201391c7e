"""manage.py reclassify"""

import time
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser

from classifier.models import ModelVersion
from predictions import services, serving
from predictions.bulk import crew, reclassification
from predictions.bulk.waiting import Waiting
from predictions.management.choosing import add_choice, choice, chosen
from predictions.management.reporting import CANNOT_START, ReportingCommand, progress
from predictions.models import ImagePredictionQuerySet, Reclassification

SHOWN = 40  # lines of the table; --json has them all


class Command(ReportingCommand):
    help = (
        "Have the serving model classify images again, on all cores, and tell how its labels changed. Workers may run "
        "beside it, and help. A correction stays the truth: the new answer is recorded beside it. Whatever interrupts "
        "it, nothing is lost: the same command with the same options goes on where it stood, classifies none twice and "
        "reports on the whole. Exit code: 0 all is well, 1 some images failed or wait, 2 it could not start, "
        "130 Ctrl-C stopped it."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--all", action="store_true", help="all images, instead of the choice below")
        add_choice(parser)
        parser.add_argument("--queue", action="store_true", help="leave the work to the workers, and return at once")
        parser.add_argument(
            "--overrule", action="store_true", help="new answers replace corrections, which stay in the history"
        )
        parser.add_argument(
            "--anew", action="store_true", help="do not go on with an interrupted run: begin with all of them again"
        )

    def run(self, **options: Any) -> dict[str, Any]:
        if options["all"] == bool(choice(options)):
            raise CommandError("Say which images, or --all of them.", returncode=CANNOT_START)
        rows, version = chosen(options), ModelVersion.objects.serving()
        summary = {"dry_run": options["dry_run"], "model_version": version and version.name}
        if options["dry_run"]:
            return {**summary, "chosen": rows.count(), "corrected": rows.exclude(corrected_at=None).count()}
        if options["queue"]:
            return {**summary, "queued": services.reclassify(rows, overrule=options["overrule"])}
        if not version or not serving.current():
            raise CommandError(
                "There is no model to classify with: run manage.py install_model.", returncode=CANNOT_START
            )
        start = time.monotonic()
        run, resumed = self.begin(rows, version, options)
        waiting = self.classify(run)
        result = reclassification.outcome(run)
        if not waiting:
            run.delete()
        changes = [{"before": old, "after": new, "images": n} for (old, new), n in result.changes.most_common()]
        return {
            **summary,
            "resumed": resumed,
            "classified": result.classified,
            "failed": result.failed,
            "waiting": waiting,
            "deleted": result.deleted,
            "corrected": result.corrected,
            "changed": result.changes.total(),
            "changes": changes,
            "seconds": round(time.monotonic() - start, 1),
        }

    def begin(
        self, rows: ImagePredictionQuerySet, version: ModelVersion, options: dict[str, Any]
    ) -> tuple[Reclassification, bool]:
        """Return the run of these options, and whether it is an interrupted one that goes on."""
        asked = f"{choice(options) or 'all'}{' overrule' if options['overrule'] else ''}"
        if run := reclassification.interrupted(asked, version):
            if not options["anew"]:
                self.tell(f"Going on with what was begun at {run.started_at:%Y-%m-%d %H:%M %Z}; --anew would not.")
                return run, True
            run.delete()
        return reclassification.begin(rows, asked, version, overrule=options["overrule"]), False

    def classify(self, run: Reclassification) -> int:
        """Classify what a run still waits for; return how many images wait after all."""
        waiting = Waiting(run.ids())
        total = len(run.labels_before)
        with progress("reclassify", total) as bar:
            try:
                crew.classify_all(waiting, settings.CORES, lambda left: bar.update(total - left - bar.n))
            except crew.CrewDied:
                self.tell("The classifying processes die. What they wrote before says why; their images wait.")
        return waiting.count()

    def show(self, summary: dict[str, Any]) -> None:
        if summary["dry_run"]:
            effect = "{chosen} images would be classified by {model_version}; people have corrected {corrected} of them"
        elif "queued" in summary:
            effect = "{queued} images wait for the workers"
        else:
            effect = "{classified} images classified by {model_version} in {seconds} s; {changed} labels changed"
        self.stdout.write(effect.format(**summary))
        changes = summary.get("changes", [])
        width = max((len(change["before"]) for change in changes[:SHOWN]), default=0)
        for change in changes[:SHOWN]:
            self.stdout.write(f"{change['images']:>8}  {change['before'] or '-':<{width}} -> {change['after']}")
        if len(changes) > SHOWN:
            self.stdout.write(f"and {len(changes) - SHOWN} changes more, rarer ones; --json lists them all")

    def complaint(self, summary: dict[str, Any]) -> str:
        counts = {name: summary.get(name, 0) for name in ("failed", "waiting")}
        return ", ".join(f"{count} images {name}" for name, count in counts.items() if count)
