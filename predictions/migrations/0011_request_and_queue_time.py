from django.db import migrations, models
from django.utils import timezone


class Migration(migrations.Migration):
    """Both columns may be left out of an INSERT, as the version before this one, still running, does."""

    dependencies = [("predictions", "0010_index_of_files")]
    operations = [
        migrations.AddField(
            "imageprediction",
            "queued_at",
            models.DateTimeField(default=timezone.now, help_text="When it last joined the queue.", null=True),
        ),
        migrations.AddField(
            "imageprediction",
            "request_id",
            models.CharField(
                blank=True, db_default="", default="", help_text="Of the request that brought it.", max_length=64
            ),
        ),
    ]
