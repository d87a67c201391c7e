"""The options by which commands choose images: the same filters that the gallery and the API have."""

from __future__ import annotations

import json
from argparse import ArgumentTypeError
from typing import Any, cast

from django.core.management.base import CommandError, CommandParser

from predictions.filters import PredictionFilter
from predictions.management.reporting import CANNOT_START
from predictions.models import ImagePrediction, ImagePredictionQuerySet, Status, to_id

FILTERS = ("status", "label", "raw_label", "corrected", "model_version", "since", "until")
MOST_IDS = 10_000  # databases bound the length of a query


def add_choice(parser: CommandParser) -> None:
    """Add the options."""
    group = parser.add_argument_group("which images", "Those that meet all of these:")
    group.add_argument("--status", choices=Status.values)
    group.add_argument("--label", help="that show this label, by the label map or a person's word")
    group.add_argument("--raw-label", metavar="LABEL", help="whose label this is before the label map")
    group.add_argument("--corrected", action="store_const", const="true", help="whose label a person gave")
    group.add_argument("--below", type=float, metavar="CONFIDENCE", help="whose confidence is lower, 0 to 1")
    group.add_argument("--model-version", metavar="NAME", help="whose newest answer this model gave")
    group.add_argument("--since", metavar="YYYY-MM-DD", help="uploaded on this day or later")
    group.add_argument("--until", metavar="YYYY-MM-DD", help="uploaded on this day or earlier")
    group.add_argument("--ids", type=_id, nargs="+", metavar="ID", help=f"up to {MOST_IDS} of them")


def _id(text: str) -> int:
    """Return an id. Raises ArgumentTypeError."""
    if pk := to_id(text):
        return pk
    raise ArgumentTypeError(f"{text} is no id")


def chosen(options: dict[str, Any]) -> ImagePredictionQuerySet:
    """Return the images that options choose, by id; all without any. Raises CommandError."""
    filters = PredictionFilter(
        {name: options[name] for name in FILTERS if options[name]}, ImagePrediction.objects.all()
    )
    if not filters.is_valid():
        wrong = "; ".join(f"--{name.replace('_', '-')}: {' '.join(said)}" for name, said in filters.errors.items())
        raise CommandError(wrong, returncode=CANNOT_START)
    rows = cast("ImagePredictionQuerySet", filters.qs.order_by("pk"))
    if options["below"] is not None:
        if not 0 <= options["below"] <= 1:
            raise CommandError("--below: a confidence is a number from 0 to 1.", returncode=CANNOT_START)
        rows = rows.filter(confidence__lt=options["below"])
    if options["ids"]:
        if len(options["ids"]) > MOST_IDS:
            raise CommandError(f"--ids: at most {MOST_IDS} at once.", returncode=CANNOT_START)
        rows = rows.filter(pk__in=options["ids"])
    return rows


def choice(options: dict[str, Any]) -> str:
    """Return the options that choose images, as text: equal for equal choices, empty for none."""
    given = {name: options[name] for name in (*FILTERS, "below", "ids") if options[name] is not None}
    return json.dumps(given, sort_keys=True) if given else ""
