/**
 * A source map (https://tc39.es/ecma426/) that is searched where it lies.
 *
 * Tenants upload maps of many megabytes, and control has one thread for all of them. Decoding one into objects takes
 * forty times its size and seconds without a pause. So the text is looked through once, in slices between which
 * others have their turn, and what is kept is its mappings as they are, with a mark for every few kilobytes. A look-up
 * reads from one mark to the next. Pure.
 */
import { TraceMap } from '@jridgewell/trace-mapping';
import { readJsonFields, SLICE_BYTES, type Slices } from './json-fields.ts';

export interface Position {
  readonly source: string;
  /** From 1. */
  readonly line: number;
  /** From 0. */
  readonly column: number;
}

/** Mappings of a bundle of 30 MB, and the names of its sources: what is larger is not used. */
export const MAP_BOUNDS = {
  mappings: 16 * 1_024 * 1_024,
  sources: 1_024 * 1_024,
  sourceRoot: 4_096,
} as const;

const MARK_EVERY_BYTES = 1_024;
const COMMA = 0x2c;
const SEMICOLON = 0x3b;
const QUOTE = 0x22;
/** Sextets of one number: more do not fit 32 bits. */
const SHIFT_MAX = 30;
/** Column in the bundle, source, line and column there, name. */
const FIELDS_MAX = 5;
const DIGITS = digitValues();

function digitValues(): Int8Array {
  const values = new Int8Array(256).fill(-1);
  const digits = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
  for (let value = 0; value < digits.length; value += 1) values[digits.charCodeAt(value)] = value;
  return values;
}

/** Reads mappings segment by segment: each number is relative to the one before. */
class Cursor {
  readonly #bytes: Uint8Array;
  at = 0;
  /** In the bundle, from 0. */
  line = 0;
  column = 0;
  source = 0;
  sourceLine = 0;
  sourceColumn = 0;
  /** Numbers of the segment that was read last: 1 when it stands for no place in a source, 0 behind a separator. */
  fields = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get ended(): boolean {
    return this.at >= this.#bytes.length;
  }

  /** Past one segment, or past what stands between two. @returns false when the mappings are damaged. */
  step(): boolean {
    const byte = this.#bytes[this.at];
    if (byte !== COMMA && byte !== SEMICOLON) return this.#readSegment();
    this.at += 1;
    this.fields = 0;
    if (byte === SEMICOLON) {
      this.line += 1;
      this.column = 0;
    }
    return true;
  }

  #readSegment(): boolean {
    const bytes = this.#bytes;
    this.fields = 0;
    while (this.at < bytes.length && bytes[this.at] !== COMMA && bytes[this.at] !== SEMICOLON) {
      let value = 0;
      for (let shift = 0; ; shift += 5) {
        const digit = DIGITS[bytes[this.at] ?? 0] ?? -1;
        if (digit < 0 || shift > SHIFT_MAX) return false;
        this.at += 1;
        value |= (digit & 31) << shift;
        if (digit < 32) break;
      }
      if (this.fields === FIELDS_MAX) return false;
      this.#add((value & 1) === 0 ? value >>> 1 : -(value >>> 1));
    }
    return this.fields === 1 || this.fields >= 4;
  }

  #add(value: number): void {
    if (this.fields === 0) this.column += value;
    else if (this.fields === 1) this.source += value;
    else if (this.fields === 2) this.sourceLine += value;
    else if (this.fields === 3) this.sourceColumn += value;
    this.fields += 1;
  }

  save(): readonly number[] {
    return [this.at, this.line, this.column, this.source, this.sourceLine, this.sourceColumn];
  }

  restore(marks: Int32Array, from: number): void {
    this.at = marks[from] ?? 0;
    this.line = marks[from + 1] ?? 0;
    this.column = marks[from + 2] ?? 0;
    this.source = marks[from + 3] ?? 0;
    this.sourceLine = marks[from + 4] ?? 0;
    this.sourceColumn = marks[from + 5] ?? 0;
  }
}

const MARK_FIELDS = 6;

export class MapIndex {
  readonly #mappings: Uint8Array;
  readonly #marks: Int32Array;
  readonly #sources: readonly (string | null)[];
  readonly #sourceRoot: string | undefined;
  /** That this takes. */
  readonly bytes: number;

  constructor(parts: {
    readonly mappings: Uint8Array;
    readonly marks: Int32Array;
    readonly sources: readonly (string | null)[];
    readonly sourceRoot: string | undefined;
  }) {
    this.#mappings = parts.mappings;
    this.#marks = parts.marks;
    this.#sources = parts.sources;
    this.#sourceRoot = parts.sourceRoot;
    this.bytes = parts.mappings.byteLength + parts.marks.byteLength + sizeOf(parts.sources);
  }

