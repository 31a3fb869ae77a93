"""The exporter process against a real dagster-webserver, dagster-daemon and PostgreSQL."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import psycopg2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from dagster_exporter.__main__ import Poller
from dagster_exporter.instance import FINISHED, Instance, InstanceError
from dagster_exporter.metrics import Metrics
from dagster_exporter.run_counts import RunCounts
from dagster_exporter.settings import Settings, SettingsError, load_settings
from tests.support import APPS, Process, free_port, wait_for

LOCATION = "tests.dagster_workspace"
LAUNCH = """
mutation($job: String!, $location: String!, $config: RunConfigData!) {
  launchRun(executionParams: {
    selector: {repositoryLocationName: $location, repositoryName: "__repository__", jobName: $job},
    runConfigData: $config
  }) { __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } }
}
"""
DELETE = "mutation($id: String!) { deletePipelineRun(runId: $id) { __typename } }"
CANCEL = (
    "mutation($id: String!) { terminateRun(runId: $id, terminatePolicy: MARK_AS_CANCELED_IMMEDIATELY) { __typename } }"
)
RUN = "query($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"
MAX_AGE = 40


@dataclass
class Postgres:
    """A server of its own on a free port, its data in a folder of its own."""

    folder: Path
    port: int
    process: Process

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://dagster@127.0.0.1:{self.port}/{database}"


def postgres_bin() -> Path | None:
    """Return the folder of PostgreSQL's server programs: Debian has them outside PATH."""
    on_path = shutil.which("initdb")
    folders = [Path(on_path).parent] if on_path else sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((f for f in folders if (f / "postgres").exists()), None)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """Run PostgreSQL; where it is not installed, the tests that need it are skipped and counted."""
    programs = postgres_bin()
    if programs is None:
        pytest.skip("PostgreSQL's server programs are not installed (apt-get install postgresql)")
    # not pytest's folder: that one is closed to other users, and PostgreSQL refuses to run as root
    folder = Path(tempfile.mkdtemp(prefix="exporter-test-pg-"))
    run_as = []
    if os.geteuid() == 0:
        shutil.chown(folder, "nobody")
        run_as = [shutil.which("setpriv") or "setpriv", "--reuid=nobody", "--clear-groups", "--"]
    port = free_port()
    try:
        made = subprocess.run(
            [*run_as, programs / "initdb", "-D", folder / "data", "-U", "dagster", "-A", "trust", "--no-sync"],
            cwd="/",
            capture_output=True,
            check=False,
        )
        assert made.returncode == 0, made.stderr.decode()
        settings = {"port": port, "listen_addresses": "127.0.0.1", "unix_socket_directories": folder, "fsync": "off"}
        process = Process(
            [
                *run_as,
                str(programs / "postgres"),
                "-D",
                str(folder / "data"),
                *(f"--{k}={v}" for k, v in settings.items()),
            ],
            {"PATH": os.environ["PATH"], "LC_ALL": "C"},
            folder / "log",
            Path("/"),
        )
        server = Postgres(folder, port, process)
        try:
            wait_for("PostgreSQL", lambda: process.poll() is not None or "ready to accept" in process.output())
            assert process.poll() is None, process.output()
            yield server
        finally:
            process.stop()
    finally:
        shutil.rmtree(folder)


