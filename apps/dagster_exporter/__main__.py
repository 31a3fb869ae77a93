"""`python -m dagster_exporter` serves the metrics."""

import argparse
import logging
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app

from dagster_exporter.instance import Instance, InstanceError
from dagster_exporter.metrics import Metrics
from dagster_exporter.run_counts import RunCounts
from dagster_exporter.settings import Settings, SettingsError, load_settings
from weather_common.logs import configure_json_logging

log = logging.getLogger("dagster_exporter")

STUCK_TIMEOUTS = 10  # a poll makes several requests; one that takes longer than so many time-outs hangs


class Poller(threading.Thread):
    """Polls the instance until stop() is called."""

    def __init__(self, settings: Settings, counts: RunCounts, metrics: Metrics) -> None:
        super().__init__(name="poller", daemon=True)
        self._seconds = settings.poll_seconds
        self._stuck_after = settings.poll_seconds + STUCK_TIMEOUTS * settings.timeout_seconds
        self._counts = counts
        self._metrics = metrics
        self._stop_event = threading.Event()
        self._alive_at = time.monotonic()

    def run(self) -> None:
        """Poll for ever. A failed poll is logged and tried again at the next one's time."""
        while not self._stop_event.is_set():
            start = time.monotonic()
            self.poll()
            self._alive_at = time.monotonic()
            self._stop_event.wait(max(0.0, self._seconds - (self._alive_at - start)))

    def poll(self) -> None:
        """Poll once."""
        try:
            self._metrics.status = self._counts.poll()
            self._metrics.last_poll = time.time()
        except InstanceError as e:
            self._failed("cannot poll the Dagster instance: %s", e)
        except Exception as e:
            log.exception("a fault of the exporter")
            self._failed("poll ended with %s", type(e).__name__)

    def stop(self) -> None:
        """End after the poll in progress."""
        self._stop_event.set()

    def stuck(self) -> bool:
        """Whether the thread is gone or hangs: the process should then be restarted."""
        return not self.is_alive() or time.monotonic() - self._alive_at > self._stuck_after

    def _failed(self, message: str, *args: object) -> None:
        self._metrics.status = None
        self._metrics.failed_polls += 1
        log.warning(message, *args)


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _QuietHandler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Scrapes and probes are not worth a line each."""


def application(metrics: Metrics, poller: Poller) -> Callable[..., Iterable[bytes]]:
    """Return the WSGI application: /metrics, and /healthz, which says whether this process works.

    /healthz stays 200 when Dagster is away: restarting the exporter would not bring it back.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(metrics)
    exposition = make_wsgi_app(registry)

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path == "/metrics":
            metrics_page: Iterable[bytes] = exposition(environ, start_response)
            return metrics_page
        if path == "/healthz":
            status, body = ("503 Service Unavailable", "poller stuck") if poller.stuck() else ("200 OK", "ok")
        else:
            status, body = "404 Not Found", "there are /metrics and /healthz"
        start_response(status, [("Content-Type", "text/plain; charset=utf-8")])
        return [body.encode() + b"\n"]

    return app


def main() -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code (64: a setting is wrong; 69: cannot listen)."""
    argparse.ArgumentParser(
        prog="dagster_exporter", description=__doc__, epilog="Settings: apps/README.md"
    ).parse_args()
    try:
        settings = load_settings()
    except SettingsError as e:
        print(f"dagster_exporter: {e}", file=sys.stderr)  # noqa: T201 - logging needs the settings
        return 64
    configure_json_logging(settings.log_level)
    instance = Instance(settings.graphql_url, settings.timeout_seconds)
    counts = RunCounts(instance, settings.overlap_seconds, settings.state_file)
    metrics = Metrics(counts, settings.heartbeat_max_age_seconds, time.time)
    poller = Poller(settings, counts, metrics)
    try:
        server = make_server(settings.host, settings.port, application(metrics, poller), _Server, _QuietHandler)
    except OSError as e:
        where = f"{settings.host}:{settings.port}"
        log.error("cannot listen on %s: %s; EXPORTER_HOST and EXPORTER_PORT say where", where, e)  # noqa: TRY400
        return 69

    def stop(*_: object) -> None:
        threading.Thread(target=server.shutdown).start()  # it waits for serve_forever, which runs in this thread

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    poller.start()
    log.info("listening on %s:%d, polling %s", settings.host, settings.port, settings.graphql_url)
    with server:
        server.serve_forever()
    poller.stop()
    poller.join(settings.timeout_seconds)
    instance.close()
    log.info("stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
