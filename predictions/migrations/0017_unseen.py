"""Answers that are for comparing only, such as a shadow's, are told from those that people were shown."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("predictions", "0016_label_rules")]
    operations = [
        migrations.AddField(
            "classification",
            "unseen",
            models.BooleanField(
                default=False, db_default=False, help_text="For comparing only: of a shadow, or of an evaluation."
            ),
        ),
    ]
