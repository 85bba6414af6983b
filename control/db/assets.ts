/** Which files an account has uploaded. It may serve those and no others, whatever digests it knows. */
import { and, eq, inArray, isNotNull, sql } from 'drizzle-orm';
import type { AccountName, Digest } from '#shared/ids.ts';
import type { Orm, WriteTx } from './database.ts';
import { assets, versions, type VersionAssets } from './schema.ts';

/** SQLite's bound on parameters is far higher. */
const DIGESTS_PER_QUERY = 500;

function chunks<T>(values: readonly T[]): readonly (readonly T[])[] {
  const parts: (readonly T[])[] = [];
  for (let index = 0; index < values.length; index += DIGESTS_PER_QUERY)
    parts.push(values.slice(index, index + DIGESTS_PER_QUERY));
  return parts;
}

/** Bytes of those that the account has. */
export async function knownAssets(
  orm: Orm,
  account: AccountName,
  digests: readonly Digest[],
): Promise<ReadonlyMap<Digest, number>> {
  const known = new Map<Digest, number>();
  for (const part of chunks(digests))
    for (const { digest, bytes } of await orm
      .select({ digest: assets.digest, bytes: assets.bytes })
      .from(assets)
      .where(and(eq(assets.account, account), inArray(assets.digest, [...part]))))
      known.set(digest, bytes);
  return known;
}

export async function assetBytesOf(orm: Orm, account: AccountName): Promise<number> {
  const [row] = await orm
    .select({ bytes: sql<number>`coalesce(sum(${assets.bytes}), 0)` })
    .from(assets)
    .where(eq(assets.account, account));
  return row?.bytes ?? 0;
}

/** Uploading anew what is known makes it young again. */
export async function recordAssets(
  tx: WriteTx,
  account: AccountName,
  files: readonly { readonly digest: Digest; readonly bytes: number }[],
): Promise<void> {
  for (const { digest, bytes } of files)
    await tx.orm
      .insert(assets)
      .values({ account, digest, bytes, uploadedAt: tx.nowMs })
      .onConflictDoUpdate({ target: [assets.account, assets.digest], set: { uploadedAt: tx.nowMs } });
}

/** Of a version that is published with them: they are in use, and no sweep that is under way takes them for leftovers. */
export async function touchAssets(
  tx: WriteTx,
  account: AccountName,
  files: readonly { readonly digest: Digest }[],
): Promise<void> {
  for (const part of chunks(files.map(({ digest }) => digest)))
    await tx.orm
      .update(assets)
      .set({ uploadedAt: tx.nowMs })
      .where(and(eq(assets.account, account), inArray(assets.digest, [...part])));
}

export async function forgetAsset(tx: WriteTx, account: AccountName, digest: Digest): Promise<void> {
  await tx.orm.delete(assets).where(and(eq(assets.account, account), eq(assets.digest, digest)));
}

/** Those that nobody has used since, whatever was seen before. @returns which they were. */
export async function forgetOldAssets(
  tx: WriteTx,
  account: AccountName,
  { digests, beforeMs }: { readonly digests: readonly Digest[]; readonly beforeMs: number },
): Promise<readonly Digest[]> {
  const forgotten: Digest[] = [];
  for (const part of chunks(digests)) {
    const rows = await tx.orm
      .delete(assets)
      .where(
        and(
          eq(assets.account, account),
          inArray(assets.digest, [...part]),
          sql`${assets.uploadedAt} < ${beforeMs}`,
        ),
      )
      .returning({ digest: assets.digest });
    forgotten.push(...rows.map(({ digest }) => digest));
  }
  return forgotten;
}

/** Uploaded before `beforeMs`. */
export async function oldAssets(
  orm: Orm,
  account: AccountName,
  beforeMs: number,
): Promise<readonly Digest[]> {
  const rows = await orm
    .select({ digest: assets.digest })
    .from(assets)
    .where(and(eq(assets.account, account), sql`${assets.uploadedAt} < ${beforeMs}`));
  return rows.map(({ digest }) => digest);
}

/** Of every version of the account. */
export async function manifestsOf(orm: Orm, account: AccountName): Promise<readonly VersionAssets[]> {
  const rows = await orm
    .select({ assets: versions.assets })
    .from(versions)
    .where(and(eq(versions.account, account), isNotNull(versions.assets)));
  return rows.flatMap((row) => (row.assets == null ? [] : [row.assets]));
}
