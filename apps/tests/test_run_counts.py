"""The exporter's counters under all that may happen to runs, with an instance that the test controls."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import cast

import pytest

from dagster_exporter.instance import FINISHED, Instance, InstanceError, Run, Status, Total
from dagster_exporter.metrics import Metrics
from dagster_exporter.run_counts import RunCounts

OVERLAP = 900.0


class FakeInstance:
    """Runs in memory, with the methods of Instance."""

    def __init__(self) -> None:
        self.now = 1_000_000.0
        self.runs: dict[str, Run] = {}
        self.jobs = {"a", "b"}
        self.away = False
        self.while_totals_are_read: list[Callable[[], object]] = []

    def finish(self, job: str, status: str = "SUCCESS", ago: float = 1.0, seconds: float | None = 10.0) -> str:
        """Add a run that ended `ago` seconds before now."""
        ended = self.now - ago
        name = f"run-{len(self.runs)}-{ended}"
        self.runs[name] = Run(name, job, status, ended - 60, None if seconds is None else ended - seconds, ended)
        return name

    def status(self) -> Status:
        if self.away:
            raise InstanceError("away")
        return Status({"SCHEDULER": self.now - 10}, 0, 0, {"code": True}, frozenset(self.jobs))

    def finished_since(self, time: float) -> dict[str, Run]:
        return {i: r for i, r in self.runs.items() if r.ended > time}

    def totals(self, jobs: Iterable[str]) -> dict[tuple[str, str], Total]:
        jobs = list(jobs)
        if jobs and self.while_totals_are_read:
            self.while_totals_are_read.pop(0)()
        return {
            (job, status): Total(len(runs), max(runs, key=lambda r: r.created, default=None))
            for job in jobs
            for status in FINISHED
            for runs in [[r for r in self.runs.values() if (r.job, r.status) == (job, status)]]
        }


class Exporter:
    """The counters, polled and scraped by hand."""

    def __init__(self, fake: FakeInstance, state: Path | None = None) -> None:
        self.fake = fake
        self.counts = RunCounts(cast("Instance", fake), OVERLAP, state, lambda: fake.now)

    def poll(self, seconds: float = 15.0) -> None:
        self.fake.now += seconds
        self.counts.poll()

    def scrape(self, job: str = "a") -> tuple[int, int]:
        """Return successes and failures."""
        finished = self.counts.snapshot()[job].finished
        return finished["SUCCESS"], finished["FAILURE"]


@pytest.fixture
def fake() -> FakeInstance:
    return FakeInstance()


@pytest.fixture
def exporter(fake: FakeInstance) -> Exporter:
    e = Exporter(fake)
    e.poll()
    e.scrape()
    return e


def test_every_known_job_starts_at_zero(exporter: Exporter) -> None:
    assert exporter.scrape("a") == exporter.scrape("b") == (0, 0)


def test_each_run_counts_once(exporter: Exporter, fake: FakeInstance) -> None:
    fake.finish("a")
    fake.finish("a", "FAILURE")
    fake.finish("b", "CANCELED")
    for _ in range(3):
        exporter.poll()
    assert exporter.scrape("a") == (1, 1)
    assert exporter.counts.snapshot()["b"].finished == {"SUCCESS": 0, "FAILURE": 0, "CANCELED": 1}


def test_deleting_old_runs_changes_nothing(fake: FakeInstance) -> None:
    for _ in range(50):
        fake.finish("a", ago=86_400)
    exporter = Exporter(fake)
    exporter.poll()
    assert exporter.scrape() == (50, 0)
    fake.runs.clear()
    fake.finish("a", "FAILURE")  # fewer runs than before, but one more failure
    exporter.poll()
    assert exporter.scrape() == (50, 1)


def test_a_run_that_is_deleted_at_once_after_it_was_counted(exporter: Exporter, fake: FakeInstance) -> None:
    fake.finish("a")
    exporter.poll()
    fake.runs.clear()
    exporter.poll()
    assert exporter.scrape() == (1, 0)


def test_counted_runs_are_forgotten_after_the_overlap_and_not_counted_again(
    exporter: Exporter, fake: FakeInstance
) -> None:
    for _ in range(200):
        fake.finish("a")
        exporter.poll(60)
    assert exporter.scrape() == (200, 0)
    assert len(exporter.counts._counted) <= OVERLAP / 60 + 1


def test_an_end_that_becomes_visible_late_counts(exporter: Exporter, fake: FakeInstance) -> None:
    exporter.poll()
    fake.finish("a", ago=OVERLAP - 60)
    exporter.poll()
    assert exporter.scrape() == (1, 0)


def test_runs_that_end_while_totals_are_read_count_once(fake: FakeInstance) -> None:
    fake.finish("a")
    fake.while_totals_are_read = [lambda: fake.finish("a"), lambda: fake.finish("b")]
    exporter = Exporter(fake)
    exporter.poll()
    assert (exporter.scrape("a"), exporter.scrape("b")) == ((2, 0), (1, 0))
    exporter.poll()
    assert (exporter.scrape("a"), exporter.scrape("b")) == ((2, 0), (1, 0))


def test_totals_that_never_settle_are_a_failed_poll(fake: FakeInstance) -> None:
    fake.while_totals_are_read = [lambda: fake.finish("a")] * 1000
    with pytest.raises(InstanceError, match="faster than"):
        Exporter(fake).poll()


def test_dagster_away_for_hours(exporter: Exporter, fake: FakeInstance) -> None:
    fake.away = True
    for _ in range(3):
        with pytest.raises(InstanceError):
            exporter.poll(3600)
    assert exporter.scrape() == (0, 0)
    fake.finish("a", "FAILURE", ago=2 * 3600)
    fake.away = False
    exporter.poll()
    assert exporter.scrape() == (0, 1)


def test_a_job_that_fails_before_it_was_ever_scraped_is_seen_at_zero_first(
    exporter: Exporter, fake: FakeInstance
) -> None:
    fake.jobs.add("new")
    fake.finish("new", "FAILURE")
    exporter.poll()
    exporter.poll()  # a second poll before the scrape does not give it away
    assert exporter.scrape("new") == (0, 0)
    exporter.poll()
    assert exporter.scrape("new") == (0, 1)


def test_a_job_that_only_runs_know_counts_too(exporter: Exporter, fake: FakeInstance) -> None:
    fake.finish("ad hoc", "FAILURE")
    exporter.poll()
    assert exporter.scrape("ad hoc") == (0, 0)
    exporter.poll()
    assert exporter.scrape("ad hoc") == (0, 1)


def test_a_code_location_that_comes_back_does_not_report_its_past(exporter: Exporter, fake: FakeInstance) -> None:
    for _ in range(500):
        fake.finish("old", "FAILURE", ago=86_400)
    fake.jobs.add("old")
    exporter.poll()
    assert exporter.scrape("old") == (0, 500)
    exporter.poll()
    assert exporter.scrape("old") == (0, 500)


def test_a_job_that_is_taken_out_of_the_code_keeps_its_counters(exporter: Exporter, fake: FakeInstance) -> None:
    fake.finish("b")
    exporter.poll()
    fake.jobs.remove("b")
    exporter.poll()
    assert exporter.scrape("b") == (1, 0)


def test_nobody_scrapes_and_nothing_piles_up(fake: FakeInstance) -> None:
    exporter = Exporter(fake)
    for _ in range(100):
        exporter.poll(60)
        fake.finish("a")
    assert len(exporter.counts._jobs["a"].waiting) <= OVERLAP / 60 + 1


def test_a_restart_without_state_gives_the_same_numbers(fake: FakeInstance) -> None:
    for _ in range(7):
        fake.finish("a", "FAILURE", ago=5000)
    fake.finish("a")
    before = Exporter(fake)
    before.poll()
    after = Exporter(fake)
    after.poll()
    assert before.scrape() == after.scrape() == (1, 7)


def test_a_restart_with_state_survives_deleted_runs_and_counts_what_it_missed(
    fake: FakeInstance, tmp_path: Path
) -> None:
    state = tmp_path / "state.json"
    for _ in range(50):
        fake.finish("a", ago=86_400)
    first = Exporter(fake, state)
    first.poll()
    fake.finish("a")
    first.scrape()
    first.poll()
    assert first.scrape() == (51, 0)
    fake.runs.clear()
    fake.now += 4 * 3600
    fake.finish("a", "FAILURE", ago=3 * 3600)
    fake.finish("a", "FAILURE", ago=10)
    second = Exporter(fake, state)
    second.poll()
    assert second.scrape() == (51, 0)  # the old value first, or Prometheus would not see the rise
    second.poll()
    assert second.scrape() == (51, 2)


def test_a_restart_while_a_run_waits_for_a_scrape(fake: FakeInstance, tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    first = Exporter(fake, state)
    first.poll()
    fake.finish("a", "FAILURE")
    first.poll()  # never scraped: the failure waits
    second = Exporter(fake, state)
    second.poll()
    assert second.scrape() == (0, 0)
    second.poll()
    assert second.scrape() == (0, 1)


def test_a_restart_after_a_long_outage_before_anyone_scraped(fake: FakeInstance, tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    Exporter(fake, state).poll()
    fake.now += 4 * 3600
    fake.finish("a", "FAILURE", ago=3 * 3600)
    fake.finish("a", "FAILURE", ago=10)
    Exporter(fake, state).poll()  # finds both; they wait for a scrape that never comes
    last = Exporter(fake, state)
    last.poll()
    assert last.scrape() == (0, 0)
    last.poll()
    assert last.scrape() == (0, 2)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"version": 0}', '{"version": 1, "jobs": {"a": 1}}'])
def test_state_that_cannot_be_used_is_said_and_ignored(
    content: str, fake: FakeInstance, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "state.json").write_text(content)
    fake.finish("a", ago=5000)
    exporter = Exporter(fake, tmp_path / "state.json")
    assert "ignoring the state" in caplog.text
    exporter.poll()
    assert exporter.scrape() == (1, 0)
    assert json.loads((tmp_path / "state.json").read_text())["version"] == 1


def test_state_that_cannot_be_written_does_not_stop_the_counting(
    fake: FakeInstance, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    exporter = Exporter(fake, tmp_path / "gone" / "state.json")
    exporter.poll()
    assert "cannot write" in caplog.text
    assert exporter.scrape() == (0, 0)


def test_durations(exporter: Exporter, fake: FakeInstance) -> None:
    for seconds in (0.5, 40.0, 99_999.0, None):
        fake.finish("a", seconds=seconds)
    fake.finish("a", "FAILURE", ago=0.5, seconds=7.0)
    exporter.poll()
    counts = exporter.counts.snapshot()["a"]
    assert counts.buckets == [1, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1]
    assert counts.seconds_sum == pytest.approx(100_046.5)
    assert counts.last_seconds == 7.0
    assert counts.last_success == fake.now - 15 - 1


def test_heartbeats_age_between_polls_and_vanish_with_the_instance(exporter: Exporter, fake: FakeInstance) -> None:
    now = fake.now
    metrics = Metrics(exporter.counts, 120, lambda: now)

    def sample(name: str) -> list[float]:
        return [s.value for m in metrics.collect() for s in m.samples if s.name == name]

    assert (sample("dagster_daemon_heartbeat"), sample("dagster_exporter_up")) == ([], [0.0])
    metrics.status = Status({"SCHEDULER": now, "SENSOR": None}, 3, 2, {"code": True, "broken": False}, frozenset())
    assert sample("dagster_daemon_heartbeat") == [1.0, 0.0]
    assert (sample("dagster_run_queue_length"), sample("dagster_runs_in_progress")) == ([3], [2])
    assert sample("dagster_code_location_loaded") == [0.0, 1.0]
    now += 121
    assert sample("dagster_daemon_heartbeat") == [0.0, 0.0]
