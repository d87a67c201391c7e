"""What ENVIRONMENT=prod is without another word: closed, behind HTTPS, and clean by Django's own checks."""

import json
import re
from subprocess import CompletedProcess
from typing import Any

import pytest
import yaml

from config.tests.environment import ROOT
from config.tests.test_house import run

GIVEN = {"ENVIRONMENT": "prod", "SECRET_KEY": "s3cret-" * 10, "ALLOWED_HOSTS": "example.org", "TESTING": "0"}
UNSET = ["ACCESS", "DEBUG", "TRUST_PROXY", "SECURE_SSL_REDIRECT", "HSTS_SUBDOMAINS", "CSRF_TRUSTED_ORIGINS"]
UNSET += ["LIMITS_URL", "WEB_WORKERS", *(f"RATE_{name}" for name in ("UPLOADS", "READS", "PARTS", "WRITES", "LOGINS"))]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "csp.middleware.CSPMiddleware",
    "config.limits.RateLimitMiddleware",
    "config.middleware.AccessMiddleware",
]
DEPLOY = "import sys; from django.core.management import execute_from_command_line as run;"
DEPLOY += "run(['manage.py', 'check', '--deploy', '--fail-level', 'WARNING'])"
SHOWN = """
import json, os
for name in {unset!r}: os.environ.pop(name, None)
import config.settings as settings
print(json.dumps({{name: value for name, value in vars(settings).items() if name.isupper()}}, default=repr))
"""


@pytest.fixture
def production(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Any:
    """production(HSTS_SUBDOMAINS="1"): the settings, as a process of its own reads them."""
    for name in UNSET:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "var"))

    def read(**environment: str) -> dict[str, Any]:
        unset = [name for name in UNSET if name not in environment]
        result = run(SHOWN.format(unset=unset), **GIVEN | environment)
        assert result.returncode == 0, result.stderr
        settings: dict[str, Any] = json.loads(result.stdout)
        return settings

    return read


def test_production_is_closed_by_default(production: Any) -> None:
    settings = production()
    assert settings["ACCESS"] == "login"
    assert (settings["DEBUG"], settings["TESTING"], settings["TRUST_PROXY"]) == (False, False, False)
    assert (settings["ALLOWED_HOSTS"], settings["CSRF_TRUSTED_ORIGINS"]) == (["example.org"], [])
    assert settings["SECURE_SSL_REDIRECT"] is True
    assert settings["SESSION_COOKIE_SECURE"] is settings["CSRF_COOKIE_SECURE"] is True
    assert settings["SECURE_HSTS_SECONDS"] >= 31_536_000
    assert "SECURE_PROXY_SSL_HEADER" not in settings
    assert set(MIDDLEWARE) <= set(settings["MIDDLEWARE"])
    assert all(settings["RATES"].values()), "every rate has a default"


def test_nothing_makes_production_show_errors(production: Any) -> None:
    assert production(DEBUG="1")["DEBUG"] is False


@pytest.mark.parametrize(("value", "expected"), [("", False), ("0", False), ("1", True)])
def test_names_below_the_services_are_nobody_elses_to_decide_about(production: Any, value: str, expected: bool) -> None:
    settings = production(**({"HSTS_SUBDOMAINS": value} if value else {}))
    assert settings["SECURE_HSTS_INCLUDE_SUBDOMAINS"] is settings["SECURE_HSTS_PRELOAD"] is expected
    silenced = {"security.W005", "security.W021"}
    assert set(settings.get("SILENCED_SYSTEM_CHECKS", [])) == (set() if expected else silenced)


@pytest.mark.parametrize("given", [{}, {"HSTS_SUBDOMAINS": "1"}, {"TRUST_PROXY": "1"}])
def test_the_checks_for_production_are_clean(production: Any, given: dict[str, str]) -> None:
    result = check(**given)
    assert result.returncode == 0, result.stderr


def test_the_checks_still_find_what_is_wrong(production: Any) -> None:
    result = check(SECURE_SSL_REDIRECT="0")
    assert result.returncode != 0
    assert "security.W008" in result.stderr


def check(**environment: str) -> "CompletedProcess[str]":
    settings = {"DJANGO_SETTINGS_MODULE": "config.settings", "LIMITS_URL": "redis://"}
    return run(DEPLOY, **GIVEN | settings | environment)


def test_hsts_is_what_browsers_are_told(production: Any) -> None:
    code = (
        "import config.wsgi; from django.test import Client;"
        "print(Client(headers={'Host': 'example.org'}).get('/livez', secure=True)['Strict-Transport-Security'])"
    )
    told = [run(code, **GIVEN | {"HSTS_SUBDOMAINS": value}).stdout.strip() for value in ("0", "1")]
    assert told == ["max-age=31536000", "max-age=31536000; includeSubDomains; preload"]
    assert f'"{told[0]}"' in (ROOT / "deploy" / "Caddyfile").read_text()


@pytest.mark.parametrize(
    ("given", "warned"),
    [({}, False), ({"WEB_WORKERS": "2"}, True), ({"WEB_WORKERS": "2", "LIMITS_URL": "redis://redis:6379/0"}, False)],
)
def test_production_on_one_host_passes_its_own_checks_and_knows_when_web_processes_do_not_share_limits(
    given: dict[str, str], warned: bool, production: Any
) -> None:
    services = yaml.safe_load((ROOT / "deploy" / "compose.prod.yaml").read_text())["services"]
    named = {"SITE": "photos.example.org", **given}

    def value(text: str) -> str:
        return re.sub(r"\$\{(\w+)(?::[-?]([^}]*))?\}", lambda found: named.get(found[1], found[2] or ""), text)

    environment = {name: value(text) for name, text in services["web"]["environment"].items()}
    environment = {name: text for name, text in environment.items() if not name.endswith("_FILE")}
    result = check(**environment)
    assert ("predictions.W002" in result.stderr, result.returncode != 0) == (warned, warned), result.stderr
