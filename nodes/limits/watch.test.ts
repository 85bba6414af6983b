/** Verdicts of the watchdog over made-up samples. */
import { describe, test } from 'vitest';
import type { OverdueReport } from '#shared/contracts/nodes.ts';
import { parseCpuMs } from '../sandbox/proc.ts';
import {
  newWatch,
  onOverdue,
  onProbeAnswered,
  onSample,
  onSlow,
  type Action,
  type Sample,
  type Step,
  type Watch,
} from './watch.ts';

const MIB = 1_048_576;
const sample = (atMs: number, cpuMs: number, mb = 10): Sample => ({
  atMs,
  cpuMs,
  runnableMs: cpuMs,
  privateBytes: mb * MIB,
});
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
    const step = onSample(probed, sample(660, 660));
    expect(step.action.kind).toBe('lower');
    expect(onSample(step.watch, sample(670, 660)).action.kind).toBe('none');
    expect(onSample(step.watch, sample(670, 670)).action).toMatchObject({
      kind: 'kill',
      reason: 'cpu_exceeded',
      requestId: '',
    });
  });

  test('lets others go first once it burns in silence, and only then', ({ expect }) => {
    const probed = feed(newWatch(limits), [sample(0, 0), sample(100, 90)]).watch;
    expect(feed(probed, [sample(120, 90), sample(140, 100), sample(160, 120)]).actions).toEqual([
      'none',
      'lower',
      'none',
    ]);
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

  const silent = onSlow(idle, 30, sample(1_630, 130)).watch;
  const reported = (requestId: string, ageMs: number): OverdueReport => ({
    requestId,
    kind: 'cpu',
    ageMs,
    inFlight: 3,
  });
  const cpu = (report: OverdueReport, now: Sample, from = silent): Step => onOverdue(from, report, now);

  test('a loop is killed with the report of the request that began with it', ({ expect }) => {
    expect(cpu(reported('r', 490), sample(2_090, 590)).action.kind).toBe('lower');
    expect(cpu(reported('r', 500), sample(2_100, 600)).action).toMatchObject({
      reason: 'cpu_exceeded',
      requestId: 'r',
    });
  });

  test('a request that came after the loop began is a bystander, whatever else is known', ({ expect }) => {
    const late = cpu(reported('late', 500), sample(2_170, 670));
    expect(late.action.kind).toBe('lower');
    expect(onSample(late.watch, sample(2_180, 680)).action).toMatchObject({ kind: 'kill', requestId: '' });
  });

  test('of several, the first that began with the silence is guilty', ({ expect }) => {
    const waiting = cpu(reported('waits', 1_500), sample(2_090, 590)).watch;
    expect(cpu(reported('guilty', 500), sample(2_100, 600), waiting).action).toMatchObject({
      requestId: 'guilty',
    });
    expect(onSample(waiting, sample(2_180, 680)).action).toMatchObject({ requestId: 'waits' });
  });

  test('on a busy machine, time spent waiting for a core tells when the silence began', ({ expect }) => {
    const starved = (now: Sample, runnableMs: number): Sample => ({ ...now, runnableMs });
    const slow = onSlow(idle, 120, starved(sample(1_700, 110), 200)).watch;
    const late = cpu(reported('late', 450), starved(sample(2_100, 500), 600), slow).watch;
    const both = cpu(reported('guilty', 510), starved(sample(2_110, 510), 610), late);
    expect(both.action.kind).toBe('none');
    expect(onSample(both.watch, starved(sample(2_300, 600), 800)).action).toMatchObject({
      requestId: 'guilty',
    });
  });

  test('what was burnt before the silence is not held against it', ({ expect }) => {
    const busy = feed(newWatch(limits), [sample(0, 0), sample(5_000, 400)]).watch;
    const slow = onSlow(busy, 20, sample(9_000, 4_000));
    expect(slow.action.kind).toBe('probe');
    expect(onSample(slow.watch, sample(9_470, 4_470)).action.kind).toBe('lower');
  });

  test('priority is given back after twice the budget, once', ({ expect }) => {
    const { watch } = onSample(silent, sample(1_660, 150));
    const given = onSample(watch, sample(2_640, 400));
    expect(given.action.kind).toBe('restore');
    expect(onSample(given.watch, sample(2_700, 410)).action.kind).toBe('none');
  });

  test('a timeout kills the request that began to loop, and leaves another at work alone', ({ expect }) => {
    const timeout = (ageMs: number, atMs: number, cpuMs: number) =>
      onOverdue(silent, { requestId: 't', kind: 'timeout', ageMs, inFlight: 2 }, sample(atMs, cpuMs)).action;
    expect(timeout(130, 1_730, 230)).toMatchObject({ reason: 'timeout', requestId: 't' });
    expect(timeout(30_000, 1_730, 230).kind).toBe('lower');
  });

  test('a process that neither burns nor answers is given up after a while', ({ expect }) => {
    const { watch } = onOverdue(
      idle,
      { requestId: 't', kind: 'timeout', ageMs: 30_000, inFlight: 1 },
      sample(1_600, 110),
    );
    expect(onSample(watch, sample(1_700, 120)).action.kind).toBe('lower');
    expect(onSample(watch, sample(4_600, 110)).action).toMatchObject({ reason: 'timeout', requestId: 't' });
  });
});

test('CPU time is read behind a name that holds anything', ({ expect }) => {
  expect(parseCpuMs('12 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0')).toBe(3_000);
  expect(parseCpuMs('nothing')).toBeUndefined();
});
