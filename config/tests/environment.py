"""A pytest plugin: the environment of every test, set before Django reads its settings, and the shared fixtures."""

import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Protocol

import pytest
from filelock import FileLock
from PIL import Image

if TYPE_CHECKING:
    from django.core.files.uploadedfile import SimpleUploadedFile
    from django_q.status import Stat

    from classifier.bundle import Bundle
    from classifier.models import ModelVersion
    from config.tests.service import Service
    from predictions.models import ImagePrediction

os.environ["TESTING"] = "1"
for name in (
    "ENVIRONMENT",
    "DEBUG",
    "CACHE_URL",
    "LIMITS_URL",
    "BROKER_URL",
    "MEDIA",
    "LOG_FORMAT",
    "METRICS_TOKEN",
    "METRICS_PORT",
    "PROMETHEUS_MULTIPROC_DIR",
):
    os.environ.pop(name, None)
# The xdist processes inherit the folder of the first; whoever made it removes it.
if "PYTEST_XDIST_WORKER" not in os.environ:
    os.environ["DATA_DIR"] = tempfile.mkdtemp(prefix="tests-")

ROOT = Path(__file__).resolve().parents[2]
PHOTOS = ROOT.parent / "shared" / "photos"
KERAS_FILES = ("mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224.h5", "imagenet_class_index.json")
LABELS = ["ant", "bee", "cat", "dog", "eel", "fox", "gnu"]

# requirements/browser.txt is installed for make test-browser only.
HAS_BROWSER = find_spec("playwright") is not None
pytest_plugins = ["config.tests.aws", *(["config.tests.browser"] if HAS_BROWSER else [])]


def pytest_unconfigure() -> None:
    if "PYTEST_XDIST_WORKER" not in os.environ:
        shutil.rmtree(os.environ["DATA_DIR"], ignore_errors=True)


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    return True if collection_path.name == "test_browser.py" and not HAS_BROWSER else None


