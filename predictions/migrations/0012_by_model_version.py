"""Lists of one model version's images, newest first: an index of the version alone would have them all sorted."""

from django.db import migrations, models
from django.db.models import deletion


class Migration(migrations.Migration):
    dependencies = [("predictions", "0011_request_and_queue_time")]
    operations = [
        migrations.AddIndex("imageprediction", models.Index(fields=["model_version", "id"], name="by_model_version")),
        migrations.AlterField(
            "imageprediction",
            "model_version",
            models.ForeignKey("classifier.modelversion", deletion.PROTECT, null=True, blank=True, db_index=False),
        ),
    ]
