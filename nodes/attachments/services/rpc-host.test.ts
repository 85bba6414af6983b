/** All nodes of a platform use one CONNECT target, whoever comes first. */
import { readdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'vitest';
import { tempFolder } from '#shared/testing/temp.node.ts';
import { ensureRpcHost } from './rpc-host.ts';

describe('ensureRpcHost()', () => {
  test('gives every node the same, also when they start at once', async ({ expect }) => {
    await using folder = await tempFolder();
    const path = join(folder.path, 'rpc-host');
    const hosts = await Promise.all(Array.from({ length: 8 }, () => ensureRpcHost(path)));
    expect(new Set(hosts).size).toBe(1);
    expect(await ensureRpcHost(path)).toBe(hosts[0]);
    expect(await readdir(folder.path)).toEqual(['rpc-host']);
    expect((await stat(path)).mode & 0o777).toBe(0o600);
  });

  test('refuses a damaged one', async ({ expect }) => {
    await using folder = await tempFolder();
    const path = join(folder.path, 'rpc-host');
    await writeFile(path, 'example.com:80');
    await expect(ensureRpcHost(path)).rejects.toMatchObject({
      code: 'config_invalid',
      message: expect.stringContaining(`${path} is damaged`) as string,
    });
  });
});
