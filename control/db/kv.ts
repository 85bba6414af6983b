/** Rows of KV namespaces: names, ids and who may bind them. Values are not here: nodes keep them. */
import { and, asc, eq, gt, inArray, sql } from 'drizzle-orm';
import type { KvNamespaceView } from '#shared/contracts/api.ts';
import { PlatformError } from '#shared/errors.ts';
import type { AccountName, FunctionName, KvNamespaceName } from '#shared/ids.ts';
import type { Orm, WriteTx } from './database.ts';
import { instant, pageOf, readCursor, type Page, type PageRequest } from './page.ts';
import { kvNamespaces, versions } from './schema.ts';

/** Of one account. */
const NAMESPACES_MAX = 1_000;

export interface KvNamespaceRef {
  readonly account: AccountName;
  readonly namespace: KvNamespaceName;
}

export type KvNamespaceRow = typeof kvNamespaces.$inferSelect;

export function kvNamespaceView(row: KvNamespaceRow): KvNamespaceView {
  return {
    name: row.name,
    id: row.id,
    ...(row.functions === null ? {} : { functions: row.functions }),
    createdAt: instant(row.createdAt),
  };
}

async function findKvNamespace(orm: Orm, ref: KvNamespaceRef): Promise<KvNamespaceRow | undefined> {
  const [row] = await orm
    .select()
    .from(kvNamespaces)
    .where(and(eq(kvNamespaces.account, ref.account), eq(kvNamespaces.name, ref.namespace)));
  return row;
}

/** Those of `names` that there are. */
export async function findKvNamespaces(
  orm: Orm,
  account: AccountName,
  names: readonly KvNamespaceName[],
): Promise<readonly KvNamespaceRow[]> {
  if (names.length === 0) return [];
  return orm
    .select()
    .from(kvNamespaces)
    .where(and(eq(kvNamespaces.account, account), inArray(kvNamespaces.name, [...names])));
}

/** @throws {PlatformError} `namespace_not_found`. */
export async function requireKvNamespace(orm: Orm, ref: KvNamespaceRef): Promise<KvNamespaceRow> {
  const row = await findKvNamespace(orm, ref);
  if (row === undefined)
    throw new PlatformError('namespace_not_found', `no KV namespace ${ref.namespace}`, {
      publicDetail: `There is no KV namespace ${ref.namespace}.`,
    });
  return row;
}

export async function listKvNamespaces(
  orm: Orm,
  account: AccountName,
  page: PageRequest,
): Promise<Page<KvNamespaceView>> {
  const after = readCursor(page.cursor);
  const rows = await orm
    .select()
    .from(kvNamespaces)
    .where(
      and(
        eq(kvNamespaces.account, account),
        after === undefined ? undefined : gt(kvNamespaces.name, after as KvNamespaceName),
      ),
    )
    .orderBy(asc(kvNamespaces.name))
    .limit(page.limit + 1);
  return pageOf(rows, page.limit, { item: kvNamespaceView, key: (row) => row.name });
}

/**
 * @param made - its id is random: a namespace that is made again under an old name is another one.
 * @throws {PlatformError} `name_taken`, `quota_exceeded`.
 */
export async function createKvNamespace(
  tx: WriteTx,
  ref: KvNamespaceRef,
  made: { readonly id: string; readonly functions: readonly FunctionName[] | undefined },
  actor: string,
): Promise<KvNamespaceRow> {
  if ((await findKvNamespace(tx.orm, ref)) !== undefined)
    throw new PlatformError('name_taken', `KV namespace ${ref.namespace} exists`, {
      publicDetail: `There is a KV namespace ${ref.namespace} already.`,
    });
  const [counted] = await tx.orm
    .select({ count: sql<number>`count(*)` })
    .from(kvNamespaces)
    .where(eq(kvNamespaces.account, ref.account));
  if ((counted?.count ?? 0) >= NAMESPACES_MAX)
    throw new PlatformError('quota_exceeded', `${ref.account} has ${NAMESPACES_MAX} KV namespaces`, {
      publicDetail: `An account has at most ${NAMESPACES_MAX} KV namespaces.`,
    });
  const [row] = await tx.orm
    .insert(kvNamespaces)
    .values({
      id: made.id,
      account: ref.account,
      name: ref.namespace,
      createdAt: tx.nowMs,
      createdBy: actor,
      functions: made.functions === undefined ? null : [...made.functions],
    })
    .returning();
  if (row === undefined) throw new PlatformError('internal', 'the KV namespace row was not written');
  await tx.audit({ account: ref.account, actor, action: 'kv.create', target: ref.namespace });
  return row;
}

/** Says which functions may bind it from now on; versions that bind it keep it. */
export async function grantKvNamespace(
  tx: WriteTx,
  ref: KvNamespaceRef,
  functions: readonly FunctionName[] | null,
  actor: string,
): Promise<KvNamespaceRow> {
  const { id } = await requireKvNamespace(tx.orm, ref);
  const [row] = await tx.orm
    .update(kvNamespaces)
    .set({ functions: functions === null ? null : [...functions] })
    .where(eq(kvNamespaces.id, id))
    .returning();
  if (row === undefined) throw new PlatformError('internal', 'the KV namespace row was not written');
  await tx.audit({ account: ref.account, actor, action: 'kv.grant', target: ref.namespace });
  return row;
}

/**
 * @returns the id whose values may now be removed.
 * @throws {PlatformError} `in_use` while a version binds it: a rollback to it would find the data gone.
 */
export async function deleteKvNamespace(tx: WriteTx, ref: KvNamespaceRef, actor: string): Promise<string> {
  const { id } = await requireKvNamespace(tx.orm, ref);
  const [user] = await tx.orm
    .select({ functionName: versions.functionName, number: versions.number })
    .from(versions)
    .where(
      and(
        eq(versions.account, ref.account),
        sql`exists (select 1 from json_each(${versions.bindings}) as entry
          where json_extract(entry.value, '$.kind') = 'kv' and json_extract(entry.value, '$.id') = ${id})`,
      ),
    )
    .limit(1);
  if (user !== undefined)
    throw new PlatformError('in_use', `KV namespace ${ref.namespace} is referenced`, {
      publicDetail: `Version ${user.number} of ${user.functionName} binds it.`,
    });
  await tx.orm.delete(kvNamespaces).where(eq(kvNamespaces.id, id));
  await tx.audit({ account: ref.account, actor, action: 'kv.delete', target: ref.namespace });
  return id;
}