  /**
   * @param line - in the bundle, from 0.
   * @param column - from 0.
   */
  lookUp(line: number, column: number): Position | undefined {
    const cursor = new Cursor(this.#mappings);
    cursor.restore(this.#marks, this.#markBefore(line, column));
    let found: readonly [source: number, line: number, column: number] | undefined;
    let foundColumn = -1;
    while (!cursor.ended && cursor.step() && cursor.line <= line) {
      if (cursor.line < line || cursor.fields === 0) continue;
      if (cursor.column > column) break;
      // Of several at just this column the first is meant, before it the last, as the library has it.
      if (cursor.column === column && foundColumn === column) continue;
      foundColumn = cursor.column;
      found = cursor.fields === 1 ? undefined : [cursor.source, cursor.sourceLine, cursor.sourceColumn];
    }
    if (found === undefined) return undefined;
    const source = this.#sourceAt(found[0]);
    return source === undefined ? undefined : { source, line: found[1] + 1, column: found[2] };
  }

  /** Where to begin: one mark before the last that comes before the place, so that a segment before it is read. */
  #markBefore(line: number, column: number): number {
    const marks = this.#marks;
    let low = 0;
    let high = marks.length / MARK_FIELDS;
    while (low < high) {
      const middle = (low + high) >> 1;
      const markLine = marks[middle * MARK_FIELDS + 1] ?? 0;
      const isBefore =
        markLine < line || (markLine === line && (marks[middle * MARK_FIELDS + 2] ?? 0) < column);
      if (isBefore) low = middle + 1;
      else high = middle;
    }
    return Math.max(0, low - 2) * MARK_FIELDS;
  }

  /** As the library resolves it against `sourceRoot`. */
  #sourceAt(index: number): string | undefined {
    const source = this.#sources[index] ?? undefined;
    if (source === undefined) return undefined;
    const { resolvedSources } = new TraceMap({
      version: 3,
      names: [],
      mappings: '',
      sources: [source],
      ...(this.#sourceRoot === undefined ? {} : { sourceRoot: this.#sourceRoot }),
    });
    return resolvedSources[0] ?? undefined;
  }
}

const SOURCE_BYTES = 64;

function sizeOf(sources: readonly (string | null)[]): number {
  return sources.reduce((sum, source) => sum + SOURCE_BYTES + 2 * (source?.length ?? 0), 0);
}

/** Marks of mappings, one for every few kilobytes; undefined when they are damaged. */
function* marksOf(mappings: Uint8Array): Slices<Int32Array | undefined> {
  const cursor = new Cursor(mappings);
  const marks = [...cursor.save()];
  let nextMarkAt = MARK_EVERY_BYTES;
  let nextTurnAt = SLICE_BYTES;
  while (!cursor.ended) {
    if (!cursor.step()) return undefined;
    if (cursor.at < nextMarkAt) continue;
    marks.push(...cursor.save());
    nextMarkAt = cursor.at + MARK_EVERY_BYTES;
    if (cursor.at < nextTurnAt) continue;
    nextTurnAt = cursor.at + SLICE_BYTES;
    yield;
  }
  return Int32Array.from(marks);
}

function sourcesOf(bytes: Uint8Array | undefined): readonly (string | null)[] | undefined {
  const sources = parsed(bytes);
  if (!Array.isArray(sources)) return undefined;
  return sources.every((source): source is string | null => source === null || typeof source === 'string')
    ? sources
    : undefined;
}

function parsed(bytes: Uint8Array | undefined): unknown {
  if (bytes === undefined) return undefined;
  try {
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    return undefined;
  }
}

/**
 * @param content - a source map, of anybody.
 * @returns undefined when it is damaged, or over {@link MAP_BOUNDS}: that costs readable positions, nothing else.
 */
export function* readMap(content: Uint8Array): Slices<MapIndex | undefined> {
  const fields = yield* readJsonFields(content, MAP_BOUNDS);
  const quoted = fields?.get('mappings');
  const sources = sourcesOf(fields?.get('sources'));
  if (quoted === undefined || sources === undefined || quoted[0] !== QUOTE) return undefined;
  // A copy: the rest of the map need not be kept. Letters of mappings need no escape, and what has one is damaged.
  const mappings = Uint8Array.from(quoted.subarray(1, -1));
  const marks = yield* marksOf(mappings);
  if (marks === undefined) return undefined;
  const sourceRoot = parsed(fields?.get('sourceRoot'));
  return new MapIndex({
    mappings,
    marks,
    sources,
    sourceRoot: typeof sourceRoot === 'string' ? sourceRoot : undefined,
  });
}
