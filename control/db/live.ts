/** Versions that some alias gives a share: what the feed carries, and what a change of a secret concerns. */
import { and, eq } from 'drizzle-orm';
import { versionId, type AccountName, type FunctionName } from '#shared/ids.ts';
import type { Orm } from './database.ts';
import { aliases, versions } from './schema.ts';

/** Pure. */
export function liveVersionIds(pointing: readonly (typeof aliases.$inferSelect)[]): ReadonlySet<string> {
  return new Set(
    pointing.flatMap((alias) =>
      alias.weights.map((entry) => versionId(alias.account, alias.functionName, entry.version)),
    ),
  );
}

/** Of one function, or of all of the account. */
export async function liveVersions(
  orm: Orm,
  account: AccountName,
  functionName: FunctionName | undefined,
): Promise<readonly (typeof versions.$inferSelect)[]> {
  const pointing = await orm
    .select()
    .from(aliases)
    .where(
      and(
        eq(aliases.account, account),
        functionName === undefined ? undefined : eq(aliases.functionName, functionName),
      ),
    );
  const live = liveVersionIds(pointing);
  if (live.size === 0) return [];
  const rows = await orm
    .select()
    .from(versions)
    .where(
      and(
        eq(versions.account, account),
        functionName === undefined ? undefined : eq(versions.functionName, functionName),
      ),
    );
  return rows.filter((row) => live.has(versionId(row.account, row.functionName, row.number)));
}
