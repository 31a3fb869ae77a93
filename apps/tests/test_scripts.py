"""scripts/build_and_push_images.sh with stand-ins for the engine and the AWS CLI, and rules for the Dockerfiles."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support import APPS

DOCKERFILES = sorted((APPS / "docker").glob("*.Dockerfile"))
ECR = "123456789012.dkr.ecr.us-east-2.amazonaws.com"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of what the script uses, in no git repository, and a folder of stand-ins that write down their calls."""
    top = tmp_path / "top"
    shutil.copytree(APPS / "docker", top / "apps/docker")
    (top / "scripts").mkdir()
    shutil.copy(APPS.parent / "scripts/build_and_push_images.sh", top / "scripts")
    (tmp_path / "bin").mkdir()
    stand_in(tmp_path, "docker")
    stand_in(tmp_path, "podman")
    stand_in(tmp_path, "aws", "echo the-password")
    return tmp_path


def stand_in(tree: Path, name: str, does: str = "") -> None:
    program = tree / "bin" / name
    reads = 'case "$*" in *--password-stdin*) echo "stdin: $(cat)" >>"$CALLS" ;; esac' if name != "aws" else ""
    program.write_text(f'#!/bin/sh\necho "{name} $*" >>"$CALLS"\n{reads}\n{does}\n')
    program.chmod(0o755)


def script(tree: Path, *arguments: str, **env: str) -> tuple[int, str, str, list[str]]:
    """Run the script; returns its exit code, what it wrote, and the engine's and AWS CLI's calls."""
    calls = tree / "calls"
    calls.write_text("")
    path = {"PATH": f"{tree}/bin:/usr/bin:/bin", "CALLS": str(calls)}
    command = ["bash", str(tree / "top/scripts/build_and_push_images.sh"), *arguments]
    done = subprocess.run(command, env=path | env, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr, [c for c in calls.read_text().splitlines() if " info" not in c]


def test_both_images_are_built_pushed_and_named(tree: Path) -> None:
    code, out, _, calls = script(tree, "localhost:5000", "v2.0")
    assert code == 0
    assert out.splitlines() == [
        "pushed localhost:5000/dagster-weather-app:v2.0",
        "pushed localhost:5000/weather-products-api:v2.0",
    ]
    verbs = [" ".join(c.split()[:2]) for c in calls]
    assert verbs == ["docker build", "docker push"] * 2
    assert "--file " + str(tree / "top/apps/docker/weather-products-api.Dockerfile") in calls[2]
    assert "--build-arg VERSION=v2.0 --build-arg REVISION=unknown" in calls[2]


def test_the_ecr_login_goes_by_a_pipe(tree: Path) -> None:
    code, _, err, calls = script(tree, f"{ECR}/team", "v2.0", "--image", "weather-products-api")
    assert code == 0
    # the two ends of a pipe start at the same time
    assert set(calls[:3]) == {
        "aws ecr get-login-password --region us-east-2",
        f"docker login --username AWS --password-stdin {ECR}",
        "stdin: the-password",
    }
    assert calls[-1] == f"docker push {ECR}/team/weather-products-api:v2.0"
    assert "the-password" not in err


def test_no_push_needs_no_login(tree: Path) -> None:
    code, out, _, calls = script(tree, ECR, "v2.0", "--no-push")
    assert code == 0
    assert "pushed" not in out
    assert [c.split()[1] for c in calls] == ["build", "build"]


def test_platforms(tree: Path) -> None:
    _, _, _, one = script(tree, "localhost", "v1", "--platform", "linux/arm64", "--image", "dagster-weather-app")
    assert one[0].startswith("docker build --platform linux/arm64 ")
    both = "linux/amd64,linux/arm64"
    _, _, _, docker = script(tree, "localhost", "v1", "--platform", both, "--image", "dagster-weather-app")
    assert [c.split(" --file")[0] for c in docker] == [
        f"docker buildx build --platform {both} --push --tag localhost/dagster-weather-app:v1"
    ]
    options = ["--platform", both, "--image", "dagster-weather-app", "--engine", "podman"]
    _, _, _, podman = script(tree, "localhost", "v1", *options)
    assert podman[0].startswith(f"podman build --platform {both} --manifest localhost/dagster-weather-app:v1")
    assert podman[1].startswith("podman manifest push --all ")


def test_base_images_and_options_are_passed_on(tree: Path) -> None:
    _, _, _, calls = script(
        tree,
        "localhost",
        "v1",
        "--no-push",
        "--python-image",
        "a@sha256:1",
        "--runtime-image",
        "b",
        "--build-option",
        "--pull",
    )
    assert "--build-arg PYTHON_IMAGE=a@sha256:1 --build-arg RUNTIME_IMAGE=b --pull" in calls[0]


def test_dry_run_runs_nothing(tree: Path) -> None:
    code, out, _, calls = script(tree, ECR, "v1", "--dry-run")
    assert (code, calls) == (0, [])
    assert f"docker push {ECR}/dagster-weather-app:v1" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "a registry and a tag are needed, got 0 arguments"),
        (["localhost"], "got 1 arguments"),
        (["localhost", "v1", "x"], "got 3 arguments"),
        (["https://localhost", "v1"], 'registry "https://localhost" is no host'),
        (["localhost", "v1/2"], 'tag "v1/2" may have letters'),
        (["localhost", "-v1"], "unknown option -v1"),
        (["localhost", "latest", "--environment", "prod"], 'tag "latest" is refused for prod'),
        (["localhost", "v1", "--environment", "test"], '--environment is "test"; dev or prod'),
        (["localhost", "v1", "--engine", "nerdctl"], '--engine is "nerdctl"; docker or podman'),
        (["localhost", "v1", "--image", "other"], '--image is "other"; possible: dagster-weather-app'),
        (["localhost", "v1", "--platform"], "--platform needs a value"),
    ],
)
def test_wrong_usage_is_64_and_builds_nothing(arguments: list[str], message: str, tree: Path) -> None:
    code, _, err, calls = script(tree, *arguments)
    assert (code, calls) == (64, [])
    assert message in err


