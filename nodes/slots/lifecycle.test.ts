/** Life of a slot as values: each state, each event. */
import { describe, test } from 'vitest';
import { nextSlotState, type SlotEvent, type SlotState } from './lifecycle.ts';
import { parseStartupFailure, saysOutOfMemory, stackLine } from './stderr.ts';

const after = (...events: SlotEvent[]): SlotState =>
  events.reduce<SlotState>(nextSlotState, { kind: 'spawning' });
const exited: SlotEvent = { kind: 'exited', outOfMemory: false, inOrder: false, fromOutside: false };
const inOrder: SlotEvent = { ...exited, inOrder: true };
const oom: SlotEvent = { ...exited, outOfMemory: true };

describe('nextSlotState()', () => {
  test('goes from spawn to stop', ({ expect }) => {
    expect(after({ kind: 'spawned' })).toEqual({ kind: 'waiting' });
    expect(after({ kind: 'spawned' }, { kind: 'assigned' })).toEqual({ kind: 'starting' });
    expect(after({ kind: 'spawned' }, { kind: 'assigned' }, { kind: 'listening' })).toEqual({
      kind: 'running',
    });
    expect(after({ kind: 'assigned' }, { kind: 'listening' }, { kind: 'stop_requested' }, inOrder)).toEqual({
      kind: 'ended',
      reason: 'stopped',
    });
  });

  test('a config may be written before the sandbox has said that it is up', ({ expect }) => {
    expect(after({ kind: 'assigned' }, { kind: 'spawned' }, { kind: 'listening' })).toEqual({
      kind: 'running',
    });
  });

  test('names why it ended', ({ expect }) => {
    expect(after({ kind: 'assigned' }, exited)).toEqual({ kind: 'ended', reason: 'startup_failed' });
    const outside: SlotEvent = { ...exited, fromOutside: true };
    expect(after({ kind: 'assigned' }, outside)).toEqual({ kind: 'ended', reason: 'evicted' });
    expect(after({ kind: 'assigned' }, { ...outside, outOfMemory: true })).toEqual({
      kind: 'ended',
      reason: 'memory_exceeded',
    });
    expect(after({ kind: 'assigned' }, { kind: 'listening' }, exited)).toEqual({
      kind: 'ended',
      reason: 'crashed',
    });
    expect(after({ kind: 'assigned' }, { kind: 'listening' }, oom)).toEqual({
      kind: 'ended',
      reason: 'memory_exceeded',
    });
    expect(after({ kind: 'spawned' }, exited)).toEqual({ kind: 'ended', reason: 'crashed' });
  });

  test('what was asked to end and did not finish was evicted, or died of its own', ({ expect }) => {
    const draining: SlotEvent[] = [{ kind: 'assigned' }, { kind: 'listening' }, { kind: 'stop_requested' }];
    const evict: SlotEvent = { kind: 'kill_requested', reason: 'evicted' };
    expect(after(...draining, evict, exited)).toEqual({ kind: 'ended', reason: 'evicted' });
    expect(after(...draining, exited)).toEqual({ kind: 'ended', reason: 'crashed' });
    expect(after(...draining, oom)).toEqual({ kind: 'ended', reason: 'memory_exceeded' });
  });

  test('the first reason of a kill stands', ({ expect }) => {
    const killed = after(
      { kind: 'assigned' },
      { kind: 'listening' },
      { kind: 'kill_requested', reason: 'cpu_exceeded' },
      { kind: 'kill_requested', reason: 'timeout' },
      { kind: 'stop_requested' },
      oom,
    );
    expect(killed).toEqual({ kind: 'ended', reason: 'cpu_exceeded' });
  });

  test('the end is final', ({ expect }) => {
    const events: SlotEvent[] = [
      { kind: 'assigned' },
      { kind: 'listening' },
      { kind: 'stop_requested' },
      exited,
    ];
    for (const event of events)
      expect(nextSlotState({ kind: 'ended', reason: 'timeout' }, event)).toEqual({
        kind: 'ended',
        reason: 'timeout',
      });
  });
});

describe('parseStartupFailure()', () => {
  test('finds message and stack between other lines', ({ expect }) => {
    const stderr =
      'Unable to find and open the program executable, so …\nservice main: Uncaught Error: boom\n  at a.js:1:21 in f\n  at a.js:2:1\nother\n';
    expect(parseStartupFailure(stderr)).toEqual({
      message: 'Error: boom',
      stack: 'Error: boom\n    at f (a.js:1:21)\n    at a.js:2:1',
    });
  });

  test.for([
    ['at in in.js:1:2 in f in g', '    at f in g (in in.js:1:2)'],
    ['at a.js:1:2 in b.js:3:4 in f', '    at f (a.js:1:2 in b.js:3:4)'],
    ['at a.js:1 in f', '    at a.js:1 in f'],
    ['in a.js:1:2 in f', '    in a.js:1:2 in f'],
    ['at a.js:1:2 in ', '    at a.js:1:2 in'],
  ] as const)('turns %j into %j', ([line, expected], { expect }) => {
    expect(stackLine(line)).toBe(expected);
  });

  test('reads a line that repeats itself in one pass', ({ expect }) => {
    // A search that goes back for each of both would need minutes.
    const place = 'a:1:1'.repeat(100_000);
    expect(stackLine(`at ${place}${' in x'.repeat(100_000)}`)).toBe(
      `    at x${' in x'.repeat(99_999)} (${place})`,
    );
  });

  test('says something when there is nothing', ({ expect }) => {
    expect(parseStartupFailure('')).toEqual({
      message: 'the process ended without a message',
      stack: undefined,
    });
  });

  test('knows the last words of a full heap', ({ expect }) => {
    expect(
      saysOutOfMemory('<--- Last few GCs --->\n# Fatal JavaScript out of memory: Reached heap limit'),
    ).toBe(true);
    expect(saysOutOfMemory('Segmentation fault')).toBe(false);
  });
});
