import { type App, TerraformStack } from "cdktf";
import type { IConstruct } from "constructs";
import { type Addressable, addressOf, isAddressable } from "./address";

const below = (construct: IConstruct): Addressable[] => construct.node.findAll().filter(isAddressable);

/**
 * Makes `construct.node.addDependency(other)` reach `depends_on`. cdktf drops it silently
 * (hashicorp/terraform-cdk #785, #2727): every resource below `construct` waits for every resource below `other`.
 *
 * @throws Error when there is nothing to wait for or nothing that could wait, or when the two are in different stacks
 */
export function applyConstructDependencies(app: App): void {
  for (const construct of app.node.findAll()) {
    for (const dependency of construct.node.dependencies) {
      if (TerraformStack.isStack(construct) && TerraformStack.isStack(dependency)) {
        construct.addDependency(dependency);
        continue;
      }
      const sentence = `${construct.node.path} depends on ${dependency.node.path}`;
      const stack = TerraformStack.of(construct);
      const other = TerraformStack.of(dependency);
      if (stack !== other) {
        throw new Error(
          `${sentence}, which is in another stack: OpenTofu cannot wait across states. Use ${stack.node.id}.addDependency(${other.node.id}), or read an output of that stack.`,
        );
      }
      const waiting = below(construct);
      const awaited = below(dependency).filter((target) => !waiting.includes(target));
      if (waiting.length === 0 || awaited.length === 0) {
        const empty = waiting.length === 0 ? construct : dependency;
        throw new Error(
          `${sentence}, but ${empty.node.path} holds no resource, so nothing would reach depends_on. Add the dependency to the construct that holds the resources.`,
        );
      }
      const addresses = awaited.map(addressOf);
      for (const resource of waiting) {
        resource.dependsOn = [...new Set([...(resource.dependsOn ?? []), ...addresses])].sort();
      }
    }
  }
}
