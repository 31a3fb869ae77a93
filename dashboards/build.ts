import {
  LegendDisplayMode,
  LegendPlacement,
  StackingConfigBuilder,
  StackingMode,
  TooltipDisplayMode,
  VizLegendOptionsBuilder,
  VizTooltipOptionsBuilder,
} from "@grafana/grafana-foundation-sdk/common";
import {
  DashboardBuilder,
  DashboardCursorSync,
  QueryVariableBuilder,
  RowBuilder,
  VariableRefresh,
  VariableSort,
} from "@grafana/grafana-foundation-sdk/dashboard";
import { DataqueryBuilder } from "@grafana/grafana-foundation-sdk/prometheus";
import { PanelBuilder as StatBuilder } from "@grafana/grafana-foundation-sdk/stat";
import { PanelBuilder as TimeseriesBuilder } from "@grafana/grafana-foundation-sdk/timeseries";

/** One line of a panel. */
export interface Query {
  /** PromQL; `$__rate_interval` and the dashboard's variables are filled in by Grafana. */
  readonly expr: string;
  /** Name of each series, from its labels; empty for the only one. */
  readonly legend?: string;
}

export interface PanelSpec {
  readonly title: string;
  /** What it tells and when to worry, where the title does not say so. */
  readonly description?: string;
  /** Unit as Grafana calls it, for example "percentunit", "bytes", "s", "reqps". */
  readonly unit: string;
  readonly queries: readonly Query[];
  /** A single current value instead of a graph. */
  readonly stat?: true;
  /** Series add up to a whole. */
  readonly stacked?: true;
  /** Upper end of the axis. */
  readonly max?: number;
}

export interface RowSpec {
  readonly title: string;
  readonly panels: readonly PanelSpec[];
}

/** A choice at the top of the dashboard. */
export interface VariableSpec {
  readonly name: string;
  readonly label: string;
  /** `label_values(…)` of Grafana's Prometheus data source. */
  readonly query: string;
}

export interface DashboardSpec {
  /** Stable id: links and bookmarks use it. */
  readonly uid: string;
  readonly title: string;
  readonly description: string;
  readonly variables?: readonly VariableSpec[];
  readonly rows: readonly RowSpec[];
}

/** The data source that kube-prometheus-stack provisions. */
const datasource = { type: "prometheus", uid: "prometheus" };

/** Grafana's grid is 24 wide. */
const sizes = { stat: { span: 4, height: 4 }, graph: { span: 8, height: 8 } };

function panel({ title, description, unit, queries, stat, stacked, max }: PanelSpec) {
  const targets = queries.map(({ expr, legend = "" }, index) => {
    const query = new DataqueryBuilder()
      .expr(expr)
      .legendFormat(legend)
      .refId(String.fromCharCode(65 + index));
    return stat ? query.instant() : query.range();
  });
  if (stat) {
    const builder = new StatBuilder()
      .title(title)
      .unit(unit)
      .datasource(datasource)
      .targets(targets)
      .span(sizes.stat.span)
      .height(sizes.stat.height);
    return description ? builder.description(description) : builder;
  }
  const builder = new TimeseriesBuilder()
    .title(title)
    .unit(unit)
    .datasource(datasource)
    .targets(targets)
    .span(sizes.graph.span)
    .height(sizes.graph.height)
    .min(0)
    .fillOpacity(stacked ? 30 : 8)
    .legend(
      new VizLegendOptionsBuilder()
        .displayMode(LegendDisplayMode.List)
        .placement(LegendPlacement.Bottom)
        .showLegend(true)
        .calcs([]),
    )
    .tooltip(new VizTooltipOptionsBuilder().mode(TooltipDisplayMode.Multi));
  if (stacked) builder.stacking(new StackingConfigBuilder().mode(StackingMode.Normal).group("A"));
  if (max !== undefined) builder.max(max);
  return description ? builder.description(description) : builder;
}

/** Renders a dashboard as Grafana imports it, the same in every run. */
export function renderDashboard({ uid, title, description, variables = [], rows }: DashboardSpec): string {
  const builder = new DashboardBuilder(title)
    .uid(uid)
    .description(description)
    .tags(["dagster-eks"])
    .timezone("utc")
    .refresh("30s")
    .time({ from: "now-6h", to: "now" })
    .tooltip(DashboardCursorSync.Crosshair)
    .readonly();
  for (const { name, label, query } of variables) {
    builder.withVariable(
      new QueryVariableBuilder(name)
        .label(label)
        .query({ query, refId: name })
        .datasource(datasource)
        .refresh(VariableRefresh.OnTimeRangeChanged)
        .sort(VariableSort.AlphabeticalAsc),
    );
  }
  for (const row of rows) {
    builder.withRow(new RowBuilder(row.title));
    for (const spec of row.panels) builder.withPanel(panel(spec));
  }
  return `${JSON.stringify(builder.build(), null, 1)}\n`;
}

/** A graph of one query. */
export const graph = (
  title: string,
  unit: string,
  expr: string,
  legend = "",
  more: Partial<PanelSpec> = {},
): PanelSpec => ({
  title,
  unit,
  queries: [{ expr, legend }],
  ...more,
});

/** A current value. */
export const stat = (title: string, unit: string, expr: string, description?: string): PanelSpec => ({
  title,
  unit,
  queries: [{ expr }],
  stat: true,
  ...(description ? { description } : {}),
});

/** A graph of several queries: legend → expression. */
export const graphs = (
  title: string,
  unit: string,
  queries: Readonly<Record<string, string>>,
  more: Partial<PanelSpec> = {},
): PanelSpec => ({
  title,
  unit,
  queries: Object.entries(queries).map(([legend, expr]) => ({ expr, legend })),
  ...more,
});
