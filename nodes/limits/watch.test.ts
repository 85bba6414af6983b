/** Verdicts of the watchdog over made-up samples. */
import { describe, test } from 'vitest';
import { parseCpuMs } from './proc.node.ts';
import {
  newWatch,
  onOverdue,
  onProbeAnswered,
  onSample,
  type Action,
  type Sample,
  type Watch,
} from './watch.ts';

const MIB = 1_048_576;
const sample = (atMs: number, cpuMs: number, mb = 10): Sample => ({ atMs, cpuMs, privateBytes: mb * MIB });
const limits = { cpuMs: 500, memoryMb: 128 };

function feed(watch: Watch, samples: readonly Sample[]): { watch: Watch; actions: Action['kind'][] } {
  const actions: Action['kind'][] = [];
  let current = watch;
  for (const next of samples) {
    const step = onSample(current, next);
    current = step.watch;
    actions.push(step.action.kind);
  }
  return { watch: current, actions };
}

describe('onSample()', () => {
  test('looks at an idle instance ever more seldom, up to a bound', ({ expect }) => {
    const samples = Array.from({ length: 20 }, (_, index) => sample(index * 1_000, 30));
    const { watch, actions } = feed(newWatch(limits), samples);
    expect(new Set(actions)).toEqual(new Set(['none']));
    expect(watch.intervalMs).toBe(5_000);
  });

  test('probes a busy instance, and leaves it alone when it answers', ({ expect }) => {
    const busy = feed(newWatch(limits), [sample(0, 0), sample(100, 90)]);
    expect(busy.actions).toEqual(['none', 'probe']);
    const answered = onProbeAnswered(busy.watch);
    expect(feed(answered, [sample(200, 100)]).actions).toEqual(['none']);
  });

  test('probes what gets only a small share of a crowded machine', ({ expect }) => {
    expect(feed(newWatch(limits), [sample(0, 0), sample(100, 20)]).actions).toEqual(['none', 'probe']);
    expect(feed(newWatch(limits), [sample(0, 0), sample(100, 10)]).actions).toEqual(['none', 'none']);
  });

  test('kills what burns its budget without answering, not one tick earlier', ({ expect }) => {
    const probed = feed(newWatch(limits), [sample(0, 0), sample(100, 90)]).watch;
    expect(onSample(probed, sample(600, 580)).action.kind).toBe('none');
    expect(onSample(probed, sample(610, 590)).action).toMatchObject({ kind: 'kill', reason: 'cpu_exceeded' });
  });

  test('kills over the memory bound, not at it', ({ expect }) => {
    const watch = newWatch(limits);
    expect(onSample(watch, sample(0, 0, 224)).action.kind).toBe('none');
    expect(onSample(watch, sample(0, 0, 225)).action).toMatchObject({
      kind: 'kill',
      reason: 'memory_exceeded',
    });
  });

  test('keeps a bounded number of samples', ({ expect }) => {
    const samples = Array.from({ length: 500 }, (_, index) => sample(index, 0));
    expect(feed(newWatch(limits), samples).watch.samples.length).toBe(64);
  });
});

describe('onOverdue()', () => {
  const idle = feed(newWatch(limits), [sample(0, 100), sample(1_000, 100)]).watch;

  test('a request that waited is not guilty of the wall time', ({ expect }) => {
    const step = onOverdue(
      idle,
      { requestId: 'r', kind: 'cpu', ageMs: 500, inFlight: 1 },
      sample(1_600, 110),
    );
    expect(step.action.kind).toBe('probe');
    expect(onProbeAnswered(step.watch).suspects).toEqual([]);
  });

  test('CPU since the request began is its own when it was alone, else a share', ({ expect }) => {
    const report = { requestId: 'r', kind: 'cpu', ageMs: 700 } as const;
    const alone = onOverdue(idle, { ...report, inFlight: 1 }, sample(1_650, 700));
    expect(alone.action).toMatchObject({ kind: 'kill', reason: 'cpu_exceeded', requestId: 'r' });
    const shared = onOverdue(idle, { ...report, inFlight: 4 }, sample(1_650, 700));
    expect(shared.action.kind).toBe('probe');
  });

  test('silence after a report is a loop as soon as CPU is burnt', ({ expect }) => {
    const { watch } = onOverdue(
      idle,
      { requestId: 'r', kind: 'cpu', ageMs: 550, inFlight: 2 },
      sample(1_600, 640),
    );
    expect(onSample(watch, sample(1_650, 690)).action.kind).toBe('none');
    expect(onSample(watch, sample(1_710, 740)).action).toMatchObject({
      reason: 'cpu_exceeded',
      requestId: 'r',
    });
  });

  test('a timeout kills what does not yield within 100 ms, and waits for a machine that is slow', ({
    expect,
  }) => {
    const { watch } = onOverdue(
      idle,
      { requestId: 't', kind: 'timeout', ageMs: 30_000, inFlight: 1 },
      sample(1_600, 110),
    );
    expect(onSample(watch, sample(1_700, 120)).action.kind).toBe('none');
    expect(onSample(watch, sample(1_700, 180)).action).toMatchObject({ reason: 'timeout', requestId: 't' });
    expect(onSample(watch, sample(4_600, 110)).action).toMatchObject({ reason: 'timeout', requestId: 't' });
  });
});

test('CPU time is read behind a name that holds anything', ({ expect }) => {
  expect(parseCpuMs('12 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0')).toBe(3_000);
  expect(parseCpuMs('nothing')).toBeUndefined();
});
