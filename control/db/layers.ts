/** Rows of layers and their versions. */
import { and, asc, desc, eq, gt, lt, sql } from 'drizzle-orm';
import type { LayerVersionView, LayerView } from '#shared/contracts/api.ts';
import type { ModuleRef } from '#shared/contracts/modules.ts';
import { PlatformError } from '#shared/errors.ts';
import type { AccountName, Digest, LayerName } from '#shared/ids.ts';
import { recordBlobs } from './blobs.ts';
import { requireRoom } from './ceilings.ts';
import type { Orm, WriteTx } from './database.ts';
import { nextNumber } from './functions.ts';
import { instant, pageOf, readCursor, readNumberCursor, type Page, type PageRequest } from './page.ts';
import { layerVersions, versions } from './schema.ts';

export interface LayerRef {
  readonly account: AccountName;
  readonly layer: LayerName;
}

export type LayerVersionRow = typeof layerVersions.$inferSelect;

export function layerVersionView(row: LayerVersionRow): LayerVersionView {
  return {
    layer: row.layer,
    number: row.number,
    digest: row.digest,
    modules: row.modules,
    createdAt: instant(row.createdAt),
  };
}

function ofLayer(ref: LayerRef) {
  return and(eq(layerVersions.account, ref.account), eq(layerVersions.layer, ref.layer));
}

export async function findLayerVersion(
  orm: Orm,
  ref: LayerRef,
  number: number,
): Promise<LayerVersionRow | undefined> {
  const [row] = await orm
    .select()
    .from(layerVersions)
    .where(and(ofLayer(ref), eq(layerVersions.number, number)));
  return row;
}

/** @throws {PlatformError} `layer_not_found`. */
export async function requireLayerVersion(orm: Orm, ref: LayerRef, number: number): Promise<LayerVersionRow> {
  const row = await findLayerVersion(orm, ref, number);
  if (row === undefined)
    throw new PlatformError('layer_not_found', `no layer ${ref.layer}@${number}`, {
      publicDetail: `There is no layer ${ref.layer} with version ${number}.`,
    });
  return row;
}

export async function listLayers(
  orm: Orm,
  account: AccountName,
  page: PageRequest,
): Promise<Page<LayerView>> {
  const after = readCursor(page.cursor);
  const rows = await orm
    .select({
      name: layerVersions.layer,
      latest: sql<number>`max(${layerVersions.number})`,
      first: sql<number>`min(${layerVersions.createdAt})`,
    })
    .from(layerVersions)
    .where(
      and(
        eq(layerVersions.account, account),
        after === undefined ? undefined : gt(layerVersions.layer, after as LayerName),
      ),
    )
    .groupBy(layerVersions.layer)
    .orderBy(asc(layerVersions.layer))
    .limit(page.limit + 1);
  return pageOf(rows, page.limit, {
    item: (row) => ({ name: row.name, latestVersion: row.latest, createdAt: instant(row.first) }),
    key: (row) => row.name,
  });
}

export async function listLayerVersions(
  orm: Orm,
  ref: LayerRef,
  page: PageRequest,
): Promise<Page<LayerVersionView>> {
  const rows = await orm
    .select()
    .from(layerVersions)
    .where(and(ofLayer(ref), lt(layerVersions.number, readNumberCursor(page.cursor))))
    .orderBy(desc(layerVersions.number))
    .limit(page.limit + 1);
  if (rows.length === 0 && page.cursor === undefined)
    throw new PlatformError('layer_not_found', `no layer ${ref.layer}`);
  return pageOf(rows, page.limit, { item: layerVersionView, key: (row) => row.number });
}

/** Equal content has equal versions: the one that exists is returned. */
export async function insertLayerVersion(
  tx: WriteTx,
  ref: LayerRef,
  content: {
    readonly digest: Digest;
    readonly modules: readonly ModuleRef[];
    readonly message: string | undefined;
  },
  actor: string,
): Promise<{ readonly row: LayerVersionRow; readonly created: boolean }> {
  const [existing] = await tx.orm
    .select()
    .from(layerVersions)
    .where(and(ofLayer(ref), eq(layerVersions.digest, content.digest)));
  if (existing !== undefined) return { row: existing, created: false };
  await requireRoom(tx, ref.account, 'layerVersions');
  await recordBlobs(tx, content.modules);
  const number = await nextNumber(tx, { kind: 'layer', account: ref.account, name: ref.layer });
  const [row] = await tx.orm
    .insert(layerVersions)
    .values({
      ...ref,
      number,
      digest: content.digest,
      modules: [...content.modules],
      message: content.message,
      createdAt: tx.nowMs,
      createdBy: actor,
    })
    .returning();
  if (row === undefined) throw new PlatformError('internal', 'the layer row was not written');
  await tx.audit({
    account: ref.account,
    actor,
    action: 'layer.publish',
    target: `${ref.layer}@${number}`,
    detail: { digest: content.digest },
  });
  return { row, created: true };
}

/** @throws {PlatformError} `in_use` while a version lists it. */
export async function deleteLayerVersion(
  tx: WriteTx,
  ref: LayerRef,
  number: number,
  actor: string,
): Promise<void> {
  await requireLayerVersion(tx.orm, ref, number);
  const [user] = await tx.orm
    .select({ functionName: versions.functionName, number: versions.number })
    .from(versions)
    .where(
      and(
        eq(versions.account, ref.account),
        sql`exists (select 1 from json_each(${versions.config}, '$.layers') as entry
          where json_extract(entry.value, '$.name') = ${ref.layer}
          and json_extract(entry.value, '$.version') = ${number})`,
      ),
    )
    .limit(1);
  if (user !== undefined)
    throw new PlatformError('in_use', `layer ${ref.layer}@${number} is referenced`, {
      publicDetail: `Version ${user.number} of ${user.functionName} uses it.`,
    });
  await tx.orm.delete(layerVersions).where(and(ofLayer(ref), eq(layerVersions.number, number)));
  await tx.audit({ account: ref.account, actor, action: 'layer.delete', target: `${ref.layer}@${number}` });
}
