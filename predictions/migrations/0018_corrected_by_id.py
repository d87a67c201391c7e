"""What people have corrected, newest first: nothing is listed in the order of when it was corrected."""

from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    dependencies = [("predictions", "0017_unseen")]
    operations = [
        migrations.RemoveIndex("imageprediction", "corrected"),
        migrations.AddIndex(
            "imageprediction", models.Index(fields=["id"], condition=Q(corrected_at__isnull=False), name="corrected")
        ),
    ]
