"""Find the row of a file: manage.py check_storage asks for thousands, an upload whose answer was lost for one."""

from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("classifier", "0002_served_at"),
        ("predictions", "0009_no_sweep_schedule"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]
    operations = [
        migrations.AddIndex(model_name="imageprediction", index=models.Index(fields=["image_path"], name="by_file")),
    ]
