"""manage.py benchmark"""

import json
from pathlib import Path
from typing import Any

import urllib3
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from tqdm import tqdm

from classifier import benchmark
from classifier.benchmark import Photo
from classifier.bundle import BundleError, read_as_installed
from classifier.images import NotAnImage
from classifier.management.versions import chosen
from classifier.models import ModelVersion
from classifier.runtime import Classifier

IDLE_UPLOADS = 30
READS = 50
COMPARISONS = 10


class Command(BaseCommand):
    help = (
        "Measure decoding and inference of the serving model, or of the named versions side by side; of one also the "
        "floor (a plain decode-and-classify loop on all cores), and with --url a running service end to end: reading, "
        "upload to result when idle, and a burst. It deletes what it uploads."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--url", help="the running service, for example http://127.0.0.1:8000")
        parser.add_argument(
            "--model-version",
            action="append",
            metavar="NAME",
            help="an installed version instead of the serving one; several are measured in turns, and compared",
        )
        parser.add_argument(
            "--photos",
            type=Path,
            metavar="DIR",
            help="JPEG photos to use, instead of made-up ones; in folders named by their labels they tell the accuracy",
        )
        parser.add_argument("--burst", type=int, default=200, help="photos in the burst (default 200)")
        parser.add_argument("--clients", type=int, default=8, help="clients at once in the burst (default 8)")
        parser.add_argument(
            "--json", action="store_true", help='an object instead of a table; of several versions, in "versions"'
        )

    def handle(self, **options: Any) -> None:
        if options["url"] and options["model_version"]:
            raise CommandError("--url measures the version that serves there: leave --model-version out.", returncode=2)
        versions = [chosen(name) for name in options["model_version"] or [None]]
        try:
            photos = benchmark.read_photos(options["photos"])
            results = self.measure_machine(versions, photos)
            if options["url"]:
                results[0] |= self.measure_service([photo.content for photo in photos], options)
                results[0]["burst_to_floor"] = results[0]["burst_images_per_s"] / results[0]["floor_images_per_s"]
        except (benchmark.BenchmarkError, BundleError, NotAnImage, OSError, urllib3.exceptions.HTTPError) as error:
            raise CommandError(f"The benchmark could not be finished: {error}") from error
        self.show(versions, results, as_json=options["json"])

    def measure_machine(self, versions: list[ModelVersion], photos: list[Photo]) -> list[dict[str, float]]:
        """Measure without a service; the floor of one version only, for it cannot be measured in turns."""
        classifiers = [Classifier(read_as_installed(version.path, version.digest)) for version in versions]
        results = benchmark.measure_side_by_side(classifiers, photos)
        if len(versions) == 1:
            path, digest, contents = versions[0].path, versions[0].digest, [photo.content for photo in photos]
            results[0]["floor_images_per_s"] = benchmark.measure_floor(path, digest, contents, settings.CORES)
        return results

    def measure_service(self, photos: list[bytes], options: dict[str, Any]) -> dict[str, float]:
        """Measure a service from outside, with a progress bar if this is a terminal."""
        service = benchmark.Service(options["url"], options["clients"])
        results = benchmark.measure_reading(service, READS) | benchmark.measure_comparing(service, COMPARISONS)
        with tqdm(total=IDLE_UPLOADS, desc="idle", disable=None) as bar:
            results |= benchmark.measure_idle(service, photos, IDLE_UPLOADS, bar.update)
        with tqdm(total=options["burst"], desc="burst", disable=None) as bar:
            results |= benchmark.measure_burst(service, photos, options["burst"], options["clients"], bar.update)
        return results

    def show(self, versions: list[ModelVersion], results: list[dict[str, float]], *, as_json: bool) -> None:
        """Print a column for each version, or JSON."""
        named = [{"model_version": version.name, **of} for version, of in zip(versions, results, strict=True)]
        if as_json:
            self.stdout.write(json.dumps(named[0] if len(named) == 1 else {"versions": named}, indent=2))
            return
        rows = benchmark.summary(results)
        if len(versions) > 1:
            rows.insert(0, ("", [version.name for version in versions]))
        widths = [max(16, len(version.name) + 2) if len(versions) > 1 else 16 for version in versions]
        for name, figures in rows:
            columns = "".join(f"{figure:>{width}}" for figure, width in zip(figures, widths, strict=True))
            self.stdout.write(f"{name:<34}{columns}")
