/**
 * The CONNECT target that begins RPC between instances. One for all nodes of a platform, because a call may
 * lead to another node of the machine; secret, because whoever knows it could speak to workerd as workerd
 * does. User code never sees it.
 */
import { randomBytes } from 'node:crypto';
import { link, readFile, rm, writeFile } from 'node:fs/promises';
import { PlatformError } from '#shared/errors.ts';

const SHAPE = /^[a-f0-9]{32}:1$/;

/** Made by the first node that starts. */
export async function ensureRpcHost(path: string): Promise<string> {
  const known = await readFile(path, 'utf8').catch(() => undefined);
  // No write where there is one: a full disk must not keep a node from starting.
  if (known !== undefined) return checked(path, known);
  const own = `${path}.${randomBytes(8).toString('hex')}`;
  await writeFile(own, `${randomBytes(16).toString('hex')}:1`, { mode: 0o600, flag: 'wx' });
  try {
    // Whole or not at all, and never over one that another node already uses.
    await link(own, path).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST') throw error;
    });
  } finally {
    await rm(own, { force: true });
  }
  return checked(path, await readFile(path, 'utf8'));
}

function checked(path: string, text: string): string {
  if (!SHAPE.test(text)) throw new PlatformError('config_invalid', `${path} is damaged; delete it`);
  return text;
}
