"""Sessions that have expired: nobody can use them, but their rows stay until somebody clears them."""

from django.contrib.sessions.models import Session
from django.utils import timezone

AT_ONCE = 1000  # rows: SQLite has one writer at a time, and uploads wait for it


def clear_expired() -> int:
    """Delete the expired sessions, a few at a time; return how many they were."""
    expired = Session.objects.filter(expire_date__lt=timezone.now())
    cleared = 0
    while found := list(expired.values_list("pk", flat=True)[:AT_ONCE]):
        cleared += Session.objects.filter(pk__in=found).delete()[0]
    return cleared
