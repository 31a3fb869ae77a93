"""The bucket that products are written to."""

from functools import partial
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError
from dagster import ConfigurableResource
from pydantic import Field

from weather_common.products import DEFAULT_BUCKET, PREFIX
from weather_common.secrets import read_setting

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


class ProductsBucket(ConfigurableResource):  # type: ignore[type-arg]
    """Writes objects. Credentials and region come from the AWS SDK's own sources (IRSA in the cluster)."""

    bucket: str | None = Field(default=None, description="Default: the setting S3_BUCKET_NAME")
    prefix: str = Field(default=PREFIX, pattern=r"^([\w.-]+/)*$", description="Ends with a slash, or is empty")
    endpoint_url: str | None = Field(default=None, description="Default: AWS_ENDPOINT_URL_S3, then Amazon S3")

    def bucket_name(self) -> str:
        """Return the bucket's name."""
        return self.bucket or read_setting("S3_BUCKET_NAME", default=DEFAULT_BUCKET)

    def put(self, key: str, body: bytes, *, replace: bool) -> bool:
        """Write an object; with replace=False only when there is none yet. Returns whether it was written.

        Needs no right but s3:PutObject. Raises botocore's exceptions after five tries with back-off.
        """
        write = partial(
            self._client().put_object,
            Bucket=self.bucket_name(),
            Key=key,
            Body=body,
            ContentType="application/x-ndjson",
        )
        try:
            if replace:
                write()
            else:
                write(IfNoneMatch="*")
        except ClientError as e:
            if e.response["Error"]["Code"] == "PreconditionFailed":
                return False
            raise
        return True

    def _client(self) -> "S3Client":
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint_url,
            config=Config(connect_timeout=5, read_timeout=20, retries={"mode": "standard", "total_max_attempts": 5}),
        )
