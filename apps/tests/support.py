"""Servers that the tests run against: a stand-in for OpenWeather, and real processes."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2

APPS = Path(__file__).resolve().parent.parent
KEY = "0123456789abcdef-planted/key+value"  # has characters that URLs quote

LUXEMBOURG, CHICAGO = (49.6117, 6.1319), (41.8781, -87.6298)


def answer(place: tuple[float, float] = LUXEMBOURG, **changes: Any) -> dict[str, Any]:
    """Return a full answer as in OpenWeather's documentation, with top-level changes."""
    return {
        "coord": {"lon": round(place[1], 4), "lat": round(place[0], 4)},
        "weather": [{"id": 501, "main": "Rain", "description": "moderate rain", "icon": "10d"}],
        "base": "stations",
        "main": {
            "temp": 284.2,
            "feels_like": 282.93,
            "temp_min": 283.06,
            "temp_max": 286.82,
            "pressure": 1021,
            "humidity": 60,
            "sea_level": 1021,
            "grnd_level": 910,
        },
        "visibility": 10000,
        "wind": {"speed": 4.09, "deg": 121, "gust": 3.47},
        "rain": {"1h": 2.73},
        "clouds": {"all": 83},
        "dt": int(time.time()) - 300,
        "sys": {"type": 1, "id": 6736, "country": "IT", "sunrise": 1726636384, "sunset": 1726680975},
        "timezone": 7200,
        "id": 3165523,
        "name": "Province of Turin",
        "cod": 200,
    } | changes


@dataclass
class Reply:
    """What the stand-in answers; `body` is sent as it is when it is bytes. `drip`: seconds between two bytes."""

    status: int = 200
    body: bytes | dict[str, Any] = b""
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0
    drip: float = 0
    cut: bool = False


class OpenWeather:
    """Stand-in for api.openweathermap.org. Checks the key as the real one does; else answers from `replies`."""

    def __init__(self) -> None:
        self.requests: list[tuple[float, dict[str, str]]] = []
        self.replies: dict[tuple[float, float], list[Reply]] = {}
        self.key = KEY
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=[0.02])
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def reply(self, place: tuple[float, float], *replies: Reply) -> None:
        """Answer for a place with these, one after the other; the last one again and again."""
        self.replies[place] = list(replies)

    def calls(self, place: tuple[float, float]) -> list[float]:
        """Return the times of the calls for a place."""
        return [t for t, q in self.requests if (float(q["lat"]), float(q["lon"])) == place]

    def _handler(fake: "OpenWeather") -> type[BaseHTTPRequestHandler]:  # noqa: N805
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                url = urlsplit(self.path)
                query = {k: v[0] for k, v in parse_qs(url.query).items()}
                fake.requests.append((time.monotonic(), query))
                if url.path != "/data/2.5/weather":
                    self._send(Reply(404, {"cod": "404", "message": "Internal error"}))
                elif query.get("appid") != fake.key:
                    self._send(Reply(401, {"cod": 401, "message": "Invalid API key."}))
                else:
                    place = (float(query["lat"]), float(query["lon"]))
                    replies = fake.replies.get(place, [Reply(body=answer(place))])
                    self._send(replies.pop(0) if len(replies) > 1 else replies[0])

            def _send(self, r: Reply) -> None:
                body = r.body if isinstance(r.body, bytes) else json.dumps(r.body).encode()
                time.sleep(r.delay)
                self.send_response(r.status)
                for name, value in r.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body) + (100 if r.cut else 0)))
                self.end_headers()
                try:
                    for i in range(len(body)) if r.drip else []:
                        self.wfile.write(body[i : i + 1])
                        time.sleep(r.drip)
                    if not r.drip:
                        self.wfile.write(body)
                except (BrokenPipeError, ConnectionResetError):
                    pass  # the client had enough
                self.close_connection = True

            def log_message(self, *_: Any) -> None:
                pass

        return Handler


def free_port() -> int:
    """Return a port that nothing listens on at the moment."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port: int = s.getsockname()[1]
        return port


def wait_for(what: str, check: Callable[[], Any], seconds: float = 30, interval: float = 0.1) -> Any:
    """Return check()'s first true value; connection errors count as false. Fails after `seconds`."""
    end = time.monotonic() + seconds
    last: object = None
    while time.monotonic() < end:
        try:
            last = check()
            if last:
                return last
        except httpx2.TransportError as e:
            last = e
        time.sleep(interval)
    raise AssertionError(f"{what}: not within {seconds} s; last: {last}")


class Process:
    """A child in a process group of its own, its output in a file."""

    def __init__(self, command: list[str], env: dict[str, str], log: Path, cwd: Path = APPS) -> None:
        self.log = log
        with log.open("ab") as out:
            self._child = subprocess.Popen(
                command, env=env, cwd=cwd, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
            )
        self.pid = self._child.pid

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def poll(self) -> int | None:
        return self._child.poll()

    def send(self, sig: signal.Signals) -> None:
        """Signal the process alone."""
        self._child.send_signal(sig)

    def wait(self, seconds: float = 30) -> int:
        return self._child.wait(seconds)

    def kill_group(self) -> None:
        """Kill the process and all that it started."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._child.wait()

    def stop(self) -> None:
        """End it in order, or by force after 20 s; then what it left."""
        if self._child.poll() is None:
            self._child.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._child.wait(20)
        self.kill_group()


@contextmanager
def ministack(folder: Path) -> Iterator[str]:
    """Run the AWS emulator with S3 only; yields its URL."""
    port = free_port()
    env = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "COVERAGE_", "COV_"))} | {
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "IOT_MTLS_ENABLED": "0",
        "SERVICES": "s3",
        "LOG_LEVEL": "WARNING",
        "TMPDIR": str(folder),
    }
    process = Process([sys.executable, "-m", "ministack"], env, folder / "ministack.log")
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for(
            "MiniStack", lambda: process.poll() is not None or httpx2.get(f"{url}/_ministack/health").is_success, 60
        )
        assert process.poll() is None, process.output()
        yield url
    finally:
        process.stop()


def api_process(folder: Path, **settings: str) -> tuple[Process, str]:
    """Start `python -m products_api` with the caller's environment and more settings; returns it and its URL."""
    port = free_port()
    env = dict(os.environ) | {"API_HOST": "127.0.0.1", "API_PORT": str(port)} | settings
    process = Process([sys.executable, "-m", "products_api"], env, folder / f"api-{port}.log")
    url = f"http://127.0.0.1:{port}"
    wait_for("the API", lambda: process.poll() is not None or httpx2.get(f"{url}/healthz").is_success)
    assert process.poll() is None, process.output()
    return process, url
