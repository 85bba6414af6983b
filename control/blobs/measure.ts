/** Sizes of blobs that the database does not know: releases before this one kept none of source maps. */
import type { Log } from '#shared/runtime/log.ts';
import { recordBlobs, unmeasuredBlobs } from '../db/blobs.ts';
import type { Database } from '../db/database.ts';
import type { BlobStore } from './store.ts';

/** Harmless when there is nothing left to do. One that is gone counts nothing, and is looked for at the next start. */
export async function measureBlobs(deps: {
  readonly db: Database;
  readonly blobs: BlobStore;
  readonly log: Log;
}): Promise<void> {
  const digests = await deps.db.read((orm) => unmeasuredBlobs(orm));
  if (digests.length === 0) return;
  const found: { readonly digest: (typeof digests)[number]; readonly bytes: number }[] = [];
  for (const digest of digests) {
    const bytes = await deps.blobs.sizeOf(digest);
    if (bytes !== undefined) found.push({ digest, bytes });
  }
  await deps.db.write((tx) => recordBlobs(tx, found));
  deps.log.info('blobs_measured', { found: found.length, absent: digests.length - found.length });
}
