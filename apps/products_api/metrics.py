"""The API's Prometheus metrics."""

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """One set per registry, so that tests can have their own. `route` is a path template: few values."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self.registry = registry
        self.requests = Counter(
            "products_api_requests",
            "HTTP requests, by method, route and status code",
            ["method", "route", "status"],
            registry=registry,
        )
        self.latency = Histogram(
            "products_api_request_duration_seconds",
            "Time from the request's arrival to the end of its answer",
            ["method", "route"],
            buckets=_BUCKETS,
            registry=registry,
        )
        self.in_progress = Gauge("products_api_requests_in_progress", "HTTP requests being answered", registry=registry)
        self.s3_calls = Counter(
            "products_api_s3_calls",
            "Calls of the object store, by operation and outcome (ok or error)",
            ["operation", "outcome"],
            registry=registry,
        )
        self.invalid_records = Counter(
            "products_api_invalid_records", "Lines and objects that hold no product and are left out", registry=registry
        )
