"""Measuring: what the machine can do at best (the floor), and what a running service makes of it."""

from __future__ import annotations

import itertools
import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

import numpy as np
import urllib3
from PIL import Image
from urllib3.filepost import encode_multipart_formdata

from classifier.images import open_image
from classifier.preprocessing import load_pixels
from classifier.runtime import Classifier, load

ROUNDS = 5
IDLE_POLL_SECONDS = 0.005
# During a burst, asking more often would measure the asking: the machine that answers is the one that classifies.
BURST_POLL_SECONDS = 0.025
DEADLINE_SECONDS = 120
Progress = Callable[[int], object]
Form = tuple[bytes, str]


class BenchmarkError(Exception):
    """The measurement could not be made; the message says why."""


class Photo(NamedTuple):
    """A JPEG to measure with, and the name of the folder it is in, which may be its label."""

    content: bytes
    folder: str


def read_photos(folder: Path | None) -> list[Photo]:
    """Return the photos of a folder and those below it, or 16 made-up JPEGs of 500 x 375 without one.

    Raises BenchmarkError when the folder has none.
    """
    if folder is None:
        return [Photo(_made_up_photo(seed), "") for seed in range(16)]
    paths = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in {".jpg", ".jpeg"}]
    photos = [Photo(path.read_bytes(), path.parent.name if path.parent != folder else "") for path in paths]
    if not photos:
        raise BenchmarkError(f"{folder} has no JPEG photos")
    return photos


def _made_up_photo(seed: int) -> bytes:
    """Return a JPEG that is as much work to decode as a photo of its size: structure and some noise."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 255, (24, 32, 3), dtype=np.uint8)).resize((500, 375))
    noisy = np.asarray(coarse, dtype=np.int16) + random.integers(-12, 12, (375, 500, 3))
    file = BytesIO()
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=90)
    return file.getvalue()


def measure_side_by_side(classifiers: Sequence[Classifier], photos: Sequence[Photo]) -> list[dict[str, float]]:
    """Return of each model, in this process, the median milliseconds of its steps, and how good its answers are.

    They take turns photo by photo, for several rounds, so that whatever slows the machine slows all of them. A photo
    whose folder is named as one of a model's labels tells its accuracy; agreement is with the first model.
    """
    labels = {label for classifier in classifiers for label in classifier.labels}
    known = [index for index, photo in enumerate(photos) if photo.folder in labels]
    runs = [[_run(classifier, photo.content) for classifier in classifiers] for photo in list(photos) * ROUNDS]
    first, results = [runs_of_photo[0].label for runs_of_photo in runs[: len(photos)]], []
    for steps in zip(*runs, strict=True):
        answers = [step.label for step in steps[: len(photos)]]
        result = {
            "decode_ms": _median_ms([step.decode for step in steps]),
            "inference_ms": _median_ms([step.inference for step in steps]),
            "photo_ms": _median_ms([step.decode + step.inference for step in steps]),
        }
        if known:
            right = sum(answers[index] == photos[index].folder for index in known)
            result |= {"labelled_photos": len(known), "accuracy": right / len(known)}
        if len(classifiers) > 1:
            result["inference_ratio"] = statistics.median(
                step.inference / pair[0].inference for step, pair in zip(steps, runs, strict=True)
            )
            result["agreement"] = sum(map(str.__eq__, answers, first)) / len(photos)
        results.append(result)
    return results


class _Run(NamedTuple):
    decode: float  # seconds
    inference: float  # seconds
    label: str


def _run(classifier: Classifier, photo: bytes) -> _Run:
    start = time.perf_counter()
    pixels = load_pixels(open_image(BytesIO(photo)), classifier.bundle.preprocessing)
    middle = time.perf_counter()
    label = classifier.infer(pixels).labels[0].label
    return _Run(middle - start, time.perf_counter() - middle, label)


def measure_floor(path: Path, digest: str, photos: Sequence[bytes], processes: int, seconds: float = 4) -> float:
    """Return the images/s of plain decode-and-classify loops on `processes` cores, with nothing around them."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(processes) as pool:
        arguments = [(path, digest, photos, seconds)] * processes
        pool.starmap(_loop, [(path, digest, photos, 0.5)] * processes, chunksize=1)  # load the model, warm up
        return sum(pool.starmap(_loop, arguments, chunksize=1))


