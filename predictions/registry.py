"""Who classifies: promoting, rolling back, sharing, removing. Pages, API and commands change it through here.

Every change is in the log and, if it is known who made it, in the admin's history of the versions.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Collection, Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Case, F, IntegerField, OuterRef, Q, QuerySet, Subquery, Sum, Value, When
from django.db.models.functions import Coalesce
from django.utils import timezone

from classifier.bundle import CARD, MANIFEST
from classifier.models import ModelVersion
from classifier.traffic import WHOLE, Traffic, TrafficError
from predictions import comparison
from predictions.models import Classification, ImagePrediction
from predictions.services import Person

logger = logging.getLogger(__name__)

CARD_BYTES = 100_000
BOUND = 10_000  # answers that a list counts of a version


class UnknownVersion(TrafficError):
    """No version of that name is installed."""


class Refused(TrafficError):
    """What was asked for would do harm; the message says which."""


class Doubtful(Refused):
    """Where people have said what is right, the version is worse than the serving one, or unknown. It can be forced."""


class _Count(Subquery):
    """How many rows a query has. Bounded by the query's own bound, unlike Count."""

    template = "(SELECT count(*) FROM (%(subquery)s) AS bounded)"
    output_field = IntegerField()


def versions() -> QuerySet[Any]:
    """Return the versions in one query: the serving one, the others, newest first, and removed ones that have answers.

    Each with `percent`, of the images that it answers, and `answers`: how many it has given, BOUND + 1 at most.
    """
    return _versions().filter(Q(removed_at=None) | Q(answers__gt=0))


def find(name: str) -> Any:
    """Return the version of that name, removed ones too, with what versions() adds. Raises UnknownVersion."""
    # No name has control characters, and PostgreSQL refuses to look for some.
    version = _versions().filter(name=name).first() if name.isprintable() else None
    if version is None:
        raise UnknownVersion(f"There is no version {name}.")
    return version


def _versions() -> QuerySet[Any]:
    answers = Classification.objects.order_by().filter(model_version=OuterRef("pk")).values("pk")[: BOUND + 1]
    given = ModelVersion.objects.order_by().filter(serving=False).values("serving").annotate(sum=Sum("share"))
    left = Value(WHOLE) - Coalesce(Subquery(given.values("sum")), 0)
    percent = Case(When(serving=True, then=left), default=F("share"), output_field=IntegerField())
    rank = Case(When(serving=True, then=0), When(removed_at=None, then=1), default=2, output_field=IntegerField())
    return ModelVersion.objects.annotate(answers=_Count(answers), percent=percent, rank=rank).order_by("rank", "-pk")


def card(version: ModelVersion) -> str:
    """Return the model card in the version's bundle, at most CARD_BYTES of it; empty if there is none."""
    try:
        with (version.path / CARD).open("rb") as file:
            return file.read(CARD_BYTES).decode(errors="replace")
    except OSError:
        return ""


def promote(version: ModelVersion, *, force: bool = False, by: Person = None) -> None:
    """Let a version serve, with all of the traffic; workers follow within seconds.

    Raises Refused if its files are not whole, which nothing can force, and Doubtful.
    """
    _require_whole(version)
    serving = ModelVersion.objects.serving()
    doubt = _doubt(version, serving) if serving and serving != version else ""
    if doubt and not force:
        raise Doubtful(doubt)
    with transaction.atomic():
        ModelVersion.objects.promote(version)
        _record([version], f"Promoted by force. {doubt}" if doubt else "Promoted.", by)


@transaction.atomic
def rollback(name: str = "", *, by: Person = None) -> ModelVersion:
    """Let the version serve again that did before this one, whatever its accuracy; return it. Raises Refused.

    The next time goes back further. Whoever names the version goes back once, however often the request arrives.
    """
    left = next((version for version in ModelVersion.objects.locked().values() if version.serving), None)
    if left and left.name == name:
        return left
    previous = ModelVersion.objects.previous()
    if previous is None:
        raise Refused("No version has served before this one.")
    if name not in {"", previous.name}:
        raise Refused(f"Rolling back leads to {previous} by now, not to {name}.")
    _require_whole(previous)
    ModelVersion.objects.promote(previous)
    if left:  # nobody comes back to it by rolling back
        left.served_at = None
        left.save(update_fields=["served_at"])
    _record([previous, *([left] if left else [])], f"Rolled back to {previous}.", by)
    return previous


