"""What the exporter asks the Dagster instance, in GraphQL."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import httpx2

FINISHED = ("SUCCESS", "FAILURE", "CANCELED")
PAGE = 500
MAX_PAGE = 8000
TOTALS_AT_ONCE = 150  # in one request
_SECOND = 1.0

_STATUS = """
query ExporterStatus {
  instance { daemonHealth { allDaemonStatuses { daemonType required lastHeartbeatTime } } }
  queued: runsOrError(filter: {statuses: [QUEUED]}) { ...count }
  running: runsOrError(filter: {statuses: [STARTING, STARTED, CANCELING]}) { ...count }
  workspaceOrError {
    __typename
    ... on PythonError { message }
    ... on Workspace {
      locationEntries {
        name
        locationOrLoadError {
          __typename
          ... on RepositoryLocation { repositories { jobs { name } } }
        }
      }
    }
  }
}
fragment count on RunsOrError {
  __typename
  ... on Runs { count }
  ... on PythonError { message }
  ... on InvalidPipelineRunsFilterError { message }
}
"""
_RUNS = """
query ExporterRuns($filter: RunsFilter!, $limit: Int!) {
  runs: runsOrError(filter: $filter, limit: $limit) {
    __typename
    ... on Runs { results { runId jobName status creationTime startTime endTime updateTime } }
    ... on PythonError { message }
    ... on InvalidPipelineRunsFilterError { message }
  }
}
"""
_RUN = "runId jobName status creationTime startTime endTime updateTime"
_TOTAL = (
    "{alias}: runsOrError(filter: {{pipelineName: {job}, statuses: [{status}]}}, limit: 1) {{ __typename "
    f"... on Runs {{{{ count results {{{{ {_RUN} }}}} }}}} "
    "... on PythonError {{ message }} ... on InvalidPipelineRunsFilterError {{ message }} }}"
)


class InstanceError(Exception):
    """The instance cannot be asked, or its answer has another form than that of Dagster 1.13."""


@dataclass(frozen=True)
class Run:
    """A finished run. Times are Unix seconds; `started` is None when it ended before it started."""

    id: str
    job: str
    status: str
    created: float
    started: float | None
    ended: float

    @property
    def seconds(self) -> float | None:
        """How long it ran; None when it never started (Dagster then gives the end as the start)."""
        return None if self.started is None or self.started >= self.ended else self.ended - self.started


@dataclass(frozen=True)
class Status:
    """The instance at one moment. `heartbeats`: time of the last one by type of daemon, None if there was none."""

    heartbeats: dict[str, float | None]
    queued: int
    running: int
    locations: dict[str, bool]
    jobs: frozenset[str]


@dataclass(frozen=True)
class Total:
    """How many finished runs of a job the instance has in one status, and the one created last."""

    count: int
    last: Run | None


class Instance:
    """Client for the webserver's GraphQL API. Reads only."""

    def __init__(self, url: str, timeout_seconds: float, page: int = PAGE) -> None:
        self._url = url
        self._page = page
        self._client = httpx2.Client(timeout=timeout_seconds)

    def close(self) -> None:
        """Drop connections."""
        self._client.close()

    def status(self) -> Status:
        """Return daemons, queue, code locations and jobs."""
        data = self._ask(_STATUS)
        try:
            return _status(data)
        except (KeyError, TypeError) as e:
            raise InstanceError(f"unexpected answer: {type(e).__name__}: {e}") from e

    def finished_since(self, time: float) -> dict[str, Run]:
        """Return the runs that ended after `time` (Unix seconds), by id.

        Pages are cut by creation time and not by cursor: Dagster's cursor is a run's id, and once that run is
        deleted the page after it is empty. Pages overlap by a second, as many runs can be made in one.
        """
        found: dict[str, Run] = {}
        limit, before = self._page, None
        while True:
            wanted: dict[str, Any] = {"statuses": FINISHED, "updatedAfter": time}
            if before is not None:
                wanted["createdBefore"] = before
            data = self._ask(_RUNS, {"filter": wanted, "limit": limit})
            page = [_run(r) for r in _results(data["runs"])]
            if len(page) < limit:
                found.update((r.id, r) for r in page)
                break
            earliest = min(r.created for r in page)
            if before is not None and earliest + _SECOND >= before:  # all of one second: a larger page is needed
                limit *= 2
                if limit > MAX_PAGE:
                    raise InstanceError(f"more than {MAX_PAGE} runs were created within a second")
            else:
                limit = self._page
                before = earliest + _SECOND
            found.update((r.id, r) for r in page)
        return {i: r for i, r in found.items() if r.ended > time}

    def totals(self, jobs: Iterable[str]) -> dict[tuple[str, str], Total]:
        """Return the total for each job and finished status."""
        keys = [(job, status) for job in sorted(jobs) for status in FINISHED]
        totals = {}
        for batch in (keys[i : i + TOTALS_AT_ONCE] for i in range(0, len(keys), TOTALS_AT_ONCE)):
            parts = [_TOTAL.format(alias=f"t{i}", job=json.dumps(j), status=s) for i, (j, s) in enumerate(batch)]
            data = self._ask("query ExporterTotals { " + " ".join(parts) + " }")
            for i, key in enumerate(batch):
                results = _results(data[f"t{i}"])
                totals[key] = Total(data[f"t{i}"]["count"], _run(results[0]) if results else None)
        return totals

    def _ask(self, query: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
        try:
            response = self._client.post(self._url, json={"query": query, "variables": variables or {}})
            answer = response.json()
        except httpx2.HTTPError as e:
            raise InstanceError(f"{self._url}: {type(e).__name__}: {e}") from e
        except ValueError:
            raise InstanceError(f"{self._url}: HTTP {response.status_code}, not JSON") from None
        if not isinstance(answer, dict) or answer.get("errors") or not isinstance(answer.get("data"), dict):
            errors = answer.get("errors") if isinstance(answer, dict) else None
            raise InstanceError(f"{self._url}: HTTP {response.status_code}: {str(errors)[:500]}")
        data: dict[str, Any] = answer["data"]
        return data


def _status(data: dict[str, Any]) -> Status:
    workspace = data["workspaceOrError"]
    if workspace["__typename"] != "Workspace":
        raise InstanceError(f"workspace: {workspace.get('message')}")
    locations: dict[str, bool] = {}
    jobs: set[str] = set()
    for entry in workspace["locationEntries"]:
        location = entry["locationOrLoadError"] or {"__typename": None}  # null: still loading for the first time
        locations[entry["name"]] = location["__typename"] == "RepositoryLocation"
        for repository in location.get("repositories", []):
            jobs.update(job["name"] for job in repository["jobs"])
    return Status(
        heartbeats={
            d["daemonType"]: d["lastHeartbeatTime"]
            for d in data["instance"]["daemonHealth"]["allDaemonStatuses"]
            if d["required"]
        },
        queued=_checked(data["queued"])["count"],
        running=_checked(data["running"])["count"],
        locations=locations,
        jobs=frozenset(jobs),
    )


def _checked(runs: dict[str, Any]) -> dict[str, Any]:
    if runs["__typename"] != "Runs":
        raise InstanceError(f"runs: {runs.get('message')}")
    return runs


def _results(runs: dict[str, Any]) -> list[dict[str, Any]]:
    results: list[dict[str, Any]] = _checked(runs)["results"]
    return results


def _run(r: dict[str, Any]) -> Run:
    try:
        # endTime is null for runs that were finished by other means than an event (an old migration, a plug-in)
        ended = r["endTime"] or r["updateTime"]
        return Run(r["runId"], r["jobName"], r["status"], r["creationTime"], r["startTime"], ended)
    except KeyError as e:
        raise InstanceError(f"unexpected answer: a run without {e}") from e
