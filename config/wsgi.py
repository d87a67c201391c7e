"""WSGI entry point for gunicorn."""

import os

from django.core.wsgi import get_wsgi_application
from django.urls import get_resolver

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
application = get_wsgi_application()
# Import every view now, before gunicorn forks: the processes then share them, and the first request is no slower.
get_resolver().url_patterns  # noqa: B018  (the property does the work)
