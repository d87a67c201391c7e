"""manage.py changepassword"""

from getpass import getuser
from typing import Any

from django.contrib.auth.management.commands import changepassword
from django.contrib.auth.models import User

from predictions.tokens import revoke_all


class Command(changepassword.Command):
    help = f"{changepassword.Command.help} Their tokens end: whoever knew the old password may have made some."

    def handle(self, *args: Any, **options: Any) -> str:
        said = super().handle(*args, **options)
        revoked = revoke_all(User.objects.get(username=options["username"] or getuser()))
        return f"{said}; tokens revoked: {revoked}"
