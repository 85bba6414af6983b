/** The doctor on this very machine: which checks there are, and what makes it end with 1. */
import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'vitest';
import { tempFolder } from '#shared/testing/temp.node.ts';
import { isoplane } from '../testing/run-command.ts';

interface Report {
  readonly healthy: boolean;
  readonly checks: readonly {
    readonly name: string;
    readonly status: string;
    readonly means?: string;
    readonly fix?: string;
  }[];
}

describe('isoplane doctor', () => {
  test('names every part; each lack has a meaning and a remedy; a data folder open to others fails it', async ({
    expect,
  }) => {
    await using folder = await tempFolder();
    const dataDir = join(folder.path, 'data');
    await mkdir(dataDir);
    await writeFile(join(dataDir, 'lock.db'), '');
    await chmod(dataDir, 0o755);
    const result = await isoplane(['doctor', '--json', '--data', dataDir]);
    const { healthy, checks } = result.json() as Report;
    expect(checks.map(({ name }) => name)).toEqual([
      'node',
      'workerd',
      'sandbox',
      'memory limit',
      'user namespaces',
      'seccomp',
      'disk',
      'data folder',
      'gateway port',
      'control port',
      'clock',
      'names',
    ]);
    for (const check of checks.filter(({ status }) => status !== 'ok')) {
      expect(check.means, check.name).toBeDefined();
      expect(check.fix, check.name).toBeDefined();
    }
    expect(checks.find(({ name }) => name === 'data folder')).toMatchObject({
      status: 'fail',
      fix: expect.stringContaining('chmod 700') as unknown,
    });
    expect({ healthy, code: result.code }).toEqual({ healthy: false, code: 1 });
  });
});
