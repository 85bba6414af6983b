/**
 * What a request head must be before anything is decided by it: whatever two readers could understand
 * differently is refused (RFC 9112). Pure; works on flat arrays of names and values in turn, as Node gives them.
 */
import { PlatformError, type ErrorCode } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import { readTarget, type RequestTarget } from './target.ts';

export interface RawHead {
  /** As Node parsed it: `1.1`. */
  readonly httpVersion: string;
  readonly target: string;
  readonly rawHeaders: readonly string[];
}

// oxlint-disable-next-line no-control-regex -- finding control characters is the point
const BAD_VALUE = /[\u0000-\u0008\u000a-\u001f\u007f]/;
/** RFC 3986 section 3.2, without user information; an empty port is allowed. */
const HOST = /^(?:[\w.~!$&'()*+,;=%-]*|\[[\dA-Fa-f:.]+\])(?::\d{0,5})?$/;

const PORT_MAX = 65_535;

/** 0 where there is none. The functions' URL parser takes no larger one than there are. */
function portOf(host: string): number {
  const colon = host.lastIndexOf(':');
  return colon < 0 || host.endsWith(']') ? 0 : Number(host.slice(colon + 1));
}

/** Whether a text may stand in a Host header. */
export function isHost(text: string): boolean {
  return HOST.test(text) && portOf(text) <= PORT_MAX;
}

interface Refusal {
  readonly code: ErrorCode;
  readonly reason: string;
}

/** What the lines that decide about framing and identity say. */
interface Singles {
  bytes: number;
  hosts: number;
  host: string;
  lengths: number;
  codings: number;
  coding: string;
  authorizations: number;
}

/** Reads and checks a head. @throws {PlatformError} its connection must be closed after the answer. */
export function readHead({ httpVersion, target, rawHeaders }: RawHead): RequestTarget {
  // Its requests have no head, and its answers no status.
  if (httpVersion === '0.9') throw refused('bad_request', 'HTTP/0.9 is not spoken here');
  if (httpVersion !== '1.1' && httpVersion !== '1.0')
    throw refused('version_not_supported', `HTTP/${httpVersion} is not spoken here`);
  if (target.length > LIMITS.urlBytesMax)
    throw refused('url_too_long', `at most ${LIMITS.urlBytesMax} bytes`);
  const singles = read(rawHeaders);
  const refusal = 'code' in singles ? singles : problemOf(singles, httpVersion);
  if (refusal !== undefined) throw refused(refusal.code, refusal.reason);
  const reading = readTarget(target);
  if ('problem' in reading) throw refused('target_invalid', reading.problem);
  if (!target.startsWith('/')) checkAbsolute(target, (singles as Singles).host);
  return reading;
}

function refused(code: ErrorCode, reason: string): PlatformError {
  return new PlatformError(code, `refused head: ${reason}`, { publicDetail: reason });
}

function read(raw: readonly string[]): Singles | Refusal {
  const singles: Singles = {
    bytes: 0,
    hosts: 0,
    host: '',
    lengths: 0,
    codings: 0,
    coding: '',
    authorizations: 0,
  };
  for (let index = 0; index < raw.length; index += 2) {
    const name = raw[index] ?? '';
    const value = raw[index + 1] ?? '';
    singles.bytes += name.length + value.length + 4;
    // Only these lengths are those of the names that matter here.
    if (name.length === 4 || name.length === 13 || name.length === 14 || name.length === 17)
      count(singles, name, value);
    if (BAD_VALUE.test(value))
      return { code: 'header_invalid', reason: 'a header value holds a control character' };
  }
  return singles;
}

function count(singles: Singles, name: string, value: string): void {
  switch (name.toLowerCase()) {
    case 'host':
      singles.hosts += 1;
      singles.host = value;
      return;
    case 'content-length':
      singles.lengths += 1;
      return;
    case 'transfer-encoding':
      singles.codings += 1;
      singles.coding = value;
      return;
    case 'authorization':
      singles.authorizations += 1;
      return;
    default:
  }
}

function problemOf(singles: Singles, httpVersion: string): Refusal | undefined {
  const { hosts, host, lengths, codings, coding } = singles;
  if (hosts > 1) return { code: 'header_invalid', reason: 'more than one Host header' };
  if (hosts === 0 && httpVersion === '1.1') return { code: 'header_invalid', reason: 'no Host header' };
  if (!isHost(host)) return { code: 'header_invalid', reason: 'the Host header is not a host' };
  if (singles.authorizations > 1)
    return { code: 'header_invalid', reason: 'more than one Authorization header' };
  if (lengths > 1 || codings > 1 || lengths + codings > 1)
    return { code: 'header_invalid', reason: 'the length of the body is ambiguous' };
  if (codings > 0) {
    if (httpVersion === '1.0')
      return { code: 'header_invalid', reason: 'HTTP/1.0 knows no Transfer-Encoding' };
    const problem = codingProblem(coding);
    if (problem !== undefined) return problem;
  }
  if (singles.bytes > LIMITS.headerBytesMax)
    return { code: 'headers_too_large', reason: `at most ${LIMITS.headerBytesMax} bytes` };
  return undefined;
}

/** RFC 9112 section 6.1: 501 for a coding that is not understood; section 7: chunked is applied once, and last. */
function codingProblem(value: string): Refusal | undefined {
  if (value === 'chunked') return undefined;
  const codings = value.split(',').map((coding) => coding.trim().toLowerCase());
  if (codings.some((coding) => coding !== 'chunked'))
    return { code: 'not_implemented', reason: 'chunked is the only transfer coding that is understood' };
  return codings.length === 1
    ? undefined
    : { code: 'header_invalid', reason: 'chunked may be applied only once' };
}

/** `GET http://host/path`: RFC 9112 lets the target's host win, so a Host that differs is an ambiguity. */
function checkAbsolute(target: string, host: string): void {
  const authority = /^https?:\/\/([^/?#\\]*)/i.exec(target)?.[1];
  if (authority !== undefined && authority.toLowerCase() !== host.toLowerCase())
    throw refused('header_invalid', 'the request target names another host than the Host header');
}

/**
 * All lines of a field as one value, each trimmed: joined by `, ` (RFC 9110 section 5.3), those of Cookie by
 * `; ` (RFC 9113 section 8.2.3). Node's own `headers` keep only the first line of many fields.
 *
 * @param name - lower case.
 */
export function fieldOf(raw: readonly string[], name: string): string | undefined {
  let value: string | undefined;
  for (let index = 0; index < raw.length; index += 2) {
    const given = raw[index] ?? '';
    if (given.length !== name.length || given.toLowerCase() !== name) continue;
    const line = (raw[index + 1] ?? '').trim();
    value = value === undefined ? line : `${value}${name === 'cookie' ? '; ' : ', '}${line}`;
  }
  return value;
}
