/** A lease manager on a clock that stands: every conversation with the scheduler is scripted. */
import { scalingSchema, type Scaling } from '../contracts/config.ts';
import type { HolderHeartbeat, Lease } from '../contracts/leases.ts';
import { versionId } from '../ids.ts';
import { LeaseManager, type AcquireOutcome } from '../leases/manager.ts';
import type { Admitted, Permit } from '../leases/ports.ts';
import { FakeClock, memoryLog } from './fakes.ts';

export function leasing(scaling: Partial<Scaling> = {}) {
  const clock = new FakeClock();
  const log = memoryLog();
  const version = { id: versionId('default', 'hello', 1), scaling: scalingSchema.parse(scaling) };
  const acquires: {
    waiting: number;
    deadlineMs: number;
    session: string | undefined;
    answer: (outcome: AcquireOutcome) => void;
  }[] = [];
  const heartbeats: HolderHeartbeat[] = [];
  const script = { revoked: [] as string[], heard: true };
  const manager = new LeaseManager({
    clock,
    timers: clock,
    log,
    scheduler: {
      acquire: ({ waiting, deadlineMs, session }) =>
        new Promise((answer) => {
          acquires.push({ waiting, deadlineMs, session, answer });
        }),
      heartbeat: (report) => {
        heartbeats.push(report);
        return Promise.resolve(script.heard ? { revoked: script.revoked } : undefined);
      },
    },
  });
  const results: string[] = [];
  const permits: Permit[] = [];
  const admit = (waiting: { cancel?: () => void } = {}, session?: string): void => {
    const at = results.push('waiting') - 1;
    const settle = (admitted: Admitted): void => {
      results[at] = admitted.kind === 'refused' ? admitted.error.code : admitted.kind;
      if (admitted.kind === 'admitted') permits.push(admitted.permit);
    };
    const admitted = manager.admit(version, waiting, session);
    if (admitted instanceof Promise) void admitted.then(settle);
    else settle(admitted);
  };
  const grant = (
    slots: number,
    instanceId = `i${acquires.length}`,
    more: Partial<Lease> = {},
  ): AcquireOutcome => ({
    kind: 'lease',
    lease: { leaseId: `l-${instanceId}`, instanceId, slots, ...more } as Lease,
  });
  return { clock, log, manager, acquires, heartbeats, script, results, permits, admit, grant };
}

export const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
