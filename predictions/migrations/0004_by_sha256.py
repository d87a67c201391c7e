"""What the commands need: to find an image by its content, and to go on with an interrupted reclassify."""

import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("classifier", "0001_initial"),
        ("predictions", "0003_classification"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="imageprediction",
            index=models.Index(fields=["sha256"], name="by_sha256"),
        ),
        migrations.CreateModel(
            name="Reclassification",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("choice", models.TextField(help_text="The options that chose the images.")),
                (
                    "labels_before",
                    models.JSONField(help_text="Pairs of id and the model's label, null if it had none; by id."),
                ),
                ("started_at", models.DateTimeField(default=django.utils.timezone.now)),
                (
                    "model_version",
                    models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to="classifier.modelversion"),
                ),
            ],
            options={
                "ordering": ["-pk"],
            },
        ),
    ]
