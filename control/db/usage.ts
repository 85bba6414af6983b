/** What functions used, one row per function and hour. */
import { and, asc, eq, gte, lt, sql, type SQL } from 'drizzle-orm';
import type { SQLiteColumn } from 'drizzle-orm/sqlite-core';
import type { UsageGranularity, UsageView } from '#shared/contracts/api.ts';
import type { UsageReport } from '#shared/contracts/usage.ts';
import { PlatformError } from '#shared/errors.ts';
import { functionNameSchema, type AccountName, type FunctionName } from '#shared/ids.ts';
import type { Orm, WriteTx } from './database.ts';
import { instant, pageOf, readCursor, type Page, type PageRequest } from './page.ts';
import { usage, usageSources } from './schema.ts';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const KEPT_MS = 400 * DAY_MS;
/** A plane that was silent for this long has ended: nothing of it will be repeated. */
const SOURCE_KEPT_MS = 30 * DAY_MS;
/** Eleven parameters a row; SQLite takes 32,766. */
const ROWS_PER_INSERT = 500;

type Amounts = UsageReport['entries'][number]['amounts'];

/** Adds a report, unless it was added before. @returns whether it was new. */
export async function applyUsage(tx: WriteTx, report: UsageReport): Promise<boolean> {
  const [known] = await tx.orm.select().from(usageSources).where(eq(usageSources.source, report.source));
  if (known !== undefined && known.sequence >= report.sequence) return false;
  const row = { source: report.source, sequence: report.sequence, at: tx.nowMs };
  await tx.orm
    .insert(usageSources)
    .values(row)
    .onConflictDoUpdate({ target: usageSources.source, set: { sequence: row.sequence, at: row.at } });
  const hour = tx.nowMs - (tx.nowMs % HOUR_MS);
  for (let from = 0; from < report.entries.length; from += ROWS_PER_INSERT)
    await addRows(tx.orm, report.entries.slice(from, from + ROWS_PER_INSERT), hour);
  return true;
}

async function addRows(orm: Orm, entries: UsageReport['entries'], hour: number): Promise<void> {
  const plus = (column: SQLiteColumn): SQL => sql`${column} + excluded.${sql.identifier(column.name)}`;
  await orm
    .insert(usage)
    .values(
      entries.map((entry) => ({
        account: entry.account,
        functionName: entry.function,
        hour,
        ...whole(entry.amounts),
      })),
    )
    .onConflictDoUpdate({
      target: [usage.account, usage.functionName, usage.hour],
      set: {
        requests: plus(usage.requests),
        errors: plus(usage.errors),
        cpuMs: plus(usage.cpuMs),
        memoryMbMs: plus(usage.memoryMbMs),
        requestBytes: plus(usage.requestBytes),
        responseBytes: plus(usage.responseBytes),
        egressRequests: plus(usage.egressRequests),
        egressBytes: plus(usage.egressBytes),
      },
    });
}

/** Counts are whole; times may have a fraction. */
function whole({ cpuMs, memoryMbMs, ...counts }: Amounts): Amounts {
  const rounded = Object.fromEntries(
    Object.entries(counts).map(([name, amount]) => [name, Math.round(amount)]),
  ) as typeof counts;
  return { cpuMs, memoryMbMs, ...rounded };
}

/** Forgets hours that are older than 400 days. */
export async function pruneUsage(tx: WriteTx): Promise<void> {
  await tx.orm.delete(usage).where(lt(usage.hour, tx.nowMs - KEPT_MS));
  await tx.orm.delete(usageSources).where(lt(usageSources.at, tx.nowMs - SOURCE_KEPT_MS));
}

export interface UsageQuery extends PageRequest {
  /** First instant, ms since the epoch; rounded down to the hour. */
  readonly fromMs: number;
  /** First instant that is not included, rounded up to the hour. */
  readonly toMs: number;
  readonly functionName: FunctionName | undefined;
  readonly granularity: UsageGranularity;
}

const sum = (column: SQLiteColumn): SQL<number> => sql<number>`sum(${column})`;

/** In order of time, then of function. */
export async function listUsage(orm: Orm, account: AccountName, query: UsageQuery): Promise<Page<UsageView>> {
  const fromMs = query.fromMs - (query.fromMs % HOUR_MS);
  const bucket = bucketOf(query.granularity);
  const after = readUsageCursor(query.cursor);
  const rows = await orm
    .select({
      functionName: usage.functionName,
      start: bucket.as('start'),
      requests: sum(usage.requests),
      errors: sum(usage.errors),
      cpuMs: sum(usage.cpuMs),
      memoryMbMs: sum(usage.memoryMbMs),
      requestBytes: sum(usage.requestBytes),
      responseBytes: sum(usage.responseBytes),
      egressRequests: sum(usage.egressRequests),
      egressBytes: sum(usage.egressBytes),
    })
    .from(usage)
    .where(
      and(
        eq(usage.account, account),
        gte(usage.hour, fromMs),
        lt(usage.hour, query.toMs),
        query.functionName === undefined ? undefined : eq(usage.functionName, query.functionName),
        after === undefined
          ? undefined
          : sql`(${bucket}, ${usage.functionName}) > (${after.start}, ${after.name})`,
      ),
    )
    .groupBy(sql`start`, usage.functionName)
    .orderBy(sql`start`, asc(usage.functionName))
    .limit(query.limit + 1);
  return pageOf(rows, query.limit, {
    item: ({ functionName, start, ...amounts }) => ({
      function: functionName,
      start: instant(query.granularity === 'total' ? fromMs : start),
      ...amounts,
    }),
    key: (row) => `${row.start} ${row.functionName}`,
  });
}

function bucketOf(granularity: UsageGranularity): SQL<number> {
  switch (granularity) {
    case 'hour':
      return sql<number>`${usage.hour}`;
    case 'day':
      return sql<number>`${usage.hour} - ${usage.hour} % ${sql.raw(String(DAY_MS))}`;
    case 'total':
      return sql<number>`0`;
  }
}

function readUsageCursor(cursor: string | undefined): { start: number; name: FunctionName } | undefined {
  const text = readCursor(cursor);
  if (text === undefined) return undefined;
  const [start, name] = text.split(' ');
  const parsed = functionNameSchema.safeParse(name);
  if (parsed.success && Number.isSafeInteger(Number(start)))
    return { start: Number(start), name: parsed.data };
  throw new PlatformError('bad_request', 'cursor is not one of usage', {
    publicDetail: 'The cursor is not one that this API gave out.',
  });
}
