import { type DashboardSpec, graph, graphs, stat } from "./build";

const container = 'container!="",image!=""';

/** What runs, what does not, and how full the nodes are. */
export const cluster: DashboardSpec = {
  uid: "dagster-eks-cluster",
  title: "Cluster",
  description: "Nodes, workloads and the API server of the cluster",
  variables: [{ name: "namespace", label: "Namespace", query: "label_values(kube_pod_info, namespace)" }],
  rows: [
    {
      title: "Now",
      panels: [
        stat("Nodes", "none", "count(kube_node_info)"),
        stat(
          "Nodes that are not ready",
          "none",
          'count(kube_node_status_condition{condition="Ready",status="true"} == 0) or vector(0)',
        ),
        stat("Pods", "none", 'sum(kube_pod_status_phase{phase="Running"})'),
        stat(
          "Pods that wait or failed",
          "none",
          'sum(kube_pod_status_phase{phase=~"Pending|Failed|Unknown"})',
        ),
        stat(
          "CPU requested",
          "percentunit",
          'sum(kube_pod_container_resource_requests{resource="cpu"}) / sum(kube_node_status_allocatable{resource="cpu"})',
          "Share of what the nodes have to give; Karpenter adds nodes when it reaches 1",
        ),
        stat(
          "Memory requested",
          "percentunit",
          'sum(kube_pod_container_resource_requests{resource="memory"}) / sum(kube_node_status_allocatable{resource="memory"})',
        ),
      ],
    },
    {
      title: "Nodes",
      panels: [
        graph(
          "CPU in use",
          "percentunit",
          '1 - avg by (instance) (rate(node_cpu_seconds_total{mode="idle"}[$__rate_interval]))',
          "{{instance}}",
          { max: 1 },
        ),
        graph(
          "Memory in use",
          "percentunit",
          "1 - node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes",
          "{{instance}}",
          { max: 1 },
        ),
        graph("Pods per node", "none", "kubelet_running_pods", "{{node}}"),
      ],
    },
    {
      title: "Workloads of $namespace",
      panels: [
        graph(
          "CPU",
          "short",
          `sum by (pod) (rate(container_cpu_usage_seconds_total{namespace="$namespace",${container}}[$__rate_interval]))`,
          "{{pod}}",
        ),
        graph(
          "Memory (working set)",
          "bytes",
          `sum by (pod) (container_memory_working_set_bytes{namespace="$namespace",${container}})`,
          "{{pod}}",
        ),
        graph(
          "CPU throttled",
          "percentunit",
          `sum by (pod) (rate(container_cpu_cfs_throttled_periods_total{namespace="$namespace",container!=""}[$__rate_interval])) / sum by (pod) (rate(container_cpu_cfs_periods_total{namespace="$namespace",container!=""}[$__rate_interval]))`,
          "{{pod}}",
          { max: 1, description: "Share of the scheduler's periods in which the limit was hit" },
        ),
        graphs("Network", "Bps", {
          "{{pod}} in":
            'sum by (pod) (rate(container_network_receive_bytes_total{namespace="$namespace"}[$__rate_interval]))',
          "{{pod}} out":
            'sum by (pod) (rate(container_network_transmit_bytes_total{namespace="$namespace"}[$__rate_interval]))',
        }),
        graph(
          "Restarts in an hour",
          "none",
          'sum by (pod, container) (increase(kube_pod_container_status_restarts_total{namespace="$namespace"}[1h]))',
          "{{pod}} {{container}}",
        ),
        graph(
          "Volumes in use",
          "percentunit",
          'kubelet_volume_stats_used_bytes{namespace="$namespace"} / kubelet_volume_stats_capacity_bytes{namespace="$namespace"}',
          "{{persistentvolumeclaim}}",
          { max: 1 },
        ),
        graph(
          "Replicas that are missing",
          "none",
          'kube_deployment_status_replicas_unavailable{namespace="$namespace"}',
          "{{deployment}}",
        ),
        graph(
          "Containers that wait, by reason",
          "none",
          'sum by (reason) (kube_pod_container_status_waiting_reason{namespace="$namespace"})',
          "{{reason}}",
        ),
        graph("Failed jobs", "none", 'kube_job_status_failed{namespace="$namespace"} > 0', "{{job_name}}"),
      ],
    },
    {
      title: "API server",
      panels: [
        graph(
          "Requests by verb",
          "reqps",
          "sum by (verb) (rate(apiserver_request_total[$__rate_interval]))",
          "{{verb}}",
        ),
        graph(
          "Server errors",
          "percentunit",
          'sum(rate(apiserver_request_total{code=~"5.."}[$__rate_interval])) / sum(rate(apiserver_request_total[$__rate_interval]))',
        ),
        graph(
          "99th percentile of reads and writes",
          "s",
          'histogram_quantile(0.99, sum by (le, verb) (rate(apiserver_request_duration_seconds_bucket{verb!~"WATCH|CONNECT"}[$__rate_interval])))',
          "{{verb}}",
        ),
      ],
    },
  ],
};
