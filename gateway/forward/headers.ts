/**
 * Which headers pass, in both directions. Pure; works on flat arrays of names and values in turn, because
 * that is what Node's parser gives and its writer takes.
 *
 * Whatever arrives from a client is refused when two readers could understand it differently, and
 * stripped of everything that only the gateway may say.
 */
import { HEADER_PREFIX } from '#shared/contracts/invoke.ts';
import { LIMITS } from '#shared/limits.ts';
import { HOP_BY_HOP } from '#shared/upstream/hop-by-hop.ts';

const REQUEST_DROPPED = new Set([
  ...HOP_BY_HOP,
  'content-length',
  'expect',
  'forwarded',
  'http2-settings',
  // What Cloudflare's runtimes read request.cf and the client's address from.
  'cf-blob',
  'mf-cf-blob',
  'cf-connecting-ip',
  'x-real-ip',
]);
const FORWARDED_PREFIX = 'x-forwarded-';
// oxlint-disable-next-line no-control-regex -- finding control characters is the point
const BAD_VALUE = /[\u0000-\u0008\u000a-\u001f\u007f]/;

export type RequestHeaders =
  | { readonly kind: 'headers'; readonly headers: string[] }
  | {
      readonly kind: 'refused';
      readonly code: 'header_invalid' | 'headers_too_large';
      readonly reason: string;
    };

/** Names listed in Connection headers, lower case; undefined when there is none beyond the usual. */
function connectionListed(raw: readonly string[]): Set<string> | undefined {
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

export function checkRequestHeaders(
  raw: readonly string[],
): Extract<RequestHeaders, { kind: 'refused' }> | undefined {
  let bytes = 0;
  let hosts = 0;
  let lengths = 0;
  let codings = 0;
  for (let index = 0; index < raw.length; index += 2) {
    const name = raw[index] ?? '';
    const value = raw[index + 1] ?? '';
    bytes += name.length + value.length + 4;
    // Only these lengths are those of the names that matter here.
    if (name.length === 4) hosts += name.toLowerCase() === 'host' ? 1 : 0;
    else if (name.length === 14) lengths += name.toLowerCase() === 'content-length' ? 1 : 0;
    else if (name.length === 17) codings += name.toLowerCase() === 'transfer-encoding' ? 1 : 0;
    if (BAD_VALUE.test(value))
      return { kind: 'refused', code: 'header_invalid', reason: 'a header value holds a control character' };
  }
  if (hosts > 1) return { kind: 'refused', code: 'header_invalid', reason: 'more than one Host header' };
  if (lengths > 1 || codings > 1 || lengths + codings > 1)
    return { kind: 'refused', code: 'header_invalid', reason: 'the length of the body is ambiguous' };
  if (bytes > LIMITS.headerBytesMax)
    return { kind: 'refused', code: 'headers_too_large', reason: `at most ${LIMITS.headerBytesMax} bytes` };
  return undefined;
}

/** A client's headers that an instance may see, followed by `added`. */
export function requestHeaders(raw: readonly string[], added: readonly string[]): string[] {
  const headers: string[] = [];
  const listed = connectionListed(raw);
  for (let index = 0; index < raw.length; index += 2) {
    const name = raw[index] ?? '';
    const lower = name.toLowerCase();
    if (
      REQUEST_DROPPED.has(lower) ||
      lower.startsWith(HEADER_PREFIX) ||
      lower.startsWith(FORWARDED_PREFIX) ||
      listed?.has(lower) === true
    )
      continue;
    headers.push(name, raw[index + 1] ?? '');
  }
  for (const part of added) headers.push(part);
  return headers;
}

export interface ResponseHeaders {
  readonly headers: string[];
  /** Value of isoplane-outcome, which the client never sees. */
  readonly outcome: string | undefined;
  readonly hasLength: boolean;
}

/** An instance's headers that the client may see, followed by `added`. */
export function responseHeaders(
  raw: readonly string[],
  added: readonly string[],
  outcomeName: string,
): ResponseHeaders {
  const headers: string[] = [];
  const listed = connectionListed(raw);
  let outcome: string | undefined;
  let hasLength = false;
  for (let index = 0; index < raw.length; index += 2) {
    const name = raw[index] ?? '';
    const lower = name.toLowerCase();
    if (lower.startsWith(HEADER_PREFIX)) {
      if (lower === outcomeName) outcome = raw[index + 1];
      continue;
    }
    if (HOP_BY_HOP.has(lower) || listed?.has(lower) === true) continue;
    if (lower === 'content-length') hasLength = true;
    headers.push(name, raw[index + 1] ?? '');
  }
  for (const part of added) headers.push(part);
  return { headers, outcome, hasLength };
}
