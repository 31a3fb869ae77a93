import { NamespaceV1 } from "@cdktf/provider-kubernetes/lib/namespace-v1";
import type { ITerraformDependable } from "cdktf";
import { Construct } from "constructs";
import { state } from "../wiring";
import { requireDnsLabel } from "./names";

/** Levels of the Pod Security Standards, from open to strict. */
export type PodSecurityLevel = "privileged" | "baseline" | "restricted";

export interface PlatformNamespaceProps {
  /** Name of the namespace: a DNS label. */
  readonly name: string;
  /**
   * What Kubernetes refuses to run here ("Pod Security Standards"). A level below `restricted` says which pods need it and
   * why; the reason is written on the namespace.
   * @default - restricted
   */
  readonly podSecurity?: { readonly level: Exclude<PodSecurityLevel, "restricted">; readonly reason: string };
}

/** A namespace that things stand in: one of this stack, or one that an earlier stack made. */
export interface NamespaceRef {
  readonly namespaceName: string;
  /** What to wait for; nothing when an earlier stack made it. */
  readonly ready: readonly ITerraformDependable[];
}

/** A namespace of an earlier stack. The wiring check refuses one that nothing makes. */
export const existingNamespace = (namespaceName: string): NamespaceRef => ({ namespaceName, ready: [] });

/**
 * A namespace with its Pod Security level enforced. What is below `restricted` still warns and is still in the audit log, so
 * that a new pod there does not go unnoticed.
 */
export class PlatformNamespace extends Construct implements NamespaceRef {
  /** The name as text, for names and selectors. */
  public readonly namespaceName: string;
  /** What stands in the namespace waits for this. */
  public readonly ready: readonly ITerraformDependable[];

  /** @throws Error when the name is no DNS label or the reason is missing */
  constructor(scope: Construct, id: string, { name, podSecurity }: PlatformNamespaceProps) {
    super(scope, id);
    requireDnsLabel(scope, id, "name of the namespace", name);
    if (podSecurity && podSecurity.reason.trim() === "") {
      throw new Error(
        `${this.node.path}: the namespace "${name}" enforces "${podSecurity.level}" without a reason; say which pods need it and why, or leave podSecurity out`,
      );
    }
    this.namespaceName = name;
    const made = new NamespaceV1(this, "namespace", {
      metadata: {
        name,
        labels: {
          "app.kubernetes.io/managed-by": "opentofu",
          "pod-security.kubernetes.io/enforce": podSecurity?.level ?? "restricted",
          "pod-security.kubernetes.io/audit": "restricted",
          "pod-security.kubernetes.io/warn": "restricted",
        },
        ...(podSecurity ? { annotations: { "dagster-eks/pod-security-reason": podSecurity.reason } } : {}),
      },
    });
    this.ready = [made];
    state(this, { kind: "namespace", name });
  }
}
