/** Rows of functions, and the numbers of their versions, which are never used again. */
import { and, asc, eq, gt, inArray, sql } from 'drizzle-orm';
import type { AliasView, FunctionView } from '#shared/contracts/api.ts';
import { PlatformError } from '#shared/errors.ts';
import { versionId, type AccountName, type FunctionName } from '#shared/ids.ts';
import { requireRoom } from './ceilings.ts';
import { NUMBER_FLOOR, type Orm, type WriteTx } from './database.ts';
import { instant, pageOf, readCursor, type Page, type PageRequest } from './page.ts';
import {
  aliases,
  counters,
  deployments,
  functions,
  functionSecrets,
  meta,
  routes,
  versions,
} from './schema.ts';

type FunctionRow = typeof functions.$inferSelect;
type AliasRow = typeof aliases.$inferSelect;

/** Names one function; passed whole so that account and function cannot be swapped. */
export interface FunctionRef {
  readonly account: AccountName;
  readonly functionName: FunctionName;
}

function isFunction(ref: FunctionRef) {
  return and(eq(functions.account, ref.account), eq(functions.name, ref.functionName));
}

export function aliasesOf(ref: FunctionRef) {
  return and(eq(aliases.account, ref.account), eq(aliases.functionName, ref.functionName));
}

export function aliasView({ name, weights, provision, updatedAt }: AliasRow): AliasView {
  return {
    name,
    weights,
    ...(provision == null ? {} : { provision }),
    updatedAt: instant(updatedAt),
  };
}

function view(row: FunctionRow, pointing: readonly AliasRow[], latest: number | undefined): FunctionView {
  return {
    name: row.name,
    enabled: row.enabled,
    aliases: pointing.map(aliasView),
    ...(latest === undefined ? {} : { latestVersion: latest }),
    createdAt: instant(row.createdAt),
  };
}

async function findFunction(orm: Orm, ref: FunctionRef): Promise<FunctionRow | undefined> {
  const [row] = await orm.select().from(functions).where(isFunction(ref));
  return row;
}

/** @throws {PlatformError} `function_not_found`. */
export async function requireFunction(orm: Orm, ref: FunctionRef): Promise<FunctionRow> {
  const row = await findFunction(orm, ref);
  if (row === undefined)
    throw new PlatformError('function_not_found', `no function ${ref.account}/${ref.functionName}`);
  return row;
}

async function latestVersions(orm: Orm, account: AccountName, names: readonly FunctionName[]) {
  const rows = await orm
    .select({ name: versions.functionName, latest: sql<number>`max(${versions.number})` })
    .from(versions)
    .where(and(eq(versions.account, account), inArray(versions.functionName, [...names])))
    .groupBy(versions.functionName);
  return new Map(rows.map((row) => [row.name, row.latest]));
}

export async function getFunction(orm: Orm, ref: FunctionRef): Promise<FunctionView> {
  const row = await requireFunction(orm, ref);
  const pointing = await orm.select().from(aliases).where(aliasesOf(ref)).orderBy(asc(aliases.name));
  const latest = await latestVersions(orm, ref.account, [ref.functionName]);
  return view(row, pointing, latest.get(ref.functionName));
}

export async function listFunctions(
  orm: Orm,
  account: AccountName,
  page: PageRequest,
  /** Those alone that a limited key may see. */
  only?: readonly FunctionName[],
): Promise<Page<FunctionView>> {
  const after = readCursor(page.cursor);
  const rows = await orm
    .select()
    .from(functions)
    .where(
      and(
        eq(functions.account, account),
        after === undefined ? undefined : gt(functions.name, after as FunctionName),
        only === undefined ? undefined : inArray(functions.name, [...only]),
      ),
    )
    .orderBy(asc(functions.name))
    .limit(page.limit + 1);
  const names = rows.map((row) => row.name);
  const pointing = await orm
    .select()
    .from(aliases)
    .where(and(eq(aliases.account, account), inArray(aliases.functionName, names)))
    .orderBy(asc(aliases.name));
  const latest = await latestVersions(orm, account, names);
  return pageOf(rows, page.limit, {
    item: (row) =>
      view(
        row,
        pointing.filter((alias) => alias.functionName === row.name),
        latest.get(row.name),
      ),
    key: (row) => row.name,
  });
}

