/** Rows of accounts: their issuers and ceilings. */
import { asc, eq, gt } from 'drizzle-orm';
import type { AccountView } from '#shared/contracts/access.ts';
import { PlatformError } from '#shared/errors.ts';
import type { Ceilings } from '#shared/contracts/ceilings.ts';
import type { AccountName } from '#shared/ids.ts';
import { assetBytesOf } from './assets.ts';
import { codeBytesOf } from './blobs.ts';
import type { Orm, WriteTx } from './database.ts';
import { liveVersionIds } from './live.ts';
import { instant, pageOf, readCursor, type Page, type PageRequest } from './page.ts';
import { accounts, aliases } from './schema.ts';
import { shownJwks } from './shown.ts';

type AccountRow = typeof accounts.$inferSelect;

async function view(orm: Orm, row: AccountRow): Promise<AccountView> {
  return {
    name: row.name,
    ...(row.issuer == null ? {} : { issuer: { ...row.issuer, jwks: shownJwks(row.issuer.jwks) } }),
    ...(row.ceilings == null ? {} : { ceilings: row.ceilings }),
    stored: { codeBytes: await codeBytesOf(orm, row.name), assetBytes: await assetBytesOf(orm, row.name) },
    createdAt: instant(row.createdAt),
  };
}

export async function findAccount(orm: Orm, name: AccountName): Promise<AccountRow | undefined> {
  const [row] = await orm.select().from(accounts).where(eq(accounts.name, name));
  return row;
}

export async function getAccount(orm: Orm, name: AccountName): Promise<AccountView> {
  const row = await findAccount(orm, name);
  if (row === undefined) throw new PlatformError('account_not_found', `no account ${name}`);
  return view(orm, row);
}

export async function listAccounts(orm: Orm, page: PageRequest): Promise<Page<AccountView>> {
  const after = readCursor(page.cursor);
  const rows = await orm
    .select()
    .from(accounts)
    .where(after === undefined ? undefined : gt(accounts.name, after as AccountName))
    .orderBy(asc(accounts.name))
    .limit(page.limit + 1);
  const { items, ...rest } = pageOf(rows, page.limit, { item: (row) => row, key: (row) => row.name });
  const shown: AccountView[] = [];
  for (const row of items) shown.push(await view(orm, row));
  return { items: shown, ...rest };
}

export async function createAccount(tx: WriteTx, name: AccountName, actor: string): Promise<AccountView> {
  if ((await findAccount(tx.orm, name)) !== undefined)
    throw new PlatformError('name_taken', `account ${name} exists`, {
      publicDetail: `There is an account ${name} already.`,
    });
  await tx.orm.insert(accounts).values({ name, createdAt: tx.nowMs });
  await tx.change('account', name);
  await tx.audit({ account: name, actor, action: 'account.create', target: name });
  return getAccount(tx.orm, name);
}

export async function setIssuer(
  tx: WriteTx,
  name: AccountName,
  issuer: AccountView['issuer'] | null,
  actor: string,
): Promise<AccountView> {
  await getAccount(tx.orm, name);
  await tx.orm.update(accounts).set({ issuer }).where(eq(accounts.name, name));
  await tx.change('account', name);
  await tx.audit({ account: name, actor, action: 'account.issuer', target: name });
  return getAccount(tx.orm, name);
}

/** No ceilings where there is no such account: who asks has been let into it. */
export async function ceilingsOf(orm: Orm, name: AccountName): Promise<Ceilings> {
  return (await findAccount(orm, name))?.ceilings ?? {};
}

export async function setCeilings(
  tx: WriteTx,
  name: AccountName,
  ceilings: Ceilings | null,
  actor: string,
): Promise<AccountView> {
  const before = await getAccount(tx.orm, name);
  await tx.orm.update(accounts).set({ ceilings }).where(eq(accounts.name, name));
  await tx.change('account', name);
  // The tier is part of what nodes are told of each version.
  if (before.ceilings?.tier !== ceilings?.tier) {
    const pointing = await tx.orm.select().from(aliases).where(eq(aliases.account, name));
    for (const id of liveVersionIds(pointing)) await tx.change('version', id);
  }
  await tx.audit({ account: name, actor, action: 'account.ceilings', target: name, detail: { ceilings } });
  return getAccount(tx.orm, name);
}
