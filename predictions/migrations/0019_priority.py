"""Uploads go before imports and before many that are classified again: the queue's index has that order now."""

from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    dependencies = [("predictions", "0018_corrected_by_id")]
    operations = [
        migrations.AddField(
            "imageprediction",
            "priority",
            models.PositiveSmallIntegerField(choices=[(0, "Upload"), (1, "Bulk")], default=0, db_default=0),
        ),
        migrations.AddIndex(
            "imageprediction",
            models.Index(fields=["status", "priority", "id"], condition=Q(status="pending"), name="queue"),
        ),
        migrations.RemoveIndex("imageprediction", "pending"),
    ]
