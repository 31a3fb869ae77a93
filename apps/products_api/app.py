"""The HTTP interface."""

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.responses import JSONResponse
from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from pydantic import BaseModel, ConfigDict, Field, field_validator
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from products_api.cursor import MAX_LENGTH, Cursor
from products_api.metrics import Metrics
from products_api.settings import Settings
from products_api.store import ProductStore, StoreUnavailableError
from weather_common.products import WeatherProduct

log = logging.getLogger("products_api.access")

READY_SECONDS = 2.0  # how long an answer of /readyz is used again: probes must not become load on S3
READY_TIMEOUT_SECONDS = 4.0
RETRY_AFTER = {"Retry-After": "5"}  # seconds

EXAMPLE = {
    "city": "Luxembourg",
    "country": "LU",
    "latitude": 49.6117,
    "longitude": 6.1319,
    "schema_version": 1,
    "product_time": "2026-01-31T07:00:00Z",
    "observed_at": "2026-01-31T06:54:12Z",
    "condition": "Rain",
    "condition_code": 500,
    "description": "light rain",
    "temperature_c": 3.4,
    "feels_like_c": -0.2,
    "humidity_percent": 93,
    "pressure_hpa": 1004,
    "wind_speed_m_s": 4.6,
    "wind_direction_deg": 230,
    "cloud_cover_percent": 100,
    "visibility_m": 8000,
    "rain_mm_1h": 0.3,
    "snow_mm_1h": None,
    "source": "openweather",
}


