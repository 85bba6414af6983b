/**
 * Goal: with its code in a bucket, a platform serves whatever happens to that bucket, and says what it cannot do.
 * Method: the real `isoplane up` and a real S3 server, killed and started again.
 */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, describe, test } from 'vitest';
import { noS3, S3, S3_KEYS } from '#control/testing/s3.ts';
import { tempFolder } from '#shared/testing/temp.node.ts';
import { says } from '../support/api.ts';
import { runCli } from '../support/cli.ts';
import { callGateway } from '../support/platform.ts';
import { UpProcess } from '../support/up.ts';

const KEYS = {
  ISOPLANE_BLOBS_ACCESS_KEY_ID: S3_KEYS.accessKeyId,
  ISOPLANE_BLOBS_SECRET_ACCESS_KEY: S3_KEYS.secretAccessKey,
};

async function filesIn(folder: string): Promise<number> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile()).length;
}

beforeEach(({ skip }) => {
  if (noS3 !== undefined) skip(noS3);
});

describe('a platform whose code is in a bucket', () => {
  test('serves while that is away, and deploys when it is back; nobody else begins on it', async ({
    expect,
  }) => {
    await using folder = await tempFolder();
    const dataDir = join(folder.path, 'data');
    await using s3 = await S3.start(join(folder.path, 's3'));
    const address = `s3://blobs?endpoint=${s3.endpoint}&region=us-east-1`;
    await using up = await UpProcess.start(dataDir, ['--blobs', address], KEYS);
    await up.api.deploy('hello', says('one'));
    await up.serves('hello', (text) => text === 'one');
    expect(await filesIn(join(dataDir, 'blobs'))).toBe(0);
    expect(await filesIn(join(folder.path, 's3', 'blobs', 'blobs'))).toBeGreaterThan(0);
    await s3.kill();
    expect((await callGateway(up.gatewayUrl, 'hello')).text).toBe('one');
    await expect(up.api.deploy('hello', says('two'))).rejects.toThrow(/blobs_unreachable/);
    expect((await callGateway(up.gatewayUrl, 'hello')).text).toBe('one');
    await s3.start();
    await up.api.deploy('hello', says('two'));
    await up.serves('hello', (text) => text === 'two');
    const start = (env: Readonly<Record<string, string>>) =>
      runCli(
        [
          '--json',
          '--data',
          join(folder.path, 'second'),
          'up',
          '--port',
          '0',
          '--control-port',
          '0',
          '--blobs',
          address,
        ],
        { env },
      );
    const foreign = await start(KEYS);
    expect([foreign.code, foreign.stdout]).toEqual([1, expect.stringContaining('blobs_foreign')]);
    const keyless = await start({});
    expect([keyless.code, keyless.stdout]).toEqual([
      expect.any(Number),
      expect.stringContaining('ISOPLANE_BLOBS_ACCESS_KEY_ID'),
    ]);
  });
});
