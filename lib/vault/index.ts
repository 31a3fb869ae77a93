export {
  type VaultSeal,
  VaultServer,
  type VaultServerProps,
  type VaultTls,
  vaultConfiguration,
  vaultPort,
  vaultServiceAccount,
} from "./server";
export { VaultUnsealIdentity, type VaultUnsealIdentityProps } from "./unseal-identity";
export type { VaultValues } from "./values";
