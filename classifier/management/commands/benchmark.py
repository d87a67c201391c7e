"""manage.py benchmark"""

import json
from pathlib import Path
from typing import Any

import urllib3
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from tqdm import tqdm

from classifier import benchmark
from classifier.bundle import BundleError
from classifier.models import ModelVersion

IDLE_UPLOADS = 30
READS = 50


class Command(BaseCommand):
    help = (
        "Measure decoding, inference and the floor (a plain decode-and-classify loop on all cores); with --url also a "
        "running service end to end: reading, upload to result when idle, and a burst. It deletes what it uploads."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--url", help="the running service, for example http://127.0.0.1:8000")
        parser.add_argument("--photos", type=Path, metavar="DIR", help="JPEG photos to use; without it, made-up ones")
        parser.add_argument("--burst", type=int, default=200, help="photos in the burst (default 200)")
        parser.add_argument("--clients", type=int, default=8, help="clients at once in the burst (default 8)")
        parser.add_argument("--json", action="store_true", help="JSON instead of a table")

    def handle(self, **options: Any) -> None:
        version = ModelVersion.objects.serving()
        if version is None:
            raise CommandError("No model is installed: run manage.py install_model.")
        try:
            photos = benchmark.read_photos(options["photos"])
            results = self.measure_machine(version, photos)
            if options["url"]:
                results |= self.measure_service(photos, options)
                results["burst_to_floor"] = results["burst_images_per_s"] / results["floor_images_per_s"]
        except (benchmark.BenchmarkError, BundleError, OSError, urllib3.exceptions.HTTPError) as error:
            raise CommandError(f"The benchmark could not be finished: {error}") from error
        if options["json"]:
            self.stdout.write(json.dumps({"model_version": version.name, **results}, indent=2))
        else:
            self.stdout.writelines(f"{name:<34}{figure:>16}\n" for name, figure in benchmark.summary(results))

    def measure_machine(self, version: ModelVersion, photos: list[bytes]) -> dict[str, float]:
        """Measure without a service."""
        results = benchmark.measure_steps(version.path, version.digest, photos)
        results["floor_images_per_s"] = benchmark.measure_floor(version.path, version.digest, photos, settings.CORES)
        return results

    def measure_service(self, photos: list[bytes], options: dict[str, Any]) -> dict[str, float]:
        """Measure a service from outside, with a progress bar if this is a terminal."""
        service = benchmark.Service(options["url"], options["clients"])
        results = benchmark.measure_reading(service, READS)
        with tqdm(total=IDLE_UPLOADS, desc="idle", disable=None) as bar:
            results |= benchmark.measure_idle(service, photos, IDLE_UPLOADS, bar.update)
        with tqdm(total=options["burst"], desc="burst", disable=None) as bar:
            results |= benchmark.measure_burst(service, photos, options["burst"], options["clients"], bar.update)
        return results
