/** Lines, allowances and rings at their bounds. Time is a fake clock. */
import { afterEach, beforeEach, describe, test } from 'vitest';
import type { LogEntry } from '#shared/contracts/nodes.ts';
import { versionIdSchema } from '#shared/ids.ts';
import { LIMITS } from '#shared/limits.ts';
import { FakeClock, memoryLog } from '#shared/testing/fakes.ts';
import { tempFolder, type TempFolder } from '#shared/testing/temp.node.ts';
import { ByteBucket } from './bucket.ts';
import { LogCollector } from './collector.ts';
import { LineSplitter } from './lines.ts';
import { parseStderrLine, parseStdoutLine } from './parse.ts';
import { LogStore } from './store.ts';

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const versionId = versionIdSchema.parse('default/f@1');

describe('LineSplitter', () => {
  const collect = (chunks: string[], bytesMax = 5): [string, boolean][] => {
    const lines: [string, boolean][] = [];
    const splitter = new LineSplitter(bytesMax, { line: (text, cut) => lines.push([text, cut]) });
    for (const chunk of chunks) splitter.push(bytes(chunk));
    splitter.end();
    return lines;
  };

  test('joins what chunks cut apart', ({ expect }) => {
    expect(collect(['a', 'b\nc', '\n', 'd'])).toEqual([
      ['ab', false],
      ['c', false],
      ['d', false],
    ]);
  });

  test('keeps a line at the bound and cuts one byte past it', ({ expect }) => {
    expect(collect(['12345\n123456\nok\n'])).toEqual([
      ['12345', false],
      ['12345', true],
      ['ok', false],
    ]);
  });

  test('a line torn over chunks is bounded too, and characters are not torn', ({ expect }) => {
    expect(collect(['123', '45', '678\nnext', '\n'])).toEqual([
      ['12345', true],
      ['next', false],
    ]);
    const lines: string[] = [];
    const splitter = new LineSplitter(100, { line: (text) => lines.push(text) });
    for (const byte of bytes('a\u00e9\u{1f600}\n\nz\n')) splitter.push(Uint8Array.of(byte));
    splitter.push(bytes('x\n\ny\n'));
    expect(lines).toEqual(['a\u00e9\u{1f600}', '', 'z', 'x', '', 'y']);
  });

  test('skipped chunks are counted, and the line that they tore is marked', ({ expect }) => {
    const lines: [string, boolean][] = [];
    const splitter = new LineSplitter(100, { line: (text, cut) => lines.push([text, cut]) });
    splitter.push(bytes('start'));
    expect(splitter.skip(bytes('x\ny\nto'))).toBe(2);
    splitter.push(bytes('rn\nnext\n'));
    expect(lines).toEqual([
      ['rn', true],
      ['next', false],
    ]);
  });
});

test('ByteBucket gives back by time, and an entry may overdraw it once', ({ expect }) => {
  const bucket = new ByteBucket(1_000, 0);
  expect(bucket.take(1_500, 0)).toBe(true);
  expect(bucket.take(1, 0)).toBe(false);
  expect(bucket.take(1, 500)).toBe(false);
  expect(bucket.take(1, 501)).toBe(true);
});

test('ByteBucket obeys a rate that changes', ({ expect }) => {
  const bucket = new ByteBucket(1_000, 0);
  bucket.setRate(10);
  expect(bucket.take(20, 0)).toBe(true);
  expect(bucket.take(1, 1_000)).toBe(false);
  expect(bucket.take(1, 1_200)).toBe(true);
});

