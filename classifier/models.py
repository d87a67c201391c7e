"""Which bundles are installed, and which one serves."""

import time
from functools import lru_cache
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import models, transaction
from django.db.models import F
from django.utils import timezone

from classifier.bundle import LABELS, MANIFEST, MODEL, Bundle, BundleError, read_as_installed


class ModelVersionQuerySet(models.QuerySet["ModelVersion"]):
    """Questions about installed models."""

    def serving(self) -> "ModelVersion | None":
        """Return the version that classifies, or None when no model is installed."""
        return self.filter(serving=True).first()

    def by_preference(self) -> "ModelVersionQuerySet":
        """Order them by who is to classify: the one that serves, then those that served before, the latest first."""
        return self.order_by("-serving", F("served_at").desc(nulls_last=True), "-installed_at")

    def stand_in(self) -> "ModelVersion | None":
        """Return the undamaged version that classifies while the serving one is damaged, or None if there is none."""
        return next(
            (version for version in self.filter(serving=False).by_preference() if not version.is_damaged()), None
        )

    @transaction.atomic
    def install(self, bundle: Bundle, serve: bool = True) -> "ModelVersion":
        """Register an installed bundle and let it serve, instead of the one that did; or leave who serves as it is."""
        fields: dict[str, Any] = {"backbone": bundle.backbone, "digest": bundle.digest}
        if serve:
            self.filter(serving=True).exclude(name=bundle.name).update(serving=False)
            fields |= {"serving": True, "served_at": timezone.now()}
        return self.update_or_create(name=bundle.name, defaults=fields)[0]


class ModelVersion(models.Model):
    """A bundle under MODELS_DIR, which must still have this digest to be used."""

    name = models.CharField(max_length=200, unique=True)
    backbone = models.CharField(max_length=100)
    digest = models.CharField(max_length=64)
    serving = models.BooleanField(default=False)
    installed_at = models.DateTimeField(auto_now_add=True)
    served_at = models.DateTimeField(null=True, editable=False, help_text="When it was last told to serve.")

    objects = ModelVersionQuerySet.as_manager()

    class Meta:
        ordering = ["-installed_at"]
        constraints = [
            models.UniqueConstraint(fields=["serving"], condition=models.Q(serving=True), name="one_version_serves")
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def path(self) -> Path:
        """Return the bundle's folder."""
        return Path(settings.MODELS_DIR) / self.name

    def is_damaged(self) -> bool:
        """Return whether files are missing or others than were installed. All are read if one changed, and each minute.

        Reading them takes some 20 ms.
        """
        try:
            stats = [(self.path / name).stat() for name in (MANIFEST, MODEL, LABELS)]
        except OSError:
            return True
        state = tuple((stat.st_mtime_ns, stat.st_size) for stat in stats)
        return _is_damaged(self.path, self.digest, state, int(time.monotonic() / 60))

    def labels(self) -> list[str]:
        """Return the labels that it knows; none if its files are missing or damaged."""
        return _labels(self.path, self.digest)


@lru_cache(maxsize=16)
def _is_damaged(path: Path, digest: str, state: tuple[tuple[int, int], ...], minute: int) -> bool:
    try:
        read_as_installed(path, digest).verify()
    except BundleError:
        return True
    return False


@lru_cache(maxsize=4)
def _labels(path: Path, digest: str) -> list[str]:
    try:
        return Bundle.read(path).labels()
    except (BundleError, OSError, ValueError):
        return []
