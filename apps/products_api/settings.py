"""Settings of the API: from Vault by way of weather_common.secrets, or from API_* variables."""

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from weather_common.products import DEFAULT_BUCKET, PREFIX
from weather_common.secrets import SecretError, read_setting

_MIN_RATE, _MAX_RATE = 1, 1_000_000


class Settings(BaseSettings):
    """Each field is read from API_<NAME IN CAPITALS>; `bucket` and `requests_per_minute` also from Vault's file."""

    model_config = SettingsConfigDict(env_prefix="API_", extra="ignore")

    bucket: str = Field(min_length=3, max_length=63, description="From S3_BUCKET_NAME")
    requests_per_minute: int = Field(
        ge=_MIN_RATE, le=_MAX_RATE, description="From RATE_LIMIT_REQUESTS_PER_MINUTE: per client address and pod"
    )
    prefix: str = Field(default=PREFIX, pattern=r"^([\w.-]+/)*$", description="Of the objects' keys")
    host: str = Field(default="0.0.0.0", description="Address to listen on")  # noqa: S104 - a pod's only address
    port: int = Field(default=8080, ge=1, le=65535)
    log_level: str = Field(default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$")
    s3_concurrency: int = Field(default=16, ge=1, le=128, description="S3 calls at a time, of all requests together")
    s3_timeout_seconds: float = Field(default=5, gt=0, le=60, description="For connecting and for each read")
    request_timeout_seconds: float = Field(default=15, gt=0, le=120, description="Then 503")
    max_requests: int = Field(default=200, ge=1, le=10_000, description="In progress at a time; above that 503")
    cache_mib: int = Field(default=32, ge=0, le=4096, description="Memory for the records of recently read objects")
    list_seconds: float = Field(default=2, ge=0, le=300, description="How long a listing may be used again")
    drain_seconds: float = Field(default=5, ge=0, le=300, description="Serving while not ready, after SIGTERM")
    stop_seconds: int = Field(default=20, ge=1, le=300, description="Then for requests in progress to end")


def load_settings() -> Settings:
    """Return the settings; raises SecretError that names each wrong variable, its value and what is possible."""
    rate = read_setting("RATE_LIMIT_REQUESTS_PER_MINUTE", default="600")
    if not rate.isdecimal() or not _MIN_RATE <= int(rate) <= _MAX_RATE:
        raise SecretError(
            f'RATE_LIMIT_REQUESTS_PER_MINUTE is "{rate[:20]}"; it must be a whole number, {_MIN_RATE} to {_MAX_RATE}'
        )
    try:
        return Settings(bucket=read_setting("S3_BUCKET_NAME", default=DEFAULT_BUCKET), requests_per_minute=int(rate))
    except ValidationError as e:
        faults = "; ".join(
            f'API_{str(f["loc"][0]).upper()} is "{f["input"]}": {f["msg"]}' for f in e.errors(include_url=False)
        )
        raise SecretError(faults.replace("API_BUCKET", "S3_BUCKET_NAME")) from None
