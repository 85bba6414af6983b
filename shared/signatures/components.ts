/**
 * The signature base of RFC 9421: which parts of a request are covered and how they are written down.
 *
 * Signer and verifier build the same bytes here, so they cannot drift apart. Component parameters
 * (`;sf`, `;key`, `;req`, …) are refused: nothing here needs them and each widens what must be compared.
 */
import { serializeInnerList, type InnerList, type Item } from 'structured-headers';

/** The head of a request as both sides see it. */
export interface RequestHead {
  readonly method: string;
  readonly scheme: 'http' | 'https';
  /** Host header as sent: lower case, default port left out (RFC 9421 section 2.2.3). */
  readonly authority: string;
  /**
   * Request target as on the wire. Signatures cover these bytes, before anything is decoded (RFC 9421
   * sections 2.2.5 and 2.2.6); what is routed follows from them alone (shared/http/target.ts).
   */
  readonly target: string;
  /** All lines of a field joined by `, `, each trimmed; undefined when absent. */
  header(name: string): string | undefined;
}

const DEFAULT_PORT = { http: ':80', https: ':443' } as const;

/** Splits a URL as RFC 9421 wants it. `headers` may be any record with lower-case names. */
export function requestHead(
  method: string,
  url: string,
  headers: Readonly<Record<string, string>>,
): RequestHead {
  const parsed = new URL(url);
  const scheme = parsed.protocol === 'https:' ? 'https' : 'http';
  const host = headers['host'] ?? parsed.host;
  return {
    method: method.toUpperCase(),
    scheme,
    authority: normalAuthority(host, scheme),
    // A lone `?` at the end stands in the href only.
    target: parsed.href.slice(parsed.origin.length, parsed.href.length - parsed.hash.length),
    header: (name) => (Object.hasOwn(headers, name) ? headers[name] : undefined),
  };
}

/** Path and query of a target, which may be in absolute form. The path is never empty. */
function partsOf(target: string): { readonly path: string; readonly query: string } {
  const begin = target.startsWith('/') ? 0 : (/^https?:\/\/[^/?#\\]*/i.exec(target)?.[0].length ?? 0);
  const mark = target.indexOf('?', begin);
  const path = mark < 0 ? target.slice(begin) : target.slice(begin, mark);
  return { path: path === '' ? '/' : path, query: mark < 0 ? '' : target.slice(mark) };
}

/** RFC 9421 section 2.2.7: with its leading `?`, and a lone `?` when there is no query. */
export function queryComponent(head: RequestHead): string {
  const { query } = partsOf(head.target);
  return query === '' ? '?' : query;
}

export function normalAuthority(host: string, scheme: 'http' | 'https'): string {
  const lower = host.toLowerCase();
  return lower.endsWith(DEFAULT_PORT[scheme]) ? lower.slice(0, -DEFAULT_PORT[scheme].length) : lower;
}

/** Value of one covered component, or undefined when the request has none or the name is not supported. */
function componentValue(head: RequestHead, name: string): string | undefined {
  switch (name) {
    case '@method':
      return head.method;
    case '@authority':
      return head.authority;
    case '@scheme':
      return head.scheme;
    case '@path':
      return partsOf(head.target).path;
    case '@query':
      return queryComponent(head);
    case '@request-target':
      return head.target;
    case '@target-uri': {
      const { path, query } = partsOf(head.target);
      return `${head.scheme}://${head.authority}${path}${query}`;
    }
    default:
      return name.startsWith('@') ? undefined : head.header(name);
  }
}

const FIELD_NAME = /^@?[a-z0-9!#$%&'*+.^_`|~-]+$/;

/**
 * The bytes that are signed, or the reason why they cannot be built.
 *
 * @param text - of `covered`, where it is known.
 */
export function signatureBase(
  head: RequestHead,
  covered: InnerList,
  text?: string,
): { readonly base: string } | { readonly problem: string } {
  const lines: string[] = [];
  const seen = new Set<string>();
  for (const [name, parameters] of covered[0] as readonly Item[]) {
    if (typeof name !== 'string' || !FIELD_NAME.test(name))
      return { problem: 'a covered component is not a lower-case field name' };
    if (parameters.size > 0) return { problem: `component parameters are not supported (${name})` };
    if (seen.has(name)) return { problem: `component ${name} is listed twice` };
    seen.add(name);
    const value = componentValue(head, name);
    if (value === undefined) return { problem: `covered component ${name} is not in the request` };
    if (/[\r\n]/.test(value)) return { problem: `component ${name} holds a line break` };
    lines.push(`"${name}": ${value}`);
  }
  lines.push(`"@signature-params": ${text ?? serializeInnerList(covered)}`);
  return { base: lines.join('\n') };
}
