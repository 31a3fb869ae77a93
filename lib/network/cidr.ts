/** An IPv4 block: the network address as an unsigned 32-bit number, and the prefix length. */
export interface CidrBlock {
  readonly address: number;
  readonly prefix: number;
}

const size = (prefix: number): number => 2 ** (32 - prefix);

/** The block, or undefined when the text is not an IPv4 CIDR whose host bits are all zero. */
export function parseCidr(text: string): CidrBlock | undefined {
  const match = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})\/(\d{1,2})$/.exec(text);
  if (!match) return undefined;
  const [a, b, c, d, prefix] = match.slice(1).map(Number) as [number, number, number, number, number];
  if (Math.max(a, b, c, d) > 255 || prefix > 32) return undefined;
  const address = ((a * 256 + b) * 256 + c) * 256 + d;
  return address % size(prefix) === 0 ? { address, prefix } : undefined;
}

export function formatCidr({ address, prefix }: CidrBlock): string {
  const octets = [24, 16, 8, 0].map((shift) => Math.floor(address / 2 ** shift) % 256);
  return `${octets.join(".")}/${prefix}`;
}

/** The `index`-th block of `prefix` length inside `block` (what OpenTofu's cidrsubnet does, but readable in the diff). */
export function subnetOf(block: CidrBlock, prefix: number, index: number): CidrBlock {
  const address = block.address + index * size(prefix);
  if (prefix < block.prefix || address + size(prefix) > block.address + size(block.prefix)) {
    throw new RangeError(`block ${index} of /${prefix} does not fit into ${formatCidr(block)}`);
  }
  return { address, prefix };
}

/** The subnets of one Availability Zone. */
export interface ZoneBlocks {
  readonly private: string;
  readonly public: string;
  readonly database: string;
}

/** Zones that the plan reserves room for, used or not. */
export const maxZones = 4;

/**
 * Carves a VPC for up to four Availability Zones. A zone's blocks depend on its position only, so a zone that is appended
 * later renumbers nothing:
 *
 * | part of the VPC | holds | of a /16 |
 * | --- | --- | --- |
 * | first half | 4 private subnets (nodes and, with the VPC CNI, every pod) | 4 × /19 |
 * | next sixteenth | 4 public subnets (NAT gateways, load balancers) | 4 × /22 |
 * | next sixty-fourth | 4 database subnets | 4 × /24 |
 * | the rest | free, for what comes later | |
 *
 * @param cidr the VPC's block, /16 to /20
 * @param zones how many zones to return, 1 to 4
 * @throws RangeError when the block is malformed or outside /16 to /20, or the number of zones outside 1 to 4
 */
export function planSubnets(cidr: string, zones: number): ZoneBlocks[] {
  const vpc = parseCidr(cidr);
  if (!vpc || vpc.prefix < 16 || vpc.prefix > 20) {
    throw new RangeError(`CIDR of the VPC is "${cidr}"; it must be an aligned IPv4 block from /16 to /20`);
  }
  if (!Number.isInteger(zones) || zones < 1 || zones > maxZones) {
    throw new RangeError(`${zones} Availability Zones; it must be 1 to ${maxZones}`);
  }
  return Array.from({ length: zones }, (_, zone) => ({
    private: formatCidr(subnetOf(vpc, vpc.prefix + 3, zone)),
    public: formatCidr(subnetOf(vpc, vpc.prefix + 6, 32 + zone)),
    // the public subnets end at 36/64 of the VPC, which is 144/256
    database: formatCidr(subnetOf(vpc, vpc.prefix + 8, 144 + zone)),
  }));
}
