"""What people look at instead of the original: thumbnails for lists, and pictures that every browser can show.

Made by workers when no image waits for its labels: encoding costs 2 ms, a fifth of what a burst takes for an image.
"""

import logging
from io import BytesIO
from pathlib import PurePath

from django.core.files.base import ContentFile
from django.core.files.storage import Storage
from django.utils import timezone
from PIL import Image

from classifier.images import NotAnImage, open_image, taken_at
from predictions.models import ImagePrediction, Status

logger = logging.getLogger(__name__)

THUMBNAIL, VIEW = "thumbnail", "view"
SIDES = {THUMBNAIL: 320, VIEW: 2048}  # pixels, of the longer side
# No browser shows these, or not every one.
UNSHOWABLE = {".heic", ".tif", ".bmp", ".avif"}


def name_of(prediction: ImagePrediction, kind: str) -> str:
    """Return the storage name of a rendition: derived, so that no column can disagree with the disk."""
    return f"renditions/{prediction.image_path.name}.{kind}.webp"


def shown(prediction: ImagePrediction) -> str:
    """Return the storage name of what a page shows large: the original, where browsers can show it."""
    name = str(prediction.image_path.name)
    return name_of(prediction, VIEW) if PurePath(name).suffix in UNSHOWABLE else name


def files_of(prediction: ImagePrediction) -> list[str]:
    """Return the storage names of all files that an image has, or may have."""
    return [str(prediction.image_path.name), *(name_of(prediction, kind) for kind in SIDES)]


def make_next() -> bool:
    """Make the renditions of one classified image that has none; return False if there is none.

    It is marked before: an image that kills the worker then has no thumbnail, instead of killing one worker after the
    other; pages show the original in its place.
    """
    waiting = ImagePrediction.objects.filter(status=Status.DONE, rendered_at=None)
    for prediction in waiting.order_by("-pk")[:8]:
        if waiting.filter(pk=prediction.pk).update(rendered_at=timezone.now()):
            _make(prediction)
            return True
    return False


def _make(prediction: ImagePrediction) -> None:
    """Write the renditions of an image, and what its camera says."""
    from classifier.resizing import shrink  # numpy, which the web process does without

    kinds = [THUMBNAIL] if shown(prediction) == prediction.image_path.name else [THUMBNAIL, VIEW]
    storage = prediction.image_path.storage
    try:
        with prediction.image_path.open("rb") as file:
            moment = taken_at(open_image(file))
            for kind in kinds:
                file.seek(0)
                _save(storage, name_of(prediction, kind), shrink(file, SIDES[kind]))
    except (NotAnImage, OSError) as error:
        logger.warning("Prediction %s: no thumbnail: %s", prediction.pk, error)
        return
    if moment:
        ImagePrediction.objects.filter(pk=prediction.pk).update(taken_at=timezone.make_aware(moment))


def _save(storage: Storage, name: str, image: Image.Image) -> None:
    """Write a WebP without any metadata: places and cameras stay with the original."""
    content = BytesIO()
    image.save(content, "WEBP", quality=75, method=2)
    storage.delete(name)
    storage.save(name, ContentFile(content.getvalue()))
