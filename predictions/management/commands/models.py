"""manage.py models"""

import json
from collections.abc import Callable
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from classifier.bundle import BundleError
from classifier.models import ModelVersion
from classifier.traffic import TrafficError
from predictions import comparison, comparison_charts, registry
from predictions.bulk import evaluation
from predictions.management.reporting import CANNOT_START, INTERRUPTED, SOME_FAILED, person, progress
from predictions.registry import UnknownVersion
from predictions.serializers import ComparisonSerializer, ModelVersionSerializer
from predictions.storage import StorageAway
from predictions.uploads import printable

CHANGES = ("promote", "rollback", "remove", "share")


class Command(BaseCommand):
    help = (
        "Installed models: list and compare them, and say which of them classify. Running workers follow within "
        "seconds. install_model installs further ones. Exit code: 0 all is well, 1 it was refused, or some images have "
        "no answer, 2 it could not start."
    )

    # Those of addresses, templates and the admin load all pages, a third of the time of whoever rolls back in a hurry.
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

        def add(name: str, text: str, *names: str) -> CommandParser:
            action: CommandParser = actions.add_parser(name, help=text, description=text)
            for argument in names:
                action.add_argument(argument, metavar=argument.upper(), help="a version's name, as list shows it")
            action.add_argument("--json", action="store_true", help="the result as JSON")
            if name in CHANGES:
                action.add_argument("--by", metavar="USERNAME", help="who does it, for the admin's history")
            return action

        add("list", "all versions, the serving one first")
        add("show", "one version, with its model card", "name")
        add("compare", "two versions, over the images that both have answered", "a", "b")
        promote = add(
            "promote", "let a version serve; refused if it is worse on corrected images, or has answered none", "name"
        )
        promote.add_argument("--force", action="store_true", help="even so")
        rollback = add("rollback", "let the version serve again that did before")
        rollback.add_argument("name", nargs="?", default="", help="that version's name; refused if it is another one")
        add("remove", "delete a version's files; what it has answered stays in the images' history", "name")
        share = add("share", "give versions parts of the images; the serving one has the rest, all not named stop")
        share.add_argument("shares", nargs="*", type=_share, metavar="NAME=PERCENT", help="none: the serving one alone")
        share.add_argument("--shadow", nargs="+", default=[], metavar="NAME", help="classify too, unseen")
        evaluate = add(
            "evaluate", "have a version answer the images that it has not answered, without showing it", "name"
        )
        evaluate.add_argument("--corrected", action="store_true", help="only the images that people have corrected")

    def handle(self, *args: Any, **options: Any) -> None:
        run: Callable[..., Any] = getattr(self, options["action"])
        try:
            result = run(**options)
        except UnknownVersion as error:
            raise CommandError(str(error), returncode=CANNOT_START) from error
        except TrafficError as error:
            hint = " --force promotes it all the same." if isinstance(error, registry.Doubtful) else ""
            raise CommandError(f"{error}{hint}", returncode=SOME_FAILED) from error
        if options["json"]:
            self.stdout.write(json.dumps(result, ensure_ascii=False, default=str))
        if options["action"] == "evaluate" and result["failed"]:
            raise CommandError(f"{result['failed']} images have no answer.", returncode=SOME_FAILED)

    def say(self, text: str, options: dict[str, Any]) -> None:
        """Print a line for people."""
        if not options["json"]:
            self.stdout.write(text)

    def list(self, **options: Any) -> Any:
        """Print a table."""
        found = list(registry.versions())
        width = max((len(version.name) for version in found), default=4)
        self.say(f"{'name':<{width}}  share  answers  what it does", options)
        for version in found:
            answers = f"{registry.BOUND}+" if version.answers > registry.BOUND else str(version.answers)
            self.say(f"{version.name:<{width}}  {version.percent:>4}%  {answers:>7}  {_role(version)}", options)
        return ModelVersionSerializer(found, many=True).data

    def show(self, *, name: str, **options: Any) -> Any:
        """Print all that is known of a version."""
        facts = ModelVersionSerializer(registry.find(name)).data
        for key, value in facts.items():
            if key != "card":
                self.say(f"{key:<13} {'-' if value is None else value}", options)
        self.say(f"\n{facts['card']}" if facts["card"] else "\nIt has no model card.", options)
        return facts

    def compare(self, *, a: str, b: str, **options: Any) -> Any:
        """Print two columns of figures."""
        found = comparison.compare(registry.find(a), registry.find(b))
        width = max(24, len(a))
        for heading, *cells in [("", a, b), *comparison_charts.figures(found)]:
            self.say(f"{heading:<32}{'  '.join(f'{cell:<{width}}' for cell in cells)}".rstrip(), options)
        return ComparisonSerializer(found).data

    def promote(self, *, name: str, force: bool, by: str | None, **options: Any) -> Any:
        """Let a version serve."""
        registry.promote(registry.find(name), force=force, by=person(by))
        return self._serves(name, options)

    def rollback(self, *, name: str, by: str | None, **options: Any) -> Any:
        """Let the version before serve."""
        return self._serves(registry.rollback(name, by=person(by)).name, options)

    def _serves(self, name: str, options: dict[str, Any]) -> Any:
        self.say(self.style.SUCCESS(f"{name} serves."), options)
        return ModelVersionSerializer(registry.find(name)).data

    def remove(self, *, name: str, by: str | None, **options: Any) -> Any:
        """Delete a version's files."""
        version, previous = registry.find(name), ModelVersion.objects.previous()
        registry.remove(version, by=person(by))
        if version == previous:
            self.stderr.write(self.style.WARNING(f"{name} was the version that rolling back led to."))
        self.say(f"{name} is removed from this machine. What it has answered stays in the images' history.", options)
        return {"name": name}

    def share(self, *, shares: Any, shadow: Any, by: str | None, **options: Any) -> Any:
        """Divide the traffic."""
        registry.set_shares(dict(shares), shadow, by=person(by))
        return self.list(**options)

    def evaluate(self, *, name: str, corrected: bool, **options: Any) -> Any:
        """Have a version answer images, with progress on stderr."""
        version = registry.find(name)
        looked_at = failed = 0
        try:
            with progress("evaluate", evaluation.unanswered(version, corrected=corrected).count()) as bar:
                for count, reasons in evaluation.evaluate(version, corrected=corrected):
                    bar.update(count)
                    looked_at, failed = looked_at + count, failed + len(reasons)
                    for reason in reasons:
                        self.stderr.write(printable(reason))
        except (BundleError, StorageAway) as error:
            raise CommandError(str(error), returncode=CANNOT_START) from error
        except KeyboardInterrupt as error:
            raise CommandError("Stopped. The same command again goes on from here.", returncode=INTERRUPTED) from error
        self.say(f"{looked_at - failed} images answered by {name}; what they show stays as it was", options)
        return {"name": name, "answered": looked_at - failed, "failed": failed}


def _share(text: str) -> tuple[str, int]:
    """Read NAME=PERCENT; argparse turns the ValueError into a sentence."""
    name, _, percent = text.rpartition("=")
    return name, int(percent)


def _role(version: Any) -> str:
    if version.removed_at:
        return "removed"
    return (
        "serves" if version.serving else "answers its share" if version.share else "shadow" if version.shadow else "-"
    )
