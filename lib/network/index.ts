export {
  type CidrBlock,
  formatCidr,
  maxZones,
  parseCidr,
  planSubnets,
  subnetOf,
  type ZoneBlocks,
} from "./cidr";
export { Network, type NetworkProps } from "./network";
