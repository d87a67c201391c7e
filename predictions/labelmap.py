"""What people are shown for what a model says: labels of their own, and "unsure" below a minimum of confidence.

The map is applied on reading. Rows keep what the model said; a person's word is never mapped, and never unsure.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import ClassVar, NamedTuple

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Case, Q, Value, When

LABEL_LENGTH = 200
UNSURE = "unsure"
UNPRINTABLE = "The label has line breaks or other control characters"
SECONDS = 1.0  # that a process goes by the rules it has read: so soon do all agree on changed ones


def fault_of(label: str) -> str:
    """Return why a text cannot be a label, empty if it can: the same wherever labels come from."""
    if len(label) > LABEL_LENGTH:
        return f"The label is longer than {LABEL_LENGTH} letters"
    return "" if label.isprintable() else UNPRINTABLE


def validate_label(label: str) -> None:
    """Refuse what logs, folders' names or readers trip over. Raises ValidationError. Fields see to the length."""
    if not label.isprintable():
        raise ValidationError(UNPRINTABLE)


class LabelRule(models.Model):
    """What one of the models' labels is shown as, and how sure the model must be of it."""

    label = models.CharField("model's label", max_length=LABEL_LENGTH, unique=True, validators=[validate_label])
    shown_as = models.CharField(
        max_length=LABEL_LENGTH,
        blank=True,
        validators=[validate_label],
        help_text="Your label for it; empty: the model's own.",
    )
    minimum = models.FloatField(
        "minimum confidence",
        default=0,
        validators=[MinValueValidator(0), MaxValueValidator(1)],
        help_text=f"From 0 to 1; a less sure answer is shown as “{UNSURE}”.",
    )

    class Meta:
        ordering = ["label"]
        constraints = [models.CheckConstraint(condition=Q(minimum__range=(0, 1)), name="minimum_is_a_probability")]

    def __str__(self) -> str:
        return f"{self.label} -> {self.shown_as or self.label}"


class Rule(NamedTuple):
    """What a rule says of its label."""

    name: str
    minimum: float


@dataclass(frozen=True)
class LabelMap:
    """The rules at one moment, by the model's label. Labels without a rule are shown as they are."""

    rules: Mapping[str, Rule] = field(default_factory=dict)
    _held: ClassVar[tuple[float, LabelMap] | None] = None

    @classmethod
    def read(cls) -> LabelMap:
        """Return the rules as the database has them now."""
        return cls().with_rules(LabelRule.objects.order_by())

    @classmethod
    def current(cls) -> LabelMap:
        """Return the rules as they were SECONDS ago at most: rules are few, and asked for with every image."""
        now, held = time.monotonic(), cls._held  # once: other threads forget and read meanwhile
        if held is None or now - held[0] > SECONDS:
            cls._held = held = now, cls.read()
        return held[1]

    @classmethod
    def forget(cls) -> None:
        """Have the rules read anew."""
        cls._held = None

    def with_rules(self, rules: Iterable[LabelRule]) -> LabelMap:
        """Return the map that these rules would make, in place of or beside those that are there."""
        added = {rule.label: Rule(rule.shown_as or rule.label, rule.minimum) for rule in rules}
        return LabelMap({**self.rules, **added})

    def without_rules(self, labels: Collection[str]) -> LabelMap:
        """Return the map without the rules of these labels."""
        return LabelMap({label: rule for label, rule in self.rules.items() if label not in labels})

    def name(self, label: str) -> str:
        """Return the user's label for a model's, however sure the model is."""
        return self.rules[label].name if label in self.rules else label

    def shown(self, label: str, confidence: float | None) -> str:
        """Return what is shown for a model's answer."""
        rule = self.rules.get(label)
        if rule is None:
            return label
        return rule.name if (confidence or 0) >= rule.minimum else UNSURE

    def find(self, shown: str) -> Q:
        """Return the condition of images that show a label: people's word, or a model's by these rules.

        Without a rule about that label it is one comparison, which an index answers.
        """
        labels = {label for label in {shown, *self.rules} if self.name(label) == shown}
        doubtful = self.minimums if shown == UNSURE else {}
        if labels == {shown} and not self._minimums(labels) and not doubtful:
            return Q(top_prediction=shown)
        people = Q(top_prediction=shown, corrected_at__isnull=False)
        found = people | self._sure(labels) | (self.unsure() if doubtful else Q(pk__in=[]))
        # All labels once more, as one list: databases look it up in an index, as they would not do for the parts.
        return Q(top_prediction__in=sorted({shown, *labels, *doubtful})) & found

    def search(self, words: str) -> Q:
        """Return the condition of images that show a label with these words by a rule; empty if none do."""
        words = words.lower()
        labels = {label for label, rule in self.rules.items() if rule.name != label and words in rule.name.lower()}
        found = self._sure(labels) if labels else Q()
        return found | self.unsure() if words in UNSURE and self.minimums else found

    def changed(self, after: LabelMap) -> Q:
        """Return the condition of images that show another label by the other map than by this one."""
        bounds = {label: self._difference(after, label) for label in {*self.rules, *after.rules}}
        differ = {label: between for label, between in bounds.items() if between}
        low = {label: low for label, (low, _) in differ.items() if low > 0}
        high = {label: high for label, (_, high) in differ.items() if high <= 1}
        found = Q(top_prediction__in=sorted(differ), corrected_at=None)
        if low:
            found &= Q(confidence__gte=_bound(low, otherwise=0))
        if high:
            found &= Q(confidence__lt=_bound(high, otherwise=2))
        return found

    def _difference(self, after: LabelMap, label: str) -> tuple[float, float] | tuple[()]:
        """Return the confidences, from and below, between which two maps show a label differently."""
        edges = sorted({0.0, 2.0, *self._minimums([label]).values(), *after._minimums([label]).values()})
        pairs = [(low, high) for low, high in pairwise(edges) if self.shown(label, low) != after.shown(label, low)]
        return (pairs[0][0], pairs[-1][1]) if pairs else ()  # they are neighbours: below both minimums nothing differs

    @cached_property
    def minimums(self) -> dict[str, float]:
        """Return the minimums above 0, by label."""
        return self._minimums(self.rules)

    def _minimums(self, labels: Collection[str]) -> dict[str, float]:
        return {label: rule.minimum for label in labels if (rule := self.rules.get(label)) and rule.minimum > 0}

    def _sure(self, labels: Collection[str]) -> Q:
        """Return the condition of a model's answer that is one of these labels, and sure enough."""
        found = Q(top_prediction__in=sorted(labels), corrected_at=None)
        minimums = self._minimums(labels)
        return found & Q(confidence__gte=_bound(minimums, otherwise=0)) if minimums else found

    def unsure(self) -> Q:
        """Return the condition of a model's answer that is not sure enough."""
        found = Q(top_prediction__in=sorted(self.minimums), corrected_at=None)
        return found & ~Q(confidence__gte=_bound(self.minimums, otherwise=0))


def _bound(bounds: Mapping[str, float], *, otherwise: float) -> Case:
    """Return the expression of a row's bound, by its label: no deeper with more labels, as a chain of ORs would be."""
    labels = defaultdict(list)
    for label, bound in sorted(bounds.items()):
        labels[bound].append(label)
    whens = [When(top_prediction__in=labels[bound], then=Value(bound)) for bound in sorted(labels)]
    return Case(*whens, default=Value(otherwise), output_field=models.FloatField())
