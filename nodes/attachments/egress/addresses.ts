/**
 * Which addresses may be reached at all, whatever a function's rules say: public unicast ones.
 *
 * Ranges are those of the IANA special-purpose registries (IPv4 and IPv6), multicast, and addresses at which
 * clouds answer about the machine itself. IPv6 forms that carry an IPv4 address are refused as a whole, but
 * for NAT64 (64:ff9b::/96), the only one that networks need: there the address inside decides.
 */
import { BlockList, isIP } from 'node:net';

const REFUSED_V4: readonly (readonly [string, number])[] = [
  ['0.0.0.0', 8], // this network, unspecified
  ['10.0.0.0', 8], // private
  ['100.64.0.0', 10], // carrier-grade NAT; holds 100.100.100.200 (metadata)
  ['127.0.0.0', 8], // loopback
  ['168.63.129.16', 32], // metadata
  ['169.254.0.0', 16], // link-local; holds 169.254.169.254 (metadata)
  ['172.16.0.0', 12], // private
  ['192.0.0.0', 24], // protocol assignments; holds 192.0.0.192 (metadata)
  ['192.0.2.0', 24], // documentation
  ['192.88.99.0', 24], // 6to4 relays
  ['192.168.0.0', 16], // private
  ['198.18.0.0', 15], // benchmarking
  ['198.51.100.0', 24], // documentation
  ['203.0.113.0', 24], // documentation
  ['224.0.0.0', 4], // multicast
  ['240.0.0.0', 4], // reserved, broadcast
];

/** All of IPv6 but 2000::/3, then what is special inside it. */
const REFUSED_V6: readonly (readonly [string, number])[] = [
  ['::', 3], // unspecified, loopback, IPv4-mapped and -compatible, NAT64 (see below), discard-only
  ['4000::', 2],
  ['8000::', 1], // unique local with fd00:ec2::254 (metadata), link-local, site-local, multicast
  ['2001::', 23], // protocol assignments: Teredo, benchmarking, ORCHID
  ['2001:db8::', 32], // documentation
  ['2002::', 16], // 6to4
  ['3fff::', 20], // documentation
];

const REFUSED = new BlockList();
for (const [network, prefix] of REFUSED_V4) REFUSED.addSubnet(network, prefix, 'ipv4');

const REFUSED_PLAIN_V6 = new BlockList();
for (const [network, prefix] of REFUSED_V6) REFUSED_PLAIN_V6.addSubnet(network, prefix, 'ipv6');

const NAT64 = new BlockList();
NAT64.addSubnet('64:ff9b::', 96, 'ipv6');
const REFUSED_NAT64 = new BlockList();
for (const [network, prefix] of REFUSED_V4)
  REFUSED_NAT64.addSubnet(`64:ff9b::${network}`, 96 + prefix, 'ipv6');

export function isPublicAddress(address: string): boolean {
  const family = isIP(address);
  if (family === 4) return !REFUSED.check(address, 'ipv4');
  // A zone (`%eth0`) belongs to link-local addresses only.
  if (family !== 6 || address.includes('%')) return false;
  return NAT64.check(address, 'ipv6')
    ? !REFUSED_NAT64.check(address, 'ipv6')
    : !REFUSED_PLAIN_V6.check(address, 'ipv6');
}

/** Whether an address may be reached at a port. */
export type AddressPolicy = (address: string, port: number) => boolean;

/** `10.1.0.0/16`, `127.0.0.1`, `127.0.0.1:8080`, `fd00::/8`, `::1`, `[::1]:8080`. */
const EXEMPTION =
  /^(?:\[(?<bracketed>[0-9a-f:.]+)\]|(?<plain>[0-9.]+|[0-9a-f:.]*:[0-9a-f:.]*:[0-9a-f:.]*))(?:\/(?<prefix>\d{1,3})|:(?<port>\d{1,5}))?$/i;

const EXEMPTION_LENGTH_MAX = 64;

/** Undefined when the text is none of the forms. */
export function parseExemption(text: string): AddressPolicy | undefined {
  // The longest is an IPv6 address with its prefix.
  if (text.length > EXEMPTION_LENGTH_MAX) return undefined;
  const groups = EXEMPTION.exec(text.trim())?.groups;
  const network = groups?.['bracketed'] ?? groups?.['plain'] ?? '';
  const family = isIP(network);
  const bits = family === 4 ? 32 : 128;
  const prefix = Number(groups?.['prefix'] ?? bits);
  const port = groups?.['port'] === undefined ? undefined : Number(groups['port']);
  if (family === 0 || prefix > bits || (port !== undefined && (port < 1 || port > 65_535))) return undefined;
  const list = new BlockList();
  list.addSubnet(network, prefix, family === 4 ? 'ipv4' : 'ipv6');
  return (address, wanted) => {
    const kind = isIP(address);
    // BlockList would take a mapped address for the IPv4 one in it; an exemption means what it says.
    if (kind !== family || (port !== undefined && port !== wanted)) return false;
    return list.check(address, kind === 4 ? 'ipv4' : 'ipv6');
  };
}

/** @throws {RangeError} for an exemption that is not readable. */
export function addressPolicy(exemptions: readonly string[]): AddressPolicy {
  const exempt = exemptions.map((text) => {
    const parsed = parseExemption(text);
    if (parsed === undefined)
      throw new RangeError(`${text} is neither a CIDR range nor an address with a port`);
    return parsed;
  });
  return (address, port) => isPublicAddress(address) || exempt.some((allows) => allows(address, port));
}