class Dagster:
    """A webserver and a daemon on one instance."""

    def __init__(self, home: Path, database_url: str, graphql_port: int) -> None:
        self.home = home
        home.mkdir()
        (home / "dagster.yaml").write_text(
            f"storage: {{postgres: {{postgres_url: '{database_url}'}}}}\n"
            "run_coordinator: {module: dagster.core.run_coordinator, class: QueuedRunCoordinator,"
            " config: {dequeue_interval_seconds: 1}}\n"
            "telemetry: {enabled: false}\n"
        )
        self._env = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "DAGSTER_HOME": str(home),
            "PYTHONPATH": str(APPS),
            "DAGSTER_DISABLE_TELEMETRY": "yes",
        }
        self.port = graphql_port
        self.url = f"http://127.0.0.1:{graphql_port}/graphql"
        self.webserver = self.start_webserver()
        self.daemon = self.start_daemon()

    def start_webserver(self, **env: str) -> Process:
        self.webserver = Process(
            [sys.executable, "-m", "dagster_webserver", "-h", "127.0.0.1", "-p", str(self.port), "-m", LOCATION],
            self._env | env,
            self.home / "webserver.log",
        )
        wait_for(
            "the webserver",
            lambda: (
                self.webserver.poll() is not None or httpx2.get(self.url.replace("graphql", "server_info")).is_success
            ),
            60,
        )
        assert self.webserver.poll() is None, self.webserver.output()
        return self.webserver

    def start_daemon(self) -> Process:
        command = [sys.executable, "-m", "dagster._daemon", "run", "-m", LOCATION]
        return Process(command, self._env, self.home / "daemon.log")

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        answer = httpx2.post(self.url, json={"query": query, "variables": variables}, timeout=30).json()
        assert "errors" not in answer, answer
        data: dict[str, Any] = answer["data"]
        return data

    def launch(self, job: str, config: dict[str, Any] | None = None) -> str:
        data = self.ask(LAUNCH, job=job, location=LOCATION, config=config or {})
        assert data["launchRun"]["__typename"] == "LaunchRunSuccess", data
        run_id: str = data["launchRun"]["run"]["runId"]
        return run_id

    def run(self, *jobs: str) -> list[str]:
        """Launch jobs and wait until all are finished; returns the runs' ids."""
        ids = [self.launch(job) for job in jobs]
        for run_id in ids:
            wait_for(f"{run_id}'s end", partial(self._is_finished, run_id), 60, 0.3)
        return ids

    def _is_finished(self, run_id: str) -> bool:
        return self.status(run_id) in FINISHED

    def status(self, run_id: str) -> str:
        status: str = self.ask(RUN, id=run_id)["runOrError"]["status"]
        return status

    def stop(self) -> None:
        self.daemon.kill_group()
        self.webserver.stop()


@pytest.fixture(scope="module")
def dagster(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dagster]:
    server = Dagster(tmp_path_factory.mktemp("dagster") / "home", postgres.url(), free_port())
    yield server
    server.stop()


@pytest.fixture(scope="module")
def exporter(dagster: Dagster, tmp_path_factory: pytest.TempPathFactory) -> Iterator["ExporterProcess"]:
    process = ExporterProcess(dagster.url, tmp_path_factory.mktemp("exporter"))
    yield process
    process.process.stop()


class ExporterProcess:
    """`python -m dagster_exporter`, polling each half second."""

    def __init__(self, graphql_url: str, folder: Path) -> None:
        self._env = {k: v for k, v in os.environ.items() if not k.startswith("EXPORTER_")} | {
            "EXPORTER_GRAPHQL_URL": graphql_url,
            "EXPORTER_HOST": "127.0.0.1",
            "EXPORTER_POLL_SECONDS": "0.5",
            "EXPORTER_HEARTBEAT_MAX_AGE_SECONDS": str(MAX_AGE),
            "EXPORTER_STATE_FILE": str(folder / "state.json"),
        }
        self._folder = folder
        self.start()

    def start(self) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        command = [sys.executable, "-m", "dagster_exporter"]
        self.process = Process(command, self._env | {"EXPORTER_PORT": str(port)}, self._folder / "log")
        wait_for("the exporter", lambda: httpx2.get(f"{self.url}/healthz").is_success)

    def scrape(self) -> dict[tuple[str, str], float]:
        """Return the samples by name and the value of their one label."""
        text = httpx2.get(f"{self.url}/metrics").text
        return {
            (s.name, next(iter(s.labels.values()), "")): s.value
            for family in text_string_to_metric_families(text)
            for s in family.samples
            if "le" not in s.labels
        }

    def value(self, name: str, label: str = "") -> float | None:
        return self.scrape().get((name, label))

    def wait_for(self, name: str, label: str, value: float | None, seconds: float = 20) -> None:
        wait_for(f"{name}{{{label}}} {value}", lambda: self.value(name, label) == value, seconds, 0.3)


