/** How long a response may be silent, on a clock that stands: with an upstream that the test plays. */
import { describe, test } from 'vitest';
import { limitsSchema } from '../contracts/config.ts';
import { versionId } from '../ids.ts';
import { LIMITS } from '../limits.ts';
import { FakeClock } from '../testing/fakes.ts';
import { Collector } from '../testing/job.node.ts';
import type { UpstreamHandler } from '../upstream/upstream.ts';
import { UsageMeters } from '../usage/meter.ts';
import { Watch } from './deadlines.ts';
import { exchange } from './exchange.node.ts';
import type { CarryOutcome } from './ports.ts';

/** Later than its deadline by as much as the watch may be. */
const LATE_MS = 20;

/** An exchange whose response has begun, and one chunk of it is with the receiver. */
function answering(streamIdleMs: number, room: boolean) {
  const clock = new FakeClock();
  const watch = new Watch(clock, clock);
  const sink = new Collector();
  sink.room = room;
  let upstream: UpstreamHandler | undefined;
  const seen = { outcome: undefined as CarryOutcome | undefined, aborted: false };
  const send = (_request: unknown, handler: UpstreamHandler) => {
    upstream = handler;
    return {
      write: () => true,
      end: () => undefined,
      resume: () => undefined,
      abort: () => void (seen.aborted = true),
    };
  };
  exchange(
    { client: { send, close: () => Promise.resolve() }, watch },
    {
      address: { kind: 'unix', path: '/i' },
      method: 'GET',
      target: '/',
      headers: [],
      bodyBytes: 0,
      body: undefined,
      sink,
    },
    {
      limits: limitsSchema.parse({ streamIdleMs }),
      meter: new UsageMeters().of(versionId('default', 'f', 1)),
      responseHeaders: [],
      filter: undefined,
      stalledMsMax: LIMITS.clientStalledMsMax,
      onSlow: () => undefined,
      onBroken: () => undefined,
    },
    (outcome) => void (seen.outcome = outcome),
  );
  upstream?.onHead(200, 'OK', []);
  upstream?.onData(Buffer.from('first'));
  return { clock, sink, seen };
}

describe('a response', () => {
  test('gives a receiver up that takes nothing, long before the function says something again', ({
    expect,
  }) => {
    const { clock, sink, seen } = answering(LIMITS.streamIdleMsMax, false);
    clock.advance(LIMITS.clientStalledMsMax - LATE_MS);
    expect([seen.outcome, sink.how]).toEqual([undefined, 'open']);
    clock.advance(2 * LATE_MS);
    expect([seen.outcome, sink.how, seen.aborted]).toEqual([{ kind: 'answered', end: 'cut' }, 'cut', true]);
  });

  test('that is silent is waited for as long as its function may be, when the receiver takes all', ({
    expect,
  }) => {
    const idleMs = 2 * LIMITS.clientStalledMsMax;
    const { clock, sink, seen } = answering(idleMs, true);
    clock.advance(idleMs - LATE_MS);
    expect([seen.outcome, sink.how]).toEqual([undefined, 'open']);
    clock.advance(2 * LATE_MS);
    expect([seen.outcome, sink.how]).toEqual([{ kind: 'answered', end: 'cut' }, 'cut']);
  });
});
