import { type DashboardSpec, graph, graphs, stat } from "./build";

/** Runs, daemons and the queue, as the exporter sees them. */
export const dagster: DashboardSpec = {
  uid: "dagster-eks-dagster",
  title: "Dagster",
  description: "Runs, daemons, queue and code locations of the Dagster instance",
  rows: [
    {
      title: "Now",
      panels: [
        stat("Exporter reaches Dagster", "bool_yes_no", "min(dagster_exporter_up)"),
        stat("Daemons alive", "none", "sum(dagster_daemon_heartbeat)"),
        stat("Runs in progress", "none", "sum(dagster_runs_in_progress)"),
        stat("Runs in the queue", "none", "sum(dagster_run_queue_length)"),
        stat("Failures in 24 h", "none", "sum(increase(dagster_job_failure_total[24h]))"),
        stat(
          "Code locations that do not load",
          "none",
          "count(dagster_code_location_loaded == 0) or vector(0)",
        ),
      ],
    },
    {
      title: "Runs",
      panels: [
        graphs("Finished in an hour", "none", {
          "{{job_name}} succeeded": "sum by (job_name) (increase(dagster_job_success_total[1h]))",
          "{{job_name}} failed": "sum by (job_name) (increase(dagster_job_failure_total[1h]))",
          "{{job_name}} canceled": "sum by (job_name) (increase(dagster_job_canceled_total[1h]))",
        }),
        graph(
          "Share that failed in a day",
          "percentunit",
          "sum by (job_name) (increase(dagster_job_failure_total[24h])) / (sum by (job_name) (increase(dagster_job_failure_total[24h])) + sum by (job_name) (increase(dagster_job_success_total[24h])))",
          "{{job_name}}",
          { max: 1 },
        ),
        graph(
          "Since the last success",
          "s",
          "time() - max by (job_name) (dagster_job_last_success_timestamp_seconds)",
          "{{job_name}}",
        ),
        graph(
          "Duration of the last run",
          "s",
          "max by (job_name) (dagster_job_duration_seconds)",
          "{{job_name}}",
        ),
        graph(
          "Duration, 95th percentile of a day",
          "s",
          "histogram_quantile(0.95, sum by (le, job_name) (increase(dagster_job_run_duration_seconds_bucket[24h])))",
          "{{job_name}}",
        ),
        graphs("Queue", "none", {
          waiting: "sum(dagster_run_queue_length)",
          running: "sum(dagster_runs_in_progress)",
        }),
      ],
    },
    {
      title: "Daemons and the exporter",
      panels: [
        graph("Daemon alive", "none", "max by (daemon) (dagster_daemon_heartbeat)", "{{daemon}}", { max: 1 }),
        graph(
          "Age of the last heartbeat",
          "s",
          "time() - max by (daemon) (dagster_daemon_heartbeat_timestamp_seconds)",
          "{{daemon}}",
        ),
        graph("Code location loaded", "none", "dagster_code_location_loaded", "{{code_location}}", {
          max: 1,
        }),
        graphs("Polls", "none", {
          "failed in 10 min": "sum(increase(dagster_exporter_failed_polls_total[10m]))",
          "age of the last one in s": "time() - max(dagster_exporter_last_poll_timestamp_seconds)",
        }),
      ],
    },
  ],
};
