/** Bodies on their way in, on a clock that stands: what they cost, how slow they may be, and that all is given back. */
import type { IncomingMessage } from 'node:http';
import { PassThrough } from 'node:stream';
import { describe, test } from 'vitest';
import type { PlatformError } from '#shared/errors.ts';
import { LIMITS } from '#shared/limits.ts';
import { Watch } from '#shared/leases/watch.ts';
import { Shares } from '#shared/shares.ts';
import { FakeClock } from '#shared/testing/fakes.ts';
import { Intake, type IntakeRead, type IntakeSink } from './intake.node.ts';

const KIB = 1_024;

function setUp(options: { total?: number; headers?: Record<string, string> } = {}) {
  const clock = new FakeClock();
  const stream = new PassThrough({ highWaterMark: 64 * KIB });
  const incoming = Object.assign(stream, { headers: options.headers ?? {} }) as unknown as IncomingMessage;
  const shares = new Shares('gateway.bodies', { total: options.total ?? 128 * KIB * KIB, floor: 0 });
  const watch = new Watch(clock, clock);
  const intake = new Intake({ incoming, watch, shares, account: 'a' });
  return { clock, stream, shares, watch, intake };
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
const codeOf = (read: IntakeRead): string => (read.kind === 'failed' ? read.error.code : read.kind);

function sinkOf(room: () => boolean = () => true) {
  const seen = { chunks: [] as number[], text: '', ended: false, failed: undefined as string | undefined };
  const sink: IntakeSink = {
    chunk: (bytes) => {
      seen.chunks.push(bytes.byteLength);
      seen.text += bytes.toString('latin1');
      return room();
    },
    end: () => void (seen.ended = true),
    failed: (error: PlatformError) => void (seen.failed = error.code),
  };
  return { seen, sink };
}

describe('Intake', () => {
  test('joins a body of one-byte chunks as it comes, at the cost of its bytes', async ({ expect }) => {
    const { stream, shares, intake } = setUp();
    const reading = intake.read(100_000);
    for (let index = 0; index < 20_000; index += 1) stream.write(String(index % 10));
    await turn();
    expect(shares.used).toBeLessThanOrEqual(2 * 20_000);
    stream.end();
    const read = await reading;
    expect(read.kind === 'whole' && read.bytes.toString('latin1')).toBe('0123456789'.repeat(2_000));
    intake.stop();
    expect(shares.used).toBe(0);
  });

  test('refuses what is over the bound, at the bound and one past it', async ({ expect }) => {
    for (const [bytes, kind] of [
      [1_000, 'whole'],
      [1_001, 'too_large'],
    ] as const) {
      const { stream, intake } = setUp();
      stream.end(Buffer.alloc(bytes));
      expect(codeOf(await intake.read(1_000))).toBe(kind);
    }
  });

  test('refuses a body that the share of its account does not hold, and gives back what it held', async ({
    expect,
  }) => {
    const { stream, shares, intake } = setUp({ total: 64 * KIB });
    const reading = intake.read(8 * KIB * KIB);
    stream.write(Buffer.alloc(40 * KIB));
    expect(codeOf(await reading)).toBe('share_full');
    expect(shares.take('b', 20 * KIB)).toBe(true);
    intake.stop();
    expect(shares.heldBy('a')).toBe(0);
  });

  test('gives a body up that does not come, after the grace, and one that comes too slowly', async ({
    expect,
  }) => {
    const { clock, intake } = setUp();
    const reading = intake.read(100);
    clock.advance(LIMITS.bodyGraceMs);
    await turn();
    clock.advance(20);
    expect(codeOf(await reading)).toBe('body_too_slow');

    const slow = setUp();
    const slowly = slow.intake.read(100_000);
    for (let second = 0; second < 60; second += 1) {
      slow.stream.write(Buffer.alloc(LIMITS.bodyBytesPerSecondMin - 40));
      await turn();
      slow.clock.advance(1_000);
    }
    expect(codeOf(await slowly)).toBe('body_too_slow');
  });

  test('lets a body go on that keeps to the least rate', async ({ expect }) => {
    const { clock, stream, intake } = setUp();
    const reading = intake.read(100_000);
    for (let second = 0; second < 60; second += 1) {
      stream.write(Buffer.alloc(LIMITS.bodyBytesPerSecondMin));
      await turn();
      clock.advance(1_000);
    }
    stream.end();
    expect(codeOf(await reading)).toBe('whole');
  });

  test('hands on what is here and then the rest, in order, joined and with back-pressure', async ({
    expect,
  }) => {
    const { stream, intake } = setUp();
    const reading = intake.read(100_000, 5);
    stream.write('first');
    expect(codeOf(await reading)).toBe('more');
    let room = false;
    const { seen, sink } = sinkOf(() => room);
    intake.flow(sink);
    stream.write(' second');
    await turn();
    expect(seen.text).toBe('first');
    room = true;
    intake.resume();
    stream.end(' third');
    await turn();
    await turn();
    expect([seen.text, seen.ended]).toEqual(['first second third', true]);
  });

  test('asks for a higher rate while an instance waits, but not while the instance does not read', async ({
    expect,
  }) => {
    const { clock, stream, intake } = setUp();
    const reading = intake.read(100_000, 5);
    stream.write('first');
    await reading;
    let room = false;
    const { seen, sink } = sinkOf(() => room);
    intake.flow(sink);
    clock.advance(60_000);
    expect(seen.failed).toBeUndefined();
    room = true;
    intake.resume();
    clock.advance(LIMITS.bodyInstanceGraceMs - 20);
    expect(seen.failed).toBeUndefined();
    clock.advance(40);
    expect(seen.failed).toBe('body_too_slow');
  });

  test('bounds how slow a body may be while an instance waits: the mean since it began, after the grace', async ({
    expect,
  }) => {
    const { clock, stream, intake } = setUp();
    const { seen, sink } = sinkOf();
    const reading = intake.read(1_000_000, 1);
    stream.write('x');
    await reading;
    intake.flow(sink);
    const seconds = 20;
    stream.write(Buffer.alloc(seconds * LIMITS.bodyInstanceBytesPerSecondMin));
    await turn();
    clock.advance(LIMITS.bodyInstanceGraceMs + seconds * 1_000 - 20);
    expect(seen.failed).toBeUndefined();
    clock.advance(40);
    expect(seen.failed).toBe('body_too_slow');
  });

  test('counts what Node keeps of a body that nobody reads, and more when it is in fragments', async ({
    expect,
  }) => {
    const whole = setUp();
    const first = whole.intake.read(100_000, 2_000);
    whole.stream.write(Buffer.alloc(2_000));
    await first;
    const fragments = setUp();
    const second = fragments.intake.read(100_000, 2_000);
    for (let index = 0; index < 2_000; index += 1) fragments.stream.write('x');
    await second;
    expect(whole.shares.used).toBeGreaterThanOrEqual(128 * KIB);
    expect(fragments.shares.used).toBeGreaterThanOrEqual(12 * KIB * KIB);
  });

  test('says when the client has gone', async ({ expect }) => {
    const { stream, intake } = setUp();
    const reading = intake.read(100);
    stream.destroy();
    expect(codeOf(await reading)).toBe('gone');
  });

  test('leaves no watcher behind', async ({ expect }) => {
    const { stream, watch, intake } = setUp();
    stream.end('x');
    await intake.read(100);
    intake.stop();
    expect(watch.size).toBe(0);
  });
});
