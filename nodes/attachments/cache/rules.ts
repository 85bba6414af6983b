/**
 * What a cache keeps and what it answers (RFC 9111, RFC 9110 sections 13 and 14, and where Workers' cache
 * differs from them, Workers). Pure.
 *
 * Differences: `Vary` is not looked at, a response with `Set-Cookie` is kept only when `Cache-Control` says
 * `private=Set-Cookie`, and then without the cookie; what says nothing of its freshness is not kept.
 */
import CachePolicy from 'http-cache-semantics';

export interface Received {
  readonly status: number;
  readonly reason: string;
  /** Names and values in turn, as they came. */
  readonly headers: readonly string[];
  readonly body: Uint8Array;
}

export interface Stored extends Received {
  readonly storedMs: number;
  readonly expiresMs: number;
}

export interface CacheAnswer {
  readonly status: number;
  readonly reason: string;
  readonly headers: readonly string[];
  readonly body: Uint8Array;
}

/** About what an entry costs beside its bytes. */
const ENTRY_BYTES = 512;
const PRIVATE_COOKIE = /(?:^|,)\s*private\s*=\s*"?set-cookie"?\s*(?=,|$)/i;
const NOTHING = new Uint8Array(0);
/** Names and values together; what has more is not kept. Workers allows 128 KB of headers in a response. */
const HEADERS_MAX = 2 * 256;
const HEADER_LENGTH_MAX = 128 * 1_024;

export function sizeOf({ headers, body }: Stored): number {
  return headers.reduce((sum, text) => sum + text.length, ENTRY_BYTES + body.byteLength);
}

function valueOf(headers: readonly string[], wanted: string): string | undefined {
  let found: string | undefined;
  for (let index = 0; index < headers.length; index += 2) {
    if (headers[index]?.toLowerCase() !== wanted) continue;
    const value = headers[index + 1] ?? '';
    found = found === undefined ? value : `${found}, ${value}`;
  }
  return found;
}

function without(headers: readonly string[], names: ReadonlySet<string>): string[] {
  return headers.filter((_, index) => !names.has((headers[index - (index % 2)] ?? '').toLowerCase()));
}

const COOKIE = new Set(['set-cookie']);
/** Of the message that brought it, not of the response. */
const FRAMING = new Set(['connection', 'content-length', 'keep-alive', 'transfer-encoding', 'trailer']);
/** RFC 9110 section 15.4.5: a 304 says nothing about a body that it does not have. */
const OF_THE_BODY = new Set([
  'content-encoding',
  'content-language',
  'content-length',
  'content-range',
  'content-type',
]);

/** By lower-case name, in one pass: code chooses how many headers there are. */
function fieldsOf(headers: readonly string[]): Record<string, string> {
  const values = new Map<string, string[]>();
  for (let index = 0; index < headers.length; index += 2) {
    const name = (headers[index] ?? '').toLowerCase();
    const value = headers[index + 1] ?? '';
    const known = values.get(name);
    if (known === undefined) values.set(name, [value]);
    else known.push(value);
  }
  return Object.fromEntries([...values].map(([name, all]) => [name, all.join(', ')]));
}

/** undefined: it must not be kept, or would be stale at once. */
export function storedOf(url: string, received: Received, nowMs: number): Stored | undefined {
  const headerLength = received.headers.reduce((sum, text) => sum + text.length, 0);
  if (received.headers.length > HEADERS_MAX || headerLength > HEADER_LENGTH_MAX) return undefined;
  let headers = without(received.headers, FRAMING);
  let control = valueOf(headers, 'cache-control');
  if (control !== undefined && PRIVATE_COOKIE.test(control)) {
    control = control.replace(PRIVATE_COOKIE, '').replace(/^\s*,\s*/, '');
    headers = [...without(headers, new Set([...COOKIE, 'cache-control'])), 'cache-control', control];
  }
  const fields = fieldsOf(headers);
  if (fields['set-cookie'] !== undefined || received.status === 206) return undefined;
  const policy = new CachePolicy(
    { url, method: 'GET', headers: {} },
    { status: received.status, headers: fields },
  );
  const forMs = policy.storable() ? policy.timeToLive() : 0;
  if (forMs <= 0) return undefined;
  return { ...received, headers, storedMs: nowMs, expiresMs: nowMs + forMs };
}

/** @param request - lower-case names. */
export function answerOf(
  stored: Stored,
  request: Readonly<Record<string, string | string[] | undefined>>,
  nowMs: number,
): CacheAnswer {
  const age = String(Math.floor((nowMs - stored.storedMs) / 1_000));
  const headers = [...stored.headers, 'age', age, 'cf-cache-status', 'HIT'];
  if (isUnchanged(stored, request))
    return { status: 304, reason: 'Not Modified', headers: without(headers, OF_THE_BODY), body: NOTHING };
  const range = stored.status === 200 ? rangeOf(request['range'], stored.body.byteLength) : undefined;
  if (range === undefined) return { ...stored, headers };
  const plain = without(headers, new Set(['content-range']));
  const total = stored.body.byteLength;
  if (range === 'unsatisfiable')
    return {
      status: 416,
      reason: 'Range Not Satisfiable',
      headers: [...plain, 'content-range', `bytes */${total}`],
      body: NOTHING,
    };
  const [from, to] = range;
  return {
    status: 206,
    reason: 'Partial Content',
    headers: [...plain, 'content-range', `bytes ${from}-${to}/${total}`],
    body: stored.body.subarray(from, to + 1),
  };
}

/** RFC 9110 section 13.2: of what is a success, and an entity tag that was sent decides alone. */
function isUnchanged(
  { headers, status }: Stored,
  request: Readonly<Record<string, string | string[] | undefined>>,
): boolean {
  if (status < 200 || status > 299) return false;
  const tags = request['if-none-match'];
  if (typeof tags === 'string') {
    const own = valueOf(headers, 'etag');
    if (own === undefined) return false;
    const plain = (tag: string): string => tag.trim().replace(/^W\//, '');
    return tags.trim() === '*' || tags.split(',').some((tag) => plain(tag) === plain(own));
  }
  const since = request['if-modified-since'];
  const modified = valueOf(headers, 'last-modified');
  if (typeof since !== 'string' || modified === undefined) return false;
  return Date.parse(modified) <= Date.parse(since);
}

/** The one range that is asked for, both ends included; several, or another unit, are no range. */
function rangeOf(
  header: string | string[] | undefined,
  total: number,
): readonly [from: number, to: number] | 'unsatisfiable' | undefined {
  if (typeof header !== 'string') return undefined;
  const parts = /^bytes=(\d*)-(\d*)$/.exec(header.replaceAll(/\s/g, ''));
  if (parts === null || (parts[1] === '' && parts[2] === '')) return undefined;
  if (parts[1] === '') {
    const length = Math.min(total, Number(parts[2]));
    return length === 0 ? 'unsatisfiable' : [total - length, total - 1];
  }
  const from = Number(parts[1]);
  const to = Math.min(total - 1, parts[2] === '' ? total - 1 : Number(parts[2]));
  if (from >= total) return 'unsatisfiable';
  return to < from ? undefined : [from, to];
}
