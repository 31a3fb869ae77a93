"""Client of the OpenWeather API "Current weather data", version 2.5.

Contract (https://openweathermap.org/current): GET /data/2.5/weather?lat=&lon=&appid=. 200 has the weather as a JSON
object; 401 a wrong key, 404 an unknown place, 429 too many calls and 5xx a fault of theirs, each with
{"cod": ..., "message": ...}.
"""

import json
import logging
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, NoReturn

import httpx2
from dagster import ConfigurableResource
from pydantic import Field, SecretStr
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt, wait_exponential_jitter

from weather_common.products import Place
from weather_common.secrets import read_setting, redact

log = logging.getLogger(__name__)

DEFAULT_BASE_URL = "https://api.openweathermap.org"
MAX_RESPONSE_BYTES = 64 * 1024  # a real answer has about 600 bytes
_HINTS = {
    401: "OpenWeather refused the API key; check secret/dagster-eks/openweather-api-key",
    404: "OpenWeather does not know the place; check WEATHER_CITIES",
    429: "too many calls for this API key",
}


class UpstreamError(Exception):
    """OpenWeather gave no usable answer for one city. The message has no secret in it.

    `kind` is a short name for metadata and tests; `retryable` says whether the same call may work later, after
    `retry_after` seconds if the server said so.
    """

    def __init__(self, kind: str, message: str, *, retryable: bool = False, retry_after: float | None = None) -> None:
        super().__init__(redact(message))
        self.kind = kind
        self.retryable = retryable
        self.retry_after = retry_after


class OpenWeatherResource(ConfigurableResource):  # type: ignore[type-arg]
    """Asks for the current weather. The API key is a parameter and not configuration: the UI shows configuration."""

    base_url: str | None = Field(
        default=None, description="Without /data; default: OPENWEATHER_BASE_URL, then the real one"
    )
    timeout_seconds: float = Field(default=10, gt=0, le=60, description="For connecting, and for each read")
    attempt_seconds: float = Field(default=20, gt=0, le=120, description="For one attempt in all (slow drips)")
    max_attempts: int = Field(default=4, ge=1, le=10, description="Calls per city, the first one included")
    backoff_seconds: float = Field(default=1, ge=0, le=60, description="Wait before the second; doubles, with jitter")
    max_backoff_seconds: float = Field(default=30, ge=0, le=300, description="Longest wait, also for Retry-After")

    def current_weather(self, place: Place, key: SecretStr) -> dict[str, Any]:
        """Return the answer for a place as parsed JSON, temperatures in kelvin.

        Kelvin ("standard" units) because its range does not overlap with that of Celsius or Fahrenheit on Earth:
        an answer in the wrong unit cannot pass as weather.
        Raises UpstreamError; faults that may pass (429, 5xx, time-outs, broken connections) are tried again first.
        """
        backoff = wait_exponential_jitter(
            multiplier=self.backoff_seconds, max=self.max_backoff_seconds, jitter=self.backoff_seconds
        )

        def wait(state: RetryCallState) -> float:
            error = state.outcome.exception() if state.outcome else None
            asked = error.retry_after if isinstance(error, UpstreamError) else None
            return min(max(backoff(state), asked or 0), self.max_backoff_seconds)

        def report(state: RetryCallState) -> None:
            error = state.outcome.exception() if state.outcome else None
            log.warning("%s: %s; attempt %d of %d", place.city, error, state.attempt_number, self.max_attempts)

        retrying = Retrying(
            stop=stop_after_attempt(self.max_attempts),
            wait=wait,
            retry=retry_if_exception(lambda e: isinstance(e, UpstreamError) and e.retryable),
            before_sleep=report,
            reraise=True,
        )
        # certificates are checked, and a redirect is an error: the key goes to no other host
        with httpx2.Client(timeout=self.timeout_seconds) as client:
            return retrying(self._ask, client, place, key)

    def _ask(self, client: httpx2.Client, place: Place, key: SecretStr) -> dict[str, Any]:
        query: dict[str, str | float] = {
            "lat": place.latitude,
            "lon": place.longitude,
            "units": "standard",
            "appid": key.get_secret_value(),
        }
        base = self.base_url or read_setting("OPENWEATHER_BASE_URL", default=DEFAULT_BASE_URL)
        url = f"{base.rstrip('/')}/data/2.5/weather"
        deadline = time.monotonic() + self.attempt_seconds
        body = bytearray()
        try:
            with client.stream("GET", url, params=query) as response:
                for chunk in response.iter_bytes():
                    body += chunk
                    if len(body) > MAX_RESPONSE_BYTES:
                        raise UpstreamError("malformed", f"the answer has more than {MAX_RESPONSE_BYTES} bytes")
                    if time.monotonic() > deadline:
                        raise UpstreamError(
                            "timeout",
                            f"the answer took longer than {self.attempt_seconds:g} s",
                            retryable=True,
                        )
        # `from None`: the original exceptions hold the URL, and with it the key
        except httpx2.TimeoutException:
            raise UpstreamError("timeout", f"no answer within {self.timeout_seconds:g} s", retryable=True) from None
        except httpx2.DecodingError:
            raise UpstreamError("malformed", "the answer's content encoding is broken") from None
        except (httpx2.UnsupportedProtocol, httpx2.InvalidURL) as e:
            raise UpstreamError("configuration", f"OPENWEATHER_BASE_URL={base} is no http(s) URL: {e}") from None
        except httpx2.HTTPError as e:
            raise UpstreamError("connection", f"{type(e).__name__}: {e}", retryable=True) from None
        if response.status_code != httpx2.codes.OK:
            _refuse(response, bytes(body))
        return _parse(bytes(body))


def _parse(body: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError) as e:
        raise UpstreamError("malformed", f"the answer is not JSON: {e}") from None
    if not isinstance(answer, dict):
        raise UpstreamError("malformed", f"the answer is a JSON {type(answer).__name__}, not an object")
    return answer


def _refuse(response: httpx2.Response, body: bytes) -> NoReturn:
    status = response.status_code
    try:
        said = str(_parse(body).get("message", ""))[:200]
    except UpstreamError:
        said = ""
    hint = _HINTS.get(status, "OpenWeather is at fault" if status >= 500 else "unexpected status")
    message = f"HTTP {status}: {hint}" + (f' (it says "{said}")' if said else "")
    raise UpstreamError(
        f"http_{status}",
        message,
        retryable=status == 429 or status >= 500,
        retry_after=_retry_after(response.headers.get("retry-after")),
    )


def _retry_after(value: str | None) -> float | None:
    """Return the seconds of a Retry-After header (RFC 9110: seconds or a date), None when there is no valid one."""
    if value is None:
        return None
    if value.strip().isdecimal():
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None
