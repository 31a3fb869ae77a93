import { type DashboardSpec, graph, graphs, stat } from "./build";

/** Requests of the products API, and what it asks of the object store. */
export const productsApi: DashboardSpec = {
  uid: "dagster-eks-products-api",
  title: "Products API",
  description: "Rate, errors and duration of the products API",
  rows: [
    {
      title: "Now",
      panels: [
        stat("Requests", "reqps", "sum(rate(products_api_requests_total[5m]))"),
        stat(
          "Server errors",
          "percentunit",
          '(sum(rate(products_api_requests_total{status=~"5.."}[5m])) or vector(0)) / sum(rate(products_api_requests_total[5m]))',
        ),
        stat(
          "95th percentile",
          "s",
          "histogram_quantile(0.95, sum by (le) (rate(products_api_request_duration_seconds_bucket[5m])))",
        ),
        stat("In progress", "none", "sum(products_api_requests_in_progress)"),
      ],
    },
    {
      title: "Requests",
      panels: [
        graph(
          "By route and status",
          "reqps",
          "sum by (method, route, status) (rate(products_api_requests_total[$__rate_interval]))",
          "{{method}} {{route}} {{status}}",
        ),
        graphs("Duration", "s", {
          "{{route}} median":
            "histogram_quantile(0.5, sum by (le, route) (rate(products_api_request_duration_seconds_bucket[$__rate_interval])))",
          "{{route}} 95 %":
            "histogram_quantile(0.95, sum by (le, route) (rate(products_api_request_duration_seconds_bucket[$__rate_interval])))",
          "{{route}} 99 %":
            "histogram_quantile(0.99, sum by (le, route) (rate(products_api_request_duration_seconds_bucket[$__rate_interval])))",
        }),
        graph("In progress", "none", "sum by (pod) (products_api_requests_in_progress)", "{{pod}}"),
      ],
    },
    {
      title: "Object store",
      panels: [
        graph(
          "Calls by operation and outcome",
          "ops",
          "sum by (operation, outcome) (rate(products_api_s3_calls_total[$__rate_interval]))",
          "{{operation}} {{outcome}}",
        ),
        graph(
          "Records left out in an hour",
          "none",
          "sum(increase(products_api_invalid_records_total[1h]))",
          "",
          {
            description: "Lines and objects in the bucket that hold no product",
          },
        ),
        graph(
          "Memory",
          "bytes",
          'sum by (pod) (container_memory_working_set_bytes{namespace="data",container="products-api"})',
          "{{pod}}",
        ),
      ],
    },
  ],
};
