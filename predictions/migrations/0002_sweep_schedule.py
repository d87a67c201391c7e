"""Have django-q2 run the sweep: every 30 seconds, which is as often as its scheduler looks."""

from typing import Any

from django.db import migrations

NAME = "recover stale predictions"


def create(apps: Any, schema_editor: Any) -> None:
    apps.get_model("django_q", "Schedule").objects.update_or_create(
        name=NAME,
        # With six fields the last counts seconds. "C" is django-q2's letter for cron.
        defaults={"func": "predictions.services.recover_stale", "schedule_type": "C", "cron": "* * * * * */15"},
    )


def delete(apps: Any, schema_editor: Any) -> None:
    apps.get_model("django_q", "Schedule").objects.filter(name=NAME).delete()


class Migration(migrations.Migration):
    dependencies = [
        ("predictions", "0001_initial"),
        ("django_q", "0019_alter_task_options_alter_ormq_key_alter_ormq_lock_and_more"),
    ]
    operations = [migrations.RunPython(create, delete)]