def _loop(path: Path, digest: str, photos: Sequence[bytes], seconds: float) -> float:
    classifier = load(path, digest)
    start, count = time.perf_counter(), 0
    for photo in itertools.cycle(photos):
        classifier.classify(open_image(BytesIO(photo)))
        count += 1
        if time.perf_counter() - start >= seconds:
            break
    return count / (time.perf_counter() - start)


class Service:
    """A client of a running service, by its REST contract alone."""

    def __init__(self, url: str, clients: int) -> None:
        self.url = url.rstrip("/")
        self.http = urllib3.PoolManager(maxsize=clients, retries=False, timeout=urllib3.Timeout(60))
        self.numbers = itertools.count()

    def form(self, photo: bytes) -> Form:
        """Return the multipart body of an upload, and its type."""
        # Bytes behind the end of a JPEG make each upload another file, lest the service remembers one.
        content = photo + b"benchmark %d" % next(self.numbers)
        return encode_multipart_formdata({"file": ("benchmark.jpg", content, "image/jpeg")})

    def upload(self, form: Form) -> tuple[str, float]:
        """POST a form; return the photo's address and the seconds that the answer took."""
        body, content_type = form
        start = time.perf_counter()
        answer = self.http.request(
            "POST", f"{self.url}/predictions/", body=body, headers={"Content-Type": content_type}
        )
        seconds = time.perf_counter() - start
        if answer.status != 201:
            raise BenchmarkError(f"POST answered {answer.status}: {answer.data[:200]!r}")
        return f"{self.url}/predictions/{answer.json()['id']}/", seconds

    def wait(self, address: str, poll_seconds: float) -> bool:
        """Return once the photo at `address` is classified; False if it was already.

        Raises BenchmarkError if it fails or takes too long.
        """
        deadline, waited = time.monotonic() + DEADLINE_SECONDS, False
        while time.monotonic() < deadline:
            status = self.http.request("GET", address).json()["status"]
            if status == "done":
                return waited
            if status == "failed":
                break
            waited = True
            time.sleep(poll_seconds)
        raise BenchmarkError(f"{address} has no result")

    def read(self, path: str) -> float:
        """GET a page or list; return the seconds that it took."""
        start = time.perf_counter()
        answer = self.http.request("GET", self.url + path)
        if answer.status != 200:
            raise BenchmarkError(f"GET {path} answered {answer.status}")
        return time.perf_counter() - start

    def delete(self, addresses: Sequence[str]) -> None:
        """Delete what was uploaded."""
        for address in addresses:
            self.http.request("DELETE", address)


def measure_idle(service: Service, photos: Sequence[bytes], count: int, progress: Progress) -> dict[str, float]:
    """Upload one photo after the other; return the milliseconds from upload to result."""
    seconds, addresses = [], []
    try:
        for form in _forms(service, photos, count):
            start = time.perf_counter()
            address, _ = service.upload(form)
            addresses.append(address)
            service.wait(address, IDLE_POLL_SECONDS)
            seconds.append(time.perf_counter() - start)
            progress(1)
    finally:
        service.delete(addresses)
    return {"idle_p50_ms": _median_ms(seconds), "idle_p95_ms": _p95_ms(seconds)}


