"""Keep what every model version said of an image, not only the newest answer."""

from typing import Any

import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models


def keep_answers(apps: Any, schema_editor: Any) -> None:
    """Give every answer that ImagePrediction holds its own row."""
    predictions = apps.get_model("predictions", "ImagePrediction").objects.filter(all_predictions__isnull=False)
    columns = ("pk", "model_version_id", "all_predictions", "classified_at")
    classification = apps.get_model("predictions", "Classification")
    batch = []
    for pk, version, labels, moment in predictions.values_list(*columns).iterator(chunk_size=1000):
        batch.append(classification(prediction_id=pk, model_version_id=version, labels=labels, created_at=moment))
        if len(batch) == 1000:
            classification.objects.bulk_create(batch)
            batch = []
    classification.objects.bulk_create(batch)


class Migration(migrations.Migration):
    dependencies = [
        ("classifier", "0001_initial"),
        ("predictions", "0002_sweep_schedule"),
    ]

    operations = [
        migrations.CreateModel(
            name="Classification",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("labels", models.JSONField(help_text="Best first.")),
                (
                    "milliseconds",
                    models.FloatField(help_text="Decoding and inference; unknown for the oldest answers.", null=True),
                ),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                (
                    "model_version",
                    models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, to="classifier.modelversion"),
                ),
                (
                    "prediction",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="classifications",
                        to="predictions.imageprediction",
                    ),
                ),
            ],
            options={
                "ordering": ["-created_at", "-pk"],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("prediction", "model_version"), name="one_answer_per_image_and_version"
                    )
                ],
            },
        ),
        migrations.RunPython(keep_answers, migrations.RunPython.noop),
    ]
