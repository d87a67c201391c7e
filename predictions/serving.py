"""The models that a worker answers with: loaded, each image's own, and whatever stands in for one that is damaged."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from classifier.bundle import BundleError, read_as_installed
from classifier.models import ModelVersion
from classifier.traffic import Traffic
from predictions import machines
from predictions.models import ImagePrediction
from predictions.queue import CacheAway

if TYPE_CHECKING:
    from classifier.runtime import Classifier

logger = logging.getLogger(__name__)

# What this process has loaded was whole then, and stays in use; what has no traffic any more is let go.
_loaded: dict[tuple[Path, str], Classifier] = {}
_refused: set[tuple[Path, str]] = set()


@dataclass(frozen=True)
class Model:
    """A version, ready to classify."""

    version: ModelVersion
    classifier: Classifier


@dataclass(frozen=True)
class Serving:
    """What this process classifies with now. Ask current() anew every few seconds: a change of shares is known then."""

    model: Model  # the serving version's, or what stands in for it
    traffic: Traffic
    others: dict[ModelVersion, Model]  # those with a share that are not damaged
    shadows: Sequence[Model]  # likewise

    def model_for(self, sha256: str) -> Model:
        """Return what is to classify an image; if its version is damaged, the serving one is."""
        return self.others.get(self.traffic.version_for(sha256), self.model)


def current() -> Serving | None:
    """Return the models that serve now, or what served before if the serving one is damaged; None if none is whole.

    If other machines have the serving one, this one leaves the images to them: None, too. Damaged files are looked at
    again each time, so that a repaired model serves without a restart.
    """
    traffic = ModelVersion.objects.traffic()
    if traffic and (model := _load(traffic.serving) or _stand_in(traffic.serving)):
        _let_go_of_all_but([traffic.serving, model.version, *traffic.others, *traffic.shadows])
        others = {version: loaded for version in traffic.others if (loaded := _load(version))}
        return Serving(model, traffic, others, [loaded for version in traffic.shadows if (loaded := _load(version))])
    if not traffic or not others_have(traffic.serving):
        waiting = ImagePrediction.objects.pending().count()
        logger.warning("No model is installed, or none is whole: %d images wait. Run manage.py install_model", waiting)
    return None


def named(name: str) -> Model | None:
    """Return the version of that name, whoever has the traffic; None if it is not installed, or not whole here."""
    from classifier.runtime import load  # keeps the one that was asked for last

    version = ModelVersion.objects.filter(name=name, removed_at=None).first()
    return _unless_damaged(version, load) if version else None


def others_have(version: ModelVersion) -> bool:
    """Return whether another machine has the model that this one lacks; False while the cache does not tell."""
    try:
        machines.report()  # or our own report may be from before the damage
        return machines.having(version).able > 0
    except CacheAway:
        return False


def _stand_in(serving: ModelVersion) -> Model | None:
    if others_have(serving):
        logger.error("This machine leaves the images to others, which have the model")
        return None
    versions = ModelVersion.objects.exclude(pk=serving.pk).by_preference()
    return next((model for version in versions if (model := _load(version))), None)


def _load(version: ModelVersion) -> Model | None:
    """Return a version's classifier, loaded once by this process, in some 50 ms; None if it is damaged."""
    from classifier.runtime import Classifier  # native code, loaded after django-q2 has forked

    if model := _unless_damaged(version, lambda path, digest: Classifier(read_as_installed(path, digest))):
        _loaded[version.path, version.digest] = model.classifier
    return model


def _unless_damaged(version: ModelVersion, load: Callable[[Path, str], Classifier]) -> Model | None:
    """Return a version with what is loaded of it, or is loaded now; None if it is damaged, which is said once."""
    key = version.path, version.digest
    try:
        model = Model(version, _loaded.get(key) or load(*key))
    except BundleError as error:
        if key not in _refused:  # or every claim would say so
            logger.error("%s is refused: %s", version, error)
        _refused.add(key)
        return None
    _refused.discard(key)
    return model


def _let_go_of_all_but(versions: list[ModelVersion]) -> None:
    wanted = {(version.path, version.digest) for version in versions}
    for key in _loaded.keys() - wanted:
        del _loaded[key]
