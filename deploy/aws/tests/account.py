"""An AWS account on loopback: moto's server, stacks made in it from our templates, and clients to look at it.

moto's CloudFormation does not know every type of resource, nor every property of those that it knows. What it leaves
out is then created by the API that CloudFormation itself would call (BY_API), from properties that moto has resolved.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import boto3
from cfnlint.decode.cfn_yaml import load
from moto.server import ThreadedMotoServer

FOLDER = Path(__file__).parents[1]
REGION = "us-east-1"
Json = dict[str, Any]
UNKNOWN_ATTRIBUTES = {"LoadBalancerFullName", "TargetGroupFullName"}  # of resources that moto's CloudFormation creates


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


def read(template: str) -> Json:
    """Return a template as it is written."""
    document: Json = json.loads(json.dumps(load(str(FOLDER / template))))
    return document


def for_moto(template: Json) -> Json:
    """Return a template without the resources that moto cannot create, with the properties of all as outputs."""
    resources = template["Resources"]
    gone = [key for key, resource in resources.items() if resource["Type"] in BY_API.keys() - HALF]
    outputs: Json = dict(template.get("Outputs", {}))
    for key, resource in resources.items():
        when = {"Condition": resource["Condition"]} if "Condition" in resource else {}
        # moto has no name for subnet groups of databases, so it can say neither that nor who uses it.
        if resource["Type"] != "AWS::RDS::DBSubnetGroup":
            outputs[f"Id{key}"] = {"Value": {"Ref": key}, **when}
        if resource["Type"] != "AWS::RDS::DBInstance":
            outputs[f"Properties{key}"] = {"Value": {"Fn::ToJsonString": resource.get("Properties", {})}, **when}
        if resource["Type"] == "AWS::ECS::TaskDefinition":  # of which moto knows the memory of containers only
            resource["Properties"]["ContainerDefinitions"][0]["Memory"] = int(resource["Properties"]["Memory"])
    kept = {key: resource for key, resource in resources.items() if key not in gone}
    left: Json = without({**template, "Resources": kept, "Outputs": outputs}, gone, resources)
    return left


def without(part: Any, gone: list[str], resources: Json) -> Any:
    """Return a part of a template with stand-ins for what refers to resources that are gone."""
    if isinstance(part, list):
        return [without(item, gone, resources) for item in part]
    if isinstance(part, str):
        return re.sub(r"\$\{(\w+)(\.[\w.]+)?\}", lambda m: stand_in(m[1], resources) if m[1] in gone else m[0], part)
    if not isinstance(part, dict):
        return part
    if part.get("Ref") in gone:
        return stand_in(part["Ref"], resources)
    if isinstance(target := part.get("Fn::GetAtt"), list) and (target[0] in gone or target[1] in UNKNOWN_ATTRIBUTES):
        return stand_in(target[0], resources)
    return {key: without(value, gone, resources) for key, value in part.items()}


def stand_in(key: str, resources: Json) -> str:
    """Return what stands for the id of a resource that moto's CloudFormation cannot create."""
    if resources[key]["Type"] == "AWS::SecretsManager::Secret":
        return f"arn:aws:secretsmanager:{REGION}:123456789012:secret:{key}-AbCdEf"
    return key.lower()


# --- What moto's CloudFormation leaves out ----------------------------------------------------------------------------


def _bucket(stack: Stack, key: str, properties: Json) -> None:
    s3, name = stack.client("s3"), stack.id(key)
    s3.put_public_access_block(Bucket=name, PublicAccessBlockConfiguration=properties["PublicAccessBlockConfiguration"])
    s3.put_bucket_ownership_controls(Bucket=name, OwnershipControls=properties["OwnershipControls"])
    s3.put_bucket_versioning(Bucket=name, VersioningConfiguration=properties["VersioningConfiguration"])


def _routes(stack: Stack, key: str, properties: Json) -> None:
    stack.client("ec2").associate_route_table(**properties)


def _service(stack: Stack, key: str, properties: Json) -> None:
    network = properties["NetworkConfiguration"]["AwsvpcConfiguration"]
    places = {name[0].lower() + name[1:]: value for name, value in network.items()}
    stack.client("ecs").update_service(
        cluster=properties["Cluster"], service=stack.id(key), networkConfiguration={"awsvpcConfiguration": places}
    )


def _role(stack: Stack, key: str, properties: Json) -> None:
    for policy in properties.get("Policies", []):
        document = json.dumps(policy["PolicyDocument"])
        stack.client("iam").put_role_policy(
            RoleName=stack.id(key), PolicyName=policy["PolicyName"], PolicyDocument=document
        )


def _bucket_policy(stack: Stack, key: str, properties: Json) -> None:
    policy = json.dumps(properties["PolicyDocument"])
    stack.client("s3").put_bucket_policy(Bucket=properties["Bucket"], Policy=policy)


def _queue_policy(stack: Stack, key: str, properties: Json) -> None:
    for queue in properties["Queues"]:
        policy = {"Policy": json.dumps(properties["PolicyDocument"])}
        stack.client("sqs").set_queue_attributes(QueueUrl=queue, Attributes=policy)


def _secret(stack: Stack, key: str, properties: Json) -> None:
    secrets = stack.client("secretsmanager")
    text = properties.get("SecretString")
    if "GenerateSecretString" in properties:
        text = secrets.get_random_password(**properties["GenerateSecretString"])["RandomPassword"]
    secrets.create_secret(Name=key, SecretString=text, Description=properties["Description"])


def _alarm(stack: Stack, key: str, properties: Json) -> None:
    stack.client("cloudwatch").put_metric_alarm(AlarmName=key, **properties)


def _scalable_target(stack: Stack, key: str, properties: Json) -> None:
    stack.client("application-autoscaling").register_scalable_target(**properties)


def _scaling_policy(stack: Stack, key: str, properties: Json) -> None:
    targets = {"webscaling": "WebScaling", "workerscaling": "WorkerScaling"}
    target = stack.properties(targets[properties.pop("ScalingTargetId")])
    properties |= {name: target[name] for name in ("ServiceNamespace", "ScalableDimension", "ResourceId")}
    stack.client("application-autoscaling").put_scaling_policy(**properties)


def _cache(stack: Stack, key: str, properties: Json) -> None:
    stack.client("elasticache").create_replication_group(ReplicationGroupId=key, **properties)


def _nothing(stack: Stack, key: str, properties: Json) -> None:
    """Leave it out: moto has no API for it either, or nothing to read back."""


HALF = {"AWS::S3::Bucket", "AWS::IAM::Role", "AWS::ECS::Service"}
BY_API: dict[str, Callable[[Stack, str, Json], None]] = {
    "AWS::S3::Bucket": _bucket,  # made by CloudFormation too, with its encryption and no more
    "AWS::IAM::Role": _role,  # made too, but with policies that moto cannot read afterwards
    "AWS::ECS::Service": _service,  # made too, but nowhere
    "AWS::EC2::SubnetRouteTableAssociation": _routes,
    "AWS::S3::BucketPolicy": _bucket_policy,
    "AWS::SQS::QueuePolicy": _queue_policy,
    "AWS::SecretsManager::Secret": _secret,
    "AWS::CloudWatch::Alarm": _alarm,
    "AWS::ApplicationAutoScaling::ScalableTarget": _scalable_target,
    "AWS::ApplicationAutoScaling::ScalingPolicy": _scaling_policy,
    "AWS::ElastiCache::ReplicationGroup": _cache,
    "AWS::ElastiCache::SubnetGroup": _nothing,
    "AWS::DLM::LifecyclePolicy": _nothing,
}
