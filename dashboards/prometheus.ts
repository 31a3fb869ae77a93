import { type DashboardSpec, graph, graphs, stat } from "./build";

const own = 'job="kps-prometheus"';

/** Whether Prometheus itself keeps up. */
export const prometheus: DashboardSpec = {
  uid: "dagster-eks-prometheus",
  title: "Prometheus Stats",
  description: "Scrapes, rules, storage and alerts of Prometheus",
  rows: [
    {
      title: "Now",
      panels: [
        stat("Targets that are down", "none", "count(up == 0) or vector(0)"),
        stat("Series", "short", `sum(prometheus_tsdb_head_series{${own}})`),
        stat(
          "Samples per second",
          "short",
          `sum(rate(prometheus_tsdb_head_samples_appended_total{${own}}[5m]))`,
        ),
        stat(
          "Storage in use",
          "percentunit",
          `max(prometheus_tsdb_storage_blocks_bytes{${own}} / prometheus_tsdb_retention_limit_bytes{${own}})`,
          "At 1 the oldest samples go before their days are over",
        ),
        stat(
          "Oldest sample",
          "dateTimeAsIso",
          `min(prometheus_tsdb_lowest_timestamp_seconds{${own}}) * 1000`,
        ),
        stat("Last reload worked", "bool_yes_no", `min(prometheus_config_last_reload_successful{${own}})`),
      ],
    },
    {
      title: "Scrapes",
      panels: [
        graph("Targets by job", "none", "sum by (job) (up)", "{{job}}"),
        graph("Slowest scrapes", "s", "topk(10, max by (job) (scrape_duration_seconds))", "{{job}}"),
        graph("Samples per scrape", "short", "topk(10, sum by (job) (scrape_samples_scraped))", "{{job}}"),
        graph(
          "Time between two scrapes, 99th percentile",
          "s",
          `prometheus_target_interval_length_seconds{${own},quantile="0.99"}`,
          "wanted {{interval}}",
        ),
        graph(
          "Samples refused",
          "ops",
          `sum(rate(prometheus_target_scrapes_sample_out_of_order_total{${own}}[$__rate_interval]))`,
        ),
      ],
    },
    {
      title: "Rules and alerts",
      panels: [
        graph(
          "Time per rule, 99th percentile",
          "s",
          `max(prometheus_rule_evaluation_duration_seconds{${own},quantile="0.99"})`,
        ),
        graphs("Rules that failed or came too late", "ops", {
          failed: `sum(rate(prometheus_rule_evaluation_failures_total{${own}}[$__rate_interval]))`,
          missed: `sum(rate(prometheus_rule_group_iterations_missed_total{${own}}[$__rate_interval]))`,
        }),
        graphs("Alerts to Alertmanager", "ops", {
          sent: `sum(rate(prometheus_notifications_sent_total{${own}}[$__rate_interval]))`,
          lost: `sum(rate(prometheus_notifications_dropped_total{${own}}[$__rate_interval]))`,
          waiting: `sum(prometheus_notifications_queue_length{${own}})`,
        }),
        graphs("Messages of Alertmanager", "ops", {
          "{{integration}} sent":
            "sum by (integration) (rate(alertmanager_notifications_total[$__rate_interval]))",
          "{{integration}} failed":
            "sum by (integration) (rate(alertmanager_notifications_failed_total[$__rate_interval]))",
        }),
        graph(
          "Alerts that fire",
          "none",
          'sum by (alertname) (ALERTS{alertstate="firing"})',
          "{{alertname}}",
        ),
      ],
    },
    {
      title: "Storage and queries",
      panels: [
        graphs("Bytes on the volume", "bytes", {
          blocks: `sum(prometheus_tsdb_storage_blocks_bytes{${own}})`,
          "write-ahead log": `sum(prometheus_tsdb_wal_storage_size_bytes{${own}})`,
          limit: `max(prometheus_tsdb_retention_limit_bytes{${own}})`,
        }),
        graphs("Compactions", "ops", {
          done: `sum(rate(prometheus_tsdb_compactions_total{${own}}[$__rate_interval]))`,
          failed: `sum(rate(prometheus_tsdb_compactions_failed_total{${own}}[$__rate_interval]))`,
        }),
        graph(
          "Time per query, 90th percentile",
          "s",
          `prometheus_engine_query_duration_seconds{${own},quantile="0.9"}`,
          "{{slice}}",
        ),
        graph(
          "Time per HTTP request, 99th percentile",
          "s",
          `histogram_quantile(0.99, sum by (le, handler) (rate(prometheus_http_request_duration_seconds_bucket{${own}}[$__rate_interval])))`,
          "{{handler}}",
        ),
        graph("Memory", "bytes", `process_resident_memory_bytes{${own}}`, "{{pod}}"),
        graph("CPU", "short", `rate(process_cpu_seconds_total{${own}}[$__rate_interval])`, "{{pod}}"),
      ],
    },
  ],
};
