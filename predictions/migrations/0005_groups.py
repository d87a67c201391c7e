"""Groups of people by what they do: viewers, labelers, managers."""

from typing import Any

from django.db import migrations

VIEWERS = [
    "predictions.view_imageprediction",
    "predictions.view_correction",
    "predictions.view_classification",
    "classifier.view_modelversion",
]
LABELERS = [
    *VIEWERS,
    *(f"predictions.{name}" for name in ("add_imageprediction", "change_imageprediction", "add_correction")),
]
MANAGERS = [
    *LABELERS,
    "predictions.delete_imageprediction",
    "predictions.reclassify_imageprediction",
    *(f"classifier.{action}_modelversion" for action in ("add", "change", "delete")),
    *(f"django_q.view_{model}" for model in ("failure", "success", "schedule", "ormq")),
]
GROUPS = {"viewers": VIEWERS, "labelers": LABELERS, "managers": MANAGERS}
NAMES = {"reclassify_imageprediction": "Can have the model classify photos again"}


def create(apps: Any, schema_editor: Any) -> None:
    """Make the groups. One that is there already, made or changed by somebody, stays as it is."""
    groups = apps.get_model("auth", "Group").objects.using(schema_editor.connection.alias)
    for name, permissions in GROUPS.items():
        group, created = groups.get_or_create(name=name)
        if created:
            group.permissions.set([permission(apps, schema_editor, wanted) for wanted in permissions])


def permission(apps: Any, schema_editor: Any, wanted: str) -> Any:
    """Return a permission. Django makes them after the migrations, and then leaves alone those that are there."""
    alias = schema_editor.connection.alias
    label, codename = wanted.split(".")
    action, model = codename.split("_")
    types = apps.get_model("contenttypes", "ContentType").objects.using(alias)
    permissions = apps.get_model("auth", "Permission").objects.using(alias)
    verbose = apps.get_model(label, model)._meta.verbose_name
    return permissions.get_or_create(
        content_type=types.get_or_create(app_label=label, model=model)[0],
        codename=codename,
        defaults={"name": NAMES.get(codename, f"Can {action} {verbose}")},
    )[0]


class Migration(migrations.Migration):
    dependencies = [
        ("predictions", "0004_by_sha256"),
        ("classifier", "0001_initial"),
        ("django_q", "0019_alter_task_options_alter_ormq_key_alter_ormq_lock_and_more"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
    ]
    operations = [
        migrations.AlterModelOptions(
            name="imageprediction",
            options={
                "ordering": ["-pk"],
                "permissions": [("reclassify_imageprediction", "Can have the model classify photos again")],
                "verbose_name": "photo",
            },
        ),
        # Somebody's work depends on the groups by now: going back leaves them.
        migrations.RunPython(create, migrations.RunPython.noop),
    ]
