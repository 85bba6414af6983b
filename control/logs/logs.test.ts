/** Logs through the API: merged from nodes, mapped to sources, followed until the client leaves. */
import { describe, test } from 'vitest';
import type { LogEntry } from '#shared/contracts/nodes.ts';
import type { Problem } from '#shared/errors.ts';
import { versionIdSchema } from '#shared/ids.ts';
import { Shares } from '#shared/shares.ts';
import { waitFor } from '#shared/testing/fakes.ts';
import { turnsUntil } from '../testing/turns.ts';
import { scriptedNode, world, type World } from '../testing/world.ts';
import { readMap } from './map-index.ts';
import { StackMapper } from './mapper.ts';
import { inTurns } from './turns.ts';
import { mapFrame, mapStack } from './source-maps.ts';

const LOGS = '/v1/accounts/default/functions/hello/logs';

function entry(atMs: number, message: string, stack?: string): LogEntry {
  return {
    atMs,
    versionId: versionIdSchema.parse('default/hello@1'),
    instanceId: 'i',
    kind: stack === undefined ? 'console' : 'exception',
    level: 'log',
    message,
    ...(stack === undefined ? {} : { stack }),
  };
}

async function read(w: World, query = ''): Promise<LogEntry[]> {
  const response = await w.response('GET', LOGS + query);
  const text = await response.text();
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as LogEntry);
}