class ProductsQuery(BaseModel):
    """Parameters of GET /products. An unknown one is an error: a misspelt filter must not be ignored."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(default=20, ge=1, le=100, description="Most records to return")
    cursor: str | None = Field(
        default=None, max_length=MAX_LENGTH, description="Where to go on: from the Link header of the page before"
    )
    city: str | None = Field(default=None, min_length=1, max_length=80, description="Only this city, in any case")

    @field_validator("cursor")
    @classmethod
    def _known(cls, cursor: str | None) -> str | None:
        if cursor is not None:
            Cursor.decode(cursor)
        return cursor


class Reason(BaseModel):
    """Why there is no other answer."""

    detail: str


class State:
    """What the process knows about itself. `draining`: SIGTERM has come, this pod takes no new clients."""

    def __init__(self) -> None:
        self.draining = False
        self.ready_until = 0.0
        self.not_ready: str | None = None


def create_app(settings: Settings, registry: CollectorRegistry | None = None) -> FastAPI:
    """Return the API; its metrics go to `registry` (default: one of its own)."""
    metrics = Metrics(registry or CollectorRegistry())
    store = ProductStore(settings, metrics)
    limiter = SlidingWindowCounterRateLimiter(MemoryStorage())
    rate = RateLimitItemPerMinute(settings.requests_per_minute)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(store.close)

    app = FastAPI(
        title="Weather products",
        version="1.0.0",
        description="Weather reports for the configured cities, newest first.",
        lifespan=lifespan,
    )
    state = app.state.process = State()
    app.add_middleware(Observe, metrics=metrics, max_requests=settings.max_requests)

    async def limit_rate(request: Request) -> None:
        client = request.client.host if request.client else "unknown"
        if not limiter.hit(rate, client):
            reset = limiter.get_window_stats(rate, client).reset_time
            raise HTTPException(
                429,
                f"more than {settings.requests_per_minute} requests in a minute from {client}",
                headers={"Retry-After": str(max(1, round(reset - time.time())))},
            )

    @app.exception_handler(StoreUnavailableError)
    async def unavailable(_: Request, e: StoreUnavailableError) -> JSONResponse:
        return JSONResponse({"detail": str(e)}, 503, headers=RETRY_AFTER)

    @app.get(
        "/products",
        summary="List products, newest first",
        dependencies=[Depends(limit_rate)],
        response_model=list[WeatherProduct],
        responses={
            200: {
                "description": "The records; an empty list when there are none. A page may be shorter than `limit`: "
                "the last one is the one without a Link header.",
                "content": {"application/json": {"example": [EXAMPLE]}},
                "headers": {
                    "Link": {
                        "description": "Where the next page is (RFC 8288, rel=next)",
                        "schema": {"type": "string"},
                        "example": '</products?limit=20&cursor=djE6>; rel="next"',
                    }
                },
            },
            429: {"model": Reason, "description": "Too many requests from this address; see Retry-After"},
            503: {"model": Reason, "description": "The object store cannot be read; see Retry-After"},
        },
    )
    async def products(request: Request, query: Annotated[ProductsQuery, Query()]) -> Response:
        cursor = Cursor.decode(query.cursor) if query.cursor else None
        try:
            async with asyncio.timeout(settings.request_timeout_seconds):
                page = await store.page(query.limit, cursor, query.city)
        except TimeoutError:
            raise StoreUnavailableError(
                f"the object store did not answer within {settings.request_timeout_seconds:g} s"
            ) from None
        headers = {}
        if page.next is not None:
            url = request.url.include_query_params(cursor=page.next.encode())
            headers["Link"] = f'<{url.path}?{url.query}>; rel="next"'
        # the records are kept as JSON: nothing to serialize again
        return Response(b"[" + b",".join(r.json for r in page.records) + b"]", 200, headers, "application/json")

    @app.get("/healthz", summary="The process answers", tags=["operation"])
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.get(
        "/readyz",
        summary="The products can be read",
        tags=["operation"],
        responses={503: {"model": Reason, "description": "Not ready, and why"}},
    )
    async def readyz() -> dict[str, str]:
        if state.draining:
            raise HTTPException(503, "shutting down")
        if time.monotonic() >= state.ready_until:
            try:
                async with asyncio.timeout(READY_TIMEOUT_SECONDS):
                    await store.check()
                state.not_ready = None
            except StoreUnavailableError as e:
                state.not_ready = str(e)
            except TimeoutError:
                state.not_ready = f"the object store did not answer within {READY_TIMEOUT_SECONDS:g} s"
            state.ready_until = time.monotonic() + READY_SECONDS
        if state.not_ready is not None:
            raise HTTPException(503, state.not_ready, headers=RETRY_AFTER)
        return {"status": "ready"}

    @app.get("/metrics", summary="Metrics for Prometheus", tags=["operation"], response_class=Response)
    async def exposition() -> Response:
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    return app


class Observe:
    """Counts, times and logs each request, and refuses those above `max_requests` at a time (not the probes).

    Plain ASGI: Starlette's BaseHTTPMiddleware costs a task per request.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, max_requests: int) -> None:
        self._app = app
        self._metrics = metrics
        self._max = max_requests
        self._serving = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start = time.perf_counter()
        request_id = uuid.uuid4().hex
        status = 500

        async def observed_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
            await send(message)

        counted = scope["path"] == "/products"
        if counted and self._serving >= self._max:
            refuse = JSONResponse({"detail": f"more than {self._max} requests at a time"}, 503, headers=RETRY_AFTER)
            handle: ASGIApp = refuse
        else:
            handle = self._app
        self._serving += counted
        self._metrics.in_progress.inc()
        try:
            await handle(scope, receive, observed_send)
        finally:
            self._serving -= counted
            self._metrics.in_progress.dec()
            self._record(scope, status, time.perf_counter() - start, request_id)

    def _record(self, scope: Scope, status: int, seconds: float, request_id: str) -> None:
        # the route's template, never the path: a path is the client's choice, and each would be a new time series
        route: str = getattr(scope.get("route"), "path", "/products" if scope["path"] == "/products" else "other")
        method = scope["method"] if scope["method"] in {"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"} else "other"
        self._metrics.requests.labels(method, route, str(status)).inc()
        self._metrics.latency.labels(method, route).observe(seconds)
        fields: dict[str, Any] = {
            "method": method,
            "path": scope["path"],
            "query": scope["query_string"].decode("latin-1"),
            "status": status,
            "seconds": round(seconds, 4),
            "client": scope["client"][0] if scope.get("client") else None,
            "request_id": request_id,
        }
        level = logging.DEBUG if route in {"/healthz", "/readyz", "/metrics"} else logging.INFO
        log.log(level, "request", extra=fields)