def test_latest_is_fine_outside_prod(tree: Path) -> None:
    assert script(tree, "localhost", "latest")[0] == 0
    assert script(tree, "localhost", "latest", ENVIRONMENT="prod")[0] == 64


def test_faults_say_what_to_do(tree: Path) -> None:
    stand_in(tree, "docker", 'case "$1" in push) exit 1 ;; esac')
    code, out, err, _ = script(tree, "localhost", "v1")
    assert (code, out) == (1, "")
    assert "does the repository dagster-weather-app exist" in err
    stand_in(tree, "aws", "exit 255")
    stand_in(tree, "docker", 'case "$1" in login) exit 1 ;; esac')
    code, _, err, calls = script(tree, ECR, "v1")
    assert code == 1
    assert "aws sts get-caller-identity" in err
    assert not [c for c in calls if "build" in c]
    for name in ("docker", "podman"):
        stand_in(tree, name, "exit 1")
    code, _, err, _ = script(tree, "localhost", "v1")
    assert code == 69
    assert "no container engine answers (tried: docker, podman)" in err


def test_help_of_both_scripts() -> None:
    for name in ("build_and_push_images.sh", "test_apps_locally.sh"):
        done = subprocess.run(
            ["bash", str(APPS.parent / "scripts" / name), "--help"], capture_output=True, text=True, check=True
        )
        assert f"Usage: scripts/{name}" in done.stdout
        assert "Exit codes:" in done.stdout


def test_there_are_two_dockerfiles() -> None:
    assert [d.stem for d in DOCKERFILES] == ["dagster-weather-app", "weather-products-api"]


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda d: d.stem)
def test_images_are_pinned_unprivileged_and_checked(dockerfile: Path) -> None:
    text = dockerfile.read_text()
    bases = re.findall(r"^ARG \w+_IMAGE=(\S+)", text, re.MULTILINE)
    assert bases
    assert all(re.fullmatch(r"[\w.:/-]+@sha256:[0-9a-f]{64}", b) for b in bases)
    assert all(re.fullmatch(r"\$\{\w+_IMAGE\}( AS build)?", f) for f in re.findall(r"^FROM (.*)$", text, re.MULTILINE))
    last = text[text.rindex("\nFROM ") :]
    users = re.findall(r"^USER (\d+):(\d+)$", last, re.MULTILINE)
    assert len(users) == 1
    assert all(int(u) >= 10_000 for u in users[0])
    assert "HEALTHCHECK" in last
    assert "org.opencontainers.image.revision" in last
    assert "--require-hashes" in text
    ignored = dockerfile.with_name(dockerfile.name + ".dockerignore").read_text().splitlines()
    copied = re.findall(r"^COPY (apps/\S+)", text, re.MULTILINE)
    assert {f"!{c}" for c in copied} == {i for i in ignored if i.startswith("!")}


def test_the_layers_hold_what_the_dockerfiles_copy() -> None:
    recipe = (APPS / "Makefile").read_text()
    for dockerfile in DOCKERFILES:
        packages = set(re.findall(r"^COPY apps/(\w+) /opt/weather/", dockerfile.read_text(), re.MULTILINE))
        [line] = re.findall(rf"cp -r ([\w ]+) \$\(LOCAL\)/layers/{dockerfile.stem}/opt/weather/", recipe)
        assert set(line.split()) == packages