describe('logs', () => {
  test('entries of all nodes come in order of time, the newest `tail` of them', async ({ expect }) => {
    const [one, two] = [scriptedNode('node-1'), scriptedNode('node-2')];
    one.onLogs = async function* () {
      yield* [entry(1, 'a'), entry(3, 'c')];
    };
    two.onLogs = async function* () {
      yield* [entry(2, 'b'), entry(4, 'd')];
    };
    await using w = await world({ nodes: [one, two] });
    await w.publish('hello');
    expect((await read(w)).map((line) => line.message)).toEqual(['a', 'b', 'c', 'd']);
    expect((await read(w, '?tail=2')).map((line) => line.message)).toEqual(['c', 'd']);
  });

  test('a stack in the message of a console line is mapped too, in the form of every module registry', async ({
    expect,
  }) => {
    const node = scriptedNode();
    node.onLogs = async function* () {
      yield entry(
        1,
        'caught Error: x\n    at fetch (file:///bundle/dist/my%20main.js:1:3)\n    at guard (isoplane-internal:runtime:402:22)',
      );
    };
    await using w = await world({ nodes: [node] });
    const map = JSON.stringify({ version: 3, sources: ['src/index.ts'], names: [], mappings: 'AAKE' });
    await w.publish('hello', { 'dist/my main.js': 'x' }, { maps: { 'dist/my main.js': map } });
    expect((await read(w))[0]?.message).toBe('caught Error: x\n    at fetch (src/index.ts:6:3)');
  });

  test('stacks are mapped with the source map of that version', async ({ expect }) => {
    const node = scriptedNode();
    node.onLogs = async function* () {
      yield entry(1, 'Error: x', 'Error: x\n    at fetch (main.js:1:3)\n    at other (lib.js:1:1)');
    };
    await using w = await world({ nodes: [node] });
    const map = JSON.stringify({ version: 3, sources: ['src/index.ts'], names: [], mappings: 'AAKE' });
    await w.publish('hello', { 'main.js': 'x', 'lib.js': 'y' }, { maps: { 'main.js': map } });
    expect((await read(w))[0]?.stack).toBe(
      'Error: x\n    at fetch (src/index.ts:6:3)\n    at other (lib.js:1:1)',
    );
  });

  test('a damaged source map costs the positions, not the log', async ({ expect }) => {
    const node = scriptedNode();
    const stack = 'Error: x\n    at main.js:1:3';
    node.onLogs = async function* () {
      yield entry(1, 'Error: x', stack);
    };
    await using w = await world({ nodes: [node] });
    await w.publish('hello', { 'main.js': 'x' }, { maps: { 'main.js': 'no map' } });
    expect((await read(w))[0]?.stack).toBe(stack);
  });

  test('following delivers as things happen and ends on the node when the client leaves', async ({
    expect,
  }) => {
    const node = scriptedNode();
    let stopped = false;
    let emit: (line: LogEntry) => void = () => undefined;
    node.onLogs = async function* (query, signal) {
      expect(query.follow).toBe(true);
      try {
        while (!signal.aborted)
          yield await new Promise<LogEntry>((resolve, reject) => {
            emit = resolve;
            signal.addEventListener('abort', () => reject(new Error('aborted')));
          });
      } finally {
        stopped = true;
      }
    };
    await using w = await world({ nodes: [node] });
    await w.publish('hello');
    const response = await w.response('GET', `${LOGS}?follow=1`);
    const reader = (response.body as ReadableStream<Uint8Array>).getReader();
    for (const message of ['first', 'second']) {
      const arriving = reader.read();
      await waitFor('the node to wait', () => emit.length === 1);
      emit(entry(1, message));
      expect(new TextDecoder().decode((await arriving).value)).toContain(message);
    }
    await reader.cancel();
    await waitFor('the node to stop', () => stopped);
  });

  test('no node → node_unavailable; no function → function_not_found', async ({ expect }) => {
    const node = scriptedNode();
    // eslint-disable-next-line require-yield -- it fails before its first entry
    node.onLogs = async function* () {
      throw new Error('connection refused');
    };
    await using w = await world({ nodes: [node] });
    expect((await w.call<Problem>('GET', LOGS)).body.code).toBe('function_not_found');
    await w.publish('hello');
    expect((await w.call<Problem>('GET', LOGS)).body.code).toBe('node_unavailable');
  });

  test('every form of a frame is mapped where it names a module with a map, and stays as it was elsewhere', async ({
    expect,
  }) => {
    const text = JSON.stringify({ version: 3, sources: ['src/index.ts'], names: [], mappings: 'AAEE' });
    const map = await inTurns(readMap(new TextEncoder().encode(text)));
    const mapped = (stack: string) =>
      mapStack(stack, (name) =>
        Promise.resolve(['main.js', 'b (1).js', 'dir/x y.js', 'async z.js'].includes(name) ? map : undefined),
      );
    const TO = 'src/index.ts:3:3';
    for (const [frame, to] of [
      ['    at main.js:1:3', `    at ${TO}`],
      ['    at f (main.js:1:3)', `    at f (${TO})`],
      ['    at new A (main.js:1:3)', `    at new A (${TO})`],
      ['    at async f (main.js:1:3)', `    at async f (${TO})`],
      ['    at async main.js:1:3', `    at async ${TO}`],
      ['    at async async z.js:1:3', `    at async ${TO}`],
      ['    at async z.js:1:3', `    at ${TO}`],
      ['    at Object.m [as n] (main.js:1:3)', `    at Object.m [as n] (${TO})`],
      ['    at get g [as g] (file:///bundle/main.js:1:3)', `    at get g [as g] (${TO})`],
      ['    at async file:///bundle/main.js:1:3', `    at async ${TO}`],
      ['    at a (b) (main.js:1:3)', `    at a (b) (${TO})`],
      ['    at a (b (1).js:1:3)', `    at a (${TO})`],
      ['    at dir/x y.js:1:3', `    at ${TO}`],
      [
        '    at eval (eval at f (main.js:1:3), <anonymous>:1:7)',
        `    at eval (eval at f (${TO}), <anonymous>:1:7)`,
      ],
      [
        '    at eval (eval at <anonymous> (eval at f (main.js:1:3)), <anonymous>:1:1)',
        `    at eval (eval at <anonymous> (eval at f (${TO})), <anonymous>:1:1)`,
      ],
      ...[
        '    at async Promise.all (index 0)',
        '    at Array.map (<anonymous>)',
        '    at f (native)',
        '    at other.js:1:3',
        '    at async other.js:1:3',
        '    at f (wasm://wasm/ab12:wasm-function[3]:0x1f)',
        '    at eval (<anonymous>:1:7)',
        'main.js:1:3',
        'Error: main.js:1:3',
      ].map((frame) => [frame, frame] as const),
    ] as const)
      expect(await mapped(`Error: x\n${frame}`)).toBe(`Error: x\n${to}`);
  });

  test('a stack that names thousands of modules asks for few of them', async ({ expect }) => {
    let asked = 0;
    const frame = (index: number) => `    at ${'('.repeat(50)}m${index}.js:1:1)`;
    await mapStack(
      `Error: x\n${Array.from({ length: 5_000 }, (_, index) => frame(index)).join('\n')}`,
      () => {
        asked += 1;
        return Promise.resolve(undefined);
      },
    );
    expect(asked).toBe(200);
  });

  test('lines like frames, as long as an entry may be, are read in one pass', async ({ expect }) => {
    const crafted = [
      '    at ' + ' (:1'.repeat(3_000),
      `    at ${' (:1:1'.repeat(2_000)}x`,
      `    at ${'(:1:1)'.repeat(2_000)}`,
      `    at async ${'('.repeat(12_000)}:1:1)`,
      ' '.repeat(12_000),
    ];
    // A search that goes back needs a tenth of a second for one.
    for (let count = 0; count < 2_000; count += 1)
      for (const line of crafted) expect(await mapFrame(line, () => Promise.resolve(undefined))).toBe(line);
  });
});

