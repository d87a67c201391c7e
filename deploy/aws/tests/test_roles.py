"""What each role may, enforced by moto's IAM where that knows resources (S3, SQS), and read where it does not."""

import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from deploy.aws.tests.account import Account, Stack

Act = Callable[[Account, Stack], Any]


@pytest.fixture(scope="module")
def assumed(scaled: Stack) -> Iterator[dict[str, Account]]:
    """Return who has assumed which role; from now on until the end of these tests, IAM is enforced."""
    s3, bucket = scaled.client("s3"), scaled.id("Photos")
    s3.create_bucket(Bucket="elsewhere")
    s3.put_object(Bucket="elsewhere", Key="media/a.jpg", Body=b"photo")
    scaled.client("sqs").create_queue(QueueName="elsewhere")
    # It refuses connections without TLS, so all that come to this server.
    policy = s3.get_bucket_policy(Bucket=bucket)["Policy"]
    with pytest.raises(ClientError, match="403"):
        s3.put_object(Bucket=bucket, Key="media/a.jpg", Body=b"photo")
    s3.delete_bucket_policy(Bucket=bucket)
    for key in ("media/a.jpg", "media/renditions/a.jpg", "other/a.jpg"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"photo")
    people = {role: assume(scaled, role) for role in ("WebRole", "WorkerRole")}
    enforce(scaled.account, after=0)
    yield people
    enforce(scaled.account, after=float("inf"))
    s3.put_bucket_policy(Bucket=bucket, Policy=policy)


def assume(stack: Stack, role: str) -> Account:
    arn = stack.client("iam").get_role(RoleName=stack.id(role))["Role"]["Arn"]
    keys = stack.client("sts").assume_role(RoleArn=arn, RoleSessionName="test")["Credentials"]
    return Account(stack.account.url, keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"])


def enforce(account: Account, after: float) -> None:
    """Have moto check permissions after so many further requests."""
    url, plain = f"{account.url}/moto-api/reset-auth", {"Content-Type": "text/plain"}
    request = urllib.request.Request(url, data=str(after).encode(), headers=plain)
    urllib.request.urlopen(request, timeout=10).close()


def get(key: str, bucket: str = "") -> Act:
    return lambda who, stack: who.client("s3").get_object(Bucket=bucket or NAMES["Photos"], Key=key)


def put(key: str, bucket: str = "") -> Act:
    return lambda who, stack: who.client("s3").put_object(Bucket=bucket or NAMES["Photos"], Key=key, Body=b"new")


def delete(key: str) -> Act:
    return lambda who, stack: who.client("s3").delete_object(Bucket=NAMES["Photos"], Key=key)


def list_bucket(who: Account, stack: Stack) -> None:
    who.client("s3").list_objects_v2(Bucket=NAMES["Photos"], Prefix="media/")


def delete_bucket(who: Account, stack: Stack) -> None:
    who.client("s3").delete_bucket(Bucket=NAMES["Photos"])


def publish_bucket(who: Account, stack: Stack) -> None:
    who.client("s3").put_bucket_policy(Bucket=NAMES["Photos"], Policy="{}")


def list_buckets(who: Account, stack: Stack) -> None:
    who.client("s3").list_buckets()


def ring(who: Account, stack: Stack) -> None:
    who.client("sqs").send_message(QueueUrl=NAMES["Bells"], MessageBody="bell")


def answer(who: Account, stack: Stack) -> None:
    sqs = who.client("sqs")
    for message in sqs.receive_message(QueueUrl=NAMES["Bells"], WaitTimeSeconds=0).get("Messages", []):
        sqs.delete_message(QueueUrl=NAMES["Bells"], ReceiptHandle=message["ReceiptHandle"])


def purge(who: Account, stack: Stack) -> None:
    who.client("sqs").purge_queue(QueueUrl=NAMES["Bells"])


def delete_queue(who: Account, stack: Stack) -> None:
    who.client("sqs").delete_queue(QueueUrl=NAMES["Bells"])


def ring_elsewhere(who: Account, stack: Stack) -> None:
    who.client("sqs").send_message(QueueUrl=NAMES["Bells"].rsplit("/", 1)[0] + "/elsewhere", MessageBody="bell")


def create_user(who: Account, stack: Stack) -> None:
    who.client("iam").create_user(UserName="intruder")


def become_web(who: Account, stack: Stack) -> None:
    who.client("sts").assume_role(RoleArn=NAMES["WebRoleArn"], RoleSessionName="test")


def read_secret(who: Account, stack: Stack) -> None:
    who.client("secretsmanager").get_secret_value(SecretId="DatabaseUrl")


def delete_database(who: Account, stack: Stack) -> None:
    who.client("rds").delete_db_instance(DBInstanceIdentifier="any", SkipFinalSnapshot=True)


NAMES: dict[str, str] = {}


@pytest.fixture(autouse=True, scope="module")
def names(scaled: Stack) -> None:
    """Look names up while everybody still may."""
    NAMES.update({key: scaled.id(key) for key in ("Photos", "Bells")})
    NAMES["WebRoleArn"] = scaled.client("iam").get_role(RoleName=scaled.id("WebRole"))["Role"]["Arn"]


BOTH = [list_bucket, ring, get("media/a.jpg"), get("media/renditions/a.jpg"), put("media/renditions/a.jpg")]
MAY = {
    "WebRole": [*BOTH, put("media/b.jpg"), delete("media/b.jpg"), delete("media/renditions/b.jpg")],
    "WorkerRole": [*BOTH, answer, delete("media/renditions/a.jpg")],
}
NEITHER = [
    get("other/a.jpg"),
    put("other/b.jpg"),
    get("media/a.jpg", "elsewhere"),
    put("media/a.jpg", "elsewhere"),
    delete_bucket,
    publish_bucket,
    list_buckets,
    purge,
    delete_queue,
    ring_elsewhere,
    create_user,
    become_web,
    read_secret,
    delete_database,
]
MAY_NOT = {
    "WebRole": [*NEITHER, answer],
    "WorkerRole": [*NEITHER, put("media/a.jpg"), put("media/new.jpg"), delete("media/a.jpg")],
}


@pytest.mark.parametrize("role", MAY)
def test_a_role_may_do_its_work(role: str, assumed: dict[str, Account], scaled: Stack) -> None:
    for act in MAY[role]:
        act(assumed[role], scaled)


@pytest.mark.parametrize(("role", "act"), [(role, act) for role, acts in MAY_NOT.items() for act in acts])
def test_a_role_may_nothing_else(role: str, act: Act, assumed: dict[str, Account], scaled: Stack) -> None:
    with pytest.raises(ClientError) as error:
        act(assumed[role], scaled)
    assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403, error.value
