"""manage.py install_model"""

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from classifier import bundle as bundles
from classifier.bundle import Bundle, BundleError
from classifier.export import SCALINGS, ExportError, Source, export, keras_file, mobilenet_v2
from classifier.models import ModelVersion


class Command(BaseCommand):
    help = (
        "Build a model bundle with TensorFlow, compare it with Keras, install it and let it serve. Without options: "
        "MobileNetV2 with Keras' own ImageNet weights, from KERAS_HOME or downloaded there."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        what = parser.add_mutually_exclusive_group()
        what.add_argument("--weights", type=Path, metavar="FILE.h5", help="MobileNetV2 weights for ImageNet's classes")
        what.add_argument("--keras", type=Path, metavar="FILE.keras", help="a classifier of your own; needs --labels")
        what.add_argument(
            "--check",
            action="store_true",
            help="build nothing: exit 0 if an undamaged model serves or lies there to serve, else 1",
        )
        parser.add_argument("--labels", type=Path, metavar="FILE.txt", help="the labels of --keras, one a line")
        parser.add_argument(
            "--scaling",
            choices=SCALINGS,
            default="none",
            help="what --keras expects of pixels: symmetric (-1 to 1), unit (0 to 1), none (0 to 255, the default)",
        )

    def handle(self, **options: Any) -> None:
        if options["check"]:
            self.check_installed()
            return
        if bool(options["keras"]) != bool(options["labels"]):
            raise CommandError("--keras and --labels go together.", returncode=2)
        self.stdout.write("Building the model; this takes about half a minute.")
        try:
            bundle = export(self.source(**options), settings.MODELS_DIR)
        except (ExportError, BundleError, OSError) as error:
            raise CommandError(str(error)) from error
        self.serve(bundle)

    def source(self, **options: Any) -> Source:
        """Return the Keras model that the options name."""
        if options["keras"]:
            return keras_file(options["keras"], options["labels"], options["scaling"])
        return mobilenet_v2(options["weights"])

    def serve(self, bundle: Bundle) -> None:
        """Register the bundle; running workers use it from their next image on."""
        version = ModelVersion.objects.install(bundle)
        self.stdout.write(self.style.SUCCESS(f"{version} serves, with {len(bundle.labels())} labels."))

    def check_installed(self) -> None:
        """Find an undamaged model: the serving one, one that stands in for it, else the newest, which then serves."""
        version = ModelVersion.objects.serving()
        installed = bundles.find(settings.MODELS_DIR)
        if version and any(bundle.digest == version.digest and bundle.path == version.path for bundle in installed):
            self.stdout.write(f"{version} serves.")
        elif version and version.path.exists() and (stand_in := ModelVersion.objects.stand_in()):
            # Another one on the disk may have been taken out of service for its answers: it does not get it by a crash.
            self.stdout.write(
                f"The files of {version} are damaged: {stand_in} classifies until manage.py install_model repairs them."
            )
        elif installed:
            self.serve(installed[0])
        else:
            raise CommandError("No model is installed: run manage.py install_model.")
