"""Clients' own names for their uploads, and what a user stores summed up from an index."""

import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
        ("predictions", "0006_search_index"),
    ]

    operations = [
        migrations.AlterField(
            model_name="imageprediction",
            name="uploaded_by",
            field=models.ForeignKey(
                blank=True,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddIndex(
            model_name="imageprediction",
            index=models.Index(fields=["uploaded_by", "size"], name="by_uploader"),
        ),
        migrations.CreateModel(
            name="IdempotencyKey",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("key", models.CharField(max_length=255)),
                ("position", models.PositiveSmallIntegerField(help_text="Of the file in its request, from 0.")),
                ("fingerprint", models.CharField(help_text="SHA-256 of the file's name and content.", max_length=64)),
                ("created_at", models.DateTimeField(db_index=True, default=django.utils.timezone.now)),
                (
                    "prediction",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to="predictions.imageprediction",
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("user", "key", "position"), name="one_upload_per_user_and_key"),
                    models.UniqueConstraint(
                        condition=models.Q(("user", None)),
                        fields=("key", "position"),
                        name="one_upload_per_key_of_nobody",
                    ),
                ],
            },
        ),
    ]
