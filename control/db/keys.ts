/** Rows of keys. An account keeps at least one owner key. */
import { and, asc, eq, gt } from 'drizzle-orm';
import type { KeyView } from '#shared/contracts/access.ts';
import { PlatformError } from '#shared/errors.ts';
import type { AccountName } from '#shared/ids.ts';
import { requireRoom } from './ceilings.ts';
import type { Orm, WriteTx } from './database.ts';
import { instant, pageOf, readCursor, type Page, type PageRequest } from './page.ts';
import { keys } from './schema.ts';

export type KeyRow = typeof keys.$inferSelect;

export function keyView(row: KeyRow): KeyView {
  return {
    id: row.id,
    name: row.name,
    role: row.role,
    algorithm: row.algorithm,
    ...(row.functions === null ? {} : { functions: row.functions }),
    ...(row.expiresAt === null ? {} : { expiresAt: instant(row.expiresAt) }),
    createdAt: instant(row.createdAt),
  };
}

export async function findKey(orm: Orm, id: string): Promise<KeyRow | undefined> {
  const [row] = await orm.select().from(keys).where(eq(keys.id, id));
  return row;
}

export async function listKeys(orm: Orm, account: AccountName, page: PageRequest): Promise<Page<KeyView>> {
  const after = readCursor(page.cursor);
  const rows = await orm
    .select()
    .from(keys)
    .where(and(eq(keys.account, account), after === undefined ? undefined : gt(keys.id, after)))
    .orderBy(asc(keys.id))
    .limit(page.limit + 1);
  return pageOf(rows, page.limit, { item: keyView, key: (row) => row.id });
}

/** @returns the revision from which gateways know the key. */
export async function insertKey(tx: WriteTx, row: Omit<KeyRow, 'createdAt'>): Promise<number> {
  await requireRoom(tx, row.account, 'keys');
  await tx.orm.insert(keys).values({ ...row, createdAt: tx.nowMs });
  const revision = await tx.change('key', row.id);
  await tx.audit({
    account: row.account,
    actor: row.createdBy,
    action: 'key.create',
    target: row.id,
    detail: { role: row.role, algorithm: row.algorithm },
  });
  return revision;
}

/** @throws {PlatformError} `key_not_found`, or `in_use` for the account's last owner key. */
export async function deleteKey(tx: WriteTx, account: AccountName, id: string, actor: string): Promise<void> {
  const row = await findKey(tx.orm, id);
  if (row === undefined || row.account !== account) throw new PlatformError('key_not_found', `no key ${id}`);
  if (row.role === 'owner') {
    const owners = await tx.orm
      .select({ id: keys.id })
      .from(keys)
      .where(and(eq(keys.account, account), eq(keys.role, 'owner')))
      .limit(2);
    if (owners.length < 2)
      throw new PlatformError('in_use', `${id} is the last owner key`, {
        publicDetail: 'It is the last owner key of the account. Create another one first.',
      });
  }
  await tx.orm.delete(keys).where(eq(keys.id, id));
  await tx.change('key', id);
  await tx.audit({ account, actor, action: 'key.delete', target: id });
}
