export { EncryptionKey, type EncryptionKeyProps } from "./encryption-key";
export { ImageRepository, type ImageRepositoryProps } from "./image-repository";
export { PostgresDatabase, type PostgresDatabaseProps, postgresPort } from "./postgres-database";
export {
  type BucketAccess,
  type ObjectLifecycle,
  readObjects,
  SecureBucket,
  type SecureBucketProps,
  writeObjects,
} from "./secure-bucket";
