/**
 * Some fields of a large JSON object, found without parsing the rest: a parser makes objects of everything, at once
 * and without a pause. Pure.
 */

/** Work that pauses for others; see turns.ts. */
export type Slices<T> = Generator<void, T, void>;

/** Bytes between two pauses: about a millisecond. */
export const SLICE_BYTES = 256 * 1_024;

const QUOTE = 0x22;
const COMMA = 0x2c;
const COLON = 0x3a;
const BACKSLASH = 0x5c;
const [OPEN_LIST, CLOSE_LIST, OPEN_OBJECT, CLOSE_OBJECT] = [0x5b, 0x5d, 0x7b, 0x7d];
const BYTE_ORDER_MARK = [0xef, 0xbb, 0xbf];

const isSpace = (byte: number | undefined): boolean =>
  byte === 0x20 || byte === 0x09 || byte === 0x0a || byte === 0x0d;

/**
 * @param wanted - names of fields, and the bytes that the value of each may have.
 * @returns the values as they are written; undefined: the bytes are no object, or a value is longer. What is not
 *   looked for is not judged.
 */
export function* readJsonFields(
  content: Uint8Array,
  wanted: Readonly<Record<string, number>>,
): Slices<ReadonlyMap<string, Uint8Array> | undefined> {
  const found = new Map<string, Uint8Array>();
  const bytes = Buffer.from(content.buffer, content.byteOffset, content.byteLength);
  const skipSpace = (from: number): number => {
    let at = from;
    while (isSpace(bytes[at])) at += 1;
    return at;
  };
  let at = skipSpace(BYTE_ORDER_MARK.every((byte, index) => bytes[index] === byte) ? 3 : 0);
  if (bytes[at] !== OPEN_OBJECT) return undefined;
  for (at = skipSpace(at + 1); bytes[at] !== CLOSE_OBJECT; at = skipSpace(at + 1)) {
    if (bytes[at] !== QUOTE) return undefined;
    const keyEnd = stringEnd(bytes, at);
    const colon = skipSpace(keyEnd);
    if (bytes[colon] !== COLON) return undefined;
    const from = skipSpace(colon + 1);
    const to = yield* valueEnd(bytes, from);
    const name = keyEnd - at > NAME_BYTES_MAX ? '' : bytes.toString('utf8', at + 1, keyEnd - 1);
    if (Object.hasOwn(wanted, name)) {
      if (to - from > (wanted[name] ?? 0)) return undefined;
      found.set(name, bytes.subarray(from, to));
    }
    at = skipSpace(to);
    if (bytes[at] === CLOSE_OBJECT) break;
    if (bytes[at] !== COMMA) return undefined;
  }
  return found;
}

const NAME_BYTES_MAX = 256;

/** Behind the quote that ends the string; the end of the bytes where none does. */
function stringEnd(bytes: Buffer, begin: number): number {
  for (let quote = bytes.indexOf(QUOTE, begin + 1); quote >= 0; quote = bytes.indexOf(QUOTE, quote + 1)) {
    let slashes = 0;
    while (bytes[quote - 1 - slashes] === BACKSLASH) slashes += 1;
    if (slashes % 2 === 0) return quote + 1;
  }
  return bytes.byteLength;
}

function* valueEnd(bytes: Buffer, from: number): Slices<number> {
  let depth = 0;
  let nextPauseAt = from + SLICE_BYTES;
  for (let at = from; at < bytes.byteLength;) {
    if (at >= nextPauseAt) {
      nextPauseAt = at + SLICE_BYTES;
      yield;
    }
    const byte = bytes[at];
    if (depth === 0 && at > from && (byte === COMMA || byte === CLOSE_OBJECT || isSpace(byte))) return at;
    if (byte === QUOTE) at = stringEnd(bytes, at);
    else {
      if (byte === OPEN_LIST || byte === OPEN_OBJECT) depth += 1;
      else if (byte === CLOSE_LIST || byte === CLOSE_OBJECT) depth -= 1;
      at += 1;
    }
  }
  return bytes.byteLength;
}
