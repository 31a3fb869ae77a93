/** A value of a policy condition; a list means "any of". */
export type ConditionValue = string | readonly string[];

/** Who a statement of a resource policy or trust policy applies to. */
export type Principal =
  | { readonly service: string | readonly string[] }
  | { readonly aws: string | readonly string[] }
  | { readonly federated: string }
  | "*";

/** One statement of an IAM policy ("IAM JSON policy elements reference" in the IAM User Guide). */
export interface PolicyStatement {
  /** Id of the statement, unique in its document: letters and digits. */
  readonly sid: string;
  /** @default "Allow" */
  readonly effect?: "Allow" | "Deny";
  /** Only in resource policies and trust policies. */
  readonly principal?: Principal;
  /** Actions such as `s3:GetObject`; never `*` alone in an Allow, except in a key policy. */
  readonly actions: readonly string[];
  /** ARNs; left out in trust policies. */
  readonly resources?: readonly string[];
  /** Operator → key → value. Keys may hold tokens: the document is rendered with JSON.stringify, which keeps them. */
  readonly conditions?: Readonly<Record<string, Readonly<Record<string, ConditionValue>>>>;
}

/** Characters that IAM accepts in a managed policy, white space not counted ("IAM and AWS STS quotas"). */
export const managedPolicyLimit = 6144;

const sorted = (values: readonly string[]): readonly string[] | string =>
  values.length === 1 ? (values[0] ?? "") : [...values].sort();

const sortedValue = (value: ConditionValue): readonly string[] | string =>
  typeof value === "string" ? value : sorted(value);

function renderPrincipal(principal: Principal): unknown {
  if (principal === "*") return "*";
  if ("service" in principal) return { Service: sortedValue(principal.service) };
  if ("aws" in principal) return { AWS: sortedValue(principal.aws) };
  return { Federated: principal.federated };
}

/**
 * Renders a policy document: one line, statements in the given order, lists sorted, so that the output is the same
 * whatever order the code builds them in.
 *
 * @throws Error when two statements share a sid, a sid has characters that IAM refuses, or a statement allows every action
 * on every resource
 */
export function policyDocument(statements: readonly PolicyStatement[]): string {
  const sids = new Set<string>();
  for (const { sid, effect = "Allow", principal, actions, resources } of statements) {
    if (!/^[A-Za-z0-9]+$/.test(sid))
      throw new Error(`statement id "${sid}" must consist of letters and digits`);
    if (sids.has(sid))
      throw new Error(`two statements have the id "${sid}"; ids are unique within a document`);
    sids.add(sid);
    if (effect === "Allow" && principal === undefined && actions.includes("*") && resources?.includes("*")) {
      throw new Error(
        `statement "${sid}" allows every action on every resource; name the actions and the ARNs`,
      );
    }
  }
  return JSON.stringify({
    Version: "2012-10-17",
    Statement: statements.map(({ sid, effect = "Allow", principal, actions, resources, conditions }) => ({
      Sid: sid,
      Effect: effect,
      ...(principal === undefined ? {} : { Principal: renderPrincipal(principal) }),
      Action: sorted(actions),
      ...(resources === undefined ? {} : { Resource: sorted(resources) }),
      ...(conditions === undefined
        ? {}
        : {
            Condition: Object.fromEntries(
              Object.entries(conditions)
                .sort(([a], [b]) => (a < b ? -1 : 1))
                .map(([operator, keys]) => [
                  operator,
                  Object.fromEntries(
                    Object.entries(keys)
                      .sort(([a], [b]) => (a < b ? -1 : 1))
                      .map(([key, value]) => [key, sortedValue(value)]),
                  ),
                ]),
            ),
          }),
    })),
  });
}

/** The statement that refuses every request which is not made over TLS. */
export const denyInsecureTransport = (
  service: "s3" | "sqs",
  resources: readonly string[],
): PolicyStatement => ({
  sid: "DenyInsecureTransport",
  effect: "Deny",
  principal: "*",
  actions: [`${service}:*`],
  resources,
  conditions: { Bool: { "aws:SecureTransport": "false" } },
});
