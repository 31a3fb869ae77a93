"""The products API against a real S3 API."""

import asyncio
import json
import logging
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from fastapi.testclient import TestClient
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from products_api import store
from products_api.app import EXAMPLE, create_app
from products_api.cursor import Cursor
from products_api.metrics import Metrics
from products_api.settings import load_settings
from products_api.store import ProductStore
from tests.support import OpenWeather, Process, api_process, free_port, wait_for
from tests.test_pipeline import run_job
from weather_common.products import WeatherProduct, object_key, to_jsonl
from weather_common.secrets import SecretError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

NEWEST = datetime(2026, 1, 31, 7, tzinfo=UTC)


def products_at(time_: datetime, *cities: str) -> list[WeatherProduct]:
    return [WeatherProduct.model_validate(EXAMPLE | {"city": c, "product_time": time_}) for c in cities]


def write(s3: "S3Client", bucket: str, time_: datetime, *cities: str) -> str:
    key = object_key(time_)
    s3.put_object(Bucket=bucket, Key=key, Body=to_jsonl(products_at(time_, *cities)))
    return key


@pytest.fixture
def api(bucket: str) -> Iterator[TestClient]:
    del bucket
    with TestClient(create_app(load_settings())) as client:
        yield client


def walk(client: TestClient, **params: Any) -> Iterator[list[dict[str, Any]]]:
    """Yield the pages from the first on, going by the Link header alone."""
    url = "/products?" + str(httpx2.QueryParams(params))
    while url:
        response = client.get(url)
        assert response.status_code == 200, response.text
        yield response.json()
        url = response.links.get("next", {}).get("url", "")


def ids(records: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(r["product_time"], r["city"]) for r in records]


def metric(text: str, name: str, **labels: str) -> float | None:
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == name and labels.items() <= sample.labels.items():
                return sample.value
    return None


def test_what_the_pipeline_wrote_is_served(
    api: TestClient, openweather: OpenWeather, s3: "S3Client", bucket: str
) -> None:
    del s3, bucket
    assert run_job(openweather).success
    records = api.get("/products", params={"limit": 5}).json()
    assert [r["city"] for r in records] == ["Chicago", "Luxembourg"]
    assert [WeatherProduct.model_validate(r).temperature_c for r in records] == [11.05, 11.05]


def test_an_empty_bucket_gives_an_empty_list(api: TestClient) -> None:
    response = api.get("/products")
    assert (response.status_code, response.json(), response.links) == (200, [], {})


def test_pages_are_newest_first_over_years_and_complete(api: TestClient, s3: "S3Client", bucket: str) -> None:
    times = [NEWEST - timedelta(hours=h * 37) for h in range(0, 300, 7)]  # 43 objects in 2025 and 2026
    for t in times:
        write(s3, bucket, t, "Luxembourg", "Chicago", "Ålesund")
    expected = [(t.isoformat().replace("+00:00", "Z"), c) for t in times for c in ("Chicago", "Luxembourg", "Ålesund")]
    for limit in (1, 2, 7, 100):
        pages = list(walk(api, limit=limit))
        assert [i for page in pages for i in ids(page)] == expected
        assert {len(p) for p in pages[:-1]} == {limit}


def test_a_page_stands_still_while_new_objects_come(api: TestClient, s3: "S3Client", bucket: str) -> None:
    for hour in range(4):
        write(s3, bucket, NEWEST + timedelta(hours=hour), "Chicago", "Luxembourg")
    pages = walk(api, limit=3)
    first = next(pages)
    write(s3, bucket, NEWEST + timedelta(hours=9), "Chicago", "Luxembourg")
    rest = [i for page in pages for i in ids(page)]
    assert len(set(ids(first) + rest)) == 8


def test_a_city_filter_in_any_case(api: TestClient, s3: "S3Client", bucket: str) -> None:
    for hour in range(30):
        write(s3, bucket, NEWEST + timedelta(hours=hour), "Chicago", *(["Ålesund"] if hour % 10 == 0 else []))
    found = [r for page in walk(api, city="åLESUND", limit=2) for r in page]
    assert [r["city"] for r in found] == ["Ålesund"] * 3
    assert api.get("/products", params={"city": "Nowhere"}).json() == []


def test_a_rare_city_does_not_read_the_whole_bucket(
    api: TestClient, s3: "S3Client", bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "MAX_OBJECTS", 10)
    for hour in range(35):
        write(s3, bucket, NEWEST + timedelta(hours=hour), "Ålesund" if hour == 0 else "Chicago")
    pages = list(walk(api, city="Ålesund"))
    assert [len(p) for p in pages] == [0, 0, 0, 1]
    text = api.get("/metrics").text
    assert metric(text, "products_api_s3_calls_total", operation="GetObject", outcome="ok") <= 40  # type: ignore[operator]


