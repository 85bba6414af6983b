/**
 * Whether a call is open on an RPC connection. Messages are built by hand from the encoding, in the layout
 * that workerd was seen to send; the e2e tests read along real connections.
 */
import { describe, test } from 'vitest';
import { OpenQuestions } from './frames.ts';

const KINDS = { call: 2, return: 3, finish: 4, resolve: 5, release: 6, bootstrap: 8 } as const;

/** A message of one segment: root pointer, Message (a word of data, a pointer), the member's first word, filling. */
function message(
  kind: keyof typeof KINDS,
  id: number,
  parts: { noFinishNeeded?: boolean; fillWords?: number } = {},
): Buffer {
  const words = 4 + (parts.fillWords ?? 0);
  const bytes = Buffer.alloc(8 + words * 8);
  bytes.writeUInt32LE(words, 4);
  const segment = bytes.subarray(8);
  segment.writeUInt16LE(1, 4);
  segment.writeUInt16LE(1, 6);
  segment.writeUInt16LE(KINDS[kind], 8);
  segment.writeUInt16LE(1, 20);
  segment.writeUInt32LE(id, 24);
  if (parts.noFinishNeeded === true) segment.writeUInt8(2, 28);
  return bytes;
}

describe('OpenQuestions', () => {
  test('are open from the call to its finish', ({ expect }) => {
    const questions = new OpenQuestions();
    const seen = [questions.any];
    questions.caller(Buffer.concat([message('bootstrap', 0), message('call', 1)]));
    seen.push(questions.any);
    questions.target(message('return', 1));
    questions.caller(message('finish', 0));
    seen.push(questions.any);
    questions.caller(message('finish', 1));
    seen.push(questions.any);
    expect(seen).toEqual([false, true, true, false]);
  });

  test('are closed by a return that needs no finish', ({ expect }) => {
    const questions = new OpenQuestions();
    questions.caller(message('call', 5));
    questions.target(message('return', 5, { noFinishNeeded: true }));
    expect([questions.any, questions.lost]).toEqual([false, false]);
  });

  test('say whether a chunk asked something', ({ expect }) => {
    const questions = new OpenQuestions();
    expect([
      questions.caller(message('call', 1)),
      questions.caller(message('release', 1)),
      questions.caller(message('finish', 1)),
    ]).toEqual([true, false, false]);
  });

  test('are counted however the bytes are torn', ({ expect }) => {
    const bytes = Buffer.concat([
      message('call', 1, { fillWords: 100 }),
      message('call', 2, { fillWords: 3 }),
      message('finish', 1),
      message('finish', 2),
      message('call', 3),
    ]);
    for (let size = 1; size <= 41; size += 1) {
      const questions = new OpenQuestions();
      for (let at = 0; at < bytes.byteLength; at += size) questions.caller(bytes.subarray(at, at + size));
      const open = questions.any;
      questions.caller(message('finish', 3));
      expect([open, questions.any, questions.lost], `in steps of ${size}`).toEqual([true, false, false]);
    }
  });

  test('count for ever open once a message cannot be understood', ({ expect }) => {
    for (const bytes of [Buffer.alloc(64, 0xff), Buffer.alloc(64)]) {
      const questions = new OpenQuestions();
      questions.caller(bytes);
      questions.caller(message('finish', 1));
      expect([questions.lost, questions.any]).toEqual([true, true]);
    }
  });
});
