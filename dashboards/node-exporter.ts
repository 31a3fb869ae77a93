import { type DashboardSpec, graph, graphs, stat } from "./build";

const node = 'instance="$node"';
const rate = (metric: string, labels = ""): string =>
  `rate(${metric}{${node}${labels ? `,${labels}` : ""}}[$__rate_interval])`;
const gauge = (metric: string, labels = ""): string => `${metric}{${node}${labels ? `,${labels}` : ""}}`;
const realDevice = 'device!~"lo|veth.*|eni.*"';
const realFilesystem = 'fstype!~"tmpfs|overlay|squashfs"';

/** Everything about one node. */
export const nodeExporter: DashboardSpec = {
  uid: "dagster-eks-node-exporter",
  title: "Node Exporter Full",
  description: "One node: processor, memory, disks, file systems, network, kernel",
  variables: [{ name: "node", label: "Node", query: "label_values(node_uname_info, instance)" }],
  rows: [
    {
      title: "Now",
      panels: [
        stat("CPU in use", "percentunit", `1 - avg(${rate("node_cpu_seconds_total", 'mode="idle"')})`),
        stat(
          "Memory in use",
          "percentunit",
          `1 - ${gauge("node_memory_MemAvailable_bytes")} / ${gauge("node_memory_MemTotal_bytes")}`,
        ),
        stat(
          "Root file system in use",
          "percentunit",
          `1 - ${gauge("node_filesystem_avail_bytes", 'mountpoint="/"')} / ${gauge("node_filesystem_size_bytes", 'mountpoint="/"')}`,
        ),
        stat(
          "Load per core",
          "short",
          `${gauge("node_load5")} / count(count by (cpu) (${gauge("node_cpu_seconds_total")}))`,
        ),
        stat("Up for", "s", `${gauge("node_time_seconds")} - ${gauge("node_boot_time_seconds")}`),
        stat("Cores", "none", `count(count by (cpu) (${gauge("node_cpu_seconds_total")}))`),
      ],
    },
    {
      title: "Processor",
      panels: [
        graph(
          "CPU by mode",
          "percentunit",
          `avg by (mode) (${rate("node_cpu_seconds_total", 'mode!="idle"')})`,
          "{{mode}}",
          {
            stacked: true,
            max: 1,
          },
        ),
        graphs("Load", "short", {
          "1 min": gauge("node_load1"),
          "5 min": gauge("node_load5"),
          "15 min": gauge("node_load15"),
        }),
        graphs(
          "Pressure: share of time that something waits",
          "percentunit",
          {
            CPU: rate("node_pressure_cpu_waiting_seconds_total"),
            memory: rate("node_pressure_memory_waiting_seconds_total"),
            "input and output": rate("node_pressure_io_waiting_seconds_total"),
          },
          { description: "Pressure stall information of the kernel: better than load to see what is short" },
        ),
        graphs("Processes", "none", {
          running: gauge("node_procs_running"),
          blocked: gauge("node_procs_blocked"),
        }),
        graphs("Switches and interrupts", "ops", {
          "context switches": rate("node_context_switches_total"),
          interrupts: rate("node_intr_total"),
        }),
        graph("New processes", "ops", rate("node_forks_total")),
        graph(
          "Time that tasks wait for a core",
          "percentunit",
          `avg(${rate("node_schedstat_waiting_seconds_total")})`,
        ),
      ],
    },
    {
      title: "Memory",
      panels: [
        graphs(
          "Memory",
          "bytes",
          {
            used: `${gauge("node_memory_MemTotal_bytes")} - ${gauge("node_memory_MemFree_bytes")} - ${gauge("node_memory_Buffers_bytes")} - ${gauge("node_memory_Cached_bytes")}`,
            buffers: gauge("node_memory_Buffers_bytes"),
            cache: gauge("node_memory_Cached_bytes"),
            free: gauge("node_memory_MemFree_bytes"),
          },
          { stacked: true },
        ),
        graphs("Kernel", "bytes", {
          slab: gauge("node_memory_Slab_bytes"),
          "page tables": gauge("node_memory_PageTables_bytes"),
          "kernel stacks": gauge("node_memory_KernelStack_bytes"),
        }),
        graphs("Active and inactive", "bytes", {
          active: gauge("node_memory_Active_bytes"),
          inactive: gauge("node_memory_Inactive_bytes"),
          dirty: gauge("node_memory_Dirty_bytes"),
        }),
        graphs("Pages in and out", "ops", {
          in: rate("node_vmstat_pgpgin"),
          out: rate("node_vmstat_pgpgout"),
        }),
        graph("Major page faults", "ops", rate("node_vmstat_pgmajfault")),
        graph(
          "Processes killed for memory",
          "none",
          `increase(${gauge("node_vmstat_oom_kill")}[$__rate_interval])`,
          "",
          {
            description: "Any above zero is worth a look at the limits of the pods on this node",
          },
        ),
      ],
    },
    {
      title: "Disks",
      panels: [
        graphs("Bytes", "Bps", {
          "{{device}} read": rate("node_disk_read_bytes_total"),
          "{{device}} written": rate("node_disk_written_bytes_total"),
        }),
        graphs("Operations", "iops", {
          "{{device}} reads": rate("node_disk_reads_completed_total"),
          "{{device}} writes": rate("node_disk_writes_completed_total"),
        }),
        graphs("Time per operation", "s", {
          "{{device}} read": `${rate("node_disk_read_time_seconds_total")} / ${rate("node_disk_reads_completed_total")}`,
          "{{device}} write": `${rate("node_disk_write_time_seconds_total")} / ${rate("node_disk_writes_completed_total")}`,
        }),
        graph("Busy", "percentunit", rate("node_disk_io_time_seconds_total"), "{{device}}", { max: 1 }),
        graph("Queue", "short", rate("node_disk_io_time_weighted_seconds_total"), "{{device}}"),
        graph("Operations in flight", "none", gauge("node_disk_io_now"), "{{device}}"),
      ],
    },
    {
      title: "File systems",
      panels: [
        graph(
          "Space in use",
          "percentunit",
          `1 - ${gauge("node_filesystem_avail_bytes", realFilesystem)} / ${gauge("node_filesystem_size_bytes", realFilesystem)}`,
          "{{mountpoint}}",
          { max: 1 },
        ),
        graph("Space left", "bytes", gauge("node_filesystem_avail_bytes", realFilesystem), "{{mountpoint}}"),
        graph(
          "Inodes in use",
          "percentunit",
          `1 - ${gauge("node_filesystem_files_free", realFilesystem)} / ${gauge("node_filesystem_files", realFilesystem)}`,
          "{{mountpoint}}",
          { max: 1 },
        ),
        graph(
          "Full in (at the speed of the last 6 h)",
          "bytes",
          `predict_linear(${gauge("node_filesystem_avail_bytes", realFilesystem)}[6h], 86400)`,
          "{{mountpoint}} in a day",
        ),
        graphs("File descriptors", "none", {
          open: gauge("node_filefd_allocated"),
          limit: gauge("node_filefd_maximum"),
        }),
      ],
    },
    {
      title: "Network",
      panels: [
        graphs("Bytes", "Bps", {
          "{{device}} in": rate("node_network_receive_bytes_total", realDevice),
          "{{device}} out": rate("node_network_transmit_bytes_total", realDevice),
        }),
        graphs("Packets", "pps", {
          "{{device}} in": rate("node_network_receive_packets_total", realDevice),
          "{{device}} out": rate("node_network_transmit_packets_total", realDevice),
        }),
        graphs("Errors and drops", "pps", {
          "{{device}} errors in": rate("node_network_receive_errs_total", realDevice),
          "{{device}} errors out": rate("node_network_transmit_errs_total", realDevice),
          "{{device}} drops in": rate("node_network_receive_drop_total", realDevice),
          "{{device}} drops out": rate("node_network_transmit_drop_total", realDevice),
        }),
        graphs("Connections", "none", {
          established: gauge("node_netstat_Tcp_CurrEstab"),
          "time wait": gauge("node_sockstat_TCP_tw"),
          "in use": gauge("node_sockstat_TCP_inuse"),
        }),
        graphs("TCP segments sent again, and resets", "pps", {
          retransmitted: rate("node_netstat_Tcp_RetransSegs"),
          resets: rate("node_netstat_Tcp_OutRsts"),
        }),
        graph(
          "Connection tracking in use",
          "percentunit",
          `${gauge("node_nf_conntrack_entries")} / ${gauge("node_nf_conntrack_entries_limit")}`,
          "",
          { max: 1, description: "At 1 the kernel drops new connections of every pod on the node" },
        ),
        graphs("Receive queue of the kernel", "pps", {
          dropped: `sum(${rate("node_softnet_dropped_total")})`,
          squeezed: `sum(${rate("node_softnet_times_squeezed_total")})`,
        }),
      ],
    },
    {
      title: "Clock",
      panels: [
        graph("Offset", "s", `abs(${gauge("node_timex_offset_seconds")})`),
        graph("In step with a time server", "none", gauge("node_timex_sync_status"), "", { max: 1 }),
      ],
    },
  ],
};
