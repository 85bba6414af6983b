/** Facts without which a figure means nothing. */
import { createRequire } from 'node:module';
import { cpus, loadavg, release, totalmem } from 'node:os';
import process from 'node:process';
import type { NodeStatus } from '#shared/contracts/nodes.ts';

export function machineFacts(): Record<string, unknown> {
  const manifest: unknown = createRequire(import.meta.url)('workerd/package.json');
  const workerd =
    typeof manifest === 'object' && manifest !== null && 'version' in manifest ? manifest.version : 'unknown';
  return {
    at: new Date().toISOString(),
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: cpus().length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    kernel: release(),
    node: process.version,
    workerd,
    loadAverage: loadavg()[0]?.toFixed(2),
  };
}

export function describeSandbox({ sandbox }: Pick<NodeStatus, 'sandbox'>): string {
  return sandbox.missing.length === 0
    ? sandbox.level
    : `${sandbox.level}, missing: ${sandbox.missing.join(', ')}`;
}
