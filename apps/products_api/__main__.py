"""`python -m products_api` serves the API."""

import argparse
import asyncio
import logging
import socket
import sys
from types import FrameType

import uvicorn

from products_api.app import State, create_app
from products_api.settings import load_settings
from weather_common.logs import configure_json_logging
from weather_common.secrets import SecretError

log = logging.getLogger("products_api")


class Server(uvicorn.Server):
    """On the first SIGTERM or SIGINT: not ready at once, still serving for `drain_seconds`, then stop.

    Kubernetes takes a pod out of the Service while it sends SIGTERM: requests still arrive for some seconds. A second
    signal stops at once.
    """

    def __init__(self, config: uvicorn.Config, drain_seconds: float, state: State) -> None:
        super().__init__(config)
        self._drain_seconds = drain_seconds
        self._state = state
        self._loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Remember the loop for the signal handler."""
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to drain; when that has begun already, stop.

        Without the base class's method: it would raise the signal again at the end, and the exit code would be a
        failure's.
        """
        del frame
        if self._loop is None or self._state.draining:
            self.should_exit = True
            return
        self._state.draining = True
        log.info("signal %d: draining for %g s", sig, self._drain_seconds)
        self._loop.call_soon_threadsafe(self._loop.call_later, self._drain_seconds, self._stop)

    def _stop(self) -> None:
        self.should_exit = True


def main() -> int:
    """Serve until a signal; returns the exit code (64: a setting is wrong)."""
    argparse.ArgumentParser(prog="products_api", description=__doc__, epilog="Settings: apps/README.md").parse_args()
    try:
        settings = load_settings()
    except SecretError as e:
        print(f"products_api: {e}", file=sys.stderr)  # noqa: T201 - logging needs the settings
        return 64
    configure_json_logging(settings.log_level)
    app = create_app(settings)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=settings.stop_seconds,
    )
    Server(config, settings.drain_seconds, app.state.process).run()
    log.info("stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
