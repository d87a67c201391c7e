"""The cluster sweeps by itself (predictions/cluster.py): a schedule is lost with its table, and late with the clock."""

from importlib import import_module

from django.db import migrations

schedule = import_module("predictions.migrations.0002_sweep_schedule")


class Migration(migrations.Migration):
    dependencies = [("predictions", "0008_apitoken")]
    operations = [migrations.RunPython(schedule.delete, schedule.create)]
