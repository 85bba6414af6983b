/**
 * Reads a request that is plain: all of it in one read, in the narrowest form that clients send. Pure.
 *
 * Nothing is refused here. Whatever is not plain, and whatever could be understood in two ways, is left to Node's
 * parser with every byte unread (connection.node.ts), so this grammar may only be narrower than that parser's:
 * head.fuzz.test.ts holds the two against each other.
 */
import { PlatformError } from '../../errors.ts';
import { readHead } from '../head.ts';
import type { RequestTarget } from '../target.ts';

export interface PlainHead {
  readonly method: string;
  readonly target: RequestTarget;
  /** Names and values in turn. */
  readonly rawHeaders: readonly string[];
  /** A view of what was read; empty when there is none. */
  readonly body: Buffer;
  readonly keepAlive: boolean;
}

/** Larger heads are rare, and bounded by Node's parser. */
const HEAD_BYTES_MAX = 16_384;
const HEAD_END = '\r\n\r\n';
const REQUEST_LINE = /^(GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS) (\/[!-"$-~]*) HTTP\/1\.1$/;
const NAME = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
const LENGTH = /^(?:0|[1-9]\d{0,8})$/;
const NOTHING = Buffer.alloc(0);
const SPACE = 32;
const TAB = 9;

interface Framing {
  keepAlive: boolean;
  connections: number;
  bodyBytes: number;
  lengths: number;
}

/** @returns undefined for whatever is not plain. */
export function readPlain(chunk: Buffer): PlainHead | undefined {
  const end = chunk.indexOf(HEAD_END, 0, 'latin1');
  if (end < 0 || end > HEAD_BYTES_MAX) return undefined;
  const text = chunk.toString('latin1', 0, end);
  const lineEnd = text.indexOf('\r\n');
  const line = REQUEST_LINE.exec(lineEnd < 0 ? text : text.slice(0, lineEnd));
  if (line === null) return undefined;
  const rawHeaders: string[] = [];
  const framing: Framing = { keepAlive: true, connections: 0, bodyBytes: 0, lengths: 0 };
  if (lineEnd < 0 || !readLines(text, lineEnd + 2, rawHeaders, framing)) return undefined;
  const bodyAt = end + HEAD_END.length;
  // More than one request, or less: the rest would have to be waited for, and bounded.
  if (chunk.byteLength !== bodyAt + framing.bodyBytes) return undefined;
  const [, method = '', raw = ''] = line;
  const target = targetOf(raw, rawHeaders);
  if (target === undefined) return undefined;
  const body = framing.bodyBytes === 0 ? NOTHING : chunk.subarray(bodyAt);
  return { method, target, rawHeaders, body, keepAlive: framing.keepAlive };
}

/** False: not plain. */
function readLines(text: string, from: number, rawHeaders: string[], framing: Framing): boolean {
  let at = from;
  while (at < text.length) {
    let lineEnd = text.indexOf('\r\n', at);
    if (lineEnd < 0) lineEnd = text.length;
    const colon = text.indexOf(':', at);
    if (colon < 0 || colon >= lineEnd) return false;
    const name = text.slice(at, colon);
    // A folded line begins with a space, which no name holds. Bytes of values are checked by readHead().
    if (!NAME.test(name)) return false;
    const value = text.slice(...trimmed(text, colon + 1, lineEnd));
    rawHeaders.push(name, value);
    if (!isPlain(name, value, framing)) return false;
    at = lineEnd + 2;
  }
  return true;
}

/** Optional whitespace around a value is spaces and tabs (RFC 9110 section 5.6.3), no other. */
function trimmed(text: string, from: number, to: number): [number, number] {
  let begin = from;
  let end = to;
  while (begin < end && isBlank(text.charCodeAt(begin))) begin += 1;
  while (end > begin && isBlank(text.charCodeAt(end - 1))) end -= 1;
  return [begin, end];
}

function isBlank(code: number): boolean {
  return code === SPACE || code === TAB;
}

/** Headers that change how a request is read or answered: only their plainest forms. */
function isPlain(name: string, value: string, framing: Framing): boolean {
  // The lengths of the names that matter here.
  switch (name.length) {
    case 6:
      return name.toLowerCase() !== 'expect';
    case 7: {
      const lower = name.toLowerCase();
      return lower !== 'upgrade' && lower !== 'trailer';
    }
    case 10:
      return name.toLowerCase() !== 'connection' || readConnection(value, framing);
    case 14:
      return name.toLowerCase() !== 'content-length' || readLength(value, framing);
    case 16:
      return name.toLowerCase() !== 'proxy-connection';
    case 17:
      return name.toLowerCase() !== 'transfer-encoding';
    default:
      return true;
  }
}

function readConnection(value: string, framing: Framing): boolean {
  framing.connections += 1;
  if (framing.connections > 1) return false;
  if (value === 'keep-alive' || value === 'Keep-Alive') return true;
  framing.keepAlive = false;
  return value === 'close' || value === 'Close';
}

function readLength(value: string, framing: Framing): boolean {
  framing.lengths += 1;
  if (framing.lengths > 1 || !LENGTH.test(value)) return false;
  framing.bodyBytes = Number(value);
  return true;
}

/** What must be refused is refused by the server that refuses the rest, in the same words. */
function targetOf(target: string, rawHeaders: readonly string[]): RequestTarget | undefined {
  try {
    return readHead({ httpVersion: '1.1', target, rawHeaders });
  } catch (thrown) {
    if (thrown instanceof PlatformError) return undefined;
    throw thrown;
  }
}