/** @throws {PlatformError} `quota_exceeded` when the account may have no further one. */
export async function ensureFunction(tx: WriteTx, ref: FunctionRef): Promise<void> {
  if ((await findFunction(tx.orm, ref)) !== undefined) return;
  await requireRoom(tx, ref.account, 'functions');
  await tx.orm
    .insert(functions)
    .values({ account: ref.account, name: ref.functionName, enabled: true, createdAt: tx.nowMs });
}

export async function setEnabled(
  tx: WriteTx,
  ref: FunctionRef,
  to: { readonly enabled: boolean; readonly actor: string },
): Promise<FunctionView> {
  await requireFunction(tx.orm, ref);
  await tx.orm.update(functions).set({ enabled: to.enabled }).where(isFunction(ref));
  await tx.change('function', `${ref.account}/${ref.functionName}`);
  await tx.audit({
    account: ref.account,
    actor: to.actor,
    action: to.enabled ? 'function.enable' : 'function.disable',
    target: ref.functionName,
  });
  return getFunction(tx.orm, ref);
}

/** Removes it with its aliases, deployments, versions and routes. Its counter stays: numbers are never used again. */
export async function deleteFunction(tx: WriteTx, ref: FunctionRef, actor: string): Promise<void> {
  const { orm } = tx;
  await requireFunction(orm, ref);
  const pointing = await orm.select().from(aliases).where(aliasesOf(ref));
  const live = new Set(pointing.flatMap((alias) => alias.weights.map((entry) => entry.version)));
  const ofRoutes = and(eq(routes.account, ref.account), eq(routes.functionName, ref.functionName));
  const gone = await orm.select({ id: routes.id }).from(routes).where(ofRoutes);
  await orm.delete(routes).where(ofRoutes);
  await orm.delete(aliases).where(aliasesOf(ref));
  await orm
    .delete(deployments)
    .where(and(eq(deployments.account, ref.account), eq(deployments.functionName, ref.functionName)));
  await orm
    .delete(versions)
    .where(and(eq(versions.account, ref.account), eq(versions.functionName, ref.functionName)));
  await orm
    .delete(functionSecrets)
    .where(and(eq(functionSecrets.account, ref.account), eq(functionSecrets.functionName, ref.functionName)));
  await orm.delete(functions).where(isFunction(ref));
  for (const route of gone) await tx.change('route', route.id);
  await tx.change('function', `${ref.account}/${ref.functionName}`);
  for (const number of live) await tx.change('version', versionId(ref.account, ref.functionName, number));
  await tx.audit({ account: ref.account, actor, action: 'function.delete', target: ref.functionName });
}

/** The next number of a function's versions or of a layer's. */
/** Numbers up to it may have been given by changes that were lost. */
async function numberFloor(orm: Orm): Promise<number> {
  const [row] = await orm.select().from(meta).where(eq(meta.name, NUMBER_FLOOR));
  return Number(row?.value ?? 0);
}

export async function nextNumber(
  tx: WriteTx,
  counter: { readonly kind: 'function' | 'layer'; readonly account: AccountName; readonly name: string },
): Promise<number> {
  const [row] = await tx.orm
    .insert(counters)
    .values({ ...counter, last: (await numberFloor(tx.orm)) + 1 })
    .onConflictDoUpdate({
      target: [counters.kind, counters.account, counters.name],
      set: { last: sql`${counters.last} + 1` },
    })
    .returning({ last: counters.last });
  if (row === undefined) throw new PlatformError('internal', 'a counter gave no number');
  return row.last;
}

/** The number that {@link nextNumber} would give now; a guess as soon as the read ends. */
export async function peekNumber(orm: Orm, ref: FunctionRef): Promise<number> {
  const [row] = await orm
    .select({ last: counters.last })
    .from(counters)
    .where(
      and(
        eq(counters.kind, 'function'),
        eq(counters.account, ref.account),
        eq(counters.name, ref.functionName),
      ),
    );
  return (row?.last ?? (await numberFloor(orm))) + 1;
}
