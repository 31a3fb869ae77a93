"""A code location for the exporter's tests: jobs that succeed, fail, and wait until a file exists."""

import os
import time
from pathlib import Path

from dagster import Config, Definitions, job, op


class WaitConfig(Config):
    """`path`: the file to wait for, a minute at most."""

    path: str


@op
def fine() -> None:
    """Succeed."""


@op
def boom() -> None:
    """Fail."""
    raise RuntimeError("on purpose")


@op
def wait(config: WaitConfig) -> None:
    """Wait for a file."""
    end = time.monotonic() + 60
    while not Path(config.path).exists() and time.monotonic() < end:
        time.sleep(0.1)


@job
def succeeds() -> None:
    """Succeed."""
    fine()


@job
def fails() -> None:
    """Fail."""
    boom()


@job
def waits() -> None:
    """Wait."""
    wait()


if os.environ.get("BREAK_CODE_LOCATION"):
    raise ImportError("broken on purpose")

defs = Definitions(jobs=[succeeds, fails, waits])
