"""Passwords changed and forgotten: Django's views and forms, with the limits on guessing, and the end of tokens."""

from typing import Any

from django.contrib.auth.forms import PasswordChangeForm, PasswordResetForm, SetPasswordForm
from django.contrib.auth.views import PasswordChangeView, PasswordResetConfirmView, PasswordResetView
from django.core.exceptions import ValidationError
from django.http import HttpResponse
from django.views.decorators.debug import sensitive_variables

from config import rates
from config.limits import address, digest, guess
from config.rates import TooManyRequests
from predictions.tokens import EndsTokens


class NewPasswordForm(EndsTokens, SetPasswordForm):  # type: ignore[type-arg]  # generic in the stubs only
    """A new password, by a letter's address."""


class OldPasswordForm(NewPasswordForm, PasswordChangeForm):
    """The same by the old password. Wrong ones are counted like those of a login."""

    def __init__(self, *args: Any, meta: dict[str, Any], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.meta = meta

    @sensitive_variables("old")
    def clean_old_password(self) -> str:
        """Return it. Raises TooManyRequests, without looking at it."""
        old: str = self.cleaned_data["old_password"]
        if not guess(self.meta, self.user.get_username(), lambda: self.user.check_password(old)):
            raise ValidationError(self.error_messages["password_incorrect"], code="password_incorrect")
        return old


class ChangeView(PasswordChangeView):
    """Where people change their password, in the admin, too."""

    form_class = OldPasswordForm

    def get_form_kwargs(self) -> dict[str, Any]:
        """Tell the form where the request comes from."""
        return {**super().get_form_kwargs(), "meta": self.request.META}


class ResetView(PasswordResetView):
    """Django's, with the rate of wrong passwords, by address and by e-mail address: it sends letters to strangers."""

    def form_valid(self, form: PasswordResetForm) -> HttpResponse:
        """Send the letter. Raises TooManyRequests, whether or not somebody has that e-mail address."""
        names = [f"address:{address(self.request.META)}", f"letter:{digest(form.cleaned_data['email'].casefold())}"]
        tally = rates.count("logins", names)
        if tally and tally.left < 0:
            raise TooManyRequests(tally)
        return super().form_valid(form)


class ResetConfirmView(PasswordResetConfirmView):
    """Where a letter leads."""

    form_class = NewPasswordForm