def test_more_names_than_s3_lists_at_once(api: TestClient, s3: "S3Client", bucket: str) -> None:
    """A day with 1,110 objects, 1,010 of them in one hour: more than one page of the day, and of that hour."""
    start = NEWEST.replace(hour=5)
    for second in range(1010):
        s3.put_object(Bucket=bucket, Key=object_key(start + timedelta(seconds=second * 2)), Body=b"")
    times = [start + timedelta(hours=3, seconds=s) for s in range(100)]
    for t in times:
        write(s3, bucket, t, "Chicago")
    write(s3, bucket, start - timedelta(days=1), "Luxembourg")
    records = [r for page in walk(api, limit=90) for r in page]
    assert [r["city"] for r in records] == ["Chicago"] * 100 + ["Luxembourg"]
    assert records[0]["product_time"] == "2026-01-31T08:01:39Z"


def test_what_is_no_product_is_left_out(
    api: TestClient, s3: "S3Client", bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "MAX_OBJECT_BYTES", 2000)
    good = to_jsonl(products_at(NEWEST, "Chicago"))
    bodies = {
        object_key(NEWEST): b"not json\n" + good + b"\n{}\n",
        object_key(NEWEST - timedelta(hours=1)): b"\xff\xfe",
        object_key(NEWEST - timedelta(hours=2)): good * 10,  # too large
        "weather-products/readme.txt": good,
        "weather-products/2026/01/31/notes.jsonl": good,
        "weather-products/2026/13/01/000000.jsonl": good,
        "weather-products/latest/01/31/000000.jsonl": good,
        "other/2026/01/31/000000.jsonl": good,
    }
    for key, body in bodies.items():
        s3.put_object(Bucket=bucket, Key=key, Body=body)
    assert [r["city"] for r in api.get("/products").json()] == ["Chicago"]
    # "not json", the empty line, "{}", the broken bytes, the large object
    assert metric(api.get("/metrics").text, "products_api_invalid_records_total") == 5


