"""The Dagster job, run for real, against a stand-in for OpenWeather and a real S3 API."""

import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime
from email.utils import format_datetime
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest
from pydantic import SecretStr

import weather_pipeline
from tests.support import APPS, CHICAGO, KEY, LUXEMBOURG, OpenWeather, Reply, answer, free_port
from weather_common.products import WeatherProduct, object_key, parse_key
from weather_common.secrets import SecretError
from weather_pipeline import assets
from weather_pipeline.cities import DEFAULT_CITIES, read_cities
from weather_pipeline.openweather import OpenWeatherResource, UpstreamError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

TICK = "2026-01-31T07:00:00+00:00"
TICK_KEY = "weather-products/2026/01/31/070000.jsonl"


def run_job(
    openweather: OpenWeather,
    instance: dg.DagsterInstance | None = None,
    tags: dict[str, str] | None = None,
    **client: Any,
) -> dg.ExecuteInProcessResult:
    """Run weather_product_job; end points are swapped by run configuration alone."""
    config = {"base_url": openweather.url, "backoff_seconds": 0.0, "max_attempts": 2} | client
    return weather_product_job().execute_in_process(
        run_config={"resources": {"openweather": {"config": config}}},
        instance=instance,
        tags=tags if tags is not None else {assets.TIME_TAG: TICK},
        raise_on_error=False,
    )


def weather_product_job() -> dg.JobDefinition:
    return weather_pipeline.defs.resolve_job_def("weather_product_job")


def failure_text(result: dg.ExecuteInProcessResult) -> str:
    """Return what the run's failed steps say."""
    texts = []
    for event in result.all_events:
        if event.is_step_failure:
            data = event.step_failure_data
            texts.append(
                f"{event.step_key}: {data.user_failure_data.description if data.user_failure_data else data.error}"
            )
    return "\n".join(texts)


