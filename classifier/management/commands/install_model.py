"""manage.py install_model"""

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from classifier import bundle as bundles
from classifier.bundle import SCALINGS, Bundle, BundleError
from classifier.drafts import Agreement, ExportError, find_photos
from classifier.export import INT8, export
from classifier.models import ModelVersion
from classifier.ready_made import adopt
from classifier.sources import ALPHAS, Source, keras_file, mobilenet_v2, saved_model

OWN = ("keras", "saved_model", "tflite")  # a classifier of the user's own, with labels of its own


class Command(BaseCommand):
    help = (
        "Build a model bundle with TensorFlow, compare it with Keras, install it and let it serve. Without options: "
        "MobileNetV2 with Keras' own ImageNet weights, from KERAS_HOME or downloaded there. A .tflite file is tried "
        "and installed as it is, without TensorFlow."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        what = parser.add_mutually_exclusive_group()
        what.add_argument("--weights", type=Path, metavar="FILE.h5", help="MobileNetV2 weights for ImageNet's classes")
        what.add_argument("--keras", type=Path, metavar="FILE.keras", help="a classifier of your own; needs --labels")
        what.add_argument(
            "--saved-model", type=Path, metavar="DIR", help="the same as a SavedModel, such as Keras' export() writes"
        )
        what.add_argument(
            "--tflite", type=Path, metavar="FILE.tflite", help="one ready made, with --labels or with labels in it"
        )
        what.add_argument(
            "--check",
            action="store_true",
            help="build nothing: exit 0 if an undamaged model serves or lies there to serve, else 1",
        )
        parser.add_argument(
            "--alpha", type=float, choices=ALPHAS, help="MobileNetV2's width: smaller is faster, larger is better (1.0)"
        )
        parser.add_argument("--labels", type=Path, metavar="FILE.txt", help="the labels of your own, one a line")
        parser.add_argument(
            "--scaling",
            choices=SCALINGS,
            help="what your own expects of pixels: symmetric (-1 to 1), unit (0 to 1), imagenet (mean 0, deviation 1), "
            "none (0 to 255). Default: none; the bytes as they are for a .tflite that takes integers",
        )
        parser.add_argument("--softmax", action="store_true", help="your own gives logits: put a softmax behind it")
        parser.add_argument(
            "--crop", type=float, default=0.875, help="the centre square's side as a part of the short side (0.875)"
        )
        parser.add_argument("--quantize", choices=[INT8], help="8-bit integers: twice as fast, somewhat less accurate")
        parser.add_argument(
            "--calibrate", type=Path, metavar="DIR", help="photos to quantize with: some hundred of those it is to see"
        )
        parser.add_argument("--card", type=Path, metavar="FILE.md", help="your own model card, in place of a made one")
        parser.add_argument("--no-serve", action="store_true", help="only install it: what serves goes on serving")

    def handle(self, **options: Any) -> None:
        if options["check"]:
            self.check_installed()
            return
        if complaints := _contradictions(options):
            raise CommandError(complaints[0], returncode=2)
        try:
            bundle = self.build(options)
        except (ExportError, BundleError, OSError, UnicodeDecodeError) as error:
            raise CommandError(str(error)) from error
        self.tell(bundle)
        self.register(bundle, serve=not options["no_serve"])

    def build(self, options: dict[str, Any]) -> Bundle:
        """Build and install the bundle that the options name."""
        crop, card, scaling, softmax = (options[name] for name in ("crop", "card", "scaling", "softmax"))
        if card:
            card.read_text()  # before half a minute's work
        if options["tflite"]:
            return adopt(
                options["tflite"],
                settings.MODELS_DIR,
                labels=options["labels"],
                scaling=scaling,
                crop=crop,
                softmax=softmax,
                card=card,
            )
        calibrate = find_photos(options["calibrate"]) if options["calibrate"] else []
        self.stdout.write(f"Building the model; this takes about {'a' if calibrate else 'half a'} minute.")
        return export(self.source(options), settings.MODELS_DIR, crop=crop, calibrate=calibrate, card=card)

    def source(self, options: dict[str, Any]) -> Source:
        """Return the Keras model that the options name."""
        scaling = options["scaling"] or "none"
        if options["keras"]:
            return keras_file(options["keras"], options["labels"], scaling, options["softmax"])
        if options["saved_model"]:
            return saved_model(options["saved_model"], options["labels"], scaling, options["softmax"])
        return mobilenet_v2(options["weights"], options["alpha"] or 1.0)

    def tell(self, bundle: Bundle) -> None:
        """Say what was made of it."""
        spec = bundle.preprocessing
        self.stdout.write(
            f"It takes {spec.size} x {spec.size} pixels: the centre square of {spec.crop:g} of the short side, "
            f"scaling {bundle.scaling}."
        )
        if "agreement" in bundle.about:
            self.stdout.write(f"Quantized it gives {Agreement(**bundle.about['agreement'])}.")

    def register(self, bundle: Bundle, serve: bool) -> None:
        """Register the bundle; if it is to serve, running workers use it from their next image on."""
        version = ModelVersion.objects.install(bundle, serve=serve)
        does = "serves" if version.serving else "is installed and does not serve"
        self.stdout.write(self.style.SUCCESS(f"{version} {does}, with {len(bundle.labels())} labels."))

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
            self.register(installed[0], serve=True)
        else:
            raise CommandError("No model is installed: run manage.py install_model.")


def _contradictions(options: dict[str, Any]) -> list[str]:
    """Return what is wrong with options that do not go together."""
    own = next((name for name in OWN if options[name]), None)
    rules = {
        "--alpha is MobileNetV2's: a classifier of your own has its width.": own and options["alpha"],
        "--labels, --scaling and --softmax are of --keras, --saved-model or --tflite: MobileNetV2 has its own.": not own
        and (options["labels"] or options["scaling"] or options["softmax"]),
        "--keras and --saved-model need --labels.": own in {"keras", "saved_model"} and not options["labels"],
        "--quantize and --calibrate go together.": bool(options["quantize"]) != bool(options["calibrate"]),
        "--tflite is installed as it is: quantize the model that it was made of.": own == "tflite"
        and options["quantize"],
        "--crop is a part of the short side: more than 0, at most 1.": not 0 < options["crop"] <= 1,
    }
    return [complaint for complaint, holds in rules.items() if holds]