describe('parsing', () => {
  test('our lines are entries, anything else is text', ({ expect }) => {
    expect(parseStdoutLine('~m1cwr1 hi there', 'm1')).toEqual({
      kind: 'console',
      level: 'warn',
      message: 'hi there',
      requestId: 'r1',
    });
    expect(parseStdoutLine('~m1ce ', 'm1')).toEqual({ kind: 'console', level: 'error', message: '' });
    for (const line of [
      '~clr1 without the mark',
      '~m2clr1 with another mark',
      '~m1plforged text',
      '~m1cz text',
      '~m1cl',
      '~m1',
      '~',
      '',
      'plain',
      `~m1cl${'r'.repeat(201)} text`,
    ])
      expect(parseStdoutLine(line, 'm1')).toEqual({ kind: 'console', level: 'log', message: line });
  });

  test('line breaks, backslashes and stacks come back as they were', ({ expect }) => {
    expect(parseStdoutLine('~m1clr a\\nb\\\\nc\\\\', 'm1')).toMatchObject({ message: 'a\nb\\nc\\' });
    expect(parseStdoutLine('~m1xer Error: a\\|Error: a\\n  at b', 'm1')).toEqual({
      kind: 'exception',
      level: 'error',
      message: 'Error: a',
      stack: 'Error: a\n  at b',
      requestId: 'r',
    });
    // Console text has no stack, whatever it holds.
    expect(parseStdoutLine('~m1clr a\\|b', 'm1')).not.toHaveProperty('stack');
  });

  test('an uncaught exception loses the places inside workerd', ({ expect }) => {
    expect(
      parseStderrLine(
        'workerd/server/server/listen/mod.rs:372: error: Uncaught exception: workerd/jsg/value.h:1456: failed: remote.jsg.Error: boom',
      ),
    ).toEqual({ kind: 'exception', level: 'error', message: 'Error: boom' });
  });

  test('what workerd says of its own inside is left out, and a fault in it has no places', ({ expect }) => {
    for (const line of [
      'workerd/io/io-context.c++:654: error: e = (unknown):-1: failed: std::exception: Uncaught JsExceptionThrown',
      'workerd/jsg/util.c++:331: error: e = kj/async-io-unix.c++:186: disconnected: connect() blocked by restrictPeers()',
      'workerd/io/worker.c++:2201: info: NOSENTRY script startup exceeded soft limit; scriptId = main',
      'stack: /bin/workerd@3a1b2c4 /bin/workerd@1f00d00 /lib/libc.so.6@29d8f',
      '    /bin/workerd@3a1b2c4 /bin/workerd@1f00d00',
      '*** Received signal #6: Aborted',
      'workerd/server/workerd-api.c++:90: warning: compile cache failed its compatibility check',
    ])
      expect(parseStderrLine(line), line).toBeUndefined();
    const message = (line: string): string | undefined => parseStderrLine(line)?.message;
    expect(
      message(
        '*** Fatal uncaught kj::Exception: workerd/server/server/bridge.rs:929: failed: abortIsolate() called, terminating process; reason = bye',
      ),
    ).toBe('The code aborted its isolate: bye');
    expect(
      message(
        'workerd/server/server.c++:5: error: Uncaught exception: kj/x.c++:7: failed: expected ptr != nullptr',
      ),
    ).toBe('The runtime failed inside.');
    expect(message('a line of somebody else')).toBe('a line of somebody else');
  });
});

test('LogCollector counts what it drops and says so when the flood is over', ({ expect }) => {
  const clock = new FakeClock();
  const entries: LogEntry[] = [];
  const collector = new LogCollector({
    mark: 'm1',
    instanceId: 'i',
    versionId,
    bucket: new ByteBucket(100, 0),
    append: (entry) => entries.push(entry),
    clock,
    timers: clock,
  });
  collector.stdout(bytes(`${'a'.repeat(99)}\nb\nc\n`));
  collector.stdout(bytes('d\ne\nf\n'));
  expect(entries.map((entry) => entry.message)).toEqual(['a'.repeat(99), 'b']);
  clock.advance(1_000);
  expect(entries.at(-1)).toMatchObject({ kind: 'platform', dropped: 4 });
  collector.stdout(bytes('later\n'));
  expect(entries.at(-1)).toMatchObject({ message: 'later' });
});

test('LogCollector keeps a stack together that arrives in pieces', ({ expect }) => {
  const clock = new FakeClock();
  const entries: LogEntry[] = [];
  const collector = new LogCollector({
    mark: 'm1',
    instanceId: 'i',
    versionId,
    bucket: new ByteBucket(10_000, 0),
    append: (entry) => entries.push(entry),
    clock,
    timers: clock,
  });
  collector.stderr(bytes('service main: Uncaught Error: boom\n  at a.js:1:2 in f\n'));
  collector.stderr(bytes('  at a.js:3:4\n'));
  expect(entries).toEqual([]);
  clock.advance(50);
  expect(entries).toEqual([]);
  // Nobody says which request it belongs to.
  clock.advance(1_000);
  expect(entries).toMatchObject([
    { kind: 'exception', message: 'Error: boom', stack: 'Error: boom\n    at f (a.js:1:2)\n    at a.js:3:4' },
  ]);
});

