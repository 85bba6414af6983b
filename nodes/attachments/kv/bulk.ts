/**
 * The answer to a read of several keys, as a text of JSON that is written piece by piece: a value may be larger than
 * what the thread of all accounts should hold twice, and its text many times larger still. Pure.
 */
import { PlatformError } from '#shared/errors.ts';
import { JSON_DEPTH_MAX, JsonScan } from './json-scan.ts';
import type { KvEntry } from './rules.ts';

/** Bytes of a value that one piece holds; each becomes at most six characters. */
const VALUE_PIECE_BYTES = 16 * 1_024;
/** Characters that are gathered before they are given out. */
const PIECE_LENGTH = 64 * 1_024;

export interface BulkForm {
  readonly type: 'text' | 'json';
  readonly withMetadata: boolean;
}

/** Reads on at each step; ends when the value is JSON. @throws {PlatformError} `kv_invalid` when it is not. */
export function* checkJson({ value }: KvEntry): Generator<void, void> {
  const scan = new JsonScan(value);
  for (;;) {
    const isJson = scan.step();
    if (isJson === true) return;
    if (isJson === false)
      throw new PlatformError('kv_invalid', 'a value is not JSON', {
        publicDetail: `One of the values is not JSON of at most ${JSON_DEPTH_MAX} levels.`,
      });
    yield;
  }
}

/** @param entries - by key, undefined where there is none; checked by {@link checkJson} where they are read as JSON. */
export function* bulkPieces(
  entries: ReadonlyMap<string, KvEntry | undefined>,
  form: BulkForm,
): Generator<Buffer, void> {
  let gathered = '';
  for (const part of partsOf(entries, form)) {
    gathered += part;
    if (gathered.length < PIECE_LENGTH) continue;
    yield Buffer.from(gathered);
    gathered = '';
  }
  yield Buffer.from(gathered);
}

function* partsOf(
  entries: ReadonlyMap<string, KvEntry | undefined>,
  { type, withMetadata }: BulkForm,
): Generator<string, void> {
  let separator = '{';
  for (const [key, entry] of entries) {
    yield `${separator}${JSON.stringify(key)}:`;
    separator = ',';
    if (entry === undefined) {
      yield 'null';
      continue;
    }
    if (withMetadata) yield '{"value":';
    if (type === 'json') yield* textOf(entry.value);
    else {
      yield '"';
      for (const text of textOf(entry.value)) yield JSON.stringify(text).slice(1, -1);
      yield '"';
    }
    // It was JSON when it was put.
    if (withMetadata) yield `,"metadata":${entry.metadata ?? 'null'}}`;
  }
  yield '}';
}

/** Of whole characters; what is no UTF-8 becomes U+FFFD, as in any text that is read. */
function* textOf(value: Uint8Array): Generator<string, void> {
  const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
  for (let at = 0; at < value.byteLength; at += VALUE_PIECE_BYTES)
    yield decoder.decode(value.subarray(at, at + VALUE_PIECE_BYTES), { stream: true });
  yield decoder.decode();
}
