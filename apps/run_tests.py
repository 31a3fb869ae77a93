"""Runs every test of the applications and counts them: `make -C apps test`, `make -C apps lint`."""

import argparse
import os
import re
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from pathlib import Path
from tempfile import TemporaryDirectory

APPS = Path(__file__).resolve().parent
BIN = Path(sys.executable).parent
LINTERS: dict[str, list[str | Path]] = {
    "ruff check": [BIN / "ruff", "check", "."],
    "ruff format": [BIN / "ruff", "format", "--check", "."],
    "mypy --strict": [BIN / "mypy", "."],
    "hadolint": [BIN / "hadolint", *sorted(APPS.glob("docker/*.Dockerfile"))],
}
LINE = re.compile(r"(\d+) passed, (\d+) failed, (\d+) skipped")


class Counts:
    """Passed, failed and skipped tests of all parts."""

    def __init__(self) -> None:
        self.passed = self.failed = self.skipped = 0

    def add(self, part: str, passed: int, failed: int, skipped: int, seconds: float) -> None:
        """Add a part and print it. A part without a test that ran is a failure."""
        failed += passed + failed == 0
        self.passed += passed
        self.failed += failed
        self.skipped += skipped
        say(f"== {part}: {passed} passed, {failed} failed, {skipped} skipped, {seconds:.0f} s")


def lint(counts: Counts) -> None:
    """Run the linters; each counts as one test."""
    for name, command in LINTERS.items():
        start = time.monotonic()
        failed = subprocess.run(command, cwd=APPS, check=False).returncode != 0
        counts.add(name, int(not failed), int(failed), 0, time.monotonic() - start)


def tests(counts: Counts) -> None:
    """Run pytest; too little coverage counts as one failed test."""
    start = time.monotonic()
    with TemporaryDirectory() as folder:
        report = Path(folder) / "junit.xml"
        coverage = ["--cov", "--cov-report=term", "--cov-fail-under=90"]
        command = [sys.executable, "-m", "pytest", "-q", f"--junit-xml={report}", *coverage]
        env = os.environ | {"COVERAGE_FILE": f"{folder}/coverage"}
        code = subprocess.run(command, cwd=APPS, env=env, check=False).returncode
        total = failed = skipped = 0
        for suite in ET.parse(report).getroot().iter("testsuite") if report.exists() else []:
            total += int(suite.get("tests", 0))
            failed += int(suite.get("failures", 0)) + int(suite.get("errors", 0))
            skipped += int(suite.get("skipped", 0))
    passed = total - failed - skipped
    counts.add("pytest", passed, failed or int(code != 0), skipped, time.monotonic() - start)


def script(counts: Counts) -> None:
    """Run the runbook's script."""
    start = time.monotonic()
    done = subprocess.run(
        [APPS.parent / "scripts/test_apps_locally.sh"], stdout=subprocess.PIPE, text=True, check=False
    )
    say(done.stdout.rstrip())
    match = LINE.search(done.stdout)
    passed, failed, skipped = map(int, match.groups()) if match else (0, 0, 0)
    counts.add("test_apps_locally.sh", passed, failed or int(done.returncode != 0), skipped, time.monotonic() - start)


def say(line: str) -> None:
    """Print at once: the children print to the same place."""
    print(line, flush=True)  # noqa: T201


def main() -> int:
    """Run all parts, or only the linters; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lint", action="store_true", help="only the linters")
    arguments = parser.parse_args()
    counts = Counts()
    for part in [lint] if arguments.lint else [lint, tests, script]:
        part(counts)
    say(f"{counts.passed} passed, {counts.failed} failed, {counts.skipped} skipped")
    return int(counts.failed > 0)


if __name__ == "__main__":
    sys.exit(main())
