"""What single-host.yaml becomes: one instance that is open where it must be, and data that outlives it.

What moto's CloudFormation forgets of a resource is read from the properties that it was given.
"""

import base64
import shutil
import subprocess
from typing import Any

import pytest

from deploy.aws.tests.account import Stack
from deploy.aws.tests.conftest import HOST, IMAGES

ANYWHERE = "0.0.0.0/0"


def open_ports(network: Stack) -> set[tuple[int, str]]:
    """Return the ports that the tutorial's security group opens, and to whom."""
    this = [network.id("SecurityGroup")]
    (group,) = network.client("ec2").describe_security_groups(GroupIds=this)["SecurityGroups"]
    rules = group["IpPermissions"]
    return {(rule["FromPort"], addresses["CidrIp"]) for rule in rules for addresses in rule["IpRanges"]}


def test_ssh_and_the_tutorials_port_are_closed_until_somebody_is_named(
    single_host: Stack, network: Stack, image: str
) -> None:
    assert open_ports(network) == {(80, ANYWHERE), (443, ANYWHERE)}
    rules = {"SshCidr": "203.0.113.7/32", "ApiCidr": "203.0.113.0/24", "HttpCidr": "198.51.100.0/24"}
    network.account.create("ml-open", "single-host.yaml", ImageId=image, **HOST, **rules)
    added = {(22, "203.0.113.7/32"), (8000, "203.0.113.0/24"), (80, "198.51.100.0/24"), (443, "198.51.100.0/24")}
    assert open_ports(network) == {(80, ANYWHERE), (443, ANYWHERE)} | added


def host(stack: Stack) -> dict[str, Any]:
    found = stack.client("ec2").describe_instances(InstanceIds=[stack.id("Host")])
    return dict(found["Reservations"][0]["Instances"][0])


def test_the_instance_stands_in_the_tutorials_subnet_with_a_fixed_address(single_host: Stack, network: Stack) -> None:
    instance = host(single_host)
    assert instance["SubnetId"] == network.id("Subnet")
    assert single_host.properties("Host")["SecurityGroupIds"] == [network.id("SecurityGroup")]
    assert instance["InstanceType"] == "t3.small"
    (address,) = single_host.client("ec2").describe_addresses(PublicIps=[single_host.outputs["Address"]])["Addresses"]
    assert address["InstanceId"] == instance["InstanceId"]


def test_its_role_cannot_be_had_by_a_forged_request(single_host: Stack) -> None:
    assert single_host.properties("Host")["MetadataOptions"] == {
        "HttpTokens": "required",
        "HttpPutResponseHopLimit": 1,
        "HttpEndpoint": "enabled",
    }


def test_both_disks_are_encrypted_and_the_data_outlives_the_stack(single_host: Stack) -> None:
    (data,) = single_host.client("ec2").describe_volumes(VolumeIds=[single_host.id("Data")])["Volumes"]
    assert [attachment["InstanceId"] for attachment in data["Attachments"]] == [single_host.id("Host")]
    assert single_host.properties("Data")["Encrypted"]
    (root,) = single_host.properties("Host")["BlockDeviceMappings"]
    assert root["Ebs"]["Encrypted"]
    resource = single_host.template["Resources"]["Data"]
    assert resource["DeletionPolicy"] == resource["UpdateReplacePolicy"] == "Snapshot"


def test_the_volume_is_the_one_of_which_snapshots_are_taken(single_host: Stack) -> None:
    (tag,) = single_host.properties("Backups")["PolicyDetails"]["TargetTags"]
    assert tag in single_host.properties("Data")["Tags"]


def first_start(stack: Stack) -> str:
    """Return the script that the instance was given."""
    given = stack.client("ec2").describe_instance_attribute(InstanceId=stack.id("Host"), Attribute="userData")
    return base64.b64decode(given["UserData"]["Value"]).decode()


def test_the_first_start_runs_these_images_on_that_volume(single_host: Stack) -> None:
    script = first_start(single_host)
    assert "release.sh '{WebImage}' '{WorkerImage}' '{MigrateImage}'".format(**IMAGES) in script
    assert single_host.id("Data") in script
    assert r"'COMPOSE_FILE=compose.prod.yaml\nSITE=photos.example.org\n' > $folder/deploy/.env" in script
    assert "--file" not in script  # so every command means what .env names
    assert f"checkout --quiet '{HOST['Commit']}'" in script


def test_the_first_start_is_sound_shell(single_host: Stack) -> None:
    script = first_start(single_host).encode()
    subprocess.run(["bash", "-n"], input=script, check=True)
    if not shutil.which("shellcheck"):
        pytest.skip("shellcheck is not installed; bash -n finds no fault")
    result = subprocess.run(["shellcheck", "-"], input=script, capture_output=True, check=False)
    assert result.returncode == 0, result.stdout.decode()
