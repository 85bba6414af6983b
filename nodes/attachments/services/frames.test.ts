/**
 * Whether an RPC connection is at rest. Messages are built by hand from the encoding, in the layout that workerd
 * was seen to send; the e2e tests read along real connections.
 */
import { describe, test } from 'vitest';
import { ReadAlong } from './frames.ts';

const KINDS = { call: 2, return: 3, finish: 4, resolve: 5, release: 6, bootstrap: 8 } as const;

/** Words of a segment, written one by one. */
class Words {
  readonly #words: Buffer[] = [];

  data(write: (word: Buffer) => void = () => undefined): this {
    const word = Buffer.alloc(8);
    write(word);
    this.#words.push(word);
    return this;
  }

  /** A struct pointer to what begins `offset` words after it. */
  struct(offset: number, dataWords: number, pointers: number): this {
    return this.data((word) => {
      word.writeInt32LE(offset << 2);
      word.writeUInt16LE(dataWords, 4);
      word.writeUInt16LE(pointers, 6);
    });
  }

  framed(): Buffer {
    const head = Buffer.alloc(8);
    head.writeUInt32LE(this.#words.length, 4);
    return Buffer.concat([head, ...this.#words]);
  }
}

interface Parts {
  readonly noFinishNeeded?: boolean;
  readonly keepsResults?: boolean;
  readonly count?: number;
  /** Exports that the message gives to its receiver. */
  readonly exports?: readonly number[];
  readonly fillWords?: number;
}

/** Root pointer, Message (a word of data, a pointer), the member's word of data, its pointer to a Payload. */
function message(kind: keyof typeof KINDS, id: number, parts: Parts = {}): Buffer {
  const { exports = [], fillWords = 0 } = parts;
  const words = new Words()
    .struct(0, 1, 1)
    .data((word) => word.writeUInt16LE(KINDS[kind]))
    .struct(0, 1, kind === 'call' ? 2 : 1)
    .data((word) => {
      word.writeUInt32LE(id);
      if (kind === 'return' && parts.noFinishNeeded === true) word.writeUInt8(2, 4);
      if (kind === 'finish' && parts.keepsResults === true) word.writeUInt8(1, 4);
      if (kind === 'release') word.writeUInt32LE(parts.count ?? 1, 4);
    });
  if (kind === 'call') words.data();
  words.struct(0, 0, 2).data();
  // A list of structs: its pointer, a tag, and two words for each.
  words
    .data((word) => {
      word.writeInt32LE(1);
      word.writeUInt32LE(((exports.length * 2) << 3) | 7, 4);
    })
    .struct(exports.length, 1, 1);
  for (const one of exports)
    words
      .data((word) => {
        word.writeUInt16LE(1);
        word.writeUInt32LE(one, 4);
      })
      .data();
  for (let fill = 0; fill < fillWords; fill += 1) words.data();
  return words.framed();
}

describe('ReadAlong', () => {
  test('is open from the call to its finish', ({ expect }) => {
    const along = new ReadAlong();
    const seen = [along.open];
    along.caller(Buffer.concat([message('bootstrap', 0), message('call', 1)]));
    seen.push(along.open);
    along.target(message('return', 1));
    along.caller(message('finish', 0));
    seen.push(along.open);
    along.caller(message('finish', 1));
    seen.push(along.open);
    expect(seen).toEqual([false, true, true, false]);
  });

  test('is closed by a return that needs no finish', ({ expect }) => {
    const along = new ReadAlong();
    along.caller(message('call', 5));
    along.target(message('return', 5, { noFinishNeeded: true }));
    expect([along.open, along.atRest, along.lost]).toEqual([false, true, false]);
  });

  test('is not at rest while the caller holds an object, however often it was given', ({ expect }) => {
    const along = new ReadAlong();
    const seen: boolean[] = [];
    for (const id of [1, 2]) {
      along.caller(message('call', id));
      along.target(message('return', id, { exports: [7] }));
      along.caller(message('finish', id, { keepsResults: true }));
    }
    seen.push(along.open, along.atRest);
    along.caller(message('release', 7));
    seen.push(along.atRest);
    along.caller(message('release', 7));
    seen.push(along.atRest);
    expect(seen).toEqual([false, false, false, true]);
  });

  test('a finish that lets go of the results releases what they gave', ({ expect }) => {
    const along = new ReadAlong();
    along.caller(message('call', 1));
    along.target(message('return', 1, { exports: [3, 4] }));
    along.caller(message('finish', 1));
    expect(along.atRest).toBe(true);
  });

  test('what the bootstrap gave does not count: it is kept for the life of the connection', ({ expect }) => {
    const along = new ReadAlong();
    along.caller(message('bootstrap', 0));
    along.target(message('return', 0, { exports: [0] }));
    along.caller(message('finish', 0, { keepsResults: true }));
    expect(along.atRest).toBe(true);
  });

  test('what is too large to be looked at counts as held', ({ expect }) => {
    const along = new ReadAlong();
    along.caller(message('call', 1));
    along.target(message('return', 1, { fillWords: 4_000 }));
    along.caller(message('finish', 1));
    expect([along.open, along.atRest, along.lost]).toEqual([false, false, false]);
  });

  test('an exception gives nothing, also in several segments', ({ expect }) => {
    const along = new ReadAlong();
    const oneSegment = new Words()
      .struct(0, 1, 1)
      .data((word) => word.writeUInt16LE(KINDS.return))
      .struct(0, 1, 0)
      .data((word) => {
        word.writeUInt32LE(1);
        word.writeUInt16LE(1, 6);
      })
      .framed();
    const table = Buffer.alloc(16);
    table.writeUInt32LE(1);
    table.writeUInt32LE(oneSegment.readUInt32LE(4), 4);
    table.writeUInt32LE(1, 8);
    along.caller(message('call', 1));
    along.target(Buffer.concat([table, oneSegment.subarray(8), Buffer.alloc(8)]));
    along.caller(message('finish', 1));
    expect([along.open, along.atRest, along.lost]).toEqual([false, true, false]);
  });

  test('says whether a chunk asked something', ({ expect }) => {
    const along = new ReadAlong();
    expect([
      along.caller(message('call', 1)),
      along.caller(message('release', 1)),
      along.caller(message('finish', 1)),
    ]).toEqual([true, false, false]);
  });

  test('counts however the bytes are torn', ({ expect }) => {
    const asked = Buffer.concat([
      message('call', 1, { fillWords: 100 }),
      message('call', 2),
      message('call', 3),
    ]);
    const answered = Buffer.concat([
      message('return', 1, { fillWords: 3_000 }),
      message('return', 2, { exports: [9], fillWords: 50 }),
      message('return', 3, { noFinishNeeded: true }),
    ]);
    for (let size = 1; size <= 61; size += 1) {
      const along = new ReadAlong();
      for (let at = 0; at < asked.byteLength; at += size) along.caller(asked.subarray(at, at + size));
      for (let at = 0; at < answered.byteLength; at += size) along.target(answered.subarray(at, at + size));
      const seen = [along.open];
      along.caller(Buffer.concat([message('finish', 1), message('finish', 2)]));
      seen.push(along.open, along.lost);
      expect(seen, `in steps of ${size}`).toEqual([true, false, false]);
    }
  });

  test('is never at rest once the framing cannot be understood', ({ expect }) => {
    for (const bytes of [Buffer.alloc(64, 0xff), Buffer.alloc(64)]) {
      const along = new ReadAlong();
      along.caller(bytes);
      along.caller(message('finish', 1));
      expect([along.lost, along.atRest]).toEqual([true, false]);
    }
  });
});

describe('what counts as a request', () => {
  const EVENT_DISPATCHER = 0xf20697475ec1752dn;
  const call = (id: number, method: number, dispatcher = EVENT_DISPATCHER): Buffer =>
    new Words()
      .struct(0, 1, 1)
      .data((word) => word.writeUInt16LE(KINDS.call))
      .struct(0, 2, 0)
      .data((word) => {
        word.writeUInt32LE(id);
        word.writeUInt16LE(method, 4);
      })
      .data((word) => word.writeBigUInt64LE(dispatcher))
      .framed();
  const failed = (id: number): Buffer =>
    new Words()
      .struct(0, 1, 1)
      .data((word) => word.writeUInt16LE(KINDS.return))
      .struct(0, 1, 0)
      .data((word) => {
        word.writeUInt32LE(id);
        word.writeUInt16LE(1, 6);
      })
      .framed();

  test('is each event, and neither a prewarm nor a call on an object; a failure is a call that threw', ({
    expect,
  }) => {
    const along = new ReadAlong();
    along.caller(Buffer.concat([call(0, 6), call(1, 0, 1n), call(2, 2), call(3, 0, 1n), call(4, 6)]));
    expect([along.events, along.eventsOpen, along.failures]).toEqual([2, 2, 0]);
    along.target(Buffer.concat([failed(1), failed(4)]));
    along.caller(message('finish', 4));
    expect([along.events, along.eventsOpen, along.failures]).toEqual([2, 1, 1]);
  });
});
