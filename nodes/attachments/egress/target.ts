/** Where an outbound request wants to go. Pure; one parser (WHATWG URL) decides, so no two parts can disagree. */

export interface Target {
  readonly tls: boolean;
  /** Lower case, ASCII, without brackets or trailing dot. */
  readonly host: string;
  readonly port: number;
  /** `scheme://host:port`, the key of connections that may be used again. */
  readonly origin: string;
  /** Value of the Host header. */
  readonly authority: string;
  /** Path and query. */
  readonly path: string;
}

type Parsed<T> =
  | { readonly kind: 'target'; readonly target: T }
  | { readonly kind: 'refused'; readonly reason: string };

const refused = (reason: string): { kind: 'refused'; reason: string } => ({ kind: 'refused', reason });

/** ws and wss: clients may keep the scheme in the absolute form. */
const SCHEMES: Readonly<Record<string, 'http' | 'https'>> = {
  'http:': 'http',
  'https:': 'https',
  'ws:': 'http',
  'wss:': 'https',
};
const HOST_LENGTH_MAX = 253;

/** The host as rules and resolvers know it; undefined when it is none. */
export function canonicalHost(hostname: string): string | undefined {
  const host = hostname.replace(/^\[(.*)\]$/, '$1').replace(/\.$/, '');
  return host === '' || host.length > HOST_LENGTH_MAX || host.startsWith('.') || host.includes('..')
    ? undefined
    : host;
}

/** The absolute form of a proxy request. */
export function parseTarget(url: string): Parsed<Target> {
  if (!/^(?:https?|wss?):\/\//i.test(url)) return refused('only http and https URLs can be fetched');
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  const scheme = SCHEMES[parsed?.protocol ?? ''];
  if (parsed === undefined || scheme === undefined) return refused('the URL is not valid');
  if (parsed.username !== '' || parsed.password !== '')
    return refused('URLs with a user name or password are not accepted; use the authorization header');
  const host = canonicalHost(parsed.hostname);
  if (host === undefined) return refused('the host is not valid');
  const shown = host.includes(':') ? `[${host}]` : host;
  const authority = parsed.port === '' ? shown : `${shown}:${parsed.port}`;
  const tls = scheme === 'https';
  return {
    kind: 'target',
    target: {
      tls,
      host,
      port: parsed.port === '' ? (tls ? 443 : 80) : Number(parsed.port),
      origin: `${scheme}://${authority}`,
      authority,
      path: parsed.pathname + parsed.search,
    },
  };
}

export type ConnectTarget = Pick<Target, 'host' | 'port'>;

/** `host:port` of CONNECT. */
export function parseConnect(authority: string): Parsed<ConnectTarget> {
  const match = /^(\[[0-9A-Fa-f:.]+\]|[^\s:/@?#[\]\\]+):([0-9]{1,5})$/.exec(authority);
  const port = Number(match?.[2]);
  if (match === null || port < 1 || port > 65_535) return refused('the address is not host:port');
  // The same normalisation as for URLs: 0x7f.1 is 127.0.0.1 here too.
  const url = `http://${match[1]}/`;
  const host = URL.canParse(url) ? canonicalHost(new URL(url).hostname) : undefined;
  return host === undefined ? refused('the host is not valid') : { kind: 'target', target: { host, port } };
}