describe('logs of a function that harms who reads them', () => {
  test('messages of line breaks cost no more than others', async ({ expect }) => {
    const node = scriptedNode();
    const message = '\n'.repeat(11_990);
    node.onLogs = async function* () {
      for (let at = 0; at < 1_000; at += 1) yield entry(at, `${message}${at}`);
    };
    await using w = await world({ nodes: [node] });
    await w.publish('hello');
    // A search from each break to the end of all takes 70 ms for one: more than a minute.
    expect(await read(w, '?tail=1000')).toHaveLength(1_000);
  });

  test('others have their turn between entries', async ({ expect }) => {
    const node = scriptedNode();
    const stack = `Error: x${'\n    at f (main.js:1:3)'.repeat(700)}`;
    node.onLogs = async function* () {
      for (let at = 0; at < 200; at += 1) yield entry(at, 'x', stack);
    };
    await using w = await world({ nodes: [node] });
    await w.publish('hello');
    const reading = new AbortController();
    const others = turnsUntil(reading.signal);
    expect(await read(w, '?tail=200')).toHaveLength(200);
    reading.abort();
    expect(await others).toBeGreaterThan(80);
  });

  test('a source map that is of no use, or finds no room, is read once for all its entries', async ({
    expect,
  }) => {
    const map = (mappings: string): string => `{"mappings":"${mappings}","sources":["a.ts"]}`;
    const maps = {
      'small.js': map('AAKE'),
      'large.js': map(`AAKE${';'.repeat(60_000)}`),
      'bad.js': map('!'),
    };
    await using w = await world();
    await w.publish('hello', Object.fromEntries(Object.keys(maps).map((name) => [name, 'x'])), {
      maps,
    });
    const { db, blobs, clock, log } = w.deps;
    let reads = 0;
    const counting = {
      get: (digest: Parameters<typeof blobs.get>[0]) => {
        reads += 1;
        return blobs.get(digest);
      },
    } as typeof blobs;
    const room = new Shares('control.maps', { total: 100_000, floor: 0 });
    const mapper = new StackMapper({ db, blobs: counting, clock, log }, room);
    const at = async (name: string): Promise<string | undefined> =>
      (await mapper.map(entry(1, 'x', `x\n    at ${name}:1:3`))).stack?.split(' ').at(-1);
    expect([await at('small.js'), await at('bad.js')]).toEqual(['a.ts:6:3', 'bad.js:1:3']);
    // What is read is used, also where it cannot be kept.
    expect(await at('large.js')).toBe('a.ts:6:3');
    for (const name of Object.keys(maps)) expect(await Promise.all([at(name), at(name)])).toHaveLength(2);
    expect(reads).toBe(3);
  });
});
