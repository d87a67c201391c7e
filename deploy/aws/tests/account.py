"""An AWS account on loopback: moto's server, stacks made in it from our templates, and clients to look at it.

moto's CloudFormation does not know every type of resource, nor every property of those that it knows. What it leaves
out is then made by API (by_api.py), from properties that moto has resolved.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import boto3
from moto.server import ThreadedMotoServer

from deploy.aws.tests.by_api import BY_API, Json
from deploy.aws.tests.templates import REGION, for_moto, read


@dataclass(frozen=True)
class Account:
    """Somebody's access to moto's server."""

    url: str
    key: str = "testing"
    secret: str = "testing"
    token: str | None = None

    @cache  # noqa: B019  (there are three accounts, and making a client takes a tenth of a second)
    def client(self, service: str) -> Any:
        """Return boto3's client of a service."""
        keys = {"aws_access_key_id": self.key, "aws_secret_access_key": self.secret, "aws_session_token": self.token}
        return boto3.client(service, region_name=REGION, endpoint_url=self.url, **keys)

    def create(self, name: str, template: str, **parameters: str) -> Stack:
        """Create a stack, first by moto's CloudFormation, then by API what that left out."""
        document = read(template)
        given = [{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()]
        body = json.dumps(for_moto(document))
        stacks = self.client("cloudformation")
        stacks.create_stack(StackName=name, TemplateBody=body, Parameters=given, Capabilities=["CAPABILITY_IAM"])
        stack = Stack(self, name, document)
        for key, resource in document["Resources"].items():
            if (make := BY_API.get(resource["Type"])) and stack.has(key):
                make(stack, key, stack.properties(key))
        return stack


@dataclass(frozen=True)
class Stack:
    """A stack that was created."""

    account: Account
    name: str
    template: Json

    @cached_property
    def outputs(self) -> dict[str, str]:
        """Return its outputs, the ids of its resources, and as JSON their properties with all references resolved."""
        (stack,) = self.account.client("cloudformation").describe_stacks(StackName=self.name)["Stacks"]
        return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}

    def has(self, key: str) -> bool:
        """Return whether a resource's condition was met."""
        return f"Properties{key}" in self.outputs

    def properties(self, key: str) -> Json:
        """Return the properties of a resource, all references resolved."""
        properties: Json = json.loads(self.outputs[f"Properties{key}"], object_pairs_hook=_compact)
        return properties

    def id(self, key: str) -> str:
        """Return what a reference to a resource means: its name, id or address."""
        return self.outputs[f"Id{key}"]

    def client(self, service: str) -> Any:
        """Return boto3's client of a service."""
        return self.account.client(service)


@contextmanager
def moto_account() -> Iterator[Account]:
    """Start moto's server on loopback, with an empty account; stop it afterwards."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        yield Account("http://{}:{}".format(*server.get_host_and_port()))
    finally:
        server.stop()


def _compact(pairs: list[tuple[str, Any]]) -> Json:
    """Leave AWS::NoValue out of lists, as CloudFormation does, and moto does not."""

    def compact(value: Any) -> Any:
        return [item for item in value if item is not None] if isinstance(value, list) else value

    return {key: compact(value) for key, value in pairs}
