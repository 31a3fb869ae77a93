export {
  type Alerting,
  type AlertmanagerConfig,
  alertmanagerConfig,
  receiverSecretName,
  receiverSecrets,
  receiversWithSecrets,
} from "./alertmanager";
export { type DashboardName, Dashboards, type DashboardsProps } from "./dashboards";
export {
  type GrafanaExposure,
  KubePrometheusStack,
  type KubePrometheusStackProps,
  operatorCrds,
  type Size,
} from "./stack";
export type { KubePrometheusStackValues } from "./values";
