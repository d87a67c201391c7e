"""Which bundles are installed, which one serves, and what share of the traffic others have."""

import time
from collections.abc import Collection, Mapping
from functools import lru_cache
from pathlib import Path

from django.conf import settings
from django.db import models, transaction
from django.db.models import F, Q
from django.utils import timezone

from classifier.bundle import LABELS, MANIFEST, MODEL, Bundle, BundleError, read_as_installed
from classifier.traffic import WHOLE, Traffic, TrafficError


class ModelVersionQuerySet(models.QuerySet["ModelVersion"]):
    """Questions about installed models."""

    def serving(self) -> "ModelVersion | None":
        """Return the version that classifies, or None when no model is installed."""
        return self.filter(serving=True).first()

    def by_preference(self) -> "ModelVersionQuerySet":
        """Order them by who is to classify: the one that serves, then those that served before, the latest first."""
        return self.filter(removed_at=None).order_by("-serving", F("served_at").desc(nulls_last=True), "-installed_at")

    def stand_in(self) -> "ModelVersion | None":
        """Return the undamaged version that classifies while the serving one is damaged, or None if there is none."""
        return next(
            (version for version in self.filter(serving=False).by_preference() if not version.is_damaged()), None
        )

    def traffic(self) -> Traffic | None:
        """Return who classifies which images, in one query; None when no model is installed."""
        active = Q(serving=True) | Q(share__gt=0) | Q(shadow=True)
        versions = list(self.filter(active).order_by("pk"))
        serving = next((version for version in versions if version.serving), None)
        if serving is None:
            return None
        others = [version for version in versions if version.share and not version.serving]
        return Traffic(serving, others, [version for version in versions if version.shadow and not version.serving])

    def locked(self) -> dict[str, "ModelVersion"]:
        """Return all versions by name, as they are and stay until the end of the transaction: changes come one by one.

        Workers may go on recording answers meanwhile, which refer to these rows.
        """
        return {version.name: version for version in self.order_by("pk").select_for_update(no_key=True)}

    @transaction.atomic
    def set_shares(self, shares: Mapping[str, int], shadows: Collection[str] = ()) -> Traffic:
        """Give versions percentages of the traffic, by name, and have the shadows classify unseen; all others stop.

        The serving version has what is left, and need not be named. Raises TrafficError.
        """
        versions = self.locked()
        serving = next((version for version in versions.values() if version.serving), None)
        if serving is None:
            raise TrafficError("No model is installed: run manage.py install_model.")
        for name in (*shares, *shadows):
            if name not in versions or versions[name].removed_at:
                raise TrafficError(f"No version {name} is installed.")
        given = {name: share for name, share in shares.items() if name != serving.name}
        if any(not 0 <= share <= WHOLE for share in shares.values()) or sum(given.values()) > WHOLE:
            raise TrafficError(f"Shares are whole percentages, together {WHOLE} at most.")
        if shares.get(serving.name, left := WHOLE - sum(given.values())) != left:
            raise TrafficError(f"{serving.name} serves, and has what the others leave: {left} percent.")
        for name in {name for name, share in given.items() if share} & set(shadows):
            raise TrafficError(f"{name} cannot both answer and be a shadow.")
        for name, version in versions.items():
            version.share, version.shadow = given.get(name, 0), name in shadows and not version.serving
        self.bulk_update(versions.values(), ["share", "shadow"])
        traffic = self.traffic()
        assert traffic
        return traffic

    @transaction.atomic
    def promote(self, version: "ModelVersion") -> None:
        """Let a version serve, with all of the traffic. Raises TrafficError if it was removed."""
        if self.locked()[version.name].removed_at:
            raise TrafficError(f"{version} was removed: install it again.")
        self.exclude(pk=version.pk).filter(Q(serving=True) | Q(share__gt=0)).update(serving=False, share=0)
        version.serving, version.share, version.shadow, version.served_at = True, 0, False, timezone.now()
        version.save(update_fields=["serving", "share", "shadow", "served_at"])

    def previous(self) -> "ModelVersion | None":
        """Return the version that served before the one that does, or None if none did or is left.

        Those that were rolled back have no served_at any more.
        """
        return self.filter(serving=False, served_at__isnull=False, removed_at=None).order_by("-served_at").first()

    @transaction.atomic
    def install(self, bundle: Bundle, *, serve: bool = True) -> "ModelVersion":
        """Register an installed bundle, and let it serve instead of the one that did, unless told not to."""
        self.locked()  # all of them, before the one: two that wait for each other's rows would wait in vain
        fields = {"backbone": bundle.backbone, "digest": bundle.digest, "removed_at": None}
        version, _ = self.update_or_create(name=bundle.name, defaults=fields)
        if serve:
            self.promote(version)
        return version


class ModelVersion(models.Model):
    """A bundle under MODELS_DIR, which must still have this digest to be used."""

    name = models.CharField(max_length=200, unique=True)
    backbone = models.CharField(max_length=100)
    digest = models.CharField(max_length=64)
    serving = models.BooleanField(default=False)
    installed_at = models.DateTimeField(auto_now_add=True)
    served_at = models.DateTimeField(null=True, editable=False, help_text="When it was last told to serve.")
    share = models.PositiveSmallIntegerField(
        default=0,
        db_default=0,
        help_text="Percent of the images that it answers; the serving version has what the others leave.",
    )
    shadow = models.BooleanField(
        default=False, db_default=False, help_text="Whether it classifies too, without anybody seeing it."
    )
    removed_at = models.DateTimeField(null=True, editable=False, help_text="When its files were deleted.")

    objects = ModelVersionQuerySet.as_manager()

    class Meta:
        ordering = ["-installed_at"]
        constraints = [
            models.UniqueConstraint(fields=["serving"], condition=Q(serving=True), name="one_version_serves"),
            models.CheckConstraint(condition=Q(share__range=(0, WHOLE)), name="share_is_a_percentage"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def path(self) -> Path:
        """Return the bundle's folder."""
        return Path(settings.MODELS_DIR) / self.name

    @property
    def classifies(self) -> bool:
        """Return whether it answers images, or looks at them as a shadow."""
        return self.serving or self.share > 0 or self.shadow

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

    def bundle(self) -> Bundle | None:
        """Return the bundle, its manifest read; None if it is missing, or not the one that was installed."""
        try:
            return read_as_installed(self.path, self.digest)
        except BundleError:
            return None

    def labels(self) -> list[str]:
        """Return the labels that it knows; none if its files are missing or damaged."""
        try:
            return _labels(self.path, self.digest)
        except (BundleError, OSError, ValueError):
            return []


@lru_cache(maxsize=256)
def _is_damaged(path: Path, digest: str, state: tuple[tuple[int, int], ...], minute: int) -> bool:
    try:
        read_as_installed(path, digest).verify()
    except BundleError:
        return True
    return False


@lru_cache(maxsize=64)
def _labels(path: Path, digest: str) -> list[str]:
    """Return the labels of a bundle that is there; errors are not remembered, since it may come back."""
    return read_as_installed(path, digest).labels()
