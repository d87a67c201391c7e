"""What people look at instead of the original: thumbnails for lists, and pictures that every browser can show.

Workers make them from the pixels that they have just classified; their last step, which takes longest, waits until no
image waits for its labels. What a crash or a full disk prevented is made up for, decoded once more.
"""

import logging
from contextlib import suppress
from datetime import timedelta
from io import BytesIO
from pathlib import PurePath

from django.conf import settings
from django.core.files.base import ContentFile
from django.db import OperationalError
from django.utils import timezone
from PIL import Image

from classifier import images
from classifier.images import NotAnImage, open_image, taken_at
from classifier.memory import at_most
from predictions import logs
from predictions.models import ImagePrediction, ImagePredictionQuerySet, Status
from predictions.storage import RENDITIONS, StorageAway, is_disk_full, photos

logger = logging.getLogger(__name__)

THUMBNAIL, VIEW = "thumbnail", "view"
SIDES = {THUMBNAIL: images.THUMBNAIL, VIEW: 2048}  # pixels, of the longer side
# No browser shows these, or not every one.
UNSHOWABLE = {".heic", ".tif", ".bmp", ".avif"}

# Images that this process has classified, and their thumbnails as JPEG, if they are sketched: that takes 0.25 ms where
# WebP takes 3, which wait until no image does. A few MB at most.
_sketches: dict[int, tuple[ImagePrediction, bytes]] = {}
SKETCHES = 300
PATIENCE = timedelta(minutes=1)

# Images that this process set about, but whose storage had no room, or was away, until the database knows: it may be on
# the same disk.
_owed: dict[int, ImagePrediction] = {}


class FileForbidden(OSError):
    """The storage refuses a file, and gives others: it is forbidden, or in an archive. Who asks again asks in vain."""


def name_of(prediction: ImagePrediction, kind: str) -> str:
    """Return the storage name of a rendition: derived, so that no column can disagree with the disk."""
    return f"{RENDITIONS}{prediction.image_path.name}.{kind}.webp"


def original_of(name: str) -> str:
    """Return the storage name of the original that a file is or was made from."""
    for kind in SIDES:
        if name.startswith(RENDITIONS) and name.endswith(f".{kind}.webp"):
            return name.removeprefix(RENDITIONS).removesuffix(f".{kind}.webp")
    return name


def shown(prediction: ImagePrediction) -> str:
    """Return the storage name of what a page shows large: the original, where browsers can show it."""
    name = str(prediction.image_path.name)
    return name_of(prediction, VIEW) if PurePath(name).suffix in UNSHOWABLE else name


def files_of(prediction: ImagePrediction) -> list[str]:
    """Return the storage names of all files that an image has, or may have."""
    return [str(prediction.image_path.name), *(name_of(prediction, kind) for kind in SIDES)]


def sketch(prediction: ImagePrediction, image: Image.Image) -> bool:
    """Keep what the thumbnail of a decoded image needs until no image waits; return True if it is made already.

    It is where nothing more can be kept, and where a large picture is made as well. Raises StorageAway.
    """
    from classifier.resizing import shrink  # numpy, which the web process does without

    if prediction.rendered_at or prediction.attempts > 1:
        # What ended a worker before gets its labels first: the thumbnail may have been the reason.
        plan(prediction)
        return False
    if len(_sketches) >= SKETCHES or shown(prediction) != prediction.image_path.name:
        return make(prediction, image)
    content = BytesIO()
    shrink(image, SIDES[THUMBNAIL]).save(content, "JPEG", quality=92, subsampling=0)
    _sketches[prediction.pk] = prediction, content.getvalue()
    return False


def plan(prediction: ImagePrediction) -> None:
    """Have the renditions made, if there are none, from a decoding of their own, once no image waits."""
    if not prediction.rendered_at:
        _sketches[prediction.pk] = prediction, b""


def make_next() -> bool:
    """Make the renditions of one classified image that has none; return False if there is none, or no room.

    Those that this process has sketched come first. Of others it waits a minute for whoever has. Raises StorageAway.
    """
    if make_sketched():
        return True
    for prediction in () if _owed else missing().order_by("-pk")[:8]:
        if _mark(prediction):
            return _make_marked(prediction)
    return False


def make_sketched() -> bool:
    """Make those of one image that this process has sketched; return False if there is none, or no room.

    Raises StorageAway.
    """
    if _owed and not _unmark():
        return False
    while _sketches:
        prediction, content = _sketches.pop(next(iter(_sketches)))
        if _mark(prediction):
            return _make_marked(prediction, open_image(BytesIO(content)) if content else None)
    return False


