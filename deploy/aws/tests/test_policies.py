"""The words of the policies: what moto's IAM does not enforce."""

import json
from typing import Any

import pytest

from deploy.aws.tests.account import Stack


def statements(stack: Stack, role: str) -> list[dict[str, Any]]:
    """Return what a role was given, read back."""
    iam, name = stack.client("iam"), stack.id(role)
    found: list[dict[str, Any]] = []
    for policy in iam.list_role_policies(RoleName=name)["PolicyNames"]:
        document = iam.get_role_policy(RoleName=name, PolicyName=policy)["PolicyDocument"]
        found += (document if isinstance(document, dict) else json.loads(document))["Statement"]
    return found


def allowed(stack: Stack, role: str) -> dict[str, set[str]]:
    """Return the resources of every action that a role is allowed."""
    granted: dict[str, set[str]] = {}
    for statement in statements(stack, role):
        assert statement["Effect"] == "Allow"
        actions, resources = (as_list(statement[part]) for part in ("Action", "Resource"))
        for action in actions:
            granted.setdefault(action, set()).update(resources)
    return granted


def as_list(part: str | list[str]) -> list[str]:
    return [part] if isinstance(part, str) else part


def trusted(stack: Stack, role: str) -> dict[str, Any]:
    document = stack.client("iam").get_role(RoleName=stack.id(role))["Role"]["AssumeRolePolicyDocument"]
    (statement,) = document["Statement"]
    return dict(statement)


@pytest.mark.parametrize("role", ["ExecutionRole", "WebRole", "WorkerRole"])
def test_no_role_of_the_tasks_has_a_wildcard(role: str, scaled: Stack) -> None:
    assert trusted(scaled, role)["Principal"] == {"Service": "ecs-tasks.amazonaws.com"}
    for action, resources in allowed(scaled, role).items():
        assert "*" not in action
        assert "*" not in resources
        # What ends in a wildcard is what is under a prefix of the bucket, or the streams of a log.
        wild = {resource for resource in resources if resource.endswith("*")}
        assert all(resource.endswith(("/*", ":*")) for resource in wild)
        assert {resource.split(":")[2] for resource in wild} <= {"s3", "logs"}


def test_ecs_reads_only_the_two_secrets_that_tasks_are_given(scaled: Stack) -> None:
    granted = allowed(scaled, "ExecutionRole")
    assert granted.keys() == {"secretsmanager:GetSecretValue", "logs:CreateLogStream", "logs:PutLogEvents"}
    (container,) = scaled.properties("WebTask")["ContainerDefinitions"]
    given = {secret["ValueFrom"] for secret in container["Secrets"]}
    assert granted["secretsmanager:GetSecretValue"] == given


def test_no_task_may_delete_versions_or_change_the_bucket(scaled: Stack) -> None:
    for role in ("WebRole", "WorkerRole"):
        s3 = {action for action in allowed(scaled, role) if action.startswith("s3:")}
        assert s3 == {"s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:ListBucket"}


def test_the_single_host_may_only_be_reached_by_systems_manager(single_host: Stack) -> None:
    services = {action.split(":")[0] for action in allowed(single_host, "Role")}
    assert services == {"ssm", "ssmmessages", "ec2messages"}
    assert allowed(single_host, "Role").keys().isdisjoint({"ssm:GetParameter", "ssm:GetParameters"})
    attached = single_host.client("iam").list_attached_role_policies(RoleName=single_host.id("Role"))
    assert attached["AttachedPolicies"] == []


def test_github_may_deploy_from_production_and_only_to_this_instance(single_host: Stack) -> None:
    trust = trusted(single_host, "DeployRole")
    assert trust["Action"] == "sts:AssumeRoleWithWebIdentity"
    site = "token.actions.githubusercontent.com"
    assert trust["Condition"] == {
        "StringEquals": {f"{site}:aud": "sts.amazonaws.com", f"{site}:sub": "repo:owner/name:environment:production"}
    }
    assert allowed(single_host, "DeployRole") == {
        "ssm:SendCommand": {
            f"arn:aws:ec2:us-east-1:123456789012:instance/{single_host.id('Host')}",
            "arn:aws:ssm:us-east-1::document/AWS-RunShellScript",
        },
        "ssm:GetCommandInvocation": {"*"},
    }