def checks(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    return {e.check_name: e.passed for e in result.get_asset_check_evaluations()}


def objects(s3: "S3Client", bucket: str) -> dict[str, list[WeatherProduct]]:
    """Return all that is in the bucket, parsed."""
    names = [o["Key"] for o in s3.list_objects_v2(Bucket=bucket).get("Contents", [])]
    return {
        n: [
            WeatherProduct.model_validate_json(line)
            for line in s3.get_object(Bucket=bucket, Key=n)["Body"].read().splitlines()
        ]
        for n in names
    }


def test_a_run_writes_both_cities(openweather: OpenWeather, s3: "S3Client", bucket: str) -> None:
    result = run_job(openweather)
    assert result.success
    assert checks(result) == {
        "values_are_in_range": True,
        "units_are_right": True,
        "observations_are_fresh": True,
        "every_city_is_written": True,
    }
    [(key, products)] = objects(s3, bucket).items()
    assert key == TICK_KEY
    assert [(p.city, p.country) for p in products] == [("Chicago", "US"), ("Luxembourg", "LU")]
    p = products[1]
    assert (p.temperature_c, p.feels_like_c, p.humidity_percent, p.pressure_hpa) == (11.05, 9.78, 60, 1021)
    assert (p.wind_speed_m_s, p.wind_direction_deg, p.cloud_cover_percent, p.visibility_m) == (4.09, 121, 83, 10000)
    assert (p.condition, p.condition_code, p.description, p.rain_mm_1h, p.snow_mm_1h) == (
        "Rain",
        501,
        "moderate rain",
        2.73,
        None,
    )
    assert p.product_time == datetime.fromisoformat(TICK)
    assert s3.head_object(Bucket=bucket, Key=key)["ContentType"] == "application/x-ndjson"
    assert {q["units"] for _, q in openweather.requests} == {"standard"}


def test_running_again_gives_the_same_object(openweather: OpenWeather, s3: "S3Client", bucket: str) -> None:
    openweather.reply(LUXEMBOURG, Reply(body=answer(LUXEMBOURG)))
    openweather.reply(CHICAGO, Reply(body=answer(CHICAGO)))
    for _ in range(2):
        assert run_job(openweather).success
    etags = {v["ETag"] for v in s3.list_objects_v2(Bucket=bucket)["Contents"]}
    assert list(objects(s3, bucket)) == [TICK_KEY]
    assert len(etags) == 1


def test_a_re_execution_of_a_manual_run_has_the_name_of_the_first(
    openweather: OpenWeather, s3: "S3Client", bucket: str
) -> None:
    with dg.instance_for_test() as instance:
        first = run_job(openweather, instance, tags={})
        assert first.success
        time.sleep(1.1)  # another second: another name, if it were not for the first run
        with dg.execute_job(
            dg.reconstructable(weather_product_job),
            instance,
            reexecution_options=dg.ReexecutionOptions(first.run_id),
        ) as again:
            assert again.success
        created = instance.get_run_record_by_id(first.run_id)
        assert created is not None
        assert list(objects(s3, bucket)) == [object_key(created.create_timestamp)]


def test_one_city_failing_does_not_lose_the_other(openweather: OpenWeather, s3: "S3Client", bucket: str) -> None:
    openweather.reply(CHICAGO, Reply(404, {"cod": "404", "message": "city not found"}))
    result = run_job(openweather)
    assert not result.success
    assert [p.city for p in objects(s3, bucket)[TICK_KEY]] == ["Luxembourg"]
    assert failure_text(result) == (
        f"weather_report_every_city_is_written: s3://{bucket}/{TICK_KEY} lacks: Chicago (http_404: HTTP 404: "
        'OpenWeather does not know the place; check WEATHER_CITIES (it says "city not found"))'
    )
    assert checks(result)["every_city_is_written"] is False


def test_a_poorer_report_does_not_replace_a_fuller_one(openweather: OpenWeather, s3: "S3Client", bucket: str) -> None:
    assert run_job(openweather).success
    openweather.reply(CHICAGO, Reply(503, {}))
    result = run_job(openweather)
    assert not result.success
    assert f"{TICK_KEY} (of an earlier try) lacks: Chicago" in failure_text(result)
    assert len(objects(s3, bucket)[TICK_KEY]) == 2
    openweather.reply(CHICAGO, Reply(body=answer(CHICAGO, visibility=1234)))
    assert run_job(openweather).success  # and a full one does
    assert objects(s3, bucket)[TICK_KEY][0].visibility_m == 1234


def test_a_stale_observation_is_written_and_warned_about(openweather: OpenWeather, s3: "S3Client", bucket: str) -> None:
    openweather.reply(CHICAGO, Reply(body=answer(CHICAGO, dt=int(time.time()) - 3 * 3600)))
    result = run_job(openweather)
    assert result.success
    assert checks(result)["observations_are_fresh"] is False
    assert len(objects(s3, bucket)[TICK_KEY]) == 2


@pytest.mark.parametrize(
    ("changes", "failed"),
    [
        ({"main": answer()["main"] | {"temp": 52.5}}, "units_are_right"),
        ({"main": answer()["main"] | {"humidity": 101}}, "values_are_in_range"),
    ],
)
def test_the_checks_on_the_data_fail(
    changes: dict[str, Any], failed: str, openweather: OpenWeather, s3: "S3Client", bucket: str
) -> None:
    openweather.reply(CHICAGO, Reply(body=answer(CHICAGO, **changes)))
    result = run_job(openweather)
    assert {name for name, passed in checks(result).items() if not passed} == {failed, "every_city_is_written"}
    assert [p.city for p in objects(s3, bucket)[TICK_KEY]] == ["Luxembourg"]


def test_a_missing_bucket_fails_at_once_and_says_so(
    openweather: OpenWeather, s3: "S3Client", monkeypatch: pytest.MonkeyPatch
) -> None:
    del s3
    monkeypatch.setenv("S3_BUCKET_NAME", "there-is-no-such-bucket")
    start = time.monotonic()
    result = run_job(openweather)
    assert "cannot write s3://there-is-no-such-bucket/" + TICK_KEY + ": NoSuchBucket" in failure_text(result)
    assert time.monotonic() - start < 5


def test_a_tag_that_is_no_time_is_refused(openweather: OpenWeather, s3: "S3Client", bucket: str) -> None:
    for tag in ("yesterday", "2026-01-31T07:00:00"):
        text = failure_text(run_job(openweather, tags={assets.TIME_TAG: tag}))
        assert f'weather/product_time="{tag}" is not a time with a time zone' in text
    assert objects(s3, bucket) == {}


def test_a_wrong_path_to_the_key_fails_the_run(
    openweather: OpenWeather, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The way in which the operations guide makes a job fail."""
    del bucket
    monkeypatch.setenv("OPENWEATHER_API_KEY_FILE", "/vault/secrets/INVALID")
    assert "OPENWEATHER_API_KEY_FILE=/vault/secrets/INVALID: cannot read the file" in failure_text(run_job(openweather))
    assert openweather.requests == []


def test_values_of_an_earlier_run_are_asked_for_in_vain(openweather: OpenWeather, bucket: str) -> None:
    """Re-execution from failure: the steps before are not run, and their values are gone."""
    del bucket
    job = weather_product_job()
    result = job.execute_in_process(op_selection=["weather_report"], tags={assets.TIME_TAG: TICK}, raise_on_error=False)
    assert "re-execute all steps" in failure_text(result)
    assert openweather.requests == []


def test_the_schedule_is_hourly_off_and_fixes_the_product_time() -> None:
    schedule = weather_pipeline.defs.resolve_schedule_def("weather_product_hourly")
    assert schedule.cron_schedule == "0 * * * *"
    assert schedule.default_status is dg.DefaultScheduleStatus.STOPPED
    context = dg.build_schedule_context(scheduled_execution_time=datetime(2026, 1, 31, 7, tzinfo=UTC))
    requests = schedule.evaluate_tick(context).run_requests
    assert requests is not None
    assert (requests[0].run_key, requests[0].tags[assets.TIME_TAG]) == (TICK, TICK)


# --- the client ---


def client(openweather: OpenWeather, **settings: Any) -> OpenWeatherResource:
    return OpenWeatherResource(base_url=openweather.url, **({"backoff_seconds": 0.0, "max_attempts": 3} | settings))


def ask(resource: OpenWeatherResource) -> dict[str, Any]:
    return resource.current_weather(DEFAULT_CITIES[0], SecretStr(KEY))


@pytest.mark.parametrize(
    ("reply", "kind", "calls", "message"),
    [
        (Reply(401, {"cod": 401, "message": "Invalid API key."}), "http_401", 1, "refused the API key"),
        (Reply(404, {"cod": "404", "message": "city not found"}), "http_404", 1, "does not know the place"),
        (
            Reply(429, {"cod": 429, "message": "blocked"}),
            "http_429",
            3,
            'too many calls for this API key (it says "blo',
        ),
        (Reply(500, b"<html>"), "http_500", 3, "HTTP 500: OpenWeather is at fault"),
        (Reply(502, {"cod": 502}), "http_502", 3, "HTTP 502"),
        (Reply(302, b"", {"Location": "http://127.0.0.1:1/"}), "http_302", 1, "HTTP 302: unexpected status"),
        (Reply(418, b"[]"), "http_418", 1, "HTTP 418: unexpected status"),
        (Reply(body=answer(), delay=2), "timeout", 3, "no answer within 0.3 s"),
        (Reply(body=answer(), drip=0.05), "timeout", 3, "longer than 0.6 s"),
        (Reply(body=answer(), cut=True), "connection", 3, "RemoteProtocolError"),
        (Reply(body=b"{" + b" " * 70_000), "malformed", 1, "more than 65536 bytes"),
        (Reply(body=b"not gzip", headers={"Content-Encoding": "gzip"}), "malformed", 1, "content encoding is broken"),
    ],
    ids=lambda v: f"{v.status}-{v.delay}-{v.drip}" if isinstance(v, Reply) else None,
)
def test_what_openweather_may_do(reply: Reply, kind: str, calls: int, message: str, openweather: OpenWeather) -> None:
    openweather.reply(LUXEMBOURG, reply)
    with pytest.raises(UpstreamError) as e:
        ask(client(openweather, timeout_seconds=0.3, attempt_seconds=0.6))
    assert (e.value.kind, len(openweather.calls(LUXEMBOURG))) == (kind, calls)
    assert message in str(e.value)
    assert KEY not in repr(e.value)


def test_a_base_url_that_is_none_is_named(openweather: OpenWeather) -> None:
    for url in ("api.openweathermap.org", "http://[::1"):
        with pytest.raises(UpstreamError, match="is no http") as e:
            ask(OpenWeatherResource(base_url=url))
        assert e.value.kind == "configuration"
    assert openweather.requests == []


def test_nobody_listens(openweather: OpenWeather) -> None:
    resource = OpenWeatherResource(base_url=f"http://127.0.0.1:{free_port()}", max_attempts=2, backoff_seconds=0)
    with pytest.raises(UpstreamError, match="ConnectError"):
        ask(resource)
    assert openweather.requests == []


def test_a_passing_fault_is_tried_again(openweather: OpenWeather) -> None:
    openweather.reply(LUXEMBOURG, Reply(503), Reply(429), Reply(body=answer()))
    assert ask(client(openweather))["cod"] == 200
    assert len(openweather.requests) == 3


def test_waits_grow(openweather: OpenWeather) -> None:
    openweather.reply(LUXEMBOURG, Reply(503))
    with pytest.raises(UpstreamError):
        ask(client(openweather, backoff_seconds=0.2, max_attempts=4))
    t = openweather.calls(LUXEMBOURG)
    assert [b - a for a, b in pairwise(t)] >= [0.2, 0.4, 0.8]


@pytest.mark.parametrize("form", ["seconds", "date", "far", "nonsense"])
def test_retry_after_is_kept_within_bounds(form: str, openweather: OpenWeather) -> None:
    date = format_datetime(datetime.fromtimestamp(time.time() + 2, UTC), usegmt=True)
    value = {"seconds": "1", "date": date, "far": "86400", "nonsense": "soon"}[form]
    openweather.reply(LUXEMBOURG, Reply(429, headers={"Retry-After": value}), Reply(body=answer()))
    ask(client(openweather, max_backoff_seconds=1.5))
    a, b = openweather.calls(LUXEMBOURG)
    low, high = {"seconds": (1, 1.4), "date": (0.9, 1.9), "far": (1.5, 1.9), "nonsense": (0, 0.5)}[form]
    assert low <= b - a <= high


# --- secrets ---


def test_the_key_is_in_no_log_event_or_file(openweather: OpenWeather, s3_url: str, bucket: str, tmp_path: Path) -> None:
    """A run of the command line with all logs on, a fault of each kind, and the key looked for in all it leaves."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text(
        "telemetry: {enabled: false}\npython_logs: {managed_python_loggers: [root], python_log_level: DEBUG}\n"
    )
    (tmp_path / "run.yaml").write_text("resources: {openweather: {config: {backoff_seconds: 0}}}")
    openweather.reply(CHICAGO, Reply(500, {"message": f"internal error for appid={KEY}"}), Reply(cut=True, body=b"{"))
    openweather.reply(LUXEMBOURG, Reply(404, {"message": f"nothing there for appid={KEY}, key {KEY}"}))
    (tmp_path / "key").write_text(KEY)
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "PYTHONPATH": str(APPS),
        "DAGSTER_HOME": str(home),
        "OPENWEATHER_BASE_URL": openweather.url,
        "OPENWEATHER_API_KEY_FILE": str(tmp_path / "key"),
        "S3_BUCKET_NAME": bucket,
        "AWS_ENDPOINT_URL_S3": s3_url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-2",
        "PYTHONLOGLEVEL": "DEBUG",
    }
    done = subprocess.run(
        [
            sys.executable,
            *[
                "-m",
                "dagster",
                "job",
                "execute",
                "-m",
                "weather_pipeline",
                "-j",
                "weather_product_job",
                "-c",
                "run.yaml",
            ],
        ],
        env=env,
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 1
    said = done.stdout + done.stderr
    assert b"nothing there for appid=***" in said
    assert b"GET" in said or b"connect_tcp" in said or b"attempt 1 of 4" in said  # the libraries' own lines are there
    left = {f: f.read_bytes() for f in home.rglob("*") if f.is_file()}
    assert any(b"nothing there for appid=***" in content for content in left.values())
    for where, content in [("output", said), *left.items()]:
        for form in (KEY, KEY.replace("/", "%2F").replace("+", "%2B"), "0123456789abcdef-planted"):
            assert form.encode() not in content, where


# --- cities ---


def test_cities_can_be_configured(
    openweather: OpenWeather, s3: "S3Client", bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = {"city": "Esch-sur-Alzette", "country": "LU", "latitude": 49.4958, "longitude": 5.9806}
    monkeypatch.setenv("WEATHER_CITIES", json.dumps([place]))
    assert run_job(openweather).success
    assert [p.city for p in objects(s3, bucket)[TICK_KEY]] == ["Esch-sur-Alzette"]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("Luxembourg", "WEATHER_CITIES is not JSON: Expecting value"),
        ('{"city": "X"}', "WEATHER_CITIES: body: Input should be a valid tuple"),
        ("[]", "WEATHER_CITIES has 0 cities; 1 to 50 are possible"),
        ('[{"city": "X", "country": "LU", "latitude": 91, "longitude": 0}]', "0.latitude: Input should be less than"),
        ('[{"city": "X", "country": "lu", "latitude": 1, "longitude": 0}]', "0.country: String should match pattern"),
        ('[{"city": "X", "country": "LU", "latitude": 1}]', "0.longitude: missing"),
        ('[{"city": "X", "country": "LU", "latitude": 1, "longitude": 0, "x": 1}]', "0.x: Extra inputs"),
        ("[{}]", "0.city: missing; 0.country: missing; 0.latitude: missing; and 1 more"),
        (
            '[{"city": "X", "country": "LU", "latitude": 1, "longitude": 0},'
            ' {"city": "x", "country": "LU", "latitude": 1, "longitude": 0}]',
            "names a city twice",
        ),
    ],
)
def test_wrong_cities_name_the_setting_and_the_fault(value: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEATHER_CITIES", value)
    with pytest.raises(SecretError) as e:
        read_cities()
    assert message in str(e.value)


# --- names of objects ---


def test_names_are_in_utc_and_come_back() -> None:
    time_ = datetime.fromisoformat("2026-03-01T00:30:05.9+01:00")
    assert object_key(time_) == "weather-products/2026/02/28/233005.jsonl"
    assert parse_key("2026/02/28/233005.jsonl") == datetime(2026, 2, 28, 23, 30, 5, tzinfo=UTC)
    with pytest.raises(ValueError, match="must have a time zone"):
        object_key(datetime(2026, 1, 1))  # noqa: DTZ001


@pytest.mark.parametrize("name", ["2026/02/31/000000.jsonl", "2026/2/1/000000.jsonl", "x", "2026/02/01/240000.jsonl"])
def test_other_names_are_no_products(name: str) -> None:
    assert parse_key(name) is None
