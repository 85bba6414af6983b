/** Rows of versions, which never change. */
import { and, desc, eq, lt } from 'drizzle-orm';
import type { VersionView } from '#shared/contracts/api.ts';
import type { ResolvedBinding } from '#shared/contracts/bindings.ts';
import type { FunctionConfig } from '#shared/contracts/config.ts';
import type { ModuleRef } from '#shared/contracts/modules.ts';
import { PlatformError } from '#shared/errors.ts';
import type { Digest } from '#shared/ids.ts';
import type { Orm, WriteTx } from './database.ts';
import { aliasesOf, nextNumber, requireFunction, type FunctionRef } from './functions.ts';
import { instant, pageOf, readNumberCursor, type Page, type PageRequest } from './page.ts';
import { aliases, versions, type VersionAssets } from './schema.ts';
import { shownConfig } from './shown.ts';

export type VersionRow = typeof versions.$inferSelect;

export interface NewVersion {
  readonly digest: Digest;
  /** Empty: the version has no code. */
  readonly main: string;
  readonly modules: readonly ModuleRef[];
  readonly maps: Readonly<Record<string, Digest>>;
  readonly config: FunctionConfig;
  readonly bindings: readonly ResolvedBinding[];
  readonly assets: VersionAssets | null;
  readonly message: string | undefined;
}

export function versionView(row: VersionRow): VersionView {
  return {
    function: row.functionName,
    number: row.number,
    digest: row.digest,
    ...(row.main === '' ? {} : { main: row.main }),
    modules: row.modules,
    config: shownConfig(row.config),
    ...(row.assets == null ? {} : { assets: { files: row.assets.files, bytes: row.assets.bytes } }),
    createdAt: instant(row.createdAt),
    createdBy: row.createdBy,
    ...(row.message === null ? {} : { message: row.message }),
  };
}

function ofFunction(ref: FunctionRef) {
  return and(eq(versions.account, ref.account), eq(versions.functionName, ref.functionName));
}

export async function findVersion(
  orm: Orm,
  ref: FunctionRef,
  number: number,
): Promise<VersionRow | undefined> {
  const [row] = await orm
    .select()
    .from(versions)
    .where(and(ofFunction(ref), eq(versions.number, number)));
  return row;
}

/** @throws {PlatformError} `function_not_found` or `version_not_found`. */
export async function requireVersion(orm: Orm, ref: FunctionRef, number: number): Promise<VersionRow> {
  await requireFunction(orm, ref);
  const row = await findVersion(orm, ref, number);
  if (row === undefined)
    throw new PlatformError('version_not_found', `no version ${number} of ${ref.functionName}`, {
      publicDetail: `There is no version ${number}.`,
    });
  return row;
}

export async function findByDigest(
  orm: Orm,
  ref: FunctionRef,
  digest: Digest,
): Promise<VersionRow | undefined> {
  const [row] = await orm
    .select()
    .from(versions)
    .where(and(ofFunction(ref), eq(versions.digest, digest)));
  return row;
}

export async function listVersions(
  orm: Orm,
  ref: FunctionRef,
  page: PageRequest,
): Promise<Page<VersionView>> {
  await requireFunction(orm, ref);
  const rows = await orm
    .select()
    .from(versions)
    .where(and(ofFunction(ref), lt(versions.number, readNumberCursor(page.cursor))))
    .orderBy(desc(versions.number))
    .limit(page.limit + 1);
  return pageOf(rows, page.limit, { item: versionView, key: (row) => row.number });
}

/** The function must exist. */
export async function insertVersion(
  tx: WriteTx,
  ref: FunctionRef,
  content: NewVersion,
  actor: string,
): Promise<VersionRow> {
  const number = await nextNumber(tx, { kind: 'function', account: ref.account, name: ref.functionName });
  const [row] = await tx.orm
    .insert(versions)
    .values({
      ...ref,
      number,
      digest: content.digest,
      main: content.main,
      modules: [...content.modules],
      maps: content.maps,
      config: content.config,
      bindings: [...content.bindings],
      assets: content.assets,
      message: content.message,
      createdAt: tx.nowMs,
      createdBy: actor,
    })
    .returning();
  if (row === undefined) throw new PlatformError('internal', 'the version row was not written');
  await tx.audit({
    account: ref.account,
    actor,
    action: 'version.publish',
    target: `${ref.functionName}@${number}`,
    detail: { digest: content.digest },
  });
  return row;
}

/** @throws {PlatformError} `in_use` while an alias gives it a share. */
export async function deleteVersion(
  tx: WriteTx,
  ref: FunctionRef,
  number: number,
  actor: string,
): Promise<void> {
  await requireVersion(tx.orm, ref, number);
  const pointing = await tx.orm.select().from(aliases).where(aliasesOf(ref));
  const holders = pointing.filter((alias) => alias.weights.some((entry) => entry.version === number));
  if (holders.length > 0)
    throw new PlatformError('in_use', `version ${number} is referenced`, {
      publicDetail: `Version ${number} is used by alias ${holders.map((alias) => alias.name).join(', ')}.`,
    });
  await tx.orm.delete(versions).where(and(ofFunction(ref), eq(versions.number, number)));
  await tx.audit({
    account: ref.account,
    actor,
    action: 'version.delete',
    target: `${ref.functionName}@${number}`,
  });
}
