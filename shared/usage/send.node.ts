/** A usage report on its way to control over its Unix socket. */
import { z } from 'zod';
import type { UsageReport } from '../contracts/usage.ts';
import type { Peer } from '../runtime/peer.ts';

const TIMEOUT_MS = 5_000;

export async function sendUsage(control: Peer, report: UsageReport): Promise<void> {
  await control.call('/internal/usage', z.unknown(), {
    method: 'POST',
    body: report,
    signal: AbortSignal.timeout(TIMEOUT_MS),
  });
}
