/**
 * One platform per data folder.
 *
 * A libSQL write transaction is held open on a database that never changes: the kernel drops the lock when
 * the process dies, `kill -9` included, so there is no stale lock to clean up and no pid to compare. It has one
 * table, since the first write transaction of an empty database writes, which a full disk refuses.
 */
import { chmod, open, readFile, rm, writeFile } from 'node:fs/promises';
import process from 'node:process';
import { createClient, LibsqlError } from '@libsql/client';
import { PlatformError } from '#shared/errors.ts';

const holderOf = (lockPath: string): string => `${lockPath}.pid`;

export interface DataLock {
  release(): Promise<void>;
}

/** @throws {PlatformError} `data_folder_in_use` while another process (or this one) holds it. */
export async function lockDataFolder(lockPath: string): Promise<DataLock> {
  const file = await open(lockPath, 'a', 0o600);
  const { size } = await file.stat();
  await file.close();
  await chmod(lockPath, 0o600);
  const client = createClient({ url: `file:${lockPath}` });
  try {
    if (size === 0) await client.execute('CREATE TABLE IF NOT EXISTS lock (held INTEGER)');
    const transaction = await client.transaction('write');
    // For people: who holds it. The lock is what counts.
    await writeFile(holderOf(lockPath), `${process.pid}\n`, { mode: 0o600 }).catch(() => undefined);
    return {
      async release() {
        await rm(holderOf(lockPath), { force: true });
        await transaction.rollback().catch(() => undefined);
        client.close();
      },
    };
  } catch (thrown) {
    client.close();
    if (isBusy(thrown)) {
      const holder = await readFile(holderOf(lockPath), 'utf8').catch(() => '');
      const by = /^\d+\n$/.test(holder) ? `process ${holder.trim()}` : 'another process';
      throw new PlatformError(
        'data_folder_in_use',
        `${lockPath} is locked by ${by}, which runs or is stopping`,
        {
          cause: thrown,
        },
      );
    }
    if (thrown instanceof LibsqlError && thrown.code.startsWith('SQLITE_FULL'))
      throw new PlatformError('storage_full', `no space to lock ${lockPath}`, { cause: thrown });
    if (thrown instanceof LibsqlError && /^SQLITE_(NOTADB|CORRUPT)/.test(thrown.code))
      throw new PlatformError('config_invalid', `${lockPath} is damaged; delete it: it holds nothing`, {
        cause: thrown,
      });
    throw thrown;
  }
}

function isBusy(thrown: unknown): boolean {
  return (
    thrown instanceof Error &&
    /SQLITE_BUSY|SQLITE_LOCKED|database is locked/.test(
      `${String(Reflect.get(thrown, 'code'))} ${thrown.message}`,
    )
  );
}
