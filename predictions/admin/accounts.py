"""Accounts: Django's own admin of them, but that a password which is set for somebody ends their tokens."""

from __future__ import annotations

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.forms import AdminPasswordChangeForm
from django.contrib.auth.models import User
from django.db import transaction

from predictions import tokens


class PasswordForm(AdminPasswordChangeForm):  # type: ignore[type-arg]  # generic in the stubs only
    """A password set, or taken away, by somebody else."""

    @transaction.atomic
    def save(self, commit: bool = True) -> User:
        """Set it and revoke the tokens: who knew the old one may have made some."""
        tokens.revoke_all(self.user)
        user: User = super().save(commit)
        return user


admin.site.unregister(User)


@admin.register(User)
class AccountAdmin(UserAdmin[User]):
    """Who has an account, and in which groups."""

    change_password_form = PasswordForm
