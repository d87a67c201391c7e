"""Tokens with which programs use the API in a person's name. Only their hashes are stored (django-rest-knox)."""

from __future__ import annotations

from django.contrib.auth.models import User
from django.db import models, transaction
from knox.models import AbstractAuthToken

NAME_LENGTH = 100


class ApiToken(AbstractAuthToken):  # type: ignore[misc]  # knox has no types
    """A token, by the name that its owner gave it."""

    name = models.CharField(max_length=NAME_LENGTH, help_text="What it is for.")
    last_used_at = models.DateTimeField(null=True, blank=True, help_text="To the minute.")

    class Meta:
        app_label = "predictions"
        ordering = ["-created"]

    def __str__(self) -> str:
        return f"{self.name} of {self.user}"


def revoke_all(user: User) -> int:
    """Delete all tokens of a user; return how many they were. Programs that use them are shut out at once."""
    return int(ApiToken.objects.filter(user=user).delete()[0])


class EndsTokens:
    """What makes a form for a new password end the tokens: who knew the old one may have made some."""

    user: User

    @transaction.atomic
    def save(self, commit: bool = True) -> User:
        """Set the password and revoke the tokens."""
        revoke_all(self.user)
        user: User = super().save(commit)  # type: ignore[misc]  # the form's
        return user
