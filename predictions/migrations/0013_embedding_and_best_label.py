"""Keep embeddings, and the best label of each answer in columns of its own: versions are compared by them."""

from typing import Any

import django.db.models.deletion
from django.db import migrations, models
from django.db.models import Max
from django.db.models.fields.json import KeyTextTransform, KeyTransform
from django.db.models.functions import Cast

BATCH = 10_000


def name_the_best(apps: Any, schema_editor: Any) -> None:
    """Copy the first of each answer's labels. A batch at a time: a worker waits for no more than one."""
    classifications = apps.get_model("predictions", "Classification").objects.order_by()
    best = KeyTransform("0", "labels")
    last = classifications.aggregate(last=Max("pk"))["last"] or 0
    for start in range(0, last + 1, BATCH):
        classifications.filter(pk__gte=start, pk__lt=start + BATCH, label=None).update(
            label=KeyTextTransform("label", best),
            confidence=Cast(KeyTextTransform("confidence", best), models.FloatField()),
        )


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ("predictions", "0012_by_model_version"),
    ]

    operations = [
        migrations.CreateModel(
            name="Embedding",
            fields=[
                (
                    "classification",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="embedding",
                        serialize=False,
                        to="predictions.classification",
                    ),
                ),
                ("vector", models.BinaryField(help_text="float16, little-endian; 1,280 of them for MobileNetV2.")),
            ],
        ),
        migrations.AddField(
            model_name="classification",
            name="confidence",
            field=models.FloatField(null=True),
        ),
        migrations.AddField(
            model_name="classification",
            name="label",
            field=models.CharField(max_length=200, null=True),
        ),
        migrations.RunPython(name_the_best, migrations.RunPython.noop, elidable=True),
    ]
