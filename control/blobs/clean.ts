/** Removes blobs that no version and no layer refers to any more, now and then. */
import { sql } from 'drizzle-orm';
import type { Timer, Timers } from '#shared/runtime/clock.ts';
import type { Log } from '#shared/runtime/log.ts';
import type { Database } from '../db/database.ts';
import type { BlobStore } from './store.ts';

const CLEAN_MS = 3_600_000;
/** Rows of one query: libSQL's calls are synchronous, and the API waits meanwhile. */
const ROWS_AT_ONCE = 500;

const USES = ['modules', 'maps'] as const;

/** Every digest that the database names. */
async function referencedBlobs(db: Database): Promise<ReadonlySet<string>> {
  const found = new Set<string>();
  const collect = async (
    table: 'version' | 'layer_version',
    column: (typeof USES)[number],
  ): Promise<void> => {
    const digest = column === 'maps' ? sql`each.value` : sql`json_extract(each.value, '$.digest')`;
    for (let after = 0; ;) {
      const { rows } = await db.read((orm) =>
        orm.run(sql`SELECT page.row, ${digest} AS digest
          FROM (SELECT rowid AS row, ${sql.identifier(column)} AS list FROM ${sql.identifier(table)}
            WHERE rowid > ${after} ORDER BY rowid LIMIT ${ROWS_AT_ONCE}) AS page
          LEFT JOIN json_each(page.list) AS each`),
      );
      if (rows.length === 0) return;
      for (const row of rows) {
        if (typeof row['digest'] === 'string') found.add(row['digest']);
        after = Math.max(after, Number(row['row']));
      }
    }
  };
  await collect('version', 'modules');
  await collect('version', 'maps');
  await collect('layer_version', 'modules');
  return found;
}

export async function cleanBlobs(deps: {
  readonly db: Database;
  readonly blobs: BlobStore;
  readonly log: Log;
}): Promise<void> {
  try {
    const removed = await deps.blobs.sweep(() => referencedBlobs(deps.db));
    if (removed > 0) deps.log.info('blobs_cleaned', { removed });
  } catch (thrown) {
    deps.log.warn('blobs_not_cleaned', { error: thrown });
  }
}

/** At once and every hour. */
export function keepBlobsClean(deps: Parameters<typeof cleanBlobs>[0], timers: Timers): Timer {
  void cleanBlobs(deps);
  return timers.every(CLEAN_MS, () => void cleanBlobs(deps));
}
