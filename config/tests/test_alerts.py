"""Alerts and dashboard ask for what /metrics really shows, promtool approves, and who is on call finds what to do."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from django.core.management import get_commands, load_command_class
from prometheus_client.parser import text_string_to_metric_families

from config.tests.environment import ROOT
from config.tests.service import Service, wait_until

DEPLOY = ROOT / "deploy"
RULES = yaml.safe_load((DEPLOY / "prometheus/rules.yml").read_text())
ALERTS = {rule["alert"]: rule for group in RULES["groups"] for rule in group["rules"]}
DASHBOARD = json.loads((DEPLOY / "grafana/dashboards/classification.json").read_text())
ONCALL = (DEPLOY / "ONCALL.md").read_text()
SECTIONS = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", ONCALL, re.MULTILINE | re.DOTALL))
# What Prometheus itself makes.
FOREIGN = {"up": {"job", "instance"}, "ALERTS": {"alertstate", "alertname"}}
NAME = re.compile(r"\b((?:classification|django)_\w+|up|ALERTS)\b(?:\{([^}]*)\})?")


def expressions() -> Iterator[str]:
    yield from (rule["expr"] for rule in ALERTS.values())
    yield from (target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"])
    yield from (annotation["expr"] for annotation in DASHBOARD["annotations"]["list"])


def asked_for(expression: str) -> dict[str, set[str]]:
    """Return the series that an expression names, with the labels by which it chooses them."""
    found: dict[str, set[str]] = {}
    for name, labels in NAME.findall(re.sub(r"(?<=[^\w])by \([^)]*\)", "", expression)):
        found.setdefault(name, set()).update(re.findall(r"(\w+)=?[=~!]", labels))
    return found


@pytest.mark.xdist_group("service")
def test_alerts_and_dashboard_ask_for_what_there_is(service: Service) -> None:
    service.wait_done([service.post()["id"]])
    service.post(b"text")
    service.get("/predictions/999999/")
    service.http.request("GET", f"{service.url}/gallery/999999/")
    wait_until(lambda: b"exceptions_total_by_type" in service.http.request("GET", f"{service.url}/metrics").data)
    text = service.http.request("GET", f"{service.url}/metrics").data.decode()
    shown: dict[str, set[str]] = {name: set(labels) for name, labels in FOREIGN.items()}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            shown.setdefault(sample.name, set()).update(sample.labels)
    for expression in expressions():
        for name, labels in asked_for(expression).items():
            assert name in shown, expression
            assert labels <= shown[name], expression
        # Prometheus adds which process it asked.
        names = asked_for(expression)
        for label in re.findall(r"\w+", " ".join(re.findall(r"by \(([^)]*)\)", expression))):
            assert any(label in shown[name] for name in names), (label, expression)
    own = {name for name in shown if name.startswith("classification_") and not name.endswith(("_sum", "_count"))}
    used = {name for expression in expressions() for name in asked_for(expression)}
    assert own - used == set()


def test_expressions_are_understood() -> None:
    assert asked_for('sum by (le) (rate(django_x_bucket{view=~"a|b", method!="GET"}[5m])) and up == 0') == {
        "django_x_bucket": {"view", "method"},
        "up": set(),
    }


def test_every_alert_is_tried_when_it_sounds_and_when_it_does_not() -> None:
    tried: dict[str, set[bool]] = {}
    for case in yaml.safe_load((DEPLOY / "prometheus/rules_test.yml").read_text())["tests"]:
        for test in case["alert_rule_test"]:
            tried.setdefault(test["alertname"], set()).add(bool(test["exp_alerts"]))
    assert tried == {name: {True, False} for name in ALERTS}


def test_every_alert_has_its_section_and_every_section_its_alert() -> None:
    assert set(SECTIONS) == set(ALERTS)
    for name, rule in ALERTS.items():
        assert rule["annotations"]["runbook"] == f"deploy/ONCALL.md#{name.lower()}"
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert all(word in SECTIONS[name] for word in ("**Means:**", "**Costs:**", "\n1. ")), name
    links = re.findall(r"\]\(#(\w+)\)", ONCALL)
    assert set(links) <= {name.lower() for name in ALERTS}


def test_the_commands_for_who_is_on_call_exist() -> None:
    commands = get_commands()
    named = re.findall(r"manage\.py (\w+)((?: --[\w-]+| [a-z]+)*)", ONCALL)
    assert len(named) >= 5
    for name, rest in named:
        parser = load_command_class(commands[name], name).create_parser("manage.py", name)
        options = re.findall(r"--[\w-]+", rest)
        assert all(option in parser._option_string_actions for option in options), (name, rest)


@pytest.mark.parametrize("arguments", [
    ("check", "config", "--syntax-only", "prometheus.yml"), ("check", "rules", "rules.yml"),
    ("test", "rules", "rules_test.yml"),
], ids=["config", "rules", "tests"])  # fmt: skip
def test_promtool_approves(arguments: tuple[str, ...]) -> None:
    if not shutil.which("promtool"):
        pytest.skip("there is no promtool: apt-get install prometheus has it")
    result = subprocess.run(["promtool", *arguments], cwd=DEPLOY / "prometheus", capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_compose_file_mounts_what_there_is() -> None:
    compose: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.metrics.yaml").read_text())
    services = compose["services"]
    mounts = [mount for service in services.values() for mount in service.get("volumes", [])]
    sources = [mount.split(":")[0] for mount in mounts]
    assert all((DEPLOY / source).is_dir() if source[0] == "." else source in compose["volumes"] for source in sources)
    config = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())
    ports = {job["job_name"]: job["dns_sd_configs"][0]["port"] for job in config["scrape_configs"]}
    assert ports == {"web": 8000, "worker": int(services["worker"]["environment"]["METRICS_PORT"])}
    datasource = yaml.safe_load((DEPLOY / "grafana/provisioning/datasources/prometheus.yaml").read_text())
    [uid] = [source["uid"] for source in datasource["datasources"]]
    assert {panel["datasource"]["uid"] for panel in DASHBOARD["panels"]} == {uid}
    boards = yaml.safe_load((DEPLOY / "grafana/provisioning/dashboards/files.yaml").read_text())["providers"][0]
    assert f"./grafana/dashboards:{boards['options']['path']}:ro" in mounts
