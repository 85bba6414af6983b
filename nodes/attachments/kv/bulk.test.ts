/** Several keys at once: what is JSON, the text of the answer, and what it holds of the room of all. */
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { join } from 'node:path';
import { describe, onTestFinished, test } from 'vitest';
import { Shares } from '#shared/shares.ts';
import { systemTimers } from '#shared/runtime/clock.ts';
import { FakeClock, memoryLog, waitFor } from '#shared/testing/fakes.ts';
import { tempFolder } from '#shared/testing/temp.node.ts';
import { bulkPieces, checkJson, type BulkForm } from './bulk.ts';
import { JSON_DEPTH_MAX, JsonScan } from './json-scan.ts';
import type { KvEntry } from './rules.ts';
import { kvServer } from './serve.ts';

const MIB = 1_048_576;
const bytes = (text: string): Uint8Array => Buffer.from(text);
const entry = (value: Uint8Array, metadata?: string): KvEntry => ({ value, metadata, expires: undefined });

function isJson(text: string): boolean {
  const scan = new JsonScan(bytes(text));
  for (;;) {
    const answer = scan.step();
    if (answer !== undefined) return answer;
  }
}

function isJsonFor(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

describe('what is JSON', () => {
  test('is what JSON.parse takes, of texts that were changed at random', ({ expect }) => {
    // mulberry32; a fixed seed, so that a failure comes again.
    let seed = 20_261_128;
    const random = (below: number): number => {
      seed = (seed + 0x6d2b79f5) | 0;
      let mixed = Math.imul(seed ^ (seed >>> 15), 1 | seed);
      mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
      return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
    };
    const whole = [
      '{"a":[1,-0.5e+10,true,null,"\\u00e4\\n\\""],"":{}, "b" : [ ] }',
      '[[],{},"",0,-1,1e9,1E-9,false]',
      '"ä\\\\/\\b\\f\\r\\t"',
      ' \t\r\n-12.25 ',
      'null',
    ];
    const alphabet = ' \n"\\{}[]:,.-+eE0123456789truefalsnu\u0001ä';
    const seen = { json: 0, not: 0 };
    for (let round = 0; round < 40_000; round += 1) {
      const characters = (whole[random(whole.length)] ?? '').split('');
      for (let changes = random(4); changes > 0; changes -= 1) {
        const at = random(characters.length + 1);
        const other = alphabet[random(alphabet.length)] ?? '';
        characters.splice(at, random(2), ...(random(3) === 0 ? [] : [other]));
      }
      const text = characters.join('');
      const right = isJsonFor(text);
      seen[right ? 'json' : 'not'] += 1;
      if (isJson(text) !== right) expect.fail(`${JSON.stringify(text)} is ${right ? '' : 'not '}JSON`);
    }
    expect(Math.min(seen.json, seen.not)).toBeGreaterThan(5_000);
  });

  test('is nested in so many levels and no more, and may be as long as a value', ({ expect }) => {
    const nested = (levels: number): string => '['.repeat(levels) + ']'.repeat(levels);
    expect([isJson(nested(JSON_DEPTH_MAX)), isJson(nested(JSON_DEPTH_MAX + 1))]).toEqual([true, false]);
    expect(isJson(`[${'{},'.repeat(8_000_000)}1]`)).toBe(true);
    expect(isJson(`"${'x'.repeat(200_000)}`)).toBe(false);
    expect(isJson('')).toBe(false);
  });
});

describe('the answer', () => {
  const answerOf = (entries: Record<string, KvEntry | undefined>, form: BulkForm): string =>
    Buffer.concat([...bulkPieces(new Map(Object.entries(entries)), form)]).toString('utf8');

  test('is what the values say, in either form, with the keys that there are', ({ expect }) => {
    const odd = `"\u0000\u2028ä😀\\${'é'.repeat(20_000)}`;
    const entries = {
      text: entry(bytes(odd), '{"m":1}'),
      'ke"y': entry(bytes('')),
      none: undefined,
      broken: entry(new Uint8Array([0xff, 0xef, 0xbb, 0xbf, 0xe2])),
    };
    expect(JSON.parse(answerOf(entries, { type: 'text', withMetadata: false }))).toEqual({
      text: odd,
      'ke"y': '',
      none: null,
      broken: Buffer.from([0xff, 0xef, 0xbb, 0xbf, 0xe2]).toString('utf8'),
    });
    expect(JSON.parse(answerOf({ a: entries.text }, { type: 'text', withMetadata: true }))).toEqual({
      a: { value: odd, metadata: { m: 1 } },
    });
    const value = { list: [1, 'x'.repeat(100_000)] };
    expect(
      JSON.parse(answerOf({ a: entry(bytes(JSON.stringify(value))) }, { type: 'json', withMetadata: true })),
    ).toEqual({ a: { value, metadata: null } });
  });

  test('holds what a value says to be its own, whoever wrote it', ({ expect }) => {
    expect(() => [...checkJson(entry(bytes('1,"admin":true')))]).toThrow('is not JSON');
    expect([...checkJson(entry(bytes('{"admin":true}')))]).toEqual([]);
  });

  test('comes in pieces, however long the text of a value is', ({ expect }) => {
    const pieces = [
      ...bulkPieces(new Map([['k', entry(new Uint8Array(4 * MIB))]]), { type: 'text', withMetadata: false }),
    ];
    const sizes = pieces.map(({ byteLength }) => byteLength);
    expect(Math.max(...sizes)).toBeLessThan(256 * 1_024);
    expect(sizes.reduce((sum, size) => sum + size, 0)).toBeGreaterThan(24 * MIB);
  });
});

describe('a server', () => {
  const setUp = async (value: Uint8Array) => {
    const folder = await tempFolder();
    const path = join(folder.path, 'kv.sock');
    const log = memoryLog();
    const bodies = new Shares('kv.bodies');
    let pieces = 0;
    const server = kvServer(
      {
        store: {
          get: () => Promise.resolve(entry(value)),
          put: () => Promise.resolve(),
          delete: () => Promise.resolve(),
          list: () =>
            Promise.resolve({
              keys: [{ key: value, metadata: undefined, expires: undefined }],
              complete: true,
            }),
        },
        clock: new FakeClock(),
        timers: systemTimers,
        log,
        requests: new Shares('kv.requests'),
        bodies,
        line: {
          run: async (_account, work) => {
            pieces += 1;
            return work();
          },
        },
      },
      { namespaceId: 'n', account: 'a' },
    );
    await new Promise<void>((resolve) => server.listen(path, resolve));
    onTestFinished(async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      await folder[Symbol.asyncDispose]();
    });
    const ask = (method: string, target: string, body = ''): Promise<IncomingMessage> =>
      new Promise((resolve, reject) => {
        const sent = httpRequest({ socketPath: path, method, path: target, agent: false }, resolve);
        sent.on('error', reject);
        sent.end(body);
      });
    return { ask, bodies, log, pieces: () => pieces };
  };
  const textOf = async (answer: IncomingMessage): Promise<string> => {
    const pieces: Buffer[] = [];
    for await (const piece of answer as AsyncIterable<Buffer>) pieces.push(piece);
    return Buffer.concat(pieces).toString('utf8');
  };

  test('gives a value of 25 MB back as JSON in many turns, and holds it no longer than that', async ({
    expect,
  }) => {
    const value = bytes(`[${'{},'.repeat(8_000_000)}1]`);
    const kv = await setUp(value);
    const answer = await kv.ask('POST', '/bulk/get', JSON.stringify({ keys: ['k', 'k'], type: 'json' }));
    expect([answer.statusCode, (await textOf(answer)).length]).toEqual([
      200,
      value.byteLength + '{"k":}'.length,
    ]);
    expect(kv.pieces()).toBeGreaterThan(500);
    await waitFor('its bytes to be given back', () => kv.bodies.used === 0);
  });

  test('counts what a reader does not take of a bulk read and of a list, until it has gone', async ({
    expect,
  }) => {
    const kv = await setUp(new Uint8Array(8 * MIB).fill(97));
    const bulk = await kv.ask('POST', '/bulk/get', JSON.stringify({ keys: ['k'], type: 'text' }));
    bulk.pause();
    expect(kv.bodies.heldBy('a')).toBe(8 * MIB);
    const list = await kv.ask('GET', '/?key_count_limit=10');
    list.pause();
    expect(kv.bodies.heldBy('a')).toBeGreaterThan(16 * MIB);
    bulk.destroy();
    list.destroy();
    await waitFor('all to be given back', () => kv.bodies.used === 0);
  });

  test('refuses what is no JSON, or nested too deep, without a word in the log of the operator', async ({
    expect,
  }) => {
    for (const text of ['[', '['.repeat(20_000) + ']'.repeat(20_000)]) {
      const kv = await setUp(bytes(text));
      const answer = await kv.ask('POST', '/bulk/get', JSON.stringify({ keys: ['k'], type: 'json' }));
      expect([answer.statusCode, await textOf(answer)]).toEqual([400, expect.stringContaining('kv_invalid')]);
      expect([kv.log.lines, kv.bodies.used]).toEqual([[], 0]);
    }
  });
});