def test_an_object_that_is_written_again_is_served_anew(
    s3: "S3Client", bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_LIST_SECONDS", "0")
    with TestClient(create_app(load_settings())) as client:
        write(s3, bucket, NEWEST, "Chicago")
        assert [r["city"] for r in client.get("/products").json()] == ["Chicago"]
        write(s3, bucket, NEWEST, "Luxembourg", "Chicago")
        assert [r["city"] for r in client.get("/products").json()] == ["Chicago", "Luxembourg"]
        s3.delete_object(Bucket=bucket, Key=object_key(NEWEST))
        assert client.get("/products").json() == []


def test_an_object_deleted_after_it_was_listed(s3: "S3Client", bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_LIST_SECONDS", "60")
    monkeypatch.setenv("API_CACHE_MIB", "0")
    write(s3, bucket, NEWEST, "Chicago")
    with TestClient(create_app(load_settings())) as client:
        assert len(client.get("/products").json()) == 1
        s3.delete_object(Bucket=bucket, Key=object_key(NEWEST))
        assert client.get("/products").json() == []


def test_objects_are_read_once_and_at_most_so_many_at_a_time(
    s3: "S3Client", bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for hour in range(60):
        write(s3, bucket, NEWEST - timedelta(hours=hour), "Chicago")
    monkeypatch.setenv("API_S3_CONCURRENCY", "3")
    metrics = Metrics(CollectorRegistry())
    products = ProductStore(load_settings(), metrics)
    running, most, lock = 0, 0, threading.Lock()
    real = products._s3.get_object

    def counted(**arguments: Any) -> Any:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.01)
        try:
            return real(**arguments)
        finally:
            with lock:
                running -= 1

    monkeypatch.setattr(products._s3, "get_object", counted)

    async def ask() -> list[store.Page]:
        return await asyncio.gather(*(products.page(50, None, None) for _ in range(20)))

    pages = asyncio.run(ask())
    products.close()
    assert {len(p.records) for p in pages} == {50}
    assert most == 3
    calls = metrics.registry.get_sample_value(
        "products_api_s3_calls_total", {"operation": "GetObject", "outcome": "ok"}
    )
    assert calls is not None
    assert 50 <= calls <= 60  # and not 20 times as many


def test_a_client_that_goes_away_does_not_break_the_others(s3: "S3Client", bucket: str) -> None:
    write(s3, bucket, NEWEST, "Chicago")
    products = ProductStore(load_settings(), Metrics(CollectorRegistry()))

    async def ask() -> store.Page:
        first = asyncio.create_task(products.page(1, None, None))
        second = asyncio.create_task(products.page(1, None, None))
        await asyncio.sleep(0)
        first.cancel()
        return await second

    assert len(asyncio.run(ask()).records) == 1
    products.close()


@pytest.mark.parametrize(
    ("setting", "value", "reason"),
    [
        ("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1", "cannot connect to the object store"),
        ("S3_BUCKET_NAME", "there-is-no-such-bucket", "bucket there-is-no-such-bucket does not exist"),
        ("AWS_ACCESS_KEY_ID", None, "no AWS credentials for the object store"),
    ],
)
def test_a_store_that_cannot_be_read_gives_503_with_the_reason(
    setting: str, value: str | None, reason: str, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    del bucket
    if value is None:
        monkeypatch.delenv(setting)
    else:
        monkeypatch.setenv(setting, value)
    with TestClient(create_app(load_settings())) as client:
        for path in ("/products", "/readyz"):
            response = client.get(path)
            assert (response.status_code, response.json()) == (503, {"detail": reason})
            assert response.headers["retry-after"] == "5"
        assert client.get("/healthz").status_code == 200  # restarting would not help
        assert metric(client.get("/metrics").text, "products_api_s3_calls_total", outcome="error") == 2


@pytest.fixture
def strange_s3(monkeypatch: pytest.MonkeyPatch, bucket: str) -> Iterator[list[tuple[int, bytes, float]]]:
    """An S3 that answers what the test puts in the list: status, body, delay in seconds."""
    del bucket
    plan: list[tuple[int, bytes, float]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body, delay = plan[0]
            time.sleep(delay)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=[0.02])
    thread.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{server.server_port}")
    yield plan
    server.shutdown()
    server.server_close()
    thread.join()


def s3_error(code: str) -> bytes:
    return f"<Error><Code>{code}</Code><Message>m</Message></Error>".encode()


@pytest.mark.parametrize(
    ("status", "body", "delay", "reason"),
    [
        (403, s3_error("AccessDenied"), 0, "access to bucket .* is denied"),
        (503, s3_error("SlowDown"), 0, "the object store answered SlowDown"),
        (500, s3_error("InternalError"), 0, "the object store answered InternalError"),
        (200, b"<broken", 0, "the object store answered 500"),
        (200, b"", 3, "the object store does not answer in time"),
    ],
)
def test_faults_of_s3_are_told_apart(
    status: int,
    body: bytes,
    delay: float,
    reason: str,
    strange_s3: list[tuple[int, bytes, float]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("API_S3_TIMEOUT_SECONDS", "0.5")
    strange_s3.append((status, body, delay))
    with TestClient(create_app(load_settings())) as client:
        response = client.get("/products")
    assert response.status_code == 503
    assert re.fullmatch(reason, response.json()["detail"].split(" (")[0])


def test_a_request_has_a_time_limit(
    strange_s3: list[tuple[int, bytes, float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_REQUEST_TIMEOUT_SECONDS", "0.3")
    monkeypatch.setattr("products_api.app.READY_TIMEOUT_SECONDS", 0.3)
    strange_s3.append((500, s3_error("InternalError"), 0.8))
    with TestClient(create_app(load_settings())) as client:
        assert client.get("/products").json() == {"detail": "the object store did not answer within 0.3 s"}
        assert client.get("/readyz").json() == {"detail": "the object store did not answer within 0.3 s"}


def test_the_rate_limit_comes_from_its_secret(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    del bucket
    (tmp_path / "app.env").write_text("RATE_LIMIT_REQUESTS_PER_MINUTE=3\n")
    monkeypatch.setenv("APP_ENV_FILE", str(tmp_path / "app.env"))
    with TestClient(create_app(load_settings())) as client:
        assert [client.get("/products").status_code for _ in range(4)] == [200, 200, 200, 429]
        refused = client.get("/products")
        assert refused.json() == {"detail": "more than 3 requests in a minute from testclient"}
        assert 1 <= int(refused.headers["retry-after"]) <= 120
        assert [client.get(p).status_code for p in ("/healthz", "/readyz", "/metrics")] == [200] * 3  # not limited


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("RATE_LIMIT_REQUESTS_PER_MINUTE", "many", 'RATE_LIMIT_REQUESTS_PER_MINUTE is "many"; it must be a whole'),
        ("RATE_LIMIT_REQUESTS_PER_MINUTE", "0", "1 to 1000000"),
        ("API_PORT", "99999", 'API_PORT is "99999": Input should be less than or equal to 65535'),
        ("API_LOG_LEVEL", "LOUD", 'API_LOG_LEVEL is "LOUD": String should match'),
        ("S3_BUCKET_NAME", "x", 'S3_BUCKET_NAME is "x": String should have at least 3'),
    ],
)
def test_wrong_settings_are_named(name: str, value: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SecretError) as e:
        load_settings()
    assert message in str(e.value)


def test_metrics_have_few_labels_and_requests_are_logged(api: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "products_api.access")
    response = api.get("/products?limit=1")
    for path in ("/secret-path", "/products?limit=0", "/x" * 50):
        api.get(path)
    api.request("BREW", "/products")
    text = api.get("/metrics").text
    assert metric(text, "products_api_requests_total", method="GET", route="/products", status="200") == 1
    assert metric(text, "products_api_requests_total", method="GET", route="/products", status="422") == 1
    assert metric(text, "products_api_requests_total", method="GET", route="other", status="404") == 2
    assert metric(text, "products_api_requests_total", method="other", route="/products", status="405") == 1
    assert metric(text, "products_api_request_duration_seconds_count", method="GET", route="/products") == 2
    assert "secret-path" not in text
    line = next(r for r in caplog.records if r.name == "products_api.access")
    assert (line.status, line.path, line.request_id) == (200, "/products", response.headers["x-request-id"])  # type: ignore[attr-defined]


def test_too_many_requests_at_a_time_are_refused_but_probes_are_not(
    strange_s3: list[tuple[int, bytes, float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_MAX_REQUESTS", "2")
    monkeypatch.setenv("API_REQUEST_TIMEOUT_SECONDS", "1")
    strange_s3.append((200, b"", 2))
    app = create_app(load_settings())

    async def ask() -> list[httpx2.Response]:
        transport = httpx2.ASGITransport(app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://api") as client:
            return await asyncio.gather(*(client.get(p) for p in ("/products",) * 4 + ("/healthz",)))

    *answers, health = asyncio.run(ask())
    said = sorted(a.json()["detail"] for a in answers)
    assert said == ["more than 2 requests at a time"] * 2 + ["the object store did not answer within 1 s"] * 2
    assert health.status_code == 200


def test_the_open_api_document_has_what_a_client_needs(api: TestClient) -> None:
    document = api.get("/openapi.json").json()
    operation = document["paths"]["/products"]["get"]
    parameters = {p["name"]: p["schema"] for p in operation["parameters"]}
    assert (parameters["limit"]["minimum"], parameters["limit"]["maximum"], parameters["limit"]["default"]) == (
        1,
        100,
        20,
    )
    assert set(operation["responses"]) == {"200", "422", "429", "503"}
    example = operation["responses"]["200"]["content"]["application/json"]["example"][0]
    assert json.loads(WeatherProduct.model_validate(example).model_dump_json()) == example | {"snow_mm_1h": None}
    fields = document["components"]["schemas"]["WeatherProduct"]["properties"]
    assert "degrees Celsius" in fields["temperature_c"]["description"]


def test_cursors_come_back() -> None:
    c = Cursor("2026/01/31/070000.jsonl", 12)
    assert Cursor.decode(c.encode()) == c


# --- the process ---


def test_shutdown_lets_requests_end(s3: "S3Client", bucket: str, tmp_path: Path) -> None:
    write(s3, bucket, NEWEST, "Chicago")
    process, url = api_process(tmp_path, API_DRAIN_SECONDS="1.5")
    try:
        assert httpx2.get(f"{url}/readyz").status_code == 200
        process.send(signal.SIGTERM)
        wait_for("draining", lambda: httpx2.get(f"{url}/readyz").json() == {"detail": "shutting down"}, 1)
        assert httpx2.get(f"{url}/products").status_code == 200  # still served
        assert process.wait(10) == 0
    finally:
        process.stop()
    lines = [json.loads(line) for line in process.output().splitlines()]
    assert [line["message"] for line in lines][-1] == "stopped"
    access = [line for line in lines if line["logger"] == "products_api.access"]
    assert [(a["path"], a["status"], a["level"]) for a in access] == [("/products", 200, "INFO")]


def test_a_second_signal_stops_at_once(bucket: str, tmp_path: Path) -> None:
    del bucket
    process, _ = api_process(tmp_path, API_DRAIN_SECONDS="60")
    process.send(signal.SIGTERM)
    wait_for("the log", lambda: "draining" in process.output(), 5)
    process.send(signal.SIGTERM)
    assert process.wait(10) == 0
    process.stop()


def test_a_wrong_setting_ends_the_process_with_64(tmp_path: Path) -> None:
    env = dict(os.environ) | {"API_PORT": str(free_port()), "RATE_LIMIT_REQUESTS_PER_MINUTE": "-1"}
    process = Process([sys.executable, "-m", "products_api"], env, tmp_path / "log")
    assert process.wait() == 64
    assert 'RATE_LIMIT_REQUESTS_PER_MINUTE is "-1"' in process.output()
