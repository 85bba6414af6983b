/**
 * Which headers pass to an instance and back, at gateways and between functions. Pure; works on flat arrays of
 * names and values in turn, because that is what Node's parser gives and its writer takes.
 *
 * A request is stripped of everything that only the platform may say; values pass as the bytes they are.
 */
import { HEADER_PREFIX } from '../contracts/invoke.ts';

/** Names that concern one connection alone (RFC 9110 section 7.6.1), lower case. */
export const HOP_BY_HOP: ReadonlySet<string> = new Set([
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);

/** What callers could claim about where a request comes from: only the platform's word counts. */
const FORGEABLE: ReadonlySet<string> = new Set([
  'forwarded',
  'mf-cf-blob',
  'true-client-ip',
  'x-client-ip',
  'x-cluster-client-ip',
  'x-real-ip',
]);
/** Cloudflare's runtimes read request.cf and the client's address from these. */
const CF_PREFIX = 'cf-';
const FORWARDED_PREFIX = 'x-forwarded-';
const REQUEST_DROPPED: ReadonlySet<string> = new Set([
  ...HOP_BY_HOP,
  ...FORGEABLE,
  // Framing is ours: it is written anew.
  'content-length',
  'expect',
  'http2-settings',
]);

/** Names listed in Connection headers, lower case; undefined when there is none beyond the usual. */
export function connectionListed(raw: readonly string[]): Set<string> | undefined {
  let listed: Set<string> | undefined;
  for (let index = 0; index < raw.length; index += 2) {
    const name = raw[index] ?? '';
    if (name.length !== 10 || name.toLowerCase() !== 'connection') continue;
    const value = raw[index + 1] ?? '';
    if (value === 'keep-alive' || value === 'close') continue;
    listed ??= new Set();
    for (const token of value.split(',')) listed.add(token.trim().toLowerCase());
  }
  // Host decides where a request goes: a client must not have it removed.
  listed?.delete('host');
  return listed;
}

/**
 * A caller's headers that an instance may see, followed by `added`. Lines of Cookie become one
 * (RFC 9113 section 8.2.3), since joined later they would be joined by commas.
 *
 * @param dropped - lower-case names that must not pass either.
 */
export function requestHeaders(
  raw: readonly string[],
  added: readonly string[],
  dropped?: ReadonlySet<string>,
): string[] {
  const headers: string[] = [];
  const listed = connectionListed(raw);
  let cookieAt = -1;
  for (let index = 0; index < raw.length; index += 2) {
    const name = raw[index] ?? '';
    const lower = name.toLowerCase();
    if (
      REQUEST_DROPPED.has(lower) ||
      lower.startsWith(HEADER_PREFIX) ||
      lower.startsWith(FORWARDED_PREFIX) ||
      lower.startsWith(CF_PREFIX) ||
      listed?.has(lower) === true ||
      dropped?.has(lower) === true
    )
      continue;
    const value = raw[index + 1] ?? '';
    if (lower === 'cookie') {
      if (cookieAt >= 0) {
        headers[cookieAt] += `; ${value}`;
        continue;
      }
      cookieAt = headers.length + 1;
    }
    headers.push(name, value);
  }
  for (const part of added) headers.push(part);
  return headers;
}

export interface ResponseRules {
  /** Lower-case names that do not pass. */
  readonly responseDropped: ReadonlySet<string> | undefined;
  /** What becomes of the value of each Set-Cookie line on that host. */
  readonly confineCookie: ((value: string, host: string, account: string) => string) | undefined;
  readonly host: string;
  readonly account: string;
}

/**
 * An instance's headers that the caller may see, followed by `added`. Content-Length comes after all others of the
 * instance: Node re-encodes the bytes of a Content-Disposition that follows one.
 */
export function responseHeaders(
  raw: readonly string[],
  added: readonly string[],
  rules?: ResponseRules,
): string[] {
  const headers: string[] = [];
  const listed = connectionListed(raw);
  let lengthAt = -1;
  for (let index = 0; index < raw.length; index += 2) {
    const name = raw[index] ?? '';
    const lower = name.toLowerCase();
    if (
      HOP_BY_HOP.has(lower) ||
      lower.startsWith(HEADER_PREFIX) ||
      listed?.has(lower) === true ||
      rules?.responseDropped?.has(lower) === true
    )
      continue;
    const value = raw[index + 1] ?? '';
    if (lower === 'content-length') lengthAt = index;
    else if (lower === 'set-cookie' && rules?.confineCookie !== undefined)
      headers.push(name, rules.confineCookie(value, rules.host, rules.account));
    else headers.push(name, value);
  }
  if (lengthAt >= 0) headers.push(raw[lengthAt] ?? '', raw[lengthAt + 1] ?? '');
  for (const part of added) headers.push(part);
  return headers;
}
