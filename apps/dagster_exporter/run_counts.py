"""Counters of finished runs that stay true.

What can go wrong, and what is done about it:

- Runs end in pods of their own. Each poll asks the instance for the runs that ended lately and counts those that it
  has not counted yet, by run id.
- A total from the instance falls when old runs are deleted, and Prometheus takes a falling counter for a restarted
  one: increase() would report every run ever. So totals are read once per job, when it is first seen; from then on
  only newly finished runs are added. Deleting runs changes nothing.
- A run can end while the totals are read. The list of finished runs is read before and after them, again and again
  until both agree: then the totals hold exactly the runs of the list.
- Clocks of pods differ, and an end may become visible late. `horizon` is the time up to which all is settled; it
  stays `overlap` behind the last successful poll. What ended after it is counted once, by the ids in `counted`.
- The webserver is away: nothing changes. The next successful poll asks from the same horizon, however old.
- The exporter restarts: with a state file all goes on from there. Without, totals come from the instance again: the
  same numbers, unless runs were deleted meanwhile (Prometheus then sees one reset).
- increase() only sees a rise between two samples, so a series must be scraped at its old value first. A job that
  appears starts without its runs after the horizon (at 0 if it is new); those are added at the first poll after a
  scrape. After a restart with a state file it is the same for every job.
"""

import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from dagster_exporter.instance import FINISHED, Instance, InstanceError, Run, Status, Total

log = logging.getLogger(__name__)

BUCKETS = (1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 10800.0, 43200.0)  # seconds
_STATE_VERSION = 1  # also to be raised when BUCKETS change
_SETTLE_TRIES = 20
_MILLISECOND = 0.001


@dataclass
class JobCounts:
    """What is published for one job. `buckets` counts the runs by duration, not cumulated; the last is the rest."""

    finished: dict[str, int] = field(default_factory=lambda: dict.fromkeys(FINISHED, 0))
    buckets: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    seconds_sum: float = 0.0
    last_seconds: float | None = None
    last_end: float = 0.0
    last_success: float | None = None
    since: float = 0.0  # when this process began to publish it
    scraped: bool = False
    waiting: list[Run] = field(default_factory=list)

    def add(self, run: Run) -> None:
        """Count a finished run."""
        self.finished[run.status] += 1
        self.note(run)
        if run.seconds is not None:
            self.buckets[next((i for i, b in enumerate(BUCKETS) if run.seconds <= b), len(BUCKETS))] += 1
            self.seconds_sum += run.seconds

    def note(self, run: Run) -> None:
        """Take over when a run ended and how long it took, if it is the latest; does not count it."""
        if run.status == "SUCCESS":
            self.last_success = max(self.last_success or 0.0, run.ended)
        if run.seconds is not None and run.ended >= self.last_end:
            self.last_end, self.last_seconds = run.ended, run.seconds