def missing() -> ImagePredictionQuerySet:
    """Return the classified images without renditions whose time to be made by whoever classified them is over."""
    left = ImagePrediction.objects.filter(status=Status.DONE, rendered_at=None)
    return left.filter(classified_at__lt=timezone.now() - PATIENCE)


def _mark(prediction: ImagePrediction) -> bool:
    """Note that the renditions are being made; return False if they were, or the image is not classified any more.

    An image that kills the worker then has no thumbnail, instead of killing one worker after the other; pages show the
    original in its place.
    """
    row = ImagePrediction.objects.filter(pk=prediction.pk, status=Status.DONE, rendered_at=None)
    return row.update(rendered_at=timezone.now()) == 1


def _make_marked(prediction: ImagePrediction, image: Image.Image | None = None) -> bool:
    with logs.about(prediction), at_most(settings.MAX_DECODED_MB):
        is_made = make(prediction, image)
    discard_orphans(prediction)
    if not is_made:
        _owe(prediction)
    return is_made


def make(prediction: ImagePrediction, image: Image.Image | None = None) -> bool:
    """Make the renditions of an image, from its pixels if they are at hand; those are gone then.

    Return False if it is to be tried again, because there is no room or the storage is away.
    """
    try:
        _write(prediction, image or read(prediction))
    except StorageAway:
        _owe(prediction)
        raise
    except (NotAnImage, FileNotFoundError, FileForbidden, MemoryError) as error:
        logger.warning("Prediction %s: no thumbnail: %s", prediction.pk, error)
    except OSError as error:
        logger.warning("Prediction %s: no thumbnail yet: %s", prediction.pk, error)
        return False
    return True


def discard_orphans(prediction: ImagePrediction) -> None:
    """Delete the renditions of an image that was deleted while they were made."""
    if not ImagePrediction.objects.filter(pk=prediction.pk).exists():
        photos().delete_all([name_of(prediction, kind) for kind in SIDES])


def _owe(prediction: ImagePrediction) -> None:
    """Have the renditions of an image tried again: here, or, if the database can be told, by any worker."""
    _owed[prediction.pk] = prediction
    _unmark()


def _unmark() -> bool:
    """Forget that the images were set about that found no room; return False if the database has none for that."""
    try:
        ImagePrediction.objects.filter(pk__in=_owed).update(rendered_at=None)
    except OperationalError as error:
        if not is_disk_full(error):
            raise
        return False
    for prediction in _owed.values():
        plan(prediction)
    _owed.clear()
    return True


def read(prediction: ImagePrediction) -> Image.Image:
    """Open an image from its storage; its bytes are then in memory. Raises NotAnImage, FileForbidden and OSError."""
    return open_image(BytesIO(original(prediction)))


def original(prediction: ImagePrediction) -> bytes:
    """Return an image's file as it is stored. Raises FileNotFoundError, FileForbidden, StorageAway and OSError."""
    try:
        return _content(prediction)
    except StorageAway as error:
        if error.refuses and _gives_others(prediction):
            raise FileForbidden(f"The storage refuses {prediction.image_path.name}, and gives others") from error
        raise


def _content(prediction: ImagePrediction) -> bytes:
    with prediction.image_path.open("rb") as file:
        return bytes(file.read())


def _gives_others(prediction: ImagePrediction) -> bool:
    """Return whether one of the newest classified images can be read: if not, the whole storage is away."""
    for other in ImagePrediction.objects.filter(status=Status.DONE).exclude(pk=prediction.pk).order_by("-pk")[:3]:
        with suppress(OSError):
            return bool(_content(other))
    return False


def _write(prediction: ImagePrediction, image: Image.Image) -> None:
    """Write the renditions of an image, and what its camera says: nothing, if it is a sketch."""
    from classifier.resizing import shrink  # numpy, which the web process does without

    kinds = [THUMBNAIL] if shown(prediction) == prediction.image_path.name else [THUMBNAIL, VIEW]
    moment = taken_at(image)
    pictures = {kind: shrink(image, SIDES[kind]) for kind in kinds}
    image.close()  # gives the pixels' memory back: encoding takes some, too
    for kind, picture in pictures.items():
        _save(name_of(prediction, kind), picture)
    if moment:
        ImagePrediction.objects.filter(pk=prediction.pk).update(taken_at=timezone.make_aware(moment))


def _save(name: str, image: Image.Image) -> None:
    """Write a WebP without any metadata: places and cameras stay with the original.

    Method 2 takes 3 ms for a thumbnail, and 17 % less room than method 0 does in 1.8 ms.
    """
    content = BytesIO()
    image.save(content, "WEBP", quality=75, method=2)
    photos().save(name, ContentFile(content.getvalue()))
