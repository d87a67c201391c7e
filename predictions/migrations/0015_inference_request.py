"""What is asked and answered at once has a row for as long as somebody waits."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("predictions", "0014_compared"),
    ]

    operations = [
        migrations.CreateModel(
            name="InferenceRequest",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("sha256", models.CharField(max_length=64, verbose_name="SHA-256")),
                (
                    "datatype",
                    models.CharField(blank=True, help_text="Of a tensor; empty: it is an image.", max_length=5),
                ),
                ("shape", models.JSONField(default=tuple, help_text="Of a tensor, without the batch.")),
                ("model_version", models.CharField(blank=True, help_text="Empty: by the traffic.", max_length=200)),
                ("top_k", models.PositiveSmallIntegerField()),
                ("request_id", models.CharField(blank=True, max_length=64)),
                ("expires_at", models.DateTimeField()),
                ("claimed_at", models.DateTimeField(null=True)),
                ("labels", models.JSONField(help_text="The answer, best first.", null=True)),
                ("answered_by", models.CharField(blank=True, help_text="The model version.", max_length=200)),
                ("error", models.TextField(blank=True, help_text="Why there is no answer, for whoever asked.")),
                ("content", models.BinaryField(help_text="Empty once it is claimed.")),
            ],
        ),
    ]
