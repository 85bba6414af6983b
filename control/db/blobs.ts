/**
 * How many bytes of code each account keeps: modules of versions and layers, and source maps. A blob that several of an
 * account's versions name counts once; one that several accounts have counts for each, though the disk has it once.
 */
import { eq, isNull, sql } from 'drizzle-orm';
import type { AccountName, Digest } from '#shared/ids.ts';
import type { Orm, WriteTx } from './database.ts';
import { blobs, blobUses } from './schema.ts';

/** SQLite's bound on parameters is far higher. */
const ROWS_AT_ONCE = 500;

export interface BlobSize {
  readonly digest: Digest;
  readonly bytes: number;
}

/** Before the versions that name them: what they count is looked up here. */
export async function recordBlobs(tx: WriteTx, stored: readonly BlobSize[]): Promise<void> {
  for (let index = 0; index < stored.length; index += ROWS_AT_ONCE) {
    const rows = stored.slice(index, index + ROWS_AT_ONCE).map(({ digest, bytes }) => ({ digest, bytes }));
    await tx.orm.insert(blobs).values(rows).onConflictDoNothing();
  }
}

export async function codeBytesOf(orm: Orm, account: AccountName): Promise<number> {
  const [row] = await orm
    .select({ bytes: sql<number>`coalesce(sum(${blobs.bytes}), 0)` })
    .from(blobUses)
    .innerJoin(blobs, eq(blobs.digest, blobUses.digest))
    .where(eq(blobUses.account, account));
  return row?.bytes ?? 0;
}

/** Source maps from before sizes were kept. */
export async function unmeasuredBlobs(orm: Orm): Promise<readonly Digest[]> {
  const rows = await orm
    .selectDistinct({ digest: blobUses.digest })
    .from(blobUses)
    .leftJoin(blobs, eq(blobs.digest, blobUses.digest))
    .where(isNull(blobs.digest));
  return rows.map(({ digest }) => digest);
}
