/** The pool on slots of a runner that is moved by hand, and a clock that stands until it is moved. */
import { beforeEach, describe, test } from 'vitest';
import { FakeClock, memoryLog, waitFor, type LoggedLine } from '#shared/testing/fakes.ts';
import { SLOT_BYTES } from './demand.ts';
import { SlotPool } from './pool.ts';
import type { Guest, GuestEnd, GuestReady } from './runner.ts';
import { Slot } from './slot.ts';

/** A promise and the means to resolve it. */
function open<T>(): { readonly promise: Promise<T>; readonly resolve: (value: T) => void } {
  let resolve: (value: T) => void = () => undefined;
  const promise = new Promise<T>((settle) => {
    resolve = settle;
  });
  return { promise, resolve };
}

interface HandGuest extends Guest {
  die(): void;
}

let clock: FakeClock;
let guests: HandGuest[];
let lines: LoggedLine[];
let spawnFails: boolean;
let freeBytes: number;
beforeEach(() => {
  clock = new FakeClock();
  guests = [];
  lines = [];
  spawnFails = false;
  freeBytes = 8 * SLOT_BYTES * 1_000;
});

function handGuest(): HandGuest {
  const ended = open<GuestEnd>();
  const end = (): void => ended.resolve({ outOfMemory: false, inOrder: false, fromOutside: false });
  return {
    ready: Promise.resolve<GuestReady>({ kind: 'waiting' }),
    ended: ended.promise,
    sample: () => undefined,
    lower: () => undefined,
    restore: () => undefined,
    owner: undefined,
    inspectorPort: undefined,
    give: () => undefined,
    setMemory: () => Promise.resolve(),
    terminate: end,
    kill: end,
    die: end,
  };
}

function pool(min: number, max: number): SlotPool {
  const runner = {
    run: () => {
      if (spawnFails) return Promise.reject(new Error('no more processes'));
      const guest = handGuest();
      guests.push(guest);
      return Promise.resolve(guest);
    },
  };
  return new SlotPool({
    min,
    max,
    freeBytes: () => freeBytes,
    clock,
    timers: clock,
    log: memoryLog(lines),
    spawn: () => Slot.spawn({ runner, folder: '/none', timers: clock }),
  });
}

/** A start that goes on until it is finished by hand. */
function begin(from: SlotPool, account = 'default'): { readonly finish: () => Promise<void> } {
  const work = open<undefined>();
  const done = from.withSlot(account, async () => {
    await work.promise;
  });
  return {
    finish: () => {
      work.resolve(undefined);
      return done;
    },
  };
}

const turns = async (): Promise<void> => {
  for (let turn = 0; turn < 50; turn += 1) await Promise.resolve();
};

describe('SlotPool', () => {
  test('is ready when enough wait and fills up in the background', async ({ expect }) => {
    const slots = pool(6, 6);
    await slots.fill(2);
    expect(slots.waiting).toBeGreaterThanOrEqual(2);
    await waitFor('all to wait', () => slots.waiting === 6);
    await slots.close();
  });

  test('a refill waits for the start that emptied the pool, but not for ever', async ({ expect }) => {
    const slots = pool(1, 1);
    await slots.fill();
    const start = begin(slots);
    clock.advance(100);
    await turns();
    expect([slots.waiting, guests.length]).toEqual([0, 1]);
    clock.advance(250);
    await waitFor('the refill', () => slots.waiting === 1);
    await start.finish();
    await slots.close();
  });

  test('a refill comes soon after the start is over', async ({ expect }) => {
    const slots = pool(1, 1);
    await slots.fill();
    await begin(slots).finish();
    clock.advance(40);
    await turns();
    expect(guests.length, 'while the first request may be on its way').toBe(1);
    clock.advance(20);
    await waitFor('the refill', () => slots.waiting === 1);
    expect(guests.length).toBe(2);
    await slots.close();
  });

  test('a burst makes it grow up to its most, and quiet makes it shrink to its least', async ({ expect }) => {
    const slots = pool(1, 8);
    await slots.fill();
    await Promise.all(Array.from({ length: 20 }, () => begin(slots).finish()));
    expect(slots.target).toBe(8);
    clock.advance(60);
    await waitFor('growth', () => slots.waiting === 8);
    for (let second = 0; second < 900; second += 1) {
      clock.advance(1_000);
      await turns();
    }
    expect([slots.target, slots.waiting]).toEqual([1, 1]);
    await slots.close();
  });

  test('a burst of one account leaves waiting slots to others, and has all again when they are replaced', async ({
    expect,
  }) => {
    const slots = pool(8, 8);
    await slots.fill();
    await waitFor('all to wait', () => slots.waiting === 8);
    const flood = Array.from({ length: 20 }, () => begin(slots, 'hostile'));
    await turns();
    expect([slots.waiting, guests.length]).toEqual([1, 8 + 13]);
    await begin(slots, 'good').finish();
    expect([slots.waiting, guests.length]).toEqual([0, 8 + 13]);
    for (const start of flood) await start.finish();
    clock.advance(60);
    await waitFor('the refill', () => slots.waiting === 8);
    const made = guests.length;
    const again = Array.from({ length: 7 }, () => begin(slots, 'hostile'));
    await turns();
    expect([slots.waiting, guests.length]).toEqual([1, made]);
    for (const start of again) await start.finish();
    await slots.close();
  });

  test('takes no memory that is not there, and starts go on without', async ({ expect }) => {
    freeBytes = 0;
    const slots = pool(3, 8);
    await slots.fill();
    expect(slots.waiting).toBe(0);
    await begin(slots).finish();
    expect(guests.length).toBe(1);
    await slots.close();
  });

  test('a slot that dies while it waits is replaced later, one that cannot be made is tried again', async ({
    expect,
  }) => {
    const slots = pool(1, 1);
    await slots.fill();
    spawnFails = true;
    guests[0]?.die();
    await turns();
    expect(slots.waiting).toBe(0);
    clock.advance(100);
    await waitFor('the failure to be told', () => lines.some(({ event }) => event === 'slot_failed'));
    spawnFails = false;
    clock.advance(10_000);
    await waitFor('the next attempt', () => slots.waiting === 1);
    await slots.close();
  });

  test('a start for which no slot can be made is told to come later', async ({ expect }) => {
    spawnFails = true;
    const slots = pool(0, 0);
    await expect(begin(slots).finish()).rejects.toMatchObject({ code: 'no_capacity', retryAfterMs: 1_000 });
    await slots.close();
  });

  test('a closed pool keeps nothing and makes nothing', async ({ expect }) => {
    const slots = pool(2, 2);
    await slots.fill();
    await slots.close();
    clock.advance(60_000);
    await turns();
    expect([slots.waiting, guests.length]).toEqual([0, 2]);
  });
});