describe('LogStore', () => {
  let folder: TempFolder;
  beforeEach(async () => {
    folder = await tempFolder();
  });
  afterEach(() => folder[Symbol.asyncDispose]());
  const entry = (message: string, id = versionId): LogEntry => ({
    atMs: 1,
    versionId: id,
    instanceId: 'i',
    kind: 'console',
    level: 'log',
    message,
  });
  const open = (unitsMax?: number): Promise<LogStore> => {
    const clock = new FakeClock();
    return LogStore.open({
      folder: folder.path,
      clock,
      timers: clock,
      log: memoryLog(),
      ...(unitsMax === undefined ? {} : { unitsMax }),
    });
  };

  test('a ring keeps the newest entries of a function', async ({ expect }) => {
    const store = await open();
    for (let index = 0; index < LIMITS.logEntriesPerFunctionMax * 2; index += 1)
      store.append(entry(String(index)));
    const all = await store.tail('default', 'f', 100_000);
    expect(all.length).toBeLessThanOrEqual(LIMITS.logEntriesPerFunctionMax * 1.25);
    expect(all.at(-1)?.message).toBe(String(LIMITS.logEntriesPerFunctionMax * 2 - 1));
  });

  test('all rings together are bounded; what memory forgot is still on disk', async ({ expect }) => {
    const store = await open(20_000);
    for (let index = 0; index < 100; index += 1)
      store.append(entry('x'.repeat(1_000), versionIdSchema.parse(`default/f${index}@1`)));
    await store.flush();
    store.append(entry('one more'));
    expect((await store.tail('default', 'f0', 10)).length).toBe(1);
  });

  test('entries that the disk does not take in time are counted and not kept', async ({ expect }) => {
    const store = await open();
    for (let index = 0; index < 3_000; index += 1) store.append(entry('x'.repeat(16_000)));
    await store.flush();
    store.append(entry('after'));
    await store.close();
    expect((await store.tail('default', 'f', 1))[0]).not.toHaveProperty('dropped');
    const { readFile } = await import('node:fs/promises');
    // The second batch began a new file.
    const texts = await Promise.all(
      ['.1', ''].map((end) => readFile(`${folder.path}/default.f.ndjson${end}`, 'utf8')),
    );
    const lines = texts.join('').trim().split('\n');
    expect(lines.length).toBeLessThan(1_200);
    const last = JSON.parse(lines.at(-1) ?? '') as LogEntry;
    expect(last).toMatchObject({ message: 'after', dropped: 3_001 - lines.length });
  });

  test('a torn line on disk costs that line only', async ({ expect }) => {
    const { appendFile } = await import('node:fs/promises');
    const first = await open();
    first.append(entry('whole'));
    await first.close();
    await appendFile(`${folder.path}/default.f.ndjson`, '{"atMs":1,"versi');
    expect(await (await open()).tail('default', 'f', 10)).toMatchObject([{ message: 'whole' }]);
  });

  test('a follower that does not read loses entries and is told how many', async ({ expect }) => {
    const store = await open();
    const stop = new AbortController();
    const reader = store.follow({ account: 'default', functionName: 'f', tail: 0 }, stop.signal).getReader();
    await store.tail('default', 'f', 1);
    await new Promise((resolve) => setImmediate(resolve));
    for (let index = 0; index < 1_100; index += 1) store.append(entry(String(index)));
    for (let index = 0; index < 500; index += 1) await reader.read();
    store.append(entry('after'));
    stop.abort();
    let last = '';
    for (;;) {
      const { value, done } = await reader.read();
      if (done) break;
      last = new TextDecoder().decode(value);
    }
    const parsed = JSON.parse(last) as LogEntry;
    expect(parsed.message).toBe('after');
    expect(parsed.dropped).toBeGreaterThan(0);
  });
});
