"""Logging: secrets are masked in every record of the process; services write one JSON object per line."""

import logging
import sys
from typing import Any

from pythonjsonlogger.json import JsonFormatter

from weather_common.secrets import redact


def install_redaction() -> None:
    """Mask secrets in the message and traceback of every log record, whichever library makes it.

    A record factory and not a filter: a filter on a logger does not see the records of its children, and one on a
    handler does not see the records of handlers that others add (Dagster adds its own).
    """
    factory = logging.getLogRecordFactory()
    if getattr(factory, "redacts", False):
        return

    def redacting(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = factory(*args, **kwargs)
        try:
            message = record.getMessage()
            clean = redact(message)
        except Exception as e:  # bad arguments: logging would print them to standard error, unmasked
            message, clean = "", redact(f"{record.msg!r} with {record.args!r} ({e})")
        if clean != message:
            record.msg, record.args = clean, None
        if record.exc_info:
            trace = logging.Formatter().formatException(record.exc_info)
            clean = redact(trace)
            if clean != trace:
                record.exc_info, record.exc_text = None, clean
        return record

    redacting.redacts = True  # type: ignore[attr-defined]
    logging.setLogRecordFactory(redacting)
    # One line per request with the whole URL: masked, but of no use next to our own lines.
    for noisy in ("httpx2", "httpcore2"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def configure_json_logging(level: str) -> None:
    """Send all logs of this process to standard output as JSON Lines. `level` is a name such as INFO."""
    install_redaction()
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        JsonFormatter(
            ["asctime", "levelname", "name", "message"],
            rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
        )
    )
    logging.basicConfig(level=level, handlers=[handler], force=True)
