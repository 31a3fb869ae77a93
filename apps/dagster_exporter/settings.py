"""Settings of the exporter, from environment variables named EXPORTER_<FIELD>."""

from pathlib import Path

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """All have defaults that fit the platform."""

    model_config = SettingsConfigDict(env_prefix="EXPORTER_", extra="ignore")

    graphql_url: str = Field(
        default="http://dagster-dagster-webserver/graphql", pattern=r"^https?://\S+$", description="Of the webserver"
    )
    host: str = Field(default="0.0.0.0", description="Address to listen on")  # noqa: S104 - a pod's only address
    port: int = Field(default=9808, ge=1, le=65535)
    log_level: str = Field(default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$")
    poll_seconds: float = Field(default=15, ge=0.5, le=300, description="Time between two looks at the instance")
    timeout_seconds: float = Field(default=20, gt=0, le=300, description="For one GraphQL request")
    heartbeat_max_age_seconds: float = Field(
        default=120, ge=1, le=3600, description="A daemon that beat longer ago is down; daemons beat every 30 s"
    )
    overlap_seconds: float = Field(
        default=900, ge=60, le=86_400, description="How far clocks of pods may differ, and late ends may come"
    )
    state_file: Path | None = Field(
        default=None, description="Keeps the counters over a restart; best on a volume that outlives the pod"
    )

    @model_validator(mode="after")
    def _state_folder(self) -> "Settings":
        if self.state_file is not None and not self.state_file.parent.is_dir():
            raise ValueError(f"EXPORTER_STATE_FILE={self.state_file}: there is no folder {self.state_file.parent}")
        return self


class SettingsError(ValueError):
    """A variable is wrong; the message names it, its value and what is possible."""


def load_settings() -> Settings:
    """Return the settings; raises SettingsError."""
    try:
        return Settings()
    except ValidationError as e:
        raise SettingsError(
            "; ".join(
                f'EXPORTER_{str(f["loc"][0]).upper()} is "{f["input"]}": {f["msg"]}' if f["loc"] else f["msg"]
                for f in e.errors(include_url=False)
            )
        ) from None
