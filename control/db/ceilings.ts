/**
 * How much of each kind an account may keep. What it keeps is not given back by waiting, and much of it stands in
 * everybody's feed, so every kind has a ceiling, also where the operator has set none.
 */
import { and, desc, eq, lte, notInArray, sql, type SQL } from 'drizzle-orm';
import type { SQLiteTable } from 'drizzle-orm/sqlite-core';
import type { Ceilings } from '#shared/contracts/ceilings.ts';
import { PlatformError } from '#shared/errors.ts';
import type { AccountName, FunctionName } from '#shared/ids.ts';
import { LIMITS } from '#shared/limits.ts';
import { ceilingsOf } from './accounts.ts';
import { codeBytesOf } from './blobs.ts';
import type { WriteTx } from './database.ts';
import { accounts, aliases, functions, keys, layerVersions, routes, versions } from './schema.ts';

const MIB = 1_048_576;

const DEFAULTS = {
  functions: 500,
  aliases: 2_000,
  routes: 1_000,
  keys: 1_000,
  layerVersions: 1_000,
  /** Of one function. The oldest that no alias uses go. */
  versionsKept: 200,
  /** Of what gateways, schedulers and nodes all hold in memory. */
  feedBytes: 16 * MIB,
  codeBytes: LIMITS.codePerAccountBytesDefault,
} as const satisfies Partial<Record<keyof Ceilings, number>>;

type Counted = 'functions' | 'aliases' | 'routes' | 'keys' | 'layerVersions';

const COUNTED: Readonly<
  Record<Counted, { table: SQLiteTable; ofAccount: (name: AccountName) => SQL; what: string }>
> = {
  functions: { table: functions, ofAccount: (name) => eq(functions.account, name), what: 'functions' },
  aliases: { table: aliases, ofAccount: (name) => eq(aliases.account, name), what: 'aliases' },
  routes: { table: routes, ofAccount: (name) => eq(routes.account, name), what: 'routes' },
  keys: { table: keys, ofAccount: (name) => eq(keys.account, name), what: 'keys' },
  layerVersions: {
    table: layerVersions,
    ofAccount: (name) => eq(layerVersions.account, name),
    what: 'layer versions',
  },
};

async function ceilingOf(tx: WriteTx, account: AccountName, kind: keyof typeof DEFAULTS): Promise<number> {
  return (await ceilingsOf(tx.orm, account))[kind] ?? DEFAULTS[kind];
}

/** Room for one more. @throws {PlatformError} `quota_exceeded`. */
export async function requireRoom(tx: WriteTx, account: AccountName, kind: Counted): Promise<void> {
  const { table, ofAccount, what } = COUNTED[kind];
  const most = await ceilingOf(tx, account, kind);
  const have = await tx.orm.$count(table, ofAccount(account));
  if (have < most) return;
  throw new PlatformError('quota_exceeded', `${account} has ${have} ${what} of ${most}`, {
    publicDetail: `The account may have ${most} ${what}. Delete some, or ask the operator to raise the ceiling.`,
  });
}

/** After a change of what an account has in the feed. @throws {PlatformError} `quota_exceeded`. */
export async function requireFeedRoom(tx: WriteTx, account: AccountName): Promise<void> {
  const most = await ceilingOf(tx, account, 'feedBytes');
  const { rows } = await tx.orm.run(sql`SELECT
    (SELECT coalesce(sum(length(v.config) + length(v.modules) + length(v.bindings)), 0) FROM ${versions} AS v
      WHERE v.account = ${account} AND EXISTS (
        SELECT 1 FROM ${aliases} AS a, json_each(a.weights) AS w
        WHERE a.account = v.account AND a.function = v.function
          AND json_extract(w.value, '$.version') = v.number))
    + (SELECT coalesce(sum(length(a.weights) + coalesce(length(a.provision), 0)), 0)
      FROM ${aliases} AS a WHERE a.account = ${account})
    + (SELECT coalesce(length(c.issuer), 0) FROM ${accounts} AS c WHERE c.name = ${account}) AS bytes`);
  const have = Number(rows[0]?.['bytes'] ?? 0);
  if (have <= most) return;
  throw new PlatformError('quota_exceeded', `${account} would have ${have} bytes in the feed of ${most}`, {
    publicDetail: `The configurations that the account's aliases use may have ${most} bytes together, and would have ${have}. Make vars and key sets smaller, or delete aliases.`,
  });
}

/**
 * Around a change of what an account's versions and layers name, in the transaction of the change: of two uploads at
 * once the second counts the first. What adds nothing is let in, also over the ceiling.
 *
 * @throws {PlatformError} `quota_exceeded`.
 */
export async function withinCodeBytes<T>(
  tx: WriteTx,
  account: AccountName,
  change: () => Promise<T>,
): Promise<T> {
  const before = await codeBytesOf(tx.orm, account);
  const result = await change();
  const after = await codeBytesOf(tx.orm, account);
  const most = await ceilingOf(tx, account, 'codeBytes');
  if (after <= most || after <= before) return result;
  throw new PlatformError('quota_exceeded', `${account} would keep ${after} bytes of code of ${most}`, {
    publicDetail: `The code of all versions and layers of the account may have ${most} bytes, and would have ${after}. Delete versions, layer versions or functions that are not needed, or ask the operator to raise the ceiling.`,
  });
}

/** Keeps the newest versions of a function, and those that its aliases use. */
export async function pruneVersions(
  tx: WriteTx,
  { account, functionName }: { readonly account: AccountName; readonly functionName: FunctionName },
): Promise<void> {
  const most = await ceilingOf(tx, account, 'versionsKept');
  const own = and(eq(versions.account, account), eq(versions.functionName, functionName));
  const [beyond] = await tx.orm
    .select({ number: versions.number })
    .from(versions)
    .where(own)
    .orderBy(desc(versions.number))
    .limit(1)
    .offset(Math.max(1, most));
  if (beyond === undefined) return;
  const pointing = await tx.orm
    .select({ weights: aliases.weights })
    .from(aliases)
    .where(and(eq(aliases.account, account), eq(aliases.functionName, functionName)));
  const used = pointing.flatMap(({ weights }) => weights.map(({ version }) => version));
  await tx.orm
    .delete(versions)
    .where(and(own, lte(versions.number, beyond.number), notInArray(versions.number, [0, ...used])));
}
