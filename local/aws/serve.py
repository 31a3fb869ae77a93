"""Run MiniStack on one loopback port over TLS, with checkpoints of its state on request.

MiniStack's own entry point also listens on port 443 where it may, and saves its state only when it is ended politely.
This one opens exactly one socket, and answers two further paths:

  POST /_platform/checkpoint  write the state of every service to STATE_DIR now; 200, or 500 with what failed
  GET  /_platform/id          the value of PLATFORM_ID, so that a caller knows which work folder it talks to

Environment: BIND_HOST, GATEWAY_PORT, MINISTACK_SSL_CERT, MINISTACK_SSL_KEY, STATE_DIR, PLATFORM_ID (all required), CLEAN_FILE
(optional; it is written after a polite end, when the state in STATE_DIR is complete).
"""

import asyncio
import json
import logging
import os
import sys

REQUIRED = ("BIND_HOST", "GATEWAY_PORT", "MINISTACK_SSL_CERT", "MINISTACK_SSL_KEY", "STATE_DIR", "PLATFORM_ID")


def main() -> int:
    missing = [name for name in REQUIRED if not os.environ.get(name)]
    if missing:
        print(f"serve.py: not set: {', '.join(missing)} (start it with `make up`)", file=sys.stderr)
        return 64

    from hypercorn.asyncio import serve
    from hypercorn.config import Config
    from ministack import app as ministack
    from ministack.core import persistence

    class Faults(logging.Handler):
        """MiniStack logs a failed save and goes on; a checkpoint has to know."""

        def __init__(self) -> None:
            super().__init__(logging.ERROR)
            self.seen: list[str] = []

        def emit(self, record: logging.LogRecord) -> None:
            self.seen.append(record.getMessage())

    def checkpoint() -> list[str]:
        faults = Faults()
        persistence.logger.addHandler(faults)
        try:
            # private by its name, but the version is locked, and test/local reads a checkpoint back
            persistence.save_all(ministack._build_persistence_save_dict())
        finally:
            persistence.logger.removeHandler(faults)
        return faults.seen

    async def reply(send, status: int, body: dict) -> None:
        data = json.dumps(body).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(data)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": data})

    async def app(scope, receive, send) -> None:
        if scope["type"] == "http" and scope["path"].startswith("/_platform/"):
            if scope["path"] == "/_platform/checkpoint" and scope["method"] == "POST":
                # in the event loop's thread: no request handler of MiniStack changes a dict while it is written
                faults = checkpoint()
                await reply(send, 500 if faults else 200, {"faults": faults})
            elif scope["path"] == "/_platform/id" and scope["method"] == "GET":
                await reply(send, 200, {"id": os.environ["PLATFORM_ID"]})
            else:
                await reply(send, 404, {"error": "no such path"})
            return
        await ministack.app(scope, receive, send)

    config = Config()
    config.bind = [f"{os.environ['BIND_HOST']}:{os.environ['GATEWAY_PORT']}"]
    config.certfile = os.environ["MINISTACK_SSL_CERT"]
    config.keyfile = os.environ["MINISTACK_SSL_KEY"]
    config.keep_alive_timeout = 75
    config.graceful_timeout = 2
    config.shutdown_timeout = 20
    asyncio.run(serve(app, config))
    if clean := os.environ.get("CLEAN_FILE"):
        with open(clean, "w", encoding="utf-8") as f:
            f.write("stopped politely\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
