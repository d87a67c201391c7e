"""Accounts: Django's own admin of them, but that a password which is set for somebody ends their tokens."""

from __future__ import annotations

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.forms import AdminPasswordChangeForm
from django.contrib.auth.models import User

from predictions.tokens import EndsTokens


class PasswordForm(EndsTokens, AdminPasswordChangeForm):  # type: ignore[type-arg]  # generic in the stubs only
    """A password set, or taken away, by somebody else."""


admin.site.unregister(User)


@admin.register(User)
class AccountAdmin(UserAdmin[User]):
    """Who has an account, and in which groups."""

    change_password_form = PasswordForm
