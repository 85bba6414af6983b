/** The doctor on this very machine: which checks there are, and what makes it end with 1. */
import { chmod, mkdir, rm, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import process from 'node:process';
import { stripVTControlCharacters } from 'node:util';
import { describe, test } from 'vitest';
import { tempFolder } from '#shared/testing/temp.node.ts';
import { isoplane } from '../testing/run-command.ts';
import { checkLines } from './doctor.ts';

interface Report {
  readonly healthy: boolean;
  readonly checks: readonly {
    readonly name: string;
    readonly status: string;
    readonly found: string;
    readonly means?: string;
    readonly fix?: string;
  }[];
}

describe('isoplane doctor', () => {
  test('uses the width that there is for each of its checks', async ({ expect }) => {
    await using folder = await tempFolder();
    const { stdout } = await isoplane(['doctor', '--data', join(folder.path, 'data')]);
    const lines = stripVTControlCharacters(stdout).split('\n');
    expect(lines).toContainEqual(expect.stringMatching(/^ok +workerd +workerd \d{4}-\d\d-\d\d$/));
  });

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

  test('wraps what it says into the terminal', ({ expect }) => {
    const check = {
      name: 'names',
      status: 'warn',
      found: 'not found',
      means: 'curl and browsers resolve it by themselves, `isoplane invoke` does not need it; others may.',
      fix: 'send the Host header to 127.0.0.1, or install libnss-myhostname, which resolves it for all programs',
    } as const;
    const lines = checkLines(check, 80).map(stripVTControlCharacters);
    for (const line of lines) expect(line.length).toBeLessThanOrEqual(80);
    expect(lines[0]).toBe(`warn names            not found`);
    expect(lines.slice(1).map((line) => line.slice(0, 22).trim())).toEqual(['', '', '', '']);
    expect(lines.join(' ').replaceAll(/ +/g, ' ')).toContain(`${check.means} → ${check.fix}`);
  });

  test('looks at the ports of the platform that runs on the folder, and at those of the settings else', async ({
    expect,
  }) => {
    await using folder = await tempFolder();
    const taken = createServer();
    await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve));
    const { port } = taken.address() as AddressInfo;
    const platform = {
      controlUrl: 'http://127.0.0.1:1',
      gatewayUrl: `http://127.0.0.1:${port}`,
      baseDomain: 'localhost',
      pid: process.pid,
    };
    await writeFile(join(folder.path, 'platform.json'), JSON.stringify(platform));
    const found = async (env: Record<string, string> = {}): Promise<readonly (string | undefined)[]> => {
      const result = await isoplane(['doctor', '--json', '--data', folder.path], { env });
      const { checks } = result.json() as Report;
      return ['gateway port', 'control port'].map((name) => checks.find((each) => each.name === name)?.found);
    };
    expect(await found()).toEqual([
      `${port} is in use by the platform of this data folder`,
      expect.stringMatching(/^1 /) as unknown,
    ]);
    await rm(join(folder.path, 'platform.json'));
    expect(await found({ ISOPLANE_GATEWAY_PORT: String(port), ISOPLANE_CONTROL_PORT: '0' })).toEqual([
      `${port} is in use`,
      'chosen by the system',
    ]);
    taken.close();
  });
});
