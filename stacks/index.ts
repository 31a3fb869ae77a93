import type { Construct } from "constructs";
import type { Environment } from "../config/schema";
import { oneCluster } from "../lib/wiring";
import { ClusterStack } from "./cluster";
import { DataStack } from "./data";
import { NetworkStack } from "./network";
import { PlatformStack } from "./platform";

/** The stacks of one environment, in deploy order. */
export interface Platform {
  readonly network: NetworkStack;
  readonly data: DataStack;
  readonly cluster: ClusterStack;
  readonly platform: PlatformStack;
}

/**
 * Composes the stacks of one environment.
 *
 * @param prefix begins the stacks' ids, so that one app can hold several environments; the default is none
 */
export function composePlatform(scope: Construct, environment: Environment, prefix = ""): Platform {
  const network = new NetworkStack(scope, `${prefix}network`, environment);
  const data = new DataStack(scope, `${prefix}data`, { environment, network });
  const cluster = new ClusterStack(scope, `${prefix}cluster`, { environment, network, data });
  const platform = new PlatformStack(scope, `${prefix}platform`, { environment, data, cluster });
  oneCluster(cluster, platform);
  return { network, data, cluster, platform };
}
