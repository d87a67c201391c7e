"""Photos in a bucket of S3, for MEDIA. Imported only where MEDIA names one: it brings boto3."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import cached_property, wraps
from typing import Any, ParamSpec, TypeVar

from boto3.exceptions import Boto3Error
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from django.core.files.base import ContentFile, File
from storages.backends.s3 import S3Storage

from predictions.storage import SHARED_SECONDS, PhotoStorage, StorageAway, content_type

logger = logging.getLogger(__name__)

CONNECT_SECONDS = 2
ANSWER_SECONDS = 5  # without a byte
TRIES = 2
CONNECTIONS = 32  # of one process, more than the web's threads
DELETED_TOGETHER = 1000  # S3's own limit
SINGLE_PUT = 5_000_000_000  # bytes, S3's own limit: an upload is one request, and is there whole or not at all

P = ParamSpec("P")
T = TypeVar("T")


def answered(ask: Callable[P, T]) -> Callable[P, T]:
    """Have boto3's errors raised as what they are to us: FileNotFoundError for what is not there, else StorageAway."""

    @wraps(ask)
    def asking(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return ask(*args, **kwargs)
        except ClientError as error:
            # A bucket that is not there is no reason to say of a photo that it is gone.
            if error.response["Error"]["Code"] in {"NoSuchKey", "404"}:
                raise FileNotFoundError("There is no such file in the bucket") from error
            logger.error("S3 refuses: %s", error)
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
            raise StorageAway(refuses=400 <= status < 500) from error
        except (BotoCoreError, Boto3Error) as error:
            logger.error("S3 does not answer: %s", error)
            raise StorageAway from error

    return asking


class Bucket(S3Storage, PhotoStorage):  # type: ignore[misc]  # django-storages has no types
    """Files under a prefix of a private bucket: nobody reads them without an address that we have signed."""

    def __init__(self, *, addressing_style: Any, **options: Any) -> None:
        config = Config(
            signature_version="s3v4",
            s3={"addressing_style": addressing_style},
            connect_timeout=CONNECT_SECONDS,
            read_timeout=ANSWER_SECONDS,
            retries={"mode": "standard", "total_max_attempts": TRIES},
            max_pool_connections=CONNECTIONS,
        )
        transfer = TransferConfig(use_threads=False, multipart_threshold=SINGLE_PUT)
        super().__init__(client_config=config, transfer_config=transfer, default_acl=None, **options)

    @cached_property
    def connection(self) -> Any:
        """Return what all threads share: django-storages would have one, of some megabytes, for each."""
        return self._create_session().resource(
            "s3", region_name=self.region_name, endpoint_url=self.endpoint_url, config=self.client_config
        )

    exists = answered(S3Storage.exists)
    size = answered(S3Storage.size)
    delete = answered(S3Storage.delete)
    listdir = answered(S3Storage.listdir)
    _save = answered(S3Storage._save)

    @answered
    def _open(self, name: str, mode: str = "rb") -> File[bytes]:
        """Return a file's content, in memory: it is read as a whole anyway, and this is one request for it."""
        answer = self.bucket.Object(self._normalize_name(name)).get()
        return ContentFile(answer["Body"].read(), name)

    @answered
    def get_modified_time(self, name: str) -> datetime:
        """Return when a file was stored."""
        moment: datetime = super().get_modified_time(name)
        return moment

    def get_object_parameters(self, name: str) -> dict[str, str]:
        """Return what is said of a file: its type, which would otherwise be what its sender declared."""
        return {"ContentType": content_type(name)}

    def delete_all(self, names: Sequence[str]) -> None:
        """Delete many files, a thousand at a time; what is left is for check_storage. Never raises."""
        for start in range(0, len(names), DELETED_TOGETHER):
            some = names[start : start + DELETED_TOGETHER]
            try:
                self._delete_some([{"Key": self._normalize_name(name)} for name in some])
            except OSError:
                logger.error("%d files stay in the bucket, the first is %s", len(some), some[0])

    @answered
    def _delete_some(self, keys: list[dict[str, str]]) -> None:
        answer = self.bucket.delete_objects(Delete={"Objects": keys, "Quiet": True})
        for error in answer.get("Errors", ()):
            logger.error("%s stays in the bucket: %s", error["Key"], error["Message"])

    def trouble(self) -> str:
        """Return a sentence if the bucket does not answer, or not us."""
        try:
            answered(self.connection.meta.client.head_bucket)(Bucket=self.bucket_name)
        except OSError as error:
            reason = error.__cause__ or error
            return f"The bucket does not answer: {reason}. Uploads are refused until then"
        return ""

    @answered
    def address(self, name: str, *, content_type: str, disposition: str, method: str) -> str:
        """Sign an address; that asks S3 nothing."""
        said = {
            "ResponseContentType": content_type,
            "ResponseContentDisposition": disposition,
            "ResponseCacheControl": f"private, max-age={SHARED_SECONDS}, immutable",
        }
        return str(S3Storage.url(self, name, parameters=said, expire=SHARED_SECONDS, http_method=method))