# The tests of this module share the servers and run in this order.


def test_every_known_job_is_there_at_zero(exporter: ExporterProcess) -> None:
    exporter.wait_for("dagster_exporter_up", "", 1)
    samples = exporter.scrape()
    for job in ("succeeds", "fails", "waits", "__ASSET_JOB"):
        expected = None if job == "__ASSET_JOB" else 0  # there are no assets in this code location
        assert samples.get(("dagster_job_success_total", job)) == expected
        assert samples.get(("dagster_job_failure_total", job)) == expected
    assert ("dagster_job_duration_seconds", "succeeds") not in samples
    assert samples["dagster_code_location_loaded", LOCATION] == 1


def test_a_success_and_a_failure_move_their_counters_alone(dagster: Dagster, exporter: ExporterProcess) -> None:
    before = time.time()
    dagster.run("fails", "succeeds", "succeeds")
    exporter.wait_for("dagster_job_failure_total", "fails", 1)
    exporter.wait_for("dagster_job_success_total", "succeeds", 2)
    samples = exporter.scrape()
    assert samples["dagster_job_failure_total", "succeeds"] == samples["dagster_job_success_total", "fails"] == 0
    assert 0 < samples["dagster_job_duration_seconds", "succeeds"] < 60
    assert samples["dagster_job_run_duration_seconds_count", "succeeds"] == 2
    assert before < samples["dagster_job_last_success_timestamp_seconds", "succeeds"] < time.time()
    assert ("dagster_job_last_success_timestamp_seconds", "fails") not in samples


