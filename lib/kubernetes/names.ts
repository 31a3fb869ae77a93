import type { Construct } from "constructs";

/** Longest name of a Helm release: Kubernetes names of 63 characters leave room for a suffix. */
export const releaseNameLimit = 53;

/** A DNS label (RFC 1123), as names of namespaces, releases and Services must be. */
const dnsLabel = /^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/;

/**
 * Refuses a name that Kubernetes would refuse at apply.
 *
 * @param what which name it is, for the message
 * @param limit most characters
 */
export function requireDnsLabel(scope: Construct, id: string, what: string, name: string, limit = 63): void {
  if (name.length <= limit && dnsLabel.test(name)) return;
  throw new Error(
    `${scope.node.path}/${id}: ${what} is "${name}"; it must be 1 to ${limit} lower-case letters, digits and hyphens, beginning and ending with a letter or digit`,
  );
}
