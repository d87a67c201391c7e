"""Which of the installed versions a command is about."""

from django.core.management.base import CommandError

from classifier.models import ModelVersion


def chosen(name: str | None) -> ModelVersion:
    """Return the version of that name, or the serving one without a name. Raises CommandError with those there are."""
    if name is None:
        version = ModelVersion.objects.serving()
        if version is None:
            raise CommandError("No model is installed: run manage.py install_model.")
        return version
    installed = ModelVersion.objects.filter(removed_at=None)
    version = installed.filter(name=name).first()
    if version is None:
        names = ", ".join(installed.values_list("name", flat=True)) or "none"
        raise CommandError(f"No model version is named {name}. Installed are: {names}.")
    return version
