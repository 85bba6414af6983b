/** Orphans are told from everything else by their program and the folder that they were given. */
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import process from 'node:process';
import { test } from 'vitest';
import { waitFor } from '#shared/testing/fakes.ts';
import { tempFolder } from '#shared/testing/temp.node.ts';
import { killOrphans } from './orphans.ts';

function waiting(argv0: string, argument: string): ChildProcess {
  const script = 'process.stdout.write("up"); setInterval(() => {}, 1_000);';
  return spawn(process.execPath, ['-e', script, '--', argument], {
    argv0,
    stdio: ['ignore', 'pipe', 'ignore'],
  });
}

test('killOrphans() ends wrappers in slots of this agent and nobody else', async ({ expect }) => {
  await using folder = await tempFolder();
  const slots = join(folder.path, 's');
  await mkdir(slots);
  const orphan = waiting('/usr/bin/bwrap', join(slots, '1'));
  const others = [
    waiting('/usr/bin/bwrap', join(folder.path, 'other', '1')),
    waiting('/usr/bin/editor', join(slots, '1')),
    waiting('/usr/bin/bwrap', `${slots}-of-another-agent/1`),
  ];
  try {
    for (const child of [orphan, ...others])
      await new Promise((resolve) => child.stdout?.once('data', resolve));
    expect(await killOrphans(slots)).toBe(1);
    await waitFor('the orphan to end', () => orphan.signalCode === 'SIGKILL');
    expect(await killOrphans(slots)).toBe(0);
    expect(others.map(({ signalCode }) => signalCode)).toEqual([null, null, null]);
  } finally {
    for (const child of [orphan, ...others]) child.kill('SIGKILL');
  }
}, 60_000);
