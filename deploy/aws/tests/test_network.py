"""The tutorial's network is there by its names, and only what must be is on the internet."""

from typing import Any

from deploy.aws.tests.account import Stack


def by_name(resources: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {tag["Value"]: item for item in resources for tag in item.get("Tags", []) if tag["Key"] == "Name"}


def subnets(network: Stack) -> dict[str, dict[str, Any]]:
    return by_name(network.client("ec2").describe_subnets()["Subnets"])


def test_the_tutorials_names_have_the_tutorials_addresses(network: Stack) -> None:
    vpc = by_name(network.client("ec2").describe_vpcs()["Vpcs"])["ml-vpc"]
    assert vpc["CidrBlock"] == "10.0.0.0/16"
    subnet = subnets(network)["ml-subnet"]
    assert (subnet["CidrBlock"], subnet["VpcId"]) == ("10.0.1.0/24", vpc["VpcId"])
    this = [network.id("InternetGateway")]
    (gateway,) = network.client("ec2").describe_internet_gateways(InternetGatewayIds=this)["InternetGateways"]
    assert [attachment["VpcId"] for attachment in gateway["Attachments"]] == [vpc["VpcId"]]


def test_there_are_two_zones_for_the_load_balancer_and_two_for_the_database(network: Stack) -> None:
    zones = {name: subnet["AvailabilityZone"] for name, subnet in subnets(network).items()}
    assert zones["ml-subnet"] != zones["ml-subnet-b"]
    assert zones["ml-private"] != zones["ml-private-b"]
    assert network.outputs["SubnetZone"] == zones["ml-subnet"]


def test_only_public_subnets_lead_to_the_internet(network: Stack) -> None:
    ec2 = network.client("ec2")
    for name, subnet in subnets(network).items():
        if not name.startswith("ml-"):
            continue
        at_subnet = [{"Name": "association.subnet-id", "Values": [subnet["SubnetId"]]}]
        (table,) = ec2.describe_route_tables(Filters=at_subnet)["RouteTables"]
        ways_out = [route["DestinationCidrBlock"] for route in table["Routes"] if "igw-" in route["GatewayId"]]
        assert ways_out == ([] if "private" in name else ["0.0.0.0/0"]), name
        assert not subnet["MapPublicIpOnLaunch"]


def test_photos_reach_the_bucket_by_a_free_endpoint(network: Stack) -> None:
    (endpoint,) = network.client("ec2").describe_vpc_endpoints()["VpcEndpoints"]
    assert (endpoint["VpcEndpointType"], endpoint["ServiceName"]) == ("Gateway", "com.amazonaws.us-east-1.s3")


def test_the_security_group_is_closed_until_a_stack_opens_it(network: Stack) -> None:
    assert network.properties("SecurityGroup").keys() & {"SecurityGroupIngress"} == set()
