"""Which bundles are installed, and which one serves."""

from functools import lru_cache
from pathlib import Path

from django.conf import settings
from django.db import models, transaction

from classifier.bundle import Bundle, BundleError


class ModelVersionQuerySet(models.QuerySet["ModelVersion"]):
    """Questions about installed models."""

    def serving(self) -> "ModelVersion | None":
        """Return the version that classifies, or None when no model is installed."""
        return self.filter(serving=True).first()

    @transaction.atomic
    def install(self, bundle: Bundle) -> "ModelVersion":
        """Register an installed bundle and let it serve, instead of the one that did."""
        self.filter(serving=True).exclude(name=bundle.name).update(serving=False)
        fields = {"backbone": bundle.backbone, "digest": bundle.digest, "serving": True}
        return self.update_or_create(name=bundle.name, defaults=fields)[0]


class ModelVersion(models.Model):
    """A bundle under MODELS_DIR, which must still have this digest to be used."""

    name = models.CharField(max_length=200, unique=True)
    backbone = models.CharField(max_length=100)
    digest = models.CharField(max_length=64)
    serving = models.BooleanField(default=False)
    installed_at = models.DateTimeField(auto_now_add=True)

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

    def labels(self) -> list[str]:
        """Return the labels that it knows; none if its files are missing or damaged."""
        return _labels(self.path, self.digest)


@lru_cache(maxsize=4)
def _labels(path: Path, digest: str) -> list[str]:
    try:
        return Bundle.read(path).labels()
    except (BundleError, OSError, ValueError):
        return []
