/** Whoever holds leases judges the end of an instance in the same way: every reason, both blames. */
import { describe, test } from 'vitest';
import type { ExitReport } from '../contracts/nodes.ts';
import { asPlatformError } from '../errors.ts';
import { afterReset, isRepeatable } from './ended.ts';
import type { AgentPort, Permit } from '../leases/ports.ts';

async function verdict(report: ExitReport | undefined, maySend: boolean): Promise<string> {
  const agent: AgentPort = {
    exit: () => Promise.resolve(report),
    overdue: () => undefined,
    broken: () => undefined,
    slow: () => undefined,
  };
  const permit = { lease: {}, lost: () => undefined } as unknown as Permit;
  return afterReset(agent, permit, { requestId: 'mine', maySend }).catch(
    (thrown: unknown) => asPlatformError(thrown).code,
  );
}

describe('afterReset()', () => {
  test('repeats a bystander and an evicted request once, and nobody who is to blame', async ({ expect }) => {
    for (const report of [
      undefined,
      { ended: true, reason: 'stopped' },
      { ended: true, reason: 'evicted' },
      { ended: true, reason: 'cpu_exceeded', blamedRequestId: 'another' },
    ] as const)
      expect(await verdict(report, true)).toBe('resend');
    for (const reason of [
      'crashed',
      'cpu_exceeded',
      'memory_exceeded',
      'timeout',
      'startup_failed',
    ] as const) {
      expect(await verdict({ ended: true, reason, blamedRequestId: 'mine' }, true)).toBe(reason);
      expect(await verdict({ ended: true, reason }, true)).toBe(reason);
    }
  });

  test('takes a connection that closed for the fault of the function when the instance lives', async ({
    expect,
  }) => {
    expect(await verdict({ ended: false }, true)).toBe('function_error');
  });

  test('tells what cannot be repeated why it was lost', async ({ expect }) => {
    expect(await verdict({ ended: true, reason: 'evicted' }, false)).toBe('evicted');
    expect(await verdict({ ended: true, reason: 'crashed', blamedRequestId: 'another' }, false)).toBe(
      'instance_lost',
    );
  });
});

test('isRepeatable() goes by the method, or by a key', ({ expect }) => {
  expect(isRepeatable('PUT', undefined)).toBe(true);
  expect(isRepeatable('POST', undefined)).toBe(false);
  expect(isRepeatable('POST', 'k')).toBe(true);
});
