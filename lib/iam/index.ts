export { fitName, roleNameLimit } from "./names";
export {
  type ConditionValue,
  denyInsecureTransport,
  managedPolicyLimit,
  type PolicyStatement,
  type Principal,
  policyDocument,
} from "./policy";
export {
  IrsaRole,
  type IrsaRoleProps,
  PodIdentityRole,
  type ServiceAccount,
  ServiceRole,
  type ServiceRoleProps,
  type WorkloadRoleProps,
} from "./roles";
