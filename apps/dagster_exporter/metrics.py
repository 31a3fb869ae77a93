"""What a scrape gets."""

from collections.abc import Callable, Iterator
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from dagster_exporter.instance import Status
from dagster_exporter.run_counts import BUCKETS, JobCounts, RunCounts

JOB = ["job_name"]  # not `job`: Prometheus sets that one itself


class Metrics(Collector):
    """Collects from the run counters and the last poll's status.

    Without a successful last poll there is no status: its gauges are then absent, not frozen at what was true once
    (an alert on a daemon's heartbeat therefore needs `or absent(...)`). Counters go on with their last value.
    """

    def __init__(self, counts: RunCounts, max_age_seconds: float, clock: Callable[[], float]) -> None:
        self._counts = counts
        self._max_age = max_age_seconds
        self._clock = clock
        self.status: Status | None = None
        self.last_poll = 0.0
        self.failed_polls = 0

    def describe(self) -> list[Metric]:
        """Register without asking collect(): that would count as a scrape."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics."""
        up = GaugeMetricFamily("dagster_exporter_up", "1 when the last poll of the Dagster instance worked, else 0")
        up.add_metric([], float(self.status is not None))
        yield up
        last = GaugeMetricFamily(
            "dagster_exporter_last_poll_timestamp_seconds", "When a poll last worked (Unix time); 0: never"
        )
        last.add_metric([], self.last_poll)
        yield last
        failed = CounterMetricFamily("dagster_exporter_failed_polls", "Polls of the Dagster instance that failed")
        failed.add_metric([], self.failed_polls)
        yield failed
        yield from _job_metrics(self._counts.snapshot())
        if self.status is not None:
            yield from self._status_metrics(self.status)

    def _status_metrics(self, status: Status) -> Iterator[Metric]:
        now = self._clock()
        beat = GaugeMetricFamily(
            "dagster_daemon_heartbeat",
            f"1 when the daemon's last heartbeat is at most {self._max_age:g} s old, else 0",
            labels=["daemon"],
        )
        at = GaugeMetricFamily(
            "dagster_daemon_heartbeat_timestamp_seconds", "The daemon's last heartbeat (Unix time)", labels=["daemon"]
        )
        for daemon, time in sorted(status.heartbeats.items()):
            beat.add_metric([daemon], float(time is not None and now - time <= self._max_age))
            if time is not None:
                at.add_metric([daemon], time)
        loaded = GaugeMetricFamily(
            "dagster_code_location_loaded", "1 when the code location is loaded, else 0", labels=["code_location"]
        )
        for name, ok in sorted(status.locations.items()):
            loaded.add_metric([name], float(ok))
        queued = GaugeMetricFamily("dagster_run_queue_length", "Runs that wait in the queue")
        queued.add_metric([], status.queued)
        running = GaugeMetricFamily("dagster_runs_in_progress", "Runs that are starting, running or being canceled")
        running.add_metric([], status.running)
        yield from (beat, at, loaded, queued, running)


def _job_metrics(jobs: dict[str, JobCounts]) -> Iterator[Metric]:
    success = CounterMetricFamily("dagster_job_success", "Runs that succeeded", labels=JOB)
    failure = CounterMetricFamily("dagster_job_failure", "Runs that failed", labels=JOB)
    canceled = CounterMetricFamily("dagster_job_canceled", "Runs that were canceled", labels=JOB)
    duration = GaugeMetricFamily("dagster_job_duration_seconds", "How long the run took that finished last", labels=JOB)
    histogram = HistogramMetricFamily(
        "dagster_job_run_duration_seconds", "How long runs took, of those seen by the exporter", labels=JOB
    )
    last = GaugeMetricFamily(
        "dagster_job_last_success_timestamp_seconds", "When a run last succeeded (Unix time)", labels=JOB
    )
    bounds = [f"{b:g}" for b in BUCKETS] + ["+Inf"]
    for job, counts in sorted(jobs.items()):
        success.add_metric([job], counts.finished["SUCCESS"])
        failure.add_metric([job], counts.finished["FAILURE"])
        canceled.add_metric([job], counts.finished["CANCELED"])
        if counts.last_seconds is not None:
            duration.add_metric([job], counts.last_seconds)
        buckets = list(zip(bounds, accumulate(float(b) for b in counts.buckets), strict=True))
        histogram.add_metric([job], buckets, counts.seconds_sum)
        if counts.last_success is not None:
            last.add_metric([job], counts.last_success)
    yield from (success, failure, canceled, duration, histogram, last)
