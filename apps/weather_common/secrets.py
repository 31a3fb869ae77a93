"""Settings and secrets, looked up where the platform puts them.

The order is: the file named by the environment variable `<NAME>_FILE`; the env file that the Vault Agent init
container renders (`/app/.env`, or the path in `APP_ENV_FILE`); the environment variable `<NAME>`; the default.
The first source that has the name decides: a broken one is an error, never a reason to try the next, so that a
wrong path cannot silently bring back an old value.
"""

import os
import re
from pathlib import Path
from urllib.parse import quote, quote_plus

from dotenv import dotenv_values
from pydantic import SecretStr

DEFAULT_ENV_FILE = Path("/app/.env")
MASK = "***"

# Values handed out by read_secret in this process: redact() masks them wherever they turn up.
_known: set[str] = set()
# OpenWeather takes its key in the URL, and HTTP libraries put URLs in logs and exceptions.
_APPID = re.compile(r"(appid(?:=|%3D|['\"]?\s*[:,]\s*['\"]?))[^&\s'\"<>)\]}]+", re.IGNORECASE)


class SecretError(RuntimeError):
    """A setting is missing or its source cannot be read. The message names sources, never values."""


def read_setting(name: str, default: str | None = None) -> str:
    """Return the setting `name`, without the white space around it.

    Raises SecretError when it is nowhere and there is no default, or when the source that has it is unusable.
    """
    pointer = f"{name}_FILE"
    path = os.environ.get(pointer)
    if path is not None:
        return _not_empty(_read_file(pointer, Path(path)), f"{pointer}={path}", name)
    env_file = Path(os.environ.get("APP_ENV_FILE", DEFAULT_ENV_FILE))
    try:
        rendered = dotenv_values(env_file, interpolate=False)
    except (OSError, UnicodeDecodeError) as e:
        raise SecretError(f"{name}: cannot read {env_file}: {_reason(e)}") from None
    if name in rendered:
        return _not_empty(rendered[name] or "", str(env_file), name)
    if name in os.environ:
        return _not_empty(os.environ[name], f"environment variable {name}", name)
    if default is not None:
        return default
    raise SecretError(
        f"{name} is not set: looked for {pointer} (a path), then {env_file}, then the environment variable {name}"
    )


def read_secret(name: str) -> SecretStr:
    """Like read_setting, but the value is masked in repr() and, from now on, by redact()."""
    value = read_setting(name)
    _known.add(value)
    return SecretStr(value)


def redact(text: str) -> str:
    """Return `text` with every secret read so far, and every `appid=` value, replaced by `***`."""
    for value in _known:
        for form in {value, quote(value, safe=""), quote_plus(value)}:
            text = text.replace(form, MASK)
    return _APPID.sub(rf"\1{MASK}", text)


def _read_file(pointer: str, path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        raise SecretError(f"{pointer}={path}: cannot read the file: {_reason(e)}") from None


def _not_empty(value: str, source: str, name: str) -> str:
    value = value.strip()
    if not value:
        raise SecretError(f"{name}: the value in {source} is empty")
    return value


def _reason(e: OSError | UnicodeDecodeError) -> str:
    return "it is not UTF-8 text" if isinstance(e, UnicodeDecodeError) else (e.strerror or type(e).__name__)
