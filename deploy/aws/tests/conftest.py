"""An account with all three stacks, made once for these tests."""

from collections.abc import Iterator

import pytest

from deploy.aws.tests.account import Account, Stack, moto_account

DIGEST = "sha256:" + "0123456789abcdef" * 4
IMAGES = {f"{name.capitalize()}Image": f"ghcr.io/owner/name/{name}@{DIGEST}" for name in ("web", "worker", "migrate")}
HOST = {
    "Site": "photos.example.org",
    "Repository": "https://github.com/owner/name",
    "Commit": "0123456789" * 4,
    **IMAGES,
}


@pytest.fixture(scope="session")
def account() -> Iterator[Account]:
    with moto_account() as account:
        yield account


@pytest.fixture(scope="session")
def network(account: Account) -> Stack:
    return account.create("ml-network", "network.yaml")


@pytest.fixture(scope="session")
def scaled(network: Stack) -> Stack:
    certificate = network.client("acm").request_certificate(DomainName="photos.example.org")["CertificateArn"]
    names = {"DomainName": "photos.example.org", "CertificateArn": certificate}
    return network.account.create("ml-scaled", "scaled.yaml", **names, **IMAGES)


@pytest.fixture(scope="session")
def image(account: Account) -> str:
    """Return the id of some machine image."""
    (image, *_) = account.client("ec2").describe_images(Owners=["amazon"])["Images"]
    return str(image["ImageId"])


@pytest.fixture(scope="session")
def single_host(network: Stack, image: str) -> Stack:
    stacks = network.account
    return stacks.create("ml-host", "single-host.yaml", ImageId=image, GitHubRepository="owner/name", **HOST)
