"""manage.py classify"""

import json
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from classifier.bundle import BundleError
from classifier.images import NotAnImage, open_image
from classifier.management.versions import chosen
from classifier.runtime import Classifier, load


class Command(BaseCommand):
    help = "Print what a model sees in photos: its five best labels. Stores nothing. Exit 1 if a file failed."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("photos", nargs="+", type=Path, metavar="PHOTO")
        parser.add_argument("--model-version", metavar="NAME", help="an installed version, instead of the serving one")
        parser.add_argument("--json", action="store_true", help="one JSON object a line instead of a table")

    def handle(self, *, photos: list[Path], **options: Any) -> None:
        classifier = self.classifier(options["model_version"])
        failed = 0
        for photo in photos:
            try:
                with photo.open("rb") as file:
                    labels = [label.to_dict() for label in classifier.classify(open_image(file)).labels]
            except (OSError, NotAnImage) as error:
                failed += 1
                self.stderr.write(self.style.ERROR(f"{photo}: {error}"))
                continue
            if options["json"]:
                self.stdout.write(json.dumps({"file": str(photo), "labels": labels}, ensure_ascii=False))
            else:
                self.stdout.write(f"{photo}")
                self.stdout.writelines(f"  {label['confidence']:6.1%}  {label['label']}\n" for label in labels)
        if failed:
            raise CommandError(f"{failed} of {len(photos)} files could not be classified.")

    def classifier(self, name: str | None) -> Classifier:
        """Return the model of that name, or the serving one."""
        version = chosen(name)
        try:
            return load(version.path, version.digest)
        except BundleError as error:
            raise CommandError(str(error)) from error
