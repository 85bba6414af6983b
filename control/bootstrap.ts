/**
 * First start: the key-encryption keys, account `default`, and its owner key for the CLI.
 *
 * The credentials file is written before the database knows the key. When the process dies in between, the
 * next start finds the file and registers that very key, so neither half can be lost.
 */
import { createPrivateKey, createPublicKey } from 'node:crypto';
import { open, readFile, rename } from 'node:fs/promises';
import { dirname } from 'node:path';
import { createKeySchema } from '#shared/contracts/access.ts';
import { credentialsSchema, type Credentials } from '#shared/contracts/credentials.ts';
import { PlatformError } from '#shared/errors.ts';
import { accountNameSchema } from '#shared/ids.ts';
import { ensurePrivateFolder, type Layout } from '#shared/runtime/layout.node.ts';
import type { Log } from '#shared/runtime/log.ts';
import { fromBase64Url, toBase64Url } from '#shared/encoding.ts';
import { importKeyEncryptionKey, type KeyEncryptionKey } from '#shared/seal.ts';
import { makeKey } from './auth/keys.ts';
import { createAccount, findAccount } from './db/accounts.ts';
import type { Database } from './db/database.ts';
import { findKey, insertKey } from './db/keys.ts';

const DEFAULT_ACCOUNT = accountNameSchema.parse('default');
const ACTOR = 'first-start';

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw thrown;
  }
}

/** The file has all of the text or does not exist; mode 0600. */
async function writeWhole(path: string, text: string): Promise<void> {
  const temporary = `${path}.tmp`;
  const file = await open(temporary, 'w', 0o600);
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(temporary, path);
  const folder = await open(dirname(path), 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

/** Identity of the platform of this data folder; `isNew`: the folder has none yet. */
export async function readCluster(path: string): Promise<{ readonly id: string; readonly isNew: boolean }> {
  const stored = (await readIfThere(path))?.trim();
  if (stored === undefined) return { id: crypto.randomUUID(), isNew: true };
  if (!/^[\w-]{1,64}$/.test(stored))
    throw new PlatformError('config_invalid', `${path} is damaged: restore it from a backup`);
  return { id: stored, isNew: false };
}

export function writeCluster(path: string, id: string): Promise<void> {
  return writeWhole(path, `${id}\n`);
}

export async function loadKeyEncryptionKey(path: string): Promise<KeyEncryptionKey> {
  await ensurePrivateFolder(dirname(path));
  const stored = await readIfThere(path);
  if (stored !== undefined)
    try {
      return await importKeyEncryptionKey(stored);
    } catch (thrown) {
      throw new PlatformError(
        'config_invalid',
        `${path} is damaged: restore it from a backup; without one move it away, and put again what it sealed`,
        { cause: thrown },
      );
    }
  const fresh = toBase64Url(crypto.getRandomValues(new Uint8Array(32)));
  await writeWhole(path, `${fresh}\n`);
  return importKeyEncryptionKey(fresh);
}

function publicKeyOf(credentials: Credentials): string {
  const key = createPrivateKey({
    key: Buffer.from(fromBase64Url(credentials.secret)),
    format: 'der',
    type: 'pkcs8',
  });
  // The last 32 bytes of an Ed25519 SubjectPublicKeyInfo are the raw key.
  return toBase64Url(createPublicKey(key).export({ format: 'der', type: 'spki' }).subarray(-32));
}

async function readCredentials(path: string): Promise<Credentials | undefined> {
  const text = await readIfThere(path);
  if (text === undefined) return undefined;
  try {
    const credentials = credentialsSchema.parse(JSON.parse(text));
    if (credentials.algorithm === 'ed25519') publicKeyOf(credentials);
    return credentials;
  } catch (thrown) {
    throw new PlatformError('config_invalid', `${path} is damaged; move it away to get a new owner key`, {
      cause: thrown,
    });
  }
}

async function makeCredentials(path: string, kek: KeyEncryptionKey): Promise<Credentials> {
  const wanted = createKeySchema.parse({ name: 'first owner', role: 'owner', algorithm: 'ed25519' });
  const made = await makeKey(DEFAULT_ACCOUNT, wanted, ACTOR, kek);
  if (made.secret === undefined) throw new PlatformError('internal', 'the owner key has no secret');
  const credentials: Credentials = {
    account: DEFAULT_ACCOUNT,
    keyId: made.row.id,
    algorithm: 'ed25519',
    secret: made.secret,
  };
  await writeWhole(path, `${JSON.stringify(credentials, null, 2)}\n`);
  return credentials;
}

/**
 * Account `default` and an owner key for it exist afterwards, and credentials.json holds that key. A file
 * that the operator changed, or a key that was revoked, is left alone.
 */
export async function ensureOwner(
  layout: Pick<Layout, 'credentials'>,
  db: Database,
  kek: KeyEncryptionKey,
  log: Log,
): Promise<void> {
  const known = await db.read((orm) => findAccount(orm, DEFAULT_ACCOUNT));
  const stored = await readCredentials(layout.credentials);
  if (known !== undefined && stored !== undefined) return;
  const credentials = stored ?? (await makeCredentials(layout.credentials, kek));
  if (credentials.algorithm !== 'ed25519')
    throw new PlatformError('config_invalid', 'the first owner key must be ed25519');
  const publicKey = publicKeyOf(credentials);
  await db.write(async (tx) => {
    if ((await findAccount(tx.orm, DEFAULT_ACCOUNT)) === undefined)
      await createAccount(tx, DEFAULT_ACCOUNT, ACTOR);
    if ((await findKey(tx.orm, credentials.keyId)) !== undefined) return;
    await insertKey(tx, {
      id: credentials.keyId,
      account: DEFAULT_ACCOUNT,
      name: 'first owner',
      role: 'owner',
      algorithm: 'ed25519',
      material: publicKey,
      functions: null,
      expiresAt: null,
      createdBy: ACTOR,
    });
  });
  log.info('owner_created', { account: DEFAULT_ACCOUNT, keyId: credentials.keyId });
}
