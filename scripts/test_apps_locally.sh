#!/usr/bin/env bash
# Eight quick checks of the applications, without any server: see usage below.
set -euo pipefail

usage() {
  cat <<'EOF'
Usage: scripts/test_apps_locally.sh [--help]

Checks the applications in apps/ in eight tests, in less than a minute. Needs python3 (3.11 or later); makes its own
virtual environment with the locked packages in .local/apps/venv when there is none (about a minute more).
All tests of the applications: make -C apps test

Exit codes: 0 all passed, 1 a test failed, 64 wrong usage, 69 the environment cannot be made.
EOF
}

case "${1:-}" in
  "") ;;
  -h | --help) usage; exit 0 ;;
  *) echo "test_apps_locally.sh: unknown argument: $1" >&2; usage >&2; exit 64 ;;
esac

apps=$(cd "$(dirname "${BASH_SOURCE[0]}")/../apps" && pwd)
if ! make --silent -C "$apps" venv; then
  echo "test_apps_locally.sh: the virtual environment could not be made; the lines above say why" >&2
  exit 69
fi
bin=$(cd "$apps/../.local/apps/venv/bin" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# only what is set here: not the caller's secrets, .env file or Dagster instance
python() { env -i PATH="$bin:/usr/bin:/bin" HOME="$work" PYTHONPATH="$apps" PYTHONDONTWRITEBYTECODE=1 \
  DAGSTER_DISABLE_TELEMETRY=yes APP_ENV_FILE="$work/none.env" "$@"; }

passed=0 failed=0
check() { # NAME COMMAND…
  local name=$1
  shift
  if (cd "$work" && python "$@") >"$work/log" 2>&1; then
    passed=$((passed + 1))
    echo "ok    $((passed + failed)) $name"
  else
    failed=$((failed + 1))
    echo "FAIL  $((passed + failed)) $name"
    tail -n 15 "$work/log" | sed 's/^/      /'
  fi
}

check "Python syntax" python - "$apps" <<'EOF'
import ast, pathlib, sys
files = [f for f in pathlib.Path(sys.argv[1]).rglob("*.py")]
for f in files:
    ast.parse(f.read_bytes(), f)
assert len(files) > 20, files
EOF

check "Dagster imports" python -c 'import dagster, dagster_aws, dagster_k8s, dagster_postgres, weather_pipeline'

check "API imports" python -c 'import fastapi, boto3, uvicorn, products_api.app, products_api.__main__'

check "FastAPI structure" python - <<'EOF'
from products_api.app import create_app
from products_api.settings import load_settings
import os
os.environ |= {"AWS_DEFAULT_REGION": "us-east-2"}
paths = create_app(load_settings()).openapi()["paths"]
assert set(paths) == {"/products", "/healthz", "/readyz", "/metrics"}, set(paths)
limit = next(p["schema"] for p in paths["/products"]["get"]["parameters"] if p["name"] == "limit")
assert (limit["minimum"], limit["maximum"]) == (1, 100), limit
EOF

check "Dagster job definition" python - <<'EOF'
from weather_pipeline import defs
job = defs.resolve_job_def("weather_product_job")
steps = {n.name for n in job.nodes}
assert {"weather_observations", "weather_products", "weather_report"} <= steps, steps
schedule = defs.resolve_schedule_def("weather_product_hourly")
assert (schedule.job_name, schedule.cron_schedule, schedule.default_status.value) == (
    "weather_product_job", "0 * * * *", "STOPPED")
EOF

check "Secret-reading helpers" python - <<'EOF'
import os, pathlib
from weather_common.secrets import SecretError, read_secret, read_setting, redact
env_file = pathlib.Path(os.environ["APP_ENV_FILE"])
os.environ["X"] = "from environment"
assert read_setting("X") == "from environment"
env_file.write_text("X=from-env-file\n")
assert read_setting("X") == "from-env-file"
os.environ["X_FILE"] = str(env_file.with_name("x"))
try:
    raise SystemExit("a missing file was not noticed: " + read_setting("X"))
except SecretError as e:
    assert "X_FILE=" in str(e), e
env_file.with_name("x").write_text("from-file\n")
assert read_secret("X").get_secret_value() == "from-file"
assert redact("say from-file") == "say ***"
EOF

check "Dagster CLI validation" dagster definitions validate -m weather_pipeline

check "Exporter metrics" python - <<'EOF'
import time
from dagster_exporter.instance import FINISHED, Instance, Run, Status, Total
from dagster_exporter.metrics import Metrics
from dagster_exporter.run_counts import RunCounts
from prometheus_client import CollectorRegistry, generate_latest
class OneRun(Instance):
    run = Run("1", "weather_product_job", "SUCCESS", 1.0, 2.0, 5.0)
    def status(self): return Status({"SCHEDULER": time.time()}, 0, 0, {"code": True}, frozenset({"weather_product_job"}))
    def finished_since(self, time): return {}
    def totals(self, jobs): return {(j, s): Total(s == "SUCCESS", self.run if s == "SUCCESS" else None) for j in jobs for s in FINISHED}
counts = RunCounts(OneRun("http://unused", 1), 900)
metrics = Metrics(counts, 120, time.time)
metrics.status = counts.poll()
registry = CollectorRegistry()
registry.register(metrics)
lines = generate_latest(registry).decode().splitlines()
for line in ('dagster_job_success_total{job_name="weather_product_job"} 1.0',
             'dagster_job_failure_total{job_name="weather_product_job"} 0.0',
             'dagster_job_duration_seconds{job_name="weather_product_job"} 3.0',
             'dagster_daemon_heartbeat{daemon="SCHEDULER"} 1.0'):
    assert line in lines, f"{line}\n" + "\n".join(lines)
EOF

echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" -eq 0 ]
