/**
 * An agent that starts anew must contain no less than the one before it on this machine: what failed may pass (no
 * memory, no process, no file to be had), and all code would run uncontained until the next restart.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { NodeStatus } from '#shared/contracts/nodes.ts';
import { PlatformError } from '#shared/errors.ts';

const RANKS: ReadonlyMap<string, number> = new Map([
  ['none', 0],
  ['partial', 1],
  ['full', 2],
]);

/**
 * @param folder - lives as long as the platform runs: after a stop in order, what the machine can do is found anew.
 * @throws {PlatformError} `internal` when it is less; the supervisor starts the agent again.
 */
export async function keepLevel(folder: string, { level, missing }: NodeStatus['sandbox']): Promise<void> {
  const file = join(folder, 'contained');
  const before = await readFile(file, 'utf8').catch(() => 'none');
  if ((RANKS.get(level) ?? 0) < (RANKS.get(before) ?? 0))
    throw new PlatformError(
      'internal',
      `this node contained code (${before}) before it ended and would contain less now (${level}): ${missing.join('; ')}. It is tried again; to run with less, stop the platform and start it`,
    );
  await writeFile(file, level, { mode: 0o600 });
}