class RunCounts:
    """The counters, kept by poll() and read by a scrape. Thread-safe."""

    def __init__(
        self,
        instance: Instance,
        overlap_seconds: float,
        state_file: Path | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._instance = instance
        self._overlap = overlap_seconds
        self._state_file = state_file
        self._clock = clock
        self._lock = threading.Lock()
        self._jobs: dict[str, JobCounts] = {}
        self._counted: dict[str, float] = {}  # end by id, of the runs after the horizon
        self._horizon: float | None = None  # None: there was no successful poll, also not before a restart
        if state_file is not None:
            self._load(state_file)

    def poll(self) -> Status:
        """Bring the counters up to date; returns the instance's status. Raises InstanceError, and changes nothing."""
        now = self._clock()
        since = self._horizon if self._horizon is not None else now - self._overlap
        status = self._instance.status()
        finished, totals = self._settled(status.jobs, since)
        with self._lock:
            for counts in self._jobs.values():
                counts.scraped |= now - counts.since > self._overlap  # nobody scrapes: do not wait for ever
                if counts.scraped:
                    for run in counts.waiting:
                        counts.add(run)
                    counts.waiting.clear()
            known = {j for j, _ in totals}
            for job in known:
                unseen = [] if self._horizon is None else finished.values()
                self._jobs[job] = _first_counts(job, now, totals, unseen)
            for run in sorted(finished.values(), key=lambda r: r.ended):
                if run.id not in self._counted and run.job not in known:
                    counts = self._jobs[run.job]
                    if counts.scraped:
                        counts.add(run)
                    else:
                        counts.waiting.append(run)
            # not past a run that waits: after a restart it must be found again
            waiting = min((run.ended for counts in self._jobs.values() for run in counts.waiting), default=now)
            self._horizon = horizon = max(since, min(now - self._overlap, waiting - _MILLISECOND))
            self._counted = {r.id: r.ended for r in finished.values() if r.ended > horizon} | {
                i: end for i, end in self._counted.items() if end > horizon
            }
            self._save()
        return status

    def snapshot(self) -> dict[str, JobCounts]:
        """Return a copy for one scrape, and remember that it was taken."""
        with self._lock:
            copy = {
                job: JobCounts(
                    dict(c.finished), list(c.buckets), c.seconds_sum, c.last_seconds, c.last_end, c.last_success
                )
                for job, c in self._jobs.items()
            }
            for counts in self._jobs.values():
                counts.scraped = True
            return copy

    def _settled(self, jobs: frozenset[str], since: float) -> tuple[dict[str, Run], dict[tuple[str, str], Total]]:
        """Return the runs that ended after `since`, and the totals of new jobs at that same moment."""
        finished = self._instance.finished_since(since)
        for _ in range(_SETTLE_TRIES):
            new = (jobs | {r.job for r in finished.values()}) - self._jobs.keys()
            totals = self._instance.totals(new)
            if not new:
                return finished, totals
            again = self._instance.finished_since(since)
            if again.keys() == finished.keys():
                return finished, totals
            finished = again
        raise InstanceError("runs end faster than their totals can be read")

    def _save(self) -> None:
        if self._state_file is None:
            return
        waiting = {run.id for counts in self._jobs.values() for run in counts.waiting}
        state = {
            "version": _STATE_VERSION,
            "horizon": self._horizon,
            # a run that waits is not published: after a restart it is found again, and waits again
            "counted": {i: end for i, end in self._counted.items() if i not in waiting},
            "jobs": {
                job: {
                    "finished": c.finished,
                    "buckets": c.buckets,
                    "seconds_sum": c.seconds_sum,
                    "last_seconds": c.last_seconds,
                    "last_end": c.last_end,
                    "last_success": c.last_success,
                }
                for job, c in self._jobs.items()
            },
        }
        temporary = self._state_file.with_suffix(".new")
        try:
            with temporary.open("w", encoding="utf-8") as f:
                json.dump(state, f)
                f.flush()
                os.fsync(f.fileno())
            temporary.replace(self._state_file)
        except OSError as e:
            log.error("cannot write %s: %s; a restart would count from the instance again", self._state_file, e)  # noqa: TRY400

    def _load(self, path: Path) -> None:
        try:
            state = json.loads(path.read_text(encoding="utf-8"))
            if state["version"] != _STATE_VERSION:
                log.error("ignoring the state in %s: it has version %s, not %d", path, state["version"], _STATE_VERSION)
                return
            self._jobs = {job: JobCounts(**c, since=self._clock()) for job, c in state["jobs"].items()}
            self._counted, self._horizon = state["counted"], state["horizon"]
        except FileNotFoundError:
            log.info("no state in %s yet: counting from the instance's totals", path)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as e:
            self._jobs = {}
            log.error("ignoring the state in %s: %s; counting from the instance's totals", path, e)  # noqa: TRY400


def _first_counts(job: str, now: float, totals: dict[tuple[str, str], Total], finished: Iterable[Run]) -> JobCounts:
    """Return a new job's counters: its totals less its runs among `finished`, which wait for a scrape."""
    counts = JobCounts(since=now, waiting=sorted((r for r in finished if r.job == job), key=_end))
    for status in FINISHED:
        total = totals[job, status]
        counts.finished[status] = max(0, total.count - sum(r.status == status for r in counts.waiting))
        if total.last is not None and total.last not in counts.waiting:
            counts.note(total.last)
    return counts


def _end(run: Run) -> float:
    return run.ended