@transaction.atomic
def set_shares(shares: Mapping[str, int], shadows: Collection[str] = (), *, by: Person = None) -> Traffic:
    """Give versions percentages of the traffic, by name; all others stop. Raises TrafficError."""
    installed = ModelVersion.objects.locked()
    for name in (*shares, *shadows):
        if name not in installed:
            raise UnknownVersion(f"There is no version {name}.")
        _require_whole(installed[name])
    before = {version for version in installed.values() if version.classifies}
    traffic = ModelVersion.objects.set_shares(shares, shadows)
    told = [f"{version} answers {share} %" for version, share in traffic.shares().items()]
    told += [f"{version} is a shadow" for version in traffic.shadows]
    concerned = sorted(before.union(traffic.shares(), traffic.shadows), key=attrgetter("pk"))
    _record(concerned, f"Traffic: {', '.join(told)}.", by)
    return traffic


def remove(version: ModelVersion, *, by: Person = None) -> None:
    """Delete a version's files on this machine; what it said stays in the images' history. Raises Refused.

    Its row stays, marked: a worker that has just lost the version may still record an answer of it.
    """
    with transaction.atomic(durable=True):
        version = ModelVersion.objects.locked()[version.name]
        if version.removed_at and not version.path.exists():
            raise Refused(f"{version} is removed already.")
        if version.classifies:
            raise Refused(f"{version} classifies: let another version serve, and take its share or shadow away, first.")
        version.removed_at = version.removed_at or timezone.now()
        version.save(update_fields=["removed_at"])
        _record([version], "Removed.", by)
    # Out of sight by one rename, so that there is never a part of a bundle; hidden folders are nobody's bundles.
    doomed = version.path.with_name(f".removed-{version.name}")
    try:
        shutil.rmtree(doomed, ignore_errors=True)
        if version.path.exists():
            version.path.rename(doomed)
    except OSError as error:
        raise Refused(f"{version} is removed, but {version.path} cannot be deleted: {error.strerror}.") from error
    shutil.rmtree(doomed, ignore_errors=True)


def _record(versions: Sequence[ModelVersion], what: str, by: Person) -> None:
    """Keep what was done to versions, and by whom."""
    person = by if isinstance(by, User) else None
    logger.info("%s: %s By %s", ", ".join(map(str, versions)), what, person or "somebody unknown")
    if person:
        LogEntry.objects.log_actions(person.pk, versions, CHANGE, what)


def _require_whole(version: ModelVersion) -> None:
    if version.removed_at:
        raise Refused(f"{version} was removed: install it again.")
    # A machine without any model, as a web process may be on, cannot tell.
    if any(Path(settings.MODELS_DIR).glob(f"[!.]*/{MANIFEST}")) and version.is_damaged():
        raise Refused(f"The files of {version} are missing or damaged: install it again.")


def _doubt(version: ModelVersion, serving: ModelVersion) -> str:
    """Return why a version should not serve in place of the one that does, by the corrected images; empty if it may."""
    found = comparison.correctness(version, serving)
    if not found.a.total and ImagePrediction.objects.filter(corrected_at__isnull=False).exists():
        return (
            f"Nobody knows whether {version} is worse than {serving}: no corrected photo has answers of both. Run "
            f"manage.py models evaluate {version} --corrected, and the same for {serving} if it was never asked."
        )
    if found.a.right >= found.b.right:
        return ""
    chance = ", so chance may explain it" if found.mcnemar.p > 1 - comparison.LEVEL else ""
    return (
        f"{version} is worse than {serving}: of {found.a.total:,} corrected photos that both have answered it is right "
        f"about {found.a.right:,} ({found.a.share:.1%}), {serving} about {found.b.right:,} ({found.b.share:.1%}). Only "
        f"{version} is right about {found.mcnemar.only_a:,}, only {serving} about {found.mcnemar.only_b:,}: by "
        f"McNemar's test, {found.mcnemar}{chance}."
    )
