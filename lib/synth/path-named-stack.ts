import { TerraformElement, TerraformStack } from "cdktf";
import type { Node } from "constructs";

/**
 * A stack whose logical ids are the construct's path below it, joined with `_` (`aws_subnet.network_private-a`), instead of
 * cdktf's hash: a reviewer can read an address, and it changes only when someone changes an id on purpose. Characters that
 * OpenTofu refuses are left out; the guard refuses two elements that end with one address.
 */
export abstract class PathNamedStack extends TerraformStack {
  /** cdktf asks for an id many times; a construct never moves. */
  private readonly ids = new WeakMap<TerraformElement | Node, string>();

  /**
   * cdktf resolves every element twice, the first time only to find attributes of other stacks and to publish them by itself.
   * Here nothing crosses but StackOutputs; without that first pass such an attribute is a dangling reference, which the guard
   * refuses, and the synth takes a quarter less.
   */
  override prepareStack(): void {
    this.ensureBackendExists();
  }

  protected override allocateLogicalId(element: TerraformElement | Node): string {
    const known = this.ids.get(element);
    if (known !== undefined) return known;
    const { scopes } = TerraformElement.isTerraformElement(element) ? element.node : element;
    const id = scopes
      .slice(scopes.indexOf(this) + 1)
      .map((scope) => scope.node.id.replace(/[^\w-]/g, ""))
      .join("_");
    this.ids.set(element, id);
    return id;
  }
}
