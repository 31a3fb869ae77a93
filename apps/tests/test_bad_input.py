"""Malformed answers of OpenWeather and malformed requests: each gets a clear error, and nothing partial is written."""

import base64
import copy
import json
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from fastapi.testclient import TestClient

from products_api.app import create_app
from products_api.settings import load_settings
from tests.support import LUXEMBOURG, OpenWeather, Reply, answer
from tests.test_pipeline import TICK_KEY, checks, failure_text, objects, run_job

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

NOTHING = object()


def changed(path: str, value: Any) -> bytes:
    """Return an answer with the field at `path` set, or taken out for NOTHING."""
    whole = copy.deepcopy(answer())
    *parents, last = path.split(".")
    inner = whole
    for name in parents:
        inner = inner[name]
    if value is NOTHING:
        del inner[last]
    else:
        inner[last] = value
    return json.dumps(whole).encode()


UPSTREAM = [
    (b"", "malformed", "the answer is not JSON"),
    (b"<html>Bad gateway</html>", "malformed", "the answer is not JSON"),
    (json.dumps(answer()).encode()[:-40], "malformed", "the answer is not JSON"),
    (b"\xff\xfe\x00", "malformed", "the answer is not JSON"),
    (b"[" * 60_000, "malformed", "the answer is not JSON"),
    (b"[]", "malformed", "the answer is a JSON list, not an object"),
    (b"null", "malformed", "the answer is a JSON NoneType, not an object"),
    (b"{}", "malformed", "coord: missing; weather: missing; main: missing; and 3 more"),
    (changed("main", NOTHING), "malformed", "main: missing"),
    (changed("main", "hot"), "malformed", "main: Input should be"),
    (changed("main.temp", NOTHING), "malformed", "main.temp: missing"),
    (changed("main.temp", None), "malformed", "main.temp: Input should be a valid number (got None)"),
    (changed("main.temp", "284.2"), "malformed", "main.temp: Input should be a valid number (got '284.2')"),
    (changed("main.temp", True), "malformed", "main.temp: Input should be a valid number (got True)"),
    (changed("main.temp", float("nan")), "malformed", "main.temp: Input should be a finite number"),
    (changed("main.temp", float("inf")), "malformed", "main.temp: Input should be a finite number"),
    (changed("main.temp", 11.05), "units", "main.temp is 11.05: not kelvin (170 to 345)"),
    (changed("main.feels_like", 51.9), "units", "main.feels_like is 51.9: not kelvin"),
    (changed("main.humidity", -1), "range", "humidity_percent: Input should be greater than or equal to 0 (got -1"),
    (changed("main.pressure", 10210), "range", "pressure_hpa: Input should be less than or equal to 1100"),
    (changed("wind.speed", -4), "range", "wind_speed_m_s: Input should be greater"),
    (changed("wind.deg", 361), "range", "wind_direction_deg: Input should be less"),
    (changed("clouds.all", 140), "range", "cloud_cover_percent: Input should be less"),
    (changed("visibility", -5), "range", "visibility_m: Input should be greater"),
    (changed("rain", {"1h": -2}), "range", "rain_mm_1h: Input should be greater"),
    (changed("rain", "heavy"), "malformed", "rain: Input should be"),
    (changed("weather", []), "malformed", "weather: List should have at least 1 item"),
    (changed("weather", ["Rain"]), "malformed", "weather.0: Input should be"),
    (changed("dt", "now"), "malformed", "dt: Input should be a valid integer (got 'now')"),
    (changed("dt", int(time.time()) + 86_400), "range", "in the future"),
    (changed("dt", 10**18), "malformed", "dt: Input should be less than or equal to"),
    (changed("coord", {"lat": 41.88, "lon": -87.63}), "range", "coord is 41.88, -87.63: not Luxembourg"),
]


@pytest.mark.parametrize(
    ("body", "kind", "message"), UPSTREAM, ids=[f"{i}-{u[2][:25]}" for i, u in enumerate(UPSTREAM)]
)
def test_a_malformed_answer_is_named_and_not_written(
    body: bytes, kind: str, message: str, openweather: OpenWeather, s3: "S3Client", bucket: str
) -> None:
    openweather.reply(LUXEMBOURG, Reply(body=body))
    result = run_job(openweather)
    assert not result.success
    assert f"{TICK_KEY} lacks: Luxembourg ({kind}: " in failure_text(result)
    assert message in failure_text(result)
    assert checks(result)["every_city_is_written"] is False
    [(_, products)] = objects(s3, bucket).items()
    assert [p.city for p in products] == ["Chicago"]  # whole, and alone
    assert len(openweather.calls(LUXEMBOURG)) == 1  # asking again would not help


def test_no_usable_answer_at_all_writes_nothing(openweather: OpenWeather, s3: "S3Client", bucket: str) -> None:
    openweather.key = "another"
    result = run_job(openweather)
    assert "nothing is written: Luxembourg (http_401: HTTP 401: OpenWeather refused the API key" in failure_text(result)
    assert objects(s3, bucket) == {}


def cursor(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


REQUESTS = [
    ("limit=0", "limit", "greater than or equal to 1"),
    ("limit=101", "limit", "less than or equal to 100"),
    ("limit=-5", "limit", "greater than or equal to 1"),
    ("limit=1e2", "limit", "valid integer"),
    ("limit=5.5", "limit", "valid integer"),
    ("limit=", "limit", "valid integer"),
    ("limit=five", "limit", "valid integer"),
    ("limit=99999999999999999999999", "limit", "less than or equal to 100"),
    ("city=", "city", "at least 1 character"),
    ("city=" + "x" * 81, "city", "at most 80 characters"),
    ("cursor=", "cursor", "not a cursor"),
    ("cursor=!!!!", "cursor", "not a cursor"),
    ("cursor=abc", "cursor", "not a cursor"),
    ("cursor=%FF%FE", "cursor", "not a cursor"),
    ("cursor=" + "A" * 65, "cursor", "at most 64 characters"),
    (f"cursor={cursor('v1:2026/02/31/000000.jsonl:0')}", "cursor", "not a cursor"),
    (f"cursor={cursor('v1:../../../../etc/passwd:0')}", "cursor", "not a cursor"),
    (f"cursor={cursor('v2:2026/01/31/000000.jsonl:0')}", "cursor", "not a cursor"),
    (f"cursor={cursor('v1:2026/01/31/000000.jsonl:-1')}", "cursor", "not a cursor"),
    ("offset=5", "offset", "Extra inputs are not permitted"),
]


@pytest.fixture
def api(bucket: str) -> Iterator[TestClient]:
    del bucket
    with TestClient(create_app(load_settings())) as client:
        yield client


@pytest.mark.parametrize(("query", "parameter", "message"), REQUESTS, ids=[r[0][:40] for r in REQUESTS])
def test_a_malformed_request_gets_422_that_names_the_parameter(
    query: str, parameter: str, message: str, api: TestClient
) -> None:
    response = api.get(f"/products?{query}")
    assert response.status_code == 422
    [fault] = response.json()["detail"]
    assert fault["loc"] == ["query", parameter]
    assert message in fault["msg"]
