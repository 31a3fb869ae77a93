import { type IAspect, TerraformResource } from "cdktf";
import type { IConstruct } from "constructs";

/**
 * Arguments that the AWS emulator takes and does not give back, so that every further plan would set them again
 * (docs/LOCAL.md names each gap and how it shows). Only environments with an emulator ignore them; against AWS every
 * argument counts.
 */
export const emulatorGaps: Readonly<Record<string, readonly string[]>> = {
  aws_db_instance: ["enabled_cloudwatch_logs_exports"],
  aws_eks_cluster: ["upgrade_policy", "zonal_shift_config"],
  aws_eks_node_group: ["launch_template", "update_config"],
  aws_flow_log: ["iam_role_arn", "max_aggregation_interval", "tags", "tags_all"],
  aws_vpc_endpoint: ["private_dns_enabled", "security_group_ids"],
};

/** Adds the gaps of the emulator to `lifecycle.ignore_changes`. */
export class IgnoreEmulatorGaps implements IAspect {
  visit(node: IConstruct): void {
    if (!TerraformResource.isTerraformResource(node)) return;
    const gaps = emulatorGaps[node.terraformResourceType];
    if (!gaps) return;
    const ignored = node.lifecycle?.ignoreChanges ?? [];
    if (ignored === "all") return;
    node.lifecycle = { ...node.lifecycle, ignoreChanges: [...new Set([...ignored, ...gaps])].sort() };
  }
}
