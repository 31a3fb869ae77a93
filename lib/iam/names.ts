import { createHash } from "node:crypto";

/** Longest name of an IAM role ("IAM and AWS STS quotas"). */
export const roleNameLimit = 64;

/**
 * Shortens a name to a limit of AWS: the end is replaced by a hash of the whole, so that two long names that begin alike
 * stay different. A name that fits is left alone.
 *
 * @param limit most characters, 16 at least
 */
export function fitName(name: string, limit: number): string {
  if (name.length <= limit) return name;
  const hash = createHash("sha256").update(name).digest("hex").slice(0, 8);
  return `${name.slice(0, limit - hash.length - 1).replace(/[^A-Za-z0-9]+$/, "")}-${hash}`;
}
