/** A socket whose file somebody removes. */
import { mkdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { onTestFinished, test } from 'vitest';
import { z } from 'zod';
import { addressAt } from '../contracts/address.ts';
import { waitFor } from '../testing/fakes.ts';
import { tempFolder } from '../testing/temp.node.ts';
import { closeServer, peerOf, serveAt } from './transport.node.ts';

const exists = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    () => false,
  );

test('is made anew, with its folder when that is back, until its server is closed', async ({ expect }) => {
  await using temp = await tempFolder();
  const folder = join(temp.path, 'run');
  const path = join(folder, 'plane.sock');
  await mkdir(folder);
  const server = await serveAt(addressAt(path), () => Response.json({ ok: true }), { checkMs: 10 });
  onTestFinished(() => closeServer(server, 0));
  const ask = async (): Promise<unknown> => {
    const peer = peerOf(addressAt(path));
    try {
      return await peer.call('/', z.unknown());
    } finally {
      await peer.close();
    }
  };
  expect(await ask()).toEqual({ ok: true });
  await rm(path);
  await waitFor('the socket', () => exists(path));
  expect([await ask(), (await stat(path)).mode & 0o777]).toEqual([{ ok: true }, 0o600]);
  await rm(folder, { recursive: true });
  await waitFor('the end of listening', () => Promise.resolve(!server.listening));
  await mkdir(folder);
  await waitFor('the socket again', () => exists(path));
  expect(await ask()).toEqual({ ok: true });
  await closeServer(server, 0);
  expect(await exists(path)).toBe(false);
});
