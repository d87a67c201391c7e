"""What a label can be is judged by the fields: nothing changes in the database."""

from django.db import migrations, models

from predictions.labelmap import validate_label


class Migration(migrations.Migration):
    dependencies = [("predictions", "0019_priority")]
    operations = [
        migrations.AlterField(
            "imageprediction",
            "top_prediction",
            models.CharField("label", blank=True, max_length=200, null=True, validators=[validate_label]),
        ),
        migrations.AlterField(
            "labelrule",
            "label",
            models.CharField("model's label", max_length=200, unique=True, validators=[validate_label]),
        ),
        migrations.AlterField(
            "labelrule",
            "shown_as",
            models.CharField(
                blank=True,
                help_text="Your label for it; empty: the model's own.",
                max_length=200,
                validators=[validate_label],
            ),
        ),
    ]
