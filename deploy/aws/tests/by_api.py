"""What moto's CloudFormation leaves out, or makes by half, made by the API that CloudFormation itself would call."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deploy.aws.tests.account import Stack

Json = dict[str, Any]


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
