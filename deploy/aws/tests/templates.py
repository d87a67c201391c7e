"""Our templates, as they are and as moto can take them."""

import json
import re
from pathlib import Path
from typing import Any

from cfnlint.decode.cfn_yaml import load

from deploy.aws.tests.by_api import BY_API, HALF, Json

FOLDER = Path(__file__).parents[1]
REGION = "us-east-1"
UNKNOWN_ATTRIBUTES = {"LoadBalancerFullName", "TargetGroupFullName"}  # of resources that moto's CloudFormation creates


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
