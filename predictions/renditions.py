"""What people look at instead of the original: thumbnails for lists, and pictures that every browser can show.

Workers make them from the pixels that they have just classified, unless further images wait for their labels: encoding
takes 2 ms, a fifth of what a burst takes for an image. Those are made up for, decoded once more, when none waits.
"""

import logging
from io import BytesIO
from pathlib import PurePath

from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import Storage
from django.db import OperationalError
from django.utils import timezone
from PIL import Image

from classifier.images import NotAnImage, open_image, taken_at
from classifier.memory import at_most
from predictions import logs
from predictions.models import ImagePrediction, Status
from predictions.storage import is_disk_full

logger = logging.getLogger(__name__)

THUMBNAIL, VIEW = "thumbnail", "view"
SIDES = {THUMBNAIL: 320, VIEW: 2048}  # pixels, of the longer side
# No browser shows these, or not every one.
UNSHOWABLE = {".heic", ".tif", ".bmp", ".avif"}

# Images that this process set about, but that found no room. The database may be on the same full disk.
_owed: set[int] = set()


def name_of(prediction: ImagePrediction, kind: str) -> str:
    """Return the storage name of a rendition: derived, so that no column can disagree with the disk."""
    return f"renditions/{prediction.image_path.name}.{kind}.webp"


def original_of(name: str) -> str:
    """Return the storage name of the original that a file is or was made from."""
    for kind in SIDES:
        if name.startswith("renditions/") and name.endswith(f".{kind}.webp"):
            return name.removeprefix("renditions/").removesuffix(f".{kind}.webp")
    return name


def shown(prediction: ImagePrediction) -> str:
    """Return the storage name of what a page shows large: the original, where browsers can show it."""
    name = str(prediction.image_path.name)
    return name_of(prediction, VIEW) if PurePath(name).suffix in UNSHOWABLE else name


def files_of(prediction: ImagePrediction) -> list[str]:
    """Return the storage names of all files that an image has, or may have."""
    return [str(prediction.image_path.name), *(name_of(prediction, kind) for kind in SIDES)]


def make_next() -> bool:
    """Make the renditions of one classified image that has none; return False if there is none, or no room."""
    if _owed and not _unmark():
        return False
    for prediction in ImagePrediction.objects.filter(status=Status.DONE, rendered_at=None).order_by("-pk")[:8]:
        with logs.about(prediction):
            if make(prediction):
                return True
    return False


def make(prediction: ImagePrediction, image: Image.Image | None = None) -> bool:
    """Make the renditions of an image, from its pixels if they are at hand; return False if it has some.

    It is marked before: an image that kills the worker then has no thumbnail, instead of killing one worker after the
    other; pages show the original in its place. On a full disk nothing is made either, but again when there is room.
    """
    row = ImagePrediction.objects.filter(pk=prediction.pk)
    if not row.filter(rendered_at=None).update(rendered_at=timezone.now()):
        return False
    try:
        with at_most(settings.MAX_DECODED_MB):
            _write(prediction, image or read(prediction))
    except (NotAnImage, OSError) as error:
        logger.warning("Prediction %s: no thumbnail: %s", prediction.pk, error)
        if is_disk_full(error):
            _owed.add(prediction.pk)
            return False
    return True


def _unmark() -> bool:
    """Forget that the images were set about that found no room; return False if the database has none for that."""
    try:
        ImagePrediction.objects.filter(pk__in=_owed).update(rendered_at=None)
    except OperationalError as error:
        if not is_disk_full(error):
            raise
        return False
    _owed.clear()
    return True


def read(prediction: ImagePrediction) -> Image.Image:
    """Open an image from its storage; its bytes are then in memory. Raises NotAnImage and OSError."""
    with prediction.image_path.open("rb") as file:
        return open_image(BytesIO(file.read()))


def _write(prediction: ImagePrediction, image: Image.Image) -> None:
    """Write the renditions of an image, and what its camera says."""
    from classifier.resizing import shrink  # numpy, which the web process does without

    kinds = [THUMBNAIL] if shown(prediction) == prediction.image_path.name else [THUMBNAIL, VIEW]
    moment = taken_at(image)
    pictures = {kind: shrink(image, SIDES[kind]) for kind in kinds}
    image.close()  # gives the pixels' memory back: encoding takes some, too
    for kind, picture in pictures.items():
        _save(prediction.image_path.storage, name_of(prediction, kind), picture)
    if moment:
        ImagePrediction.objects.filter(pk=prediction.pk).update(taken_at=timezone.make_aware(moment))


def _save(storage: Storage, name: str, image: Image.Image) -> None:
    """Write a WebP without any metadata: places and cameras stay with the original."""
    content = BytesIO()
    image.save(content, "WEBP", quality=75, method=2)
    storage.delete(name)
    storage.save(name, ContentFile(content.getvalue()))
