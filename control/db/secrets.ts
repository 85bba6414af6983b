/** Secrets of accounts: written sealed, listed by name, never read back here. */
import { and, asc, count, eq, gt, inArray, sql } from 'drizzle-orm';
import type { SecretView } from '#shared/contracts/api.ts';
import type { FunctionConfig } from '#shared/contracts/config.ts';
import { PlatformError } from '#shared/errors.ts';
import { versionId, type AccountName, type SecretName } from '#shared/ids.ts';
import { LIMITS } from '#shared/limits.ts';
import { liveVersionIds } from '../feed/items.ts';
import type { Orm, WriteTx } from './database.ts';
import { instant, pageOf, readCursor, type Page, type PageRequest } from './page.ts';
import { aliases, secrets, versions } from './schema.ts';

export interface SecretRef {
  readonly account: AccountName;
  readonly name: SecretName;
}

function isSecret({ account, name }: SecretRef) {
  return and(eq(secrets.account, account), eq(secrets.name, name));
}

/** What seals a value to its place: it opens nowhere else. */
export const secretContext = ({ account, name }: SecretRef): string => `secret/${account}/${name}`;

export async function listSecrets(
  orm: Orm,
  account: AccountName,
  page: PageRequest,
): Promise<Page<SecretView>> {
  const after = readCursor(page.cursor);
  const rows = await orm
    .select({ name: secrets.name, updatedAt: secrets.updatedAt })
    .from(secrets)
    .where(
      and(
        eq(secrets.account, account),
        after === undefined ? undefined : gt(secrets.name, after as SecretName),
      ),
    )
    .orderBy(asc(secrets.name))
    .limit(page.limit + 1);
  return pageOf(rows, page.limit, {
    item: (row) => ({ name: row.name, updatedAt: instant(row.updatedAt) }),
    key: (row) => row.name,
  });
}

/** @throws {PlatformError} `quota_exceeded` for one more name than an account may have. */
export async function putSecret(
  tx: WriteTx,
  ref: SecretRef,
  sealed: string,
  actor: string,
): Promise<SecretView & { readonly revision: number }> {
  const [others] = await tx.orm
    .select({ count: count() })
    .from(secrets)
    .where(and(eq(secrets.account, ref.account), sql`${secrets.name} <> ${ref.name}`));
  if ((others?.count ?? 0) >= LIMITS.secretsPerAccountMax)
    throw new PlatformError('quota_exceeded', `${ref.account} has ${LIMITS.secretsPerAccountMax} secrets`, {
      publicDetail: `An account may have ${LIMITS.secretsPerAccountMax} secrets.`,
    });
  const values = { sealed, updatedAt: tx.nowMs, updatedBy: actor };
  await tx.orm
    .insert(secrets)
    .values({ ...ref, ...values })
    .onConflictDoUpdate({ target: [secrets.account, secrets.name], set: values });
  const revision = await tx.change('secret', `${ref.account}/${ref.name}`);
  await tx.audit({ account: ref.account, actor, action: 'secret.put', target: ref.name });
  return { name: ref.name, updatedAt: instant(tx.nowMs), revision };
}

/** @throws {PlatformError} `in_use` while a version that an alias points at names it. */
export async function deleteSecret(tx: WriteTx, ref: SecretRef, actor: string): Promise<void> {
  const [known] = await tx.orm.select({ name: secrets.name }).from(secrets).where(isSecret(ref));
  if (known === undefined) throw new PlatformError('secret_not_found', `no secret ${ref.name}`);
  const users = await tx.orm
    .select({ functionName: versions.functionName, number: versions.number })
    .from(versions)
    .where(
      and(
        eq(versions.account, ref.account),
        sql`exists (select 1 from json_each(${versions.config}, '$.egress.headers') as entry
          where json_extract(entry.value, '$.secret') = ${ref.name})`,
      ),
    );
  const live = liveVersionIds(await tx.orm.select().from(aliases).where(eq(aliases.account, ref.account)));
  const user = users.find((row) => live.has(versionId(ref.account, row.functionName, row.number)));
  if (user !== undefined)
    throw new PlatformError('in_use', `secret ${ref.name} is referenced`, {
      publicDetail: `Version ${user.number} of ${user.functionName} uses it.`,
    });
  await tx.orm.delete(secrets).where(isSecret(ref));
  await tx.change('secret', `${ref.account}/${ref.name}`);
  await tx.audit({ account: ref.account, actor, action: 'secret.delete', target: ref.name });
}

/** @throws {PlatformError} `secret_not_found` with the place of each name that the account does not have. */
export async function requireSecrets(
  orm: Orm,
  account: AccountName,
  egress: FunctionConfig['egress'],
): Promise<void> {
  if (egress === undefined || typeof egress === 'string' || egress.headers.length === 0) return;
  const rows = await orm
    .select({ name: secrets.name })
    .from(secrets)
    .where(
      and(
        eq(secrets.account, account),
        inArray(
          secrets.name,
          egress.headers.map(({ secret }) => secret),
        ),
      ),
    );
  const known = new Set(rows.map(({ name }) => name));
  const problems = egress.headers.flatMap(({ secret }, index) =>
    known.has(secret)
      ? []
      : [{ path: `config.egress.headers.${index}.secret`, message: `there is no secret ${secret}` }],
  );
  const [first] = problems;
  if (first === undefined) return;
  throw new PlatformError('secret_not_found', `${account} has no ${first.path}`, {
    publicDetail: `${first.path}: ${first.message}`,
    extensions: { problems },
  });
}
