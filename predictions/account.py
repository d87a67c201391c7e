"""A person's own page: their role, their password, their tokens."""

from datetime import timedelta

from django import forms
from django.contrib import messages
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_variables
from django.views.decorators.http import require_http_methods, require_POST

from predictions.tokens import NAME_LENGTH, ApiToken

LIFETIMES = [("30", "30 days"), ("90", "90 days"), ("365", "a year"), ("", "until revoked")]


class TokenForm(forms.Form):
    """What a new token is for, and how long it holds."""

    name = forms.CharField(label="What it is for", max_length=NAME_LENGTH)
    days = forms.TypedChoiceField(label="It holds", choices=LIFETIMES, coerce=int, empty_value=None, required=False)


@never_cache
@sensitive_variables("secret")
@require_http_methods(["GET", "HEAD", "POST"])
def account(request: HttpRequest) -> HttpResponse:
    """Show the page; make a token, which is shown in this one answer and never again."""
    user = request.user
    assert isinstance(user, User)  # the table of predictions.access lets nobody else in
    form, made, secret = TokenForm(request.POST or None), None, ""
    if request.method == "POST" and form.is_valid():
        days = form.cleaned_data["days"]
        expiry = timedelta(days=days) if days else None
        made, secret = ApiToken.objects.create(user, expiry, name=form.cleaned_data["name"])
        form = TokenForm()
    context = {
        "form": form,
        "made": made,
        "secret": secret,
        "tokens": ApiToken.objects.filter(user=user),
        "now": timezone.now(),
        "roles": user.groups.values_list("name", flat=True),
    }
    invalid = request.method == "POST" and not made
    return render(request, "predictions/account.html", context, status=400 if invalid else 200)


@require_POST
def revoke(request: HttpRequest, digest: str) -> HttpResponse:
    """Delete one of the person's own tokens; programs that use it are shut out at once."""
    token = get_object_or_404(ApiToken, digest=digest, user=request.user)
    token.delete()
    messages.success(request, f"The token “{token.name}” holds no more.")
    return redirect("account")
