/** A plane that a service manager starts by itself makes the data folder when it is the first one there. */
import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'vitest';
import { waitFor } from '#shared/testing/fakes.ts';
import { seenByGit } from '#shared/testing/git.node.ts';
import { tempFolder } from '#shared/testing/temp.node.ts';
import { spawnCli } from '../support/cli.ts';

const MADE = { control: 'keys/kek', scheduler: 'scheduler', gateway: 'gateways', node: 'nodes' };

test.for(Object.entries(MADE))(
  'git does not see what isoplane %s writes',
  { timeout: 60_000 },
  async ([plane, made], { expect }) => {
    await using folder = await tempFolder();
    const cwd = join(folder.path, 'repository');
    await mkdir(cwd);
    const env = {
      ISOPLANE_RUN_ROOT: folder.path,
      ISOPLANE_CONTROL_PORT: '0',
      ISOPLANE_GATEWAY_PORT: '0',
      ISOPLANE_SLOTS: '0',
    };
    const child = spawnCli([plane], { cwd, env });
    let ready = '';
    child.stdout?.on('data', (chunk: Buffer) => (ready += chunk.toString('utf8')));
    child.stderr?.on('data', (chunk: Buffer) => (ready += chunk.toString('utf8')));
    const ended = new Promise((resolve) => child.once('exit', resolve));
    try {
      await waitFor('the plane', () => ready.includes('"event":"ready"'), 30_000);
      expect(existsSync(join(cwd, '.isoplane', made))).toBe(true);
      expect(await seenByGit(cwd)).toEqual([]);
    } finally {
      child.kill('SIGTERM');
      await ended;
    }
  },
);
