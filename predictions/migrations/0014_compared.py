"""Comparing two versions reads this index alone: of a version, the best labels and their confidences by image."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("predictions", "0013_embedding_and_best_label")]
    operations = [
        migrations.AddIndex(
            "classification",
            models.Index(fields=["model_version", "prediction", "label", "confidence"], name="compared"),
        ),
    ]
