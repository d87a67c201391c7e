"""The label map: what the models' labels are shown as; and who may read and change it."""

from importlib import import_module
from typing import Any

import django.core.validators
from django.db import migrations, models

VIEWERS = ["predictions.view_labelrule"]
LABELERS = [*VIEWERS, "predictions.add_labelrule", "predictions.change_labelrule"]
MANAGERS = [*LABELERS, "predictions.delete_labelrule"]
GROUPS = {"viewers": VIEWERS, "labelers": LABELERS, "managers": MANAGERS}


def permit(apps: Any, schema_editor: Any) -> None:
    """Add permissions to the groups, where they are still there."""
    permission = import_module("predictions.migrations.0005_groups").permission
    for group in apps.get_model("auth", "Group").objects.using(schema_editor.connection.alias).filter(name__in=GROUPS):
        group.permissions.add(*(permission(apps, schema_editor, wanted) for wanted in GROUPS[group.name]))


class Migration(migrations.Migration):
    dependencies = [
        ("predictions", "0015_inference_request"),
    ]

    operations = [
        migrations.CreateModel(
            name="LabelRule",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("label", models.CharField(max_length=200, unique=True, verbose_name="model's label")),
                (
                    "shown_as",
                    models.CharField(
                        blank=True, help_text="Your label for it; empty: the model's own.", max_length=200
                    ),
                ),
                (
                    "minimum",
                    models.FloatField(
                        default=0,
                        help_text="From 0 to 1; a less sure answer is shown as “unsure”.",
                        validators=[
                            django.core.validators.MinValueValidator(0),
                            django.core.validators.MaxValueValidator(1),
                        ],
                        verbose_name="minimum confidence",
                    ),
                ),
            ],
            options={
                "ordering": ["label"],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("minimum__range", (0, 1))), name="minimum_is_a_probability"
                    )
                ],
            },
        ),
        migrations.RunPython(permit, migrations.RunPython.noop),
    ]
