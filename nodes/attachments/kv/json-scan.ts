/**
 * Whether bytes are one JSON text (RFC 8259), without building what they say: values of strangers would take many
 * times their size in memory that all accounts share. Read in pieces, so that between two of them others have their
 * turn. Pure; held against JSON.parse by its test.
 */

/** Read by one step, about. */
const STEP_BYTES = 64 * 1_024;
/** Levels of arrays and objects in one another. */
export const JSON_DEPTH_MAX = 10_000;

type Expected =
  | 'value'
  /** A value, or the end of the array that has just begun. */
  | 'first-value'
  /** A name, or the end of the object that has just begun. */
  | 'first-name'
  | 'name'
  | 'colon'
  /** What follows a value: a comma, the end of what it is in, or nothing. */
  | 'next';

const code = (character: string): number => character.charCodeAt(0);
const QUOTE = code('"');
const BACKSLASH = code('\\');
const SPACES: ReadonlySet<number> = new Set(Buffer.from(' \t\n\r'));
const ESCAPES: ReadonlySet<number> = new Set(Buffer.from('"\\/bfnrt'));
const LITERALS = new Map(['true', 'false', 'null'].map((word) => [code(word), Buffer.from(word)]));

const isDigit = (byte: number | undefined): boolean => byte !== undefined && byte >= 0x30 && byte <= 0x39;
const isHex = (byte: number | undefined): boolean =>
  isDigit(byte) || (byte !== undefined && (byte | 0x20) >= 0x61 && (byte | 0x20) <= 0x66);

export class JsonScan {
  readonly #bytes: Uint8Array;
  #at = 0;
  #expected: Expected = 'value';
  /** In a string that is a name, one that is a value, or in none. */
  #string: 'name' | 'value' | undefined;
  /** 1 for an object, 0 for an array. */
  readonly #levels = new Uint8Array(JSON_DEPTH_MAX);
  #depth = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  /** Reads on. undefined: there is more to read; otherwise whether it is JSON. */
  step(): boolean | undefined {
    const until = Math.min(this.#at + STEP_BYTES, this.#bytes.byteLength);
    while (this.#at < until)
      if (!(this.#string === undefined ? this.#token() : this.#inString(until))) return false;
    if (this.#at < this.#bytes.byteLength) return undefined;
    return this.#string === undefined && this.#depth === 0 && this.#expected === 'next';
  }

  #inString(until: number): boolean {
    while (this.#at < until) {
      const byte = this.#bytes[this.#at] ?? 0;
      if (byte < 0x20) return false;
      this.#at += 1;
      if (byte === BACKSLASH && !this.#escape()) return false;
      if (byte !== QUOTE) continue;
      this.#expected = this.#string === 'name' ? 'colon' : 'next';
      this.#string = undefined;
      return true;
    }
    return true;
  }

  #escape(): boolean {
    const byte = this.#bytes[this.#at] ?? 0;
    this.#at += 1;
    if (byte !== code('u')) return ESCAPES.has(byte);
    for (const end = this.#at + 4; this.#at < end; this.#at += 1)
      if (!isHex(this.#bytes[this.#at])) return false;
    return true;
  }

  #token(): boolean {
    const byte = this.#bytes[this.#at] ?? 0;
    if (SPACES.has(byte)) {
      this.#at += 1;
      return true;
    }
    switch (this.#expected) {
      case 'value':
        return this.#value(byte);
      case 'first-value':
        return byte === code(']') ? this.#close() : this.#value(byte);
      case 'first-name':
        return byte === code('}') ? this.#close() : this.#name(byte);
      case 'name':
        return this.#name(byte);
      case 'colon':
        return byte === code(':') && this.#expect('value');
      case 'next':
        return this.#next(byte);
    }
  }

  #expect(expected: Expected): true {
    this.#at += 1;
    this.#expected = expected;
    return true;
  }

  #next(byte: number): boolean {
    if (this.#depth === 0) return false;
    const isObject = this.#levels[this.#depth - 1] === 1;
    if (byte === code(',')) return this.#expect(isObject ? 'name' : 'value');
    return byte === code(isObject ? '}' : ']') && this.#close();
  }

  #close(): true {
    this.#depth -= 1;
    return this.#expect('next');
  }

  #open(isObject: boolean): boolean {
    if (this.#depth === JSON_DEPTH_MAX) return false;
    this.#levels[this.#depth] = isObject ? 1 : 0;
    this.#depth += 1;
    return this.#expect(isObject ? 'first-name' : 'first-value');
  }

  #name(byte: number): boolean {
    if (byte !== QUOTE) return false;
    this.#string = 'name';
    this.#at += 1;
    return true;
  }

  #value(byte: number): boolean {
    if (byte === QUOTE) {
      this.#string = 'value';
      this.#at += 1;
      return true;
    }
    if (byte === code('[') || byte === code('{')) return this.#open(byte === code('{'));
    const literal = LITERALS.get(byte);
    this.#expected = 'next';
    if (literal === undefined) return this.#number();
    return literal.every((each) => this.#bytes[this.#at++] === each);
  }

  #number(): boolean {
    if (this.#bytes[this.#at] === code('-')) this.#at += 1;
    if (this.#bytes[this.#at] === code('0')) this.#at += 1;
    else if (!this.#digits()) return false;
    if (this.#bytes[this.#at] === code('.')) {
      this.#at += 1;
      if (!this.#digits()) return false;
    }
    if (((this.#bytes[this.#at] ?? 0) | 0x20) !== code('e')) return true;
    this.#at += 1;
    const sign = this.#bytes[this.#at];
    if (sign === code('+') || sign === code('-')) this.#at += 1;
    return this.#digits();
  }

  /** One or more. */
  #digits(): boolean {
    const from = this.#at;
    while (isDigit(this.#bytes[this.#at])) this.#at += 1;
    return this.#at > from;
  }
}
