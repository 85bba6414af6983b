/**
 * Who the client is when it comes through proxies. Only addresses that the operator named are believed, hop by hop
 * from the nearest: whatever else stands in those headers, a client may have written.
 */
import { BlockList, isIP } from 'node:net';
import { PlatformError } from '#shared/errors.ts';
import { fieldOf, isHost } from '#shared/http/head.ts';
import type { ForwardedKind } from '../config.ts';

export interface ClientFacts {
  readonly address: string;
  readonly scheme: 'http' | 'https';
  /** undefined: the Host header holds. */
  readonly host: string | undefined;
}

interface Hop {
  readonly from: string | undefined;
  readonly scheme: string | undefined;
  readonly host: string | undefined;
}

const NO_HOPS: readonly Hop[] = [];

export class TrustedProxies {
  readonly #list = new BlockList();
  readonly #kind: ForwardedKind;
  readonly #none: boolean;

  /** @param cidrs - addresses or CIDR blocks, IPv4 and IPv6. @throws {PlatformError} `config_invalid`. */
  constructor(cidrs: readonly string[], kind: ForwardedKind = 'x-forwarded') {
    for (const cidr of cidrs) this.#add(cidr);
    this.#kind = kind;
    this.#none = cidrs.length === 0;
  }

  #add(cidr: string): void {
    const [address = '', prefix, ...more] = cidr.split('/');
    const family = isIP(address);
    const bits = prefix === undefined ? (family === 4 ? 32 : 128) : Number(prefix);
    if (family === 0 || more.length > 0 || prefix === '' || !Number.isInteger(bits)) throw notACidr(cidr);
    try {
      this.#list.addSubnet(address, bits, family === 4 ? 'ipv4' : 'ipv6');
    } catch {
      throw notACidr(cidr);
    }
  }

  trusts(address: string): boolean {
    if (this.#none) return false;
    const family = isIP(address);
    return family !== 0 && this.#list.check(address, family === 4 ? 'ipv4' : 'ipv6');
  }

  /** @param peer - address of the connection. */
  clientOf(peer: string | undefined, rawHeaders: readonly string[]): ClientFacts {
    const address = plainAddress(peer ?? '');
    if (!this.trusts(address)) return { address, scheme: 'http', host: undefined };
    const hops = this.#kind === 'forwarded' ? forwardedHops(rawHeaders) : xForwardedHops(rawHeaders);
    let client = address;
    let believed: Hop | undefined;
    for (const hop of hops.toReversed()) {
      believed = hop;
      if (hop.from === undefined) break;
      client = hop.from;
      if (!this.trusts(client)) break;
    }
    return {
      address: client,
      scheme: believed?.scheme?.toLowerCase() === 'https' ? 'https' : 'http',
      // What is no host could not be routed, nor read by the function.
      host:
        believed?.host !== undefined && believed.host !== '' && isHost(believed.host)
          ? believed.host
          : undefined,
    };
  }
}

function notACidr(cidr: string): PlatformError {
  return new PlatformError('config_invalid', `${cidr} is no address or CIDR block`, {
    publicDetail: `ISOPLANE_TRUSTED_PROXIES holds ${JSON.stringify(cidr)}, which is no address and no CIDR block such as 10.0.0.0/8.`,
  });
}

/** `::ffff:1.2.3.4` → `1.2.3.4`: how a socket that listens for both families names IPv4 clients. */
function plainAddress(address: string): string {
  return address.startsWith('::ffff:') && isIP(address.slice(7)) === 4 ? address.slice(7) : address;
}

/** `1.2.3.4:5`, `[::1]:5` and bare addresses; undefined for `unknown` and hidden names. */
function addressIn(text: string): string | undefined {
  const bare = /^\[([^\]]*)\](?::\d+)?$/.exec(text)?.[1] ?? /^([\d.]+)(?::\d+)?$/.exec(text)?.[1] ?? text;
  return isIP(bare) === 0 ? undefined : plainAddress(bare);
}

function listIn(rawHeaders: readonly string[], name: string): readonly string[] {
  return (
    fieldOf(rawHeaders, name)
      ?.split(',')
      .map((part) => part.trim()) ?? []
  );
}

/** Proto and host usually hold one value; lists as long as that of addresses go along with it. */
function xForwardedHops(rawHeaders: readonly string[]): readonly Hop[] {
  const from = listIn(rawHeaders, 'x-forwarded-for');
  const schemes = listIn(rawHeaders, 'x-forwarded-proto');
  const hosts = listIn(rawHeaders, 'x-forwarded-host');
  if (from.length === 0) return [{ from: undefined, scheme: schemes.at(-1), host: hosts.at(-1) }];
  return from.map((address, index) => ({
    from: addressIn(address),
    scheme: schemes.length === from.length ? schemes[index] : schemes.at(-1),
    host: hosts.length === from.length ? hosts[index] : hosts.at(-1),
  }));
}

const PAIR = /\s*([!#$%&'*+.^_`|~\w-]+)=(?:"((?:[^"\\]|\\.)*)"|([^\s;,"]*))\s*([;,]|$)/y;

/** RFC 7239 section 4. A header that cannot be read is not believed at all. */
function forwardedHops(rawHeaders: readonly string[]): readonly Hop[] {
  const value = fieldOf(rawHeaders, 'forwarded');
  if (value === undefined) return NO_HOPS;
  const hops: Hop[] = [];
  let pairs = new Map<string, string>();
  PAIR.lastIndex = 0;
  while (PAIR.lastIndex < value.length) {
    const match = PAIR.exec(value);
    if (match === null) return NO_HOPS;
    const [, name = '', quoted, token = '', end] = match;
    pairs.set(name.toLowerCase(), quoted?.replaceAll(/\\(.)/g, '$1') ?? token);
    if (end === ';') continue;
    const from = pairs.get('for');
    hops.push({
      from: from === undefined ? undefined : addressIn(from),
      scheme: pairs.get('proto'),
      host: pairs.get('host'),
    });
    pairs = new Map();
  }
  return hops;
}
