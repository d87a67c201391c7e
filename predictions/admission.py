"""Whether there is room for an upload: in the queue, and in what its user may store."""

from django.conf import settings
from django.contrib.auth.models import User
from django.db.models import Sum

from predictions.models import ImagePrediction
from predictions.storage import MEGABYTE
from predictions.uploads import Refusal

RETRY_SECONDS = 10  # after which a full queue has room again, if workers work


class StorageFull(Refusal):
    """The upload was fine, but there is no room for it. Nothing of it was kept. The message is for its sender."""

    reason = "storage_full"


class QuotaExceeded(StorageFull):
    """The upload would take its user above QUOTA_MB."""

    reason = "quota_exceeded"


class QueueFull(Refusal):
    """So many images wait that a further one would wait too long. The message is for the sender."""

    reason = "queue_full"


def admit(size: int, user: User | None) -> None:
    """Let an upload of `size` bytes pass. Raises QueueFull and QuotaExceeded.

    Nobody is made to wait for this: uploads that arrive together may exceed a limit by what the others bring.
    """
    limit, quota = settings.QUEUE_LIMIT, settings.QUOTA_MB * MEGABYTE
    # Read from an index alone, and of that QUEUE_LIMIT entries at most.
    if limit and ImagePrediction.objects.awaited()[limit - 1 : limit].exists():
        raise QueueFull(f"{limit} images wait to be classified already; try again in a moment")
    if quota and user and (used := stored_bytes(user)) + size > quota:
        raise QuotaExceeded(
            f"Your images take up {used / MEGABYTE:.1f} MB and may take up {settings.QUOTA_MB} MB; delete some first"
        )


def stored_bytes(user: User) -> int:
    """Return the bytes of all files that a user has uploaded and nobody has deleted; thumbnails do not count."""
    return ImagePrediction.objects.filter(uploaded_by=user).aggregate(bytes=Sum("size"))["bytes"] or 0
