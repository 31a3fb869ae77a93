"""Fixtures: every test has a clean environment, its own bucket and its own stand-in for OpenWeather."""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import pytest

from tests.support import KEY, OpenWeather, ministack
from weather_common import secrets

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@pytest.fixture(scope="session")
def s3_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real S3 API."""
    with ministack(tmp_path_factory.mktemp("ministack")) as url:
        yield url


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Nothing of the developer's own settings reaches a test, least of all their AWS credentials."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "API_", "EXPORTER_", "OPENWEATHER_", "WEATHER_", "S3_", "RATE_LIMIT", "DAGSTER_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("APP_ENV_FILE", str(tmp_path / "no.env"))
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("DAGSTER_DISABLE_TELEMETRY", "yes")
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    yield
    secrets._known.clear()


@pytest.fixture
def s3(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> "S3Client":
    """A client of the emulator; code under test finds it through the SDK's own variables."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3_url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-2")
    return boto3.Session().client("s3")  # not the default session: that one keeps credentials


@pytest.fixture
def bucket(s3: "S3Client", monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty bucket, set as S3_BUCKET_NAME."""
    name = f"test-{uuid.uuid4().hex[:20]}"
    s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "us-east-2"})
    monkeypatch.setenv("S3_BUCKET_NAME", name)
    return name


@pytest.fixture
def openweather(monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenWeather]:
    """A stand-in for OpenWeather, and the key that it accepts."""
    monkeypatch.setenv("OPENWEATHER_API_KEY", KEY)
    server = OpenWeather()
    yield server
    server.close()
