"""An account with all three stacks, made once for these tests."""

from collections.abc import Iterator

import pytest

pytest.importorskip("moto", reason="make test-aws installs moto")
pytest.importorskip("cfnlint", reason="make test-aws installs cfn-lint")

from deploy.aws.tests.account import Account, Stack, moto_account

DIGEST = "sha256:" + "0123456789abcdef" * 4
IMAGES = {f"{name.capitalize()}Image": f"ghcr.io/owner/name/{name}@{DIGEST}" for name in ("web", "worker", "migrate")}


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
    return network.account.create(
        "ml-scaled", "scaled.yaml", DomainName="photos.example.org", CertificateArn=certificate, **IMAGES
    )


@pytest.fixture(scope="session")
def single_host(network: Stack) -> Stack:
    (image, *_) = network.client("ec2").describe_images(Owners=["amazon"])["Images"]
    return network.account.create(
        "ml-single-host",
        "single-host.yaml",
        Site="photos.example.org",
        ImageId=image["ImageId"],
        SourceUrl="https://github.com/owner/name/archive/0123456.tar.gz",
        SourceSha256="0" * 64,
        GitHubRepository="owner/name",
        **IMAGES,
    )
