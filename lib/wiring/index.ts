export { checkWiring, isExternal, oneCluster, WiringError } from "./check";
export {
  type External,
  type Fact,
  type Flow,
  type FlowPort,
  type MonitorFact,
  type Peer,
  type ServiceFact,
  state,
  type Workload,
} from "./facts";