@pytest.fixture(autouse=True)
def _own_folders(settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give every test folders of its own, counts of requests that begin at none, and nothing that is remembered."""
    from config import rates
    from predictions.labelmap import LabelMap

    rates.counter.cache_clear()
    monkeypatch.setattr("config.health.HELD_SECONDS", 1e-9)
    monkeypatch.setattr("predictions.labelmap.SECONDS", float("inf"))  # however slow the machine is, read once
    LabelMap.forget()
    settings.MEDIA_ROOT = tmp_path / "media"
    settings.MODELS_DIR = tmp_path / "models"
    settings.FILE_UPLOAD_TEMP_DIR = tmp_path / "uploads"
    settings.MEDIA_ROOT.mkdir()
    settings.FILE_UPLOAD_TEMP_DIR.mkdir()
    settings.MODELS_DIR.mkdir()


def _once(name: str, build: Callable[[Path], "Bundle"]) -> "Bundle":
    """Return a bundle that is built once a test session, by whichever process comes first."""
    from classifier.bundle import Bundle

    folder = Path(os.environ["DATA_DIR"]) / f"bundle-{name}"
    with FileLock(f"{folder}.lock"):
        built = [path for path in folder.glob("*") if path.is_dir()] if folder.exists() else []
        return Bundle.read(built[0]) if built else build(folder)


def build_small(folder: Path) -> "Bundle":
    """Export MobileNetV2 with seeded random weights, 7 classes, 96 pixels: small, but made by the real export."""
    import keras

    from classifier.export import export
    from classifier.sources import Source

    keras.utils.set_random_seed(1)
    model = keras.applications.MobileNetV2((96, 96, 3), alpha=0.35, weights=None, classes=len(LABELS), name="small")
    return export(Source(model, LABELS, "symmetric", "seeded"), folder)


@pytest.fixture(scope="session")
def small_bundle() -> "Bundle":
    """The small model, built once."""
    return _once("small", build_small)


@pytest.fixture(scope="session")
def real_bundle() -> "Bundle":
    """MobileNetV2 with ImageNet's weights, where they are at hand: tests reach no network."""
    keras_home = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras"))
    if not all((keras_home / "models" / name).exists() for name in KERAS_FILES):
        pytest.skip("KERAS_HOME holds no ImageNet weights")
    from classifier.export import export
    from classifier.sources import mobilenet_v2

    return _once("real", lambda folder: export(mobilenet_v2(), folder))


@pytest.fixture(scope="session")
def photos() -> dict[Path, str]:
    """Real photos with their ImageNet labels, where they are at hand."""
    import json

    if not PHOTOS.exists():
        pytest.skip("there are no photos beside the project")
    labels = json.loads((PHOTOS / "labels.json").read_text())
    return {PHOTOS / name: entry["label"] for name, entry in labels.items()}


@pytest.fixture
def install(settings: Any, db: None) -> Callable[["Bundle"], "ModelVersion"]:
    """Install a bundle for this test alone, and let it serve."""
    from classifier.bundle import Bundle
    from classifier.models import ModelVersion

    def install(bundle: "Bundle") -> "ModelVersion":
        target = Path(settings.MODELS_DIR) / bundle.name
        shutil.copytree(bundle.path, target)
        return ModelVersion.objects.install(Bundle.read(target))

    return install


@pytest.fixture
def model(install: Callable[["Bundle"], "ModelVersion"], small_bundle: "Bundle") -> "ModelVersion":
    """The small model, installed and serving."""
    return install(small_bundle)


def variant(bundle: "Bundle", folder: Path, letters: str) -> "Bundle":
    """Return the same model with labels of its own, and so a version of its own."""
    from classifier import bundle as bundles

    path = folder / f"variant-{letters}"
    path.mkdir()
    labels = [f"{letters}{number}" for number, _ in enumerate(bundle.labels())]
    model = (bundle.path / "model.tflite").read_bytes()
    return bundles.write(path, model, labels, bundle.preprocessing, {"backbone": "x"})


class LiveCluster(Protocol):
    """Report, once, what a cluster on that machine would, without starting its processes."""

    def __call__(self, host: str = ...) -> "Stat": ...


@pytest.fixture
def live_cluster(settings: Any, tmp_path: Path) -> LiveCluster:
    """Pretend that a cluster lives. Nothing else is in the cache."""
    from django_q.cluster import Sentinel
    from django_q.status import Stat

    settings.CACHES = {"default": {**settings.CACHES["default"], "LOCATION": str(tmp_path / "cache")}}

    def report(host: str = socket.gethostname()) -> Stat:
        sentinel = Sentinel.__new__(Sentinel)
        values = {"parent_pid": 1, "pid": 2, "cluster_id": host, "broker": None, "reincarnations": 0, "tob": None}
        for name, value in {**values, "monitor": None, "pusher": None, "pool": [SimpleNamespace(pid=3)]}.items():
            setattr(sentinel, name, value)
        sentinel.status = lambda: "Idle"
        sentinel.result_queue = sentinel.task_queue = SimpleNamespace(qsize=lambda: 0)
        stat = Stat(sentinel)
        stat.host = host
        stat.save()
        return stat

    return report


@pytest.fixture
def allow(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Set rates, allow(reads="3/hour"); without words, nothing else is limited. Time stands still."""
    from limits import parse_many

    monkeypatch.setattr("config.rates.time", lambda: 1_800_000_000.0)

    def allow(**notations: str) -> None:
        settings.RATES = {name: [] for name in settings.RATES}
        settings.RATES |= {name: parse_many(notation) for name, notation in notations.items()}

    return allow


def image_bytes(format: str = "JPEG", mode: str = "RGB", size: tuple[int, int] = (120, 80), **options: Any) -> bytes:
    """Return an encoded image with some structure; `options` go to Pillow's save()."""
    file = BytesIO()
    gradient = Image.linear_gradient("L").resize(size)
    Image.merge("RGB", (gradient, gradient.rotate(90), gradient.rotate(180))).convert(mode).save(
        file, format, **options
    )
    return file.getvalue()


class Unread(BytesIO):
    """A body that nobody may read: what "wsgi.input" is, where a request is to be refused before."""

    def read(self, *_: Any) -> bytes:
        raise AssertionError("the body was read")

    readline = read


@pytest.fixture
def upload() -> Callable[..., "SimpleUploadedFile"]:
    """Make an uploaded file: upload(), upload("cat.png", content)."""
    from django.core.files.uploadedfile import SimpleUploadedFile

    def upload(name: str = "photo.jpg", content: bytes | None = None) -> SimpleUploadedFile:
        return SimpleUploadedFile(name, image_bytes() if content is None else content)

    return upload


@pytest.fixture
def submit(db: None, upload: Callable[..., "SimpleUploadedFile"]) -> Callable[..., "ImagePrediction"]:
    """Submit an image as pages and API do."""
    from predictions import services

    return lambda *args: services.submit(upload(*args))


@pytest.fixture(scope="module")
def service(small_bundle: "Bundle", tmp_path_factory: pytest.TempPathFactory) -> Iterator["Service"]:
    """The real web and worker processes on a database of their own, with the small model."""
    from config.tests.service import Service

    with Service(tmp_path_factory.mktemp("service"), small_bundle) as service:
        yield service