def test_a_run_from_the_command_line_counts_too(dagster: Dagster, exporter: ExporterProcess) -> None:
    """Such runs name no code location."""
    done = subprocess.run(
        [sys.executable, "-m", "dagster", "job", "execute", "-m", LOCATION, "-j", "fails"],
        env=dagster._env,
        cwd=APPS,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 1
    exporter.wait_for("dagster_job_failure_total", "fails", 2)


def test_a_canceled_run(dagster: Dagster, exporter: ExporterProcess, tmp_path: Path) -> None:
    run_id = dagster.launch("waits", {"ops": {"wait": {"config": {"path": str(tmp_path / "go")}}}})
    exporter.wait_for("dagster_runs_in_progress", "", 1)
    dagster.ask(CANCEL, id=run_id)
    (tmp_path / "go").touch()
    exporter.wait_for("dagster_job_canceled_total", "waits", 1)
    exporter.wait_for("dagster_runs_in_progress", "", 0)
    assert exporter.value("dagster_job_failure_total", "waits") == 0


def test_counters_survive_a_killed_exporter_deleted_runs_and_what_it_missed(
    dagster: Dagster, exporter: ExporterProcess
) -> None:
    [old] = dagster.run("succeeds")
    exporter.wait_for("dagster_job_success_total", "succeeds", 3)
    exporter.process.kill_group()
    assert dagster.ask(DELETE, id=old)["deletePipelineRun"]["__typename"] == "DeletePipelineRunSuccess"
    dagster.run("fails")
    exporter.start()
    seen: list[float] = []

    def missed_failure_is_counted() -> bool:
        value = exporter.value("dagster_job_failure_total", "fails")
        seen.extend([] if value is None else [value])
        return value == 3

    wait_for("the missed failure", missed_failure_is_counted)
    assert seen[0] == 2  # the old value first: increase() sees the missed failure
    assert exporter.value("dagster_job_success_total", "succeeds") == 3


def test_a_total_from_the_instance_alone_is_the_same(dagster: Dagster, tmp_path: Path) -> None:
    """Without a state file: the totals of what the instance still has."""
    instance = Instance(dagster.url, 20)
    counts = RunCounts(instance, 900)
    metrics = Metrics(counts, 120, time.time)
    Poller(Settings(state_file=tmp_path / "x"), counts, metrics).poll()
    jobs = counts.snapshot()
    assert (jobs["succeeds"].finished["SUCCESS"], jobs["fails"].finished["FAILURE"]) == (2, 3)
    assert jobs["succeeds"].last_success is not None
    instance.close()


def test_pages_hold_under_many_runs_and_deletions(
    dagster: Dagster, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """60 finished runs, two at a time; some are deleted while the pages are read."""
    start = time.time()
    connection = psycopg2.connect(postgres.url())
    connection.autocommit = True
    cursor = connection.cursor()
    cursor.execute("select max(id) from runs")
    [(newest,)] = cursor.fetchall()
    # copies of a real row, 0.4 s apart: launching 60 runs takes minutes
    cursor.execute(
        """insert into runs (run_id, snapshot_id, pipeline_name, mode, status, run_body, create_timestamp,
             update_timestamp, start_time, end_time)
           select 'copy-' || i, snapshot_id, pipeline_name, mode, status, replace(run_body, run_id, 'copy-' || i),
             create_timestamp + i * interval '0.4 s', timezone('utc', now()), start_time, extract(epoch from now())
           from runs, generate_series(1, 60) i where id = %s""",
        (newest,),
    )
    instance = Instance(dagster.url, 20, page=5)
    copies = {f"copy-{i}" for i in range(1, 61)}
    assert {i for i in instance.finished_since(start - 1) if i.startswith("copy-")} == copies
    asked = Instance._ask
    deleted = iter(sorted(copies, key=lambda c: -int(c[5:])))

    def delete_behind(self: Instance, query: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
        answer = asked(self, query, variables)
        cursor.execute("delete from runs where run_id = %s", (next(deleted),))  # the newest: pages shift
        return answer

    monkeypatch.setattr(Instance, "_ask", delete_behind)
    found = instance.finished_since(start - 1)
    assert copies - found.keys() == set()  # each was there when its page was read
    monkeypatch.undo()
    cursor.execute("delete from runs where run_id like 'copy-%'")
    connection.close()
    instance.close()


def test_too_many_runs_in_one_second_are_read_with_larger_pages(
    dagster: Dagster, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance = Instance(dagster.url, 20, page=2)
    row = {
        "jobName": "j",
        "status": "SUCCESS",
        "creationTime": 100.0,
        "startTime": 1.0,
        "endTime": 101.0,
        "updateTime": 101.0,
    }
    rows = [row | {"runId": str(i)} for i in range(7)]

    def page(self: Instance, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        del self, query
        before = variables["filter"].get("createdBefore", 1e9)
        return {
            "runs": {
                "__typename": "Runs",
                "results": [r for r in rows if r["creationTime"] < before][: variables["limit"]],
            }
        }

    monkeypatch.setattr(Instance, "_ask", page)
    assert len(instance.finished_since(0)) == 7
    monkeypatch.setattr("dagster_exporter.instance.MAX_PAGE", 4)
    with pytest.raises(InstanceError, match="more than 4 runs were created within a second"):
        instance.finished_since(0)


def test_a_killed_daemon_and_the_queue_that_grows(dagster: Dagster, exporter: ExporterProcess) -> None:
    daemons = {"SCHEDULER", "SENSOR", "BACKFILL", "ASSET", "QUEUED_RUN_COORDINATOR"}

    def beats() -> dict[str, float]:
        return {label: v for (name, label), v in exporter.scrape().items() if name == "dagster_daemon_heartbeat"}

    wait_for("all daemons", lambda: daemons <= beats().keys() and set(beats().values()) == {1.0}, 60, 0.5)
    dagster.daemon.kill_group()
    killed = time.time()
    run_id = dagster.launch("succeeds")
    exporter.wait_for("dagster_run_queue_length", "", 1)
    wait_for("no heartbeat", lambda: set(beats().values()) == {0.0}, MAX_AGE + 30, 0.5)
    assert time.time() - killed < MAX_AGE + 5  # Dagster itself would call it healthy for half an hour
    age = killed - (exporter.value("dagster_daemon_heartbeat_timestamp_seconds", "QUEUED_RUN_COORDINATOR") or 0)
    assert -5 < age < 60
    dagster.daemon = dagster.start_daemon()
    wait_for("the queued run", lambda: dagster.status(run_id) == "SUCCESS", 60, 0.5)
    exporter.wait_for("dagster_job_success_total", "succeeds", 4)
    exporter.wait_for("dagster_run_queue_length", "", 0)


def test_the_webserver_is_away_and_comes_back_with_broken_code(dagster: Dagster, exporter: ExporterProcess) -> None:
    dagster.webserver.stop()
    exporter.wait_for("dagster_exporter_up", "", 0)
    samples = exporter.scrape()
    assert samples["dagster_job_success_total", "succeeds"] == 4  # counters go on
    assert not [
        name for name, _ in samples if name.startswith(("dagster_daemon", "dagster_run_queue"))
    ]  # gauges do not
    assert samples["dagster_exporter_failed_polls_total", ""] > 0
    assert httpx2.get(f"{exporter.url}/healthz").text == "ok\n"
    dagster.start_webserver(BREAK_CODE_LOCATION="1")
    exporter.wait_for("dagster_code_location_loaded", LOCATION, 0, 60)
    # the job stays known, with the three failures and the 60 of the copies that are long deleted
    assert exporter.value("dagster_job_failure_total", "fails") == 63


def test_the_process_ends_in_order(exporter: ExporterProcess) -> None:
    assert httpx2.get(f"{exporter.url}/other").status_code == 404
    exporter.process.send(signal.SIGTERM)
    assert exporter.process.wait(30) == 0
    assert '"stopped"' in exporter.process.output()


# --- without servers ---


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("EXPORTER_PORT", "0", 'EXPORTER_PORT is "0": Input should be greater than or equal to 1'),
        ("EXPORTER_GRAPHQL_URL", "dagster:80", 'EXPORTER_GRAPHQL_URL is "dagster:80": String should match pattern'),
        ("EXPORTER_POLL_SECONDS", "fast", 'EXPORTER_POLL_SECONDS is "fast": Input should be a valid number'),
        ("EXPORTER_STATE_FILE", "/no/folder/state", "there is no folder /no/folder"),
    ],
)
def test_wrong_settings_are_named(
    name: str, value: str, message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as e:
        load_settings()
    assert message in str(e.value)
    process = Process([sys.executable, "-m", "dagster_exporter"], dict(os.environ), tmp_path / "log")
    assert process.wait() == 64
    assert message in process.output()


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        env = dict(os.environ) | {"EXPORTER_HOST": "127.0.0.1", "EXPORTER_PORT": port}
        process = Process([sys.executable, "-m", "dagster_exporter"], env, tmp_path / "log")
        assert process.wait() == 69
    assert f"cannot listen on 127.0.0.1:{port}: " in process.output()


def test_a_poller_that_hangs_is_unhealthy() -> None:
    instance = Instance("http://127.0.0.1:1", 1)
    counts = RunCounts(instance, 900)
    poller = Poller(Settings(), counts, Metrics(counts, 120, time.time))
    assert poller.stuck()  # it was never started


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b"<html>"),
        (200, b"[]"),
        (200, b'{"errors": [{"message": "no such field"}]}'),
        (500, b'{"data": null}'),
        (200, b'{"data": {}}'),
        (200, b'{"data": {"workspaceOrError": {"__typename": "PythonError", "message": "m"}}}'),
    ],
)
def test_answers_that_are_none_are_failed_polls(status: int, body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    transport = httpx2.MockTransport(lambda _: httpx2.Response(status, content=body))
    instance = Instance("http://dagster/graphql", 1)
    monkeypatch.setattr(instance, "_client", httpx2.Client(transport=transport))
    counts = RunCounts(instance, 900)
    metrics = Metrics(counts, 120, time.time)
    Poller(Settings(), counts, metrics).poll()
    assert (metrics.status, metrics.failed_polls) == (None, 1)
