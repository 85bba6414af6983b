/** The lock on the data folder lives exactly as long as the process that holds it. */
import { spawn } from 'node:child_process';
import { rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { describe, test } from 'vitest';
import { tempFolder } from '#shared/testing/temp.node.ts';
import { lockDataFolder } from './data-lock.ts';

const HOLDER = fileURLToPath(new URL('../testing/hold-lock.ts', import.meta.url));

describe('lockDataFolder()', () => {
  test('is refused while another process holds it and free at once after kill -9 of that process', async ({
    expect,
  }) => {
    await using folder = await tempFolder();
    const path = join(folder.path, 'lock.db');
    const holder = spawn(process.execPath, [HOLDER, path], { stdio: ['ignore', 'pipe', 'inherit'] });
    await new Promise((resolve) => holder.stdout.once('data', resolve));
    await expect(lockDataFolder(path)).rejects.toMatchObject({
      code: 'data_folder_in_use',
      message: expect.stringContaining(`by process ${holder.pid}`) as string,
    });
    const ended = new Promise((resolve) => holder.once('exit', resolve));
    holder.kill('SIGKILL');
    await ended;
    const lock = await lockDataFolder(path);
    await expect(lockDataFolder(path)).rejects.toMatchObject({ code: 'data_folder_in_use' });
    await lock.release();
    await expect(stat(`${path}.pid`)).rejects.toThrow('ENOENT');
    expect((await stat(path)).mode & 0o777).toBe(0o600);
  });

  test('names a damaged file and what to do with it', async ({ expect }) => {
    await using folder = await tempFolder();
    const path = join(folder.path, 'lock.db');
    await writeFile(path, 'something else'.repeat(400));
    await expect(lockDataFolder(path)).rejects.toMatchObject({
      code: 'config_invalid',
      message: expect.stringContaining(`${path} is damaged; delete it`) as string,
    });
    await rm(path);
    await (await lockDataFolder(path)).release();
  });
});