def measure_burst(
    service: Service, photos: Sequence[bytes], count: int, clients: int, progress: Progress
) -> dict[str, float]:
    """Upload `count` photos with `clients` at once; return images/s until the last result, and the time of a POST."""
    forms = list(_forms(service, photos, count))
    start = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        uploads = list(pool.map(service.upload, forms))
    addresses = [address for address, _ in uploads]
    try:
        end = time.perf_counter()
        # The last one first: when it is done, asking for the others is a check that must not count as classifying.
        for address in reversed(addresses):
            if service.wait(address, BURST_POLL_SECONDS):
                end = time.perf_counter()
            progress(1)
        rate = count / (end - start)
    finally:
        service.delete(addresses)
    posts = [seconds for _, seconds in uploads]
    return {"burst_images_per_s": rate, "post_p50_ms": _median_ms(posts), "post_p95_ms": _p95_ms(posts)}


def measure_reading(service: Service, count: int) -> dict[str, float]:
    """Read the list and the gallery, one after the other; return their milliseconds, with the rows the service has."""
    lists = [service.read("/predictions/") for _ in range(count)]
    pages = [service.read("/gallery/") for _ in range(count)]
    return {"list_p95_ms": _p95_ms(lists), "gallery_p95_ms": _p95_ms(pages)}


def measure_comparing(service: Service, count: int) -> dict[str, float]:
    """Compare the first two models that have answered photos, if there are; return the page's milliseconds.

    And the photos that both have answered: it is them that it takes time to compare.
    """
    models = service.http.request("GET", f"{service.url}/models/").json()
    pair = [model["name"] for model in models if model["answers"]][:2]
    if len(pair) < 2:
        return {}
    query = urlencode(dict(zip("ab", pair, strict=True)))
    photos = service.http.request("GET", f"{service.url}/models/compare/?{query}").json()["images"]
    pages = [service.read(f"/dashboard/models/compare/?{query}") for _ in range(count)]
    return {"compared_photos": photos, "compare_p95_ms": _p95_ms(pages)}


def _forms(service: Service, photos: Sequence[bytes], count: int) -> Iterator[Form]:
    return map(service.form, itertools.islice(itertools.cycle(photos), count))


def _median_ms(seconds: Sequence[float]) -> float:
    return statistics.median(seconds) * 1000


def _p95_ms(seconds: Sequence[float]) -> float:
    return statistics.quantiles(seconds, n=20, method="inclusive")[-1] * 1000


def summary(results: Sequence[dict[str, Any]]) -> list[tuple[str, list[str]]]:
    """Return the figures as rows of a table, named for people, with a column for each of the results."""
    names = {
        "decode_ms": ("decode and preprocess, median", "{:.1f} ms"),
        "inference_ms": ("inference, median", "{:.1f} ms"),
        "photo_ms": ("both, median", "{:.1f} ms"),
        "inference_ratio": ("inference, times the first's", "{:.2f}"),
        "agreement": ("best label is the first's", "{:.1%}"),
        "labelled_photos": ("photos in folders of their label", "{}"),
        "accuracy": ("best label is right", "{:.1%}"),
        "floor_images_per_s": ("floor: plain loop on all cores", "{:.0f} images/s"),
        "idle_p50_ms": ("upload to result, idle, p50", "{:.0f} ms"),
        "idle_p95_ms": ("upload to result, idle, p95", "{:.0f} ms"),
        "post_p50_ms": ("POST during the burst, p50", "{:.0f} ms"),
        "post_p95_ms": ("POST during the burst, p95", "{:.0f} ms"),
        "list_p95_ms": ("GET /predictions/, p95", "{:.0f} ms"),
        "gallery_p95_ms": ("GET /gallery/, p95", "{:.0f} ms"),
        "compared_photos": ("photos that two models answered", "{:,}"),
        "compare_p95_ms": ("GET their comparison, p95", "{:.0f} ms"),
        "burst_images_per_s": ("burst, end to end", "{:.0f} images/s"),
        "burst_to_floor": ("burst to floor", "{:.2f}"),
    }
    return [
        (name, [form.format(result[key]) for result in results])
        for key, (name, form) in names.items()
        if key in results[0]
    ]
