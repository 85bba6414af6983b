/** Rules of one version, made ready: which hosts it may reach, and which headers the proxy adds. Pure. */
import { isIP } from 'node:net';
import type { EgressHeader, EgressRules } from '#shared/contracts/egress.ts';
import { canonicalHost, type Target } from './target.ts';

const WEB_PORTS: readonly number[] = [80, 443];

interface Pattern {
  readonly matchesHost: (host: string) => boolean;
  /** Undefined: the pattern names no port. `any`: `:*`. */
  readonly port: number | 'any' | undefined;
}

/** Undefined: the pattern can match nothing (an address that is none). */
function compile(pattern: string): Pattern | undefined {
  const match = /^(?<host>\[[^\]]*\]|[^:]*)(?::(?<port>\*|\d+))?$/.exec(pattern);
  const text = match?.groups?.['host'] ?? '';
  const portText = match?.groups?.['port'];
  const port = portText === undefined ? undefined : portText === '*' ? 'any' : Number(portText);
  if (text === '*') return { port, matchesHost: () => true };
  if (text.startsWith('*.')) {
    const suffix = text.slice(1);
    return { port, matchesHost: (host) => isIP(host) === 0 && host.endsWith(suffix) && host !== suffix };
  }
  // As URLs are read: 127.1 in a rule means 127.0.0.1.
  const url = `http://${text}/`;
  const wanted = URL.canParse(url) ? canonicalHost(new URL(url).hostname) : undefined;
  return wanted === undefined ? undefined : { port, matchesHost: (host) => host === wanted };
}

function compileAll(patterns: readonly string[]): readonly Pattern[] {
  return patterns.flatMap((pattern) => compile(pattern) ?? []);
}

export interface Rules {
  readonly allows: (host: string, port: number) => boolean;
  /** An address that the function names in `deny`, however it was reached. */
  readonly deniesAddress: (address: string, port: number) => boolean;
  readonly headersFor: (target: Pick<Target, 'host' | 'port' | 'tls'>) => readonly EgressHeader[];
}

export function compileRules({ allow, deny, headers }: EgressRules): Rules {
  const allowed = compileAll(allow);
  const denied = compileAll(deny);
  const injected = headers.flatMap((header) => {
    const pattern = compile(header.host);
    return pattern === undefined ? [] : [{ pattern, header }];
  });
  // Without a port an allowed host is meant for the web, a denied one altogether.
  const isDenied = (host: string, port: number): boolean =>
    denied.some(
      (entry) => entry.matchesHost(host) && (typeof entry.port !== 'number' || entry.port === port),
    );
  return {
    allows: (host, port) =>
      !isDenied(host, port) &&
      allowed.some(
        (entry) =>
          entry.matchesHost(host) &&
          (entry.port === undefined ? WEB_PORTS.includes(port) : entry.port === 'any' || entry.port === port),
      ),
    deniesAddress: isDenied,
    headersFor: ({ host, port, tls }) =>
      injected
        .filter(({ pattern }) => {
          if (!pattern.matchesHost(host)) return false;
          // A secret leaves in the clear only where its owner named the port.
          return pattern.port === undefined
            ? tls && port === 443
            : pattern.port === 'any'
              ? tls
              : pattern.port === port;
        })
        .map(({ header }) => header),
  };
}
