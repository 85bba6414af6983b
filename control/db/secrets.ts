/** Secrets of accounts and of functions: sealed values, and what follows when one changes. */
import { and, asc, count, eq, gt, inArray, sql } from 'drizzle-orm';
import type { SecretView } from '#shared/contracts/access.ts';
import { bindingOfSecret } from '#shared/contracts/secrets.ts';
import { PlatformError } from '#shared/errors.ts';
import { versionId, type AccountName, type FunctionName, type SecretName } from '#shared/ids.ts';
import { LIMITS } from '#shared/limits.ts';
import type { Orm, WriteTx } from './database.ts';
import { liveVersions } from './live.ts';
import { instant, pageOf, readCursor, type Page, type PageRequest } from './page.ts';
import { functions, functionSecrets, secrets, type versions } from './schema.ts';

export type SecretRow = typeof secrets.$inferSelect;
export type FunctionSecretRow = typeof functionSecrets.$inferSelect;
type VersionRow = typeof versions.$inferSelect;

export interface SecretRef {
  readonly account: AccountName;
  readonly name: SecretName;
}

export interface FunctionSecretRef extends SecretRef {
  readonly functionName: FunctionName;
}

function isSecret(ref: SecretRef) {
  return and(eq(secrets.account, ref.account), eq(secrets.name, ref.name));
}

function isFunctionSecret(ref: FunctionSecretRef) {
  return and(
    eq(functionSecrets.account, ref.account),
    eq(functionSecrets.functionName, ref.functionName),
    eq(functionSecrets.name, ref.name),
  );
}

function view(row: SecretRow): SecretView {
  return {
    name: row.name,
    updatedAt: instant(row.updatedAt),
    ...(row.functions === null ? {} : { functions: row.functions }),
    ...(row.hosts === null ? {} : { hosts: row.hosts }),
  };
}

export async function listSecrets(
  orm: Orm,
  account: AccountName,
  page: PageRequest,
): Promise<Page<SecretView>> {
  const after = readCursor(page.cursor);
  const rows = await orm
    .select()
    .from(secrets)
    .where(
      and(
        eq(secrets.account, account),
        after === undefined ? undefined : gt(secrets.name, after as SecretName),
      ),
    )
    .orderBy(asc(secrets.name))
    .limit(page.limit + 1);
  return pageOf(rows, page.limit, { item: view, key: (row) => row.name });
}

/** Nodes learn of a changed value with the versions that have it in `env`, and start new instances of them. */
async function changeVersions(tx: WriteTx, rows: readonly VersionRow[]): Promise<void> {
  for (const row of rows) await tx.change('version', versionId(row.account, row.functionName, row.number));
}

function bindsFromAccount({ config }: VersionRow, name: SecretName): boolean {
  return (config.secrets ?? []).some((entry) => bindingOfSecret(entry).secret === name);
}

function sendsAsHeader({ config }: VersionRow, name: SecretName): boolean {
  const { egress } = config;
  if (egress === undefined || typeof egress === 'string') return false;
  return egress.headers.some(({ secret }) => secret === name);
}

export interface SecretValue {
  readonly sealed: string;
  /** undefined: as it was. null: no bound. */
  readonly functions: readonly FunctionName[] | null | undefined;
  readonly hosts: readonly string[] | null | undefined;
}

/** @throws {PlatformError} `quota_exceeded` for one more name than an account may have. */
export async function putSecret(
  tx: WriteTx,
  ref: SecretRef,
  value: SecretValue,
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
  const set = {
    sealed: value.sealed,
    updatedAt: tx.nowMs,
    updatedBy: actor,
    ...(value.functions === undefined
      ? {}
      : { functions: value.functions === null ? null : [...value.functions] }),
    ...(value.hosts === undefined ? {} : { hosts: value.hosts === null ? null : [...value.hosts] }),
  };
  const [row] = await tx.orm
    .insert(secrets)
    .values({ ...ref, ...set })
    .onConflictDoUpdate({ target: [secrets.account, secrets.name], set })
    .returning();
  if (row === undefined) throw new PlatformError('internal', 'the secret row was not written');
  const live = await liveVersions(tx.orm, ref.account, undefined);
  await changeVersions(
    tx,
    live.filter((version) => bindsFromAccount(version, ref.name)),
  );
  const revision = await tx.change('secret', `${ref.account}/${ref.name}`);
  await tx.audit({ account: ref.account, actor, action: 'secret.put', target: ref.name });
  return { ...view(row), revision };
}

/** @throws {PlatformError} `in_use` while a version that an alias points at names it. */
export async function deleteSecret(tx: WriteTx, ref: SecretRef, actor: string): Promise<void> {
  const [known] = await tx.orm.select({ name: secrets.name }).from(secrets).where(isSecret(ref));
  if (known === undefined) throw new PlatformError('secret_not_found', `no secret ${ref.name}`);
  const live = await liveVersions(tx.orm, ref.account, undefined);
  const user = live.find((row) => sendsAsHeader(row, ref.name) || bindsFromAccount(row, ref.name));
  if (user !== undefined)
    throw new PlatformError('in_use', `secret ${ref.name} is referenced`, {
      publicDetail: `Version ${user.number} of ${user.functionName} uses it.`,
    });
  await tx.orm.delete(secrets).where(isSecret(ref));
  await tx.change('secret', `${ref.account}/${ref.name}`);
  await tx.audit({ account: ref.account, actor, action: 'secret.delete', target: ref.name });
}

export async function listFunctionSecrets(
  orm: Orm,
  ref: Omit<FunctionSecretRef, 'name'>,
): Promise<readonly FunctionSecretRow[]> {
  return orm
    .select()
    .from(functionSecrets)
    .where(and(eq(functionSecrets.account, ref.account), eq(functionSecrets.functionName, ref.functionName)))
    .orderBy(asc(functionSecrets.name));
}

/**
 * The function need not exist yet: its first version then starts with the secret.
 *
 * @throws {PlatformError} `quota_exceeded`.
 */
export async function putFunctionSecret(
  tx: WriteTx,
  ref: FunctionSecretRef,
  sealed: string,
  actor: string,
): Promise<{ readonly updatedAtMs: number; readonly revision: number; readonly functionExists: boolean }> {
  const rows = await listFunctionSecrets(tx.orm, ref);
  if (!rows.some(({ name }) => name === ref.name) && rows.length >= LIMITS.secretsPerFunctionMax)
    throw new PlatformError('quota_exceeded', `${ref.functionName} has ${rows.length} secrets`, {
      publicDetail: `A function may have ${LIMITS.secretsPerFunctionMax} secrets.`,
    });
  await requireRoom(tx.orm, ref.account);
  const live = await liveVersions(tx.orm, ref.account, ref.functionName);
  const values = { sealed, updatedAt: tx.nowMs, updatedBy: actor };
  await tx.orm
    .insert(functionSecrets)
    .values({ ...ref, ...values })
    .onConflictDoUpdate({
      target: [functionSecrets.account, functionSecrets.functionName, functionSecrets.name],
      set: values,
    });
  const [known] = await tx.orm
    .select()
    .from(functions)
    .where(and(eq(functions.account, ref.account), eq(functions.name, ref.functionName)));
  const revision = await functionSecretChanged(tx, ref, live);
  const target = `${ref.functionName}/${ref.name}`;
  await tx.audit({ account: ref.account, actor, action: 'function_secret.put', target });
  return { updatedAtMs: tx.nowMs, revision, functionExists: known !== undefined };
}

/** Secrets of functions, of an account: they may be made for functions that do not exist. */
const FUNCTION_SECRETS_PER_ACCOUNT_MAX = 5_000;

async function requireRoom(orm: Orm, account: AccountName): Promise<void> {
  const have = await orm.$count(functionSecrets, eq(functionSecrets.account, account));
  if (have < FUNCTION_SECRETS_PER_ACCOUNT_MAX) return;
  throw new PlatformError('quota_exceeded', `${account} has ${have} secrets of functions`, {
    publicDetail: `The functions of an account may have ${FUNCTION_SECRETS_PER_ACCOUNT_MAX} secrets together.`,
  });
}

/** @throws {PlatformError} `secret_not_found`; `in_use` while a served version says that it needs it. */
export async function deleteFunctionSecret(
  tx: WriteTx,
  ref: FunctionSecretRef,
  actor: string,
): Promise<void> {
  const [known] = await tx.orm.select().from(functionSecrets).where(isFunctionSecret(ref));
  if (known === undefined) throw new PlatformError('secret_not_found', `no secret ${ref.name}`);
  const live = await liveVersions(tx.orm, ref.account, ref.functionName);
  const [shared] = await tx.orm.select().from(secrets).where(isSecret(ref));
  const user = live.find((row) => shared === undefined && bindsFromAccount(row, ref.name));
  if (user !== undefined)
    throw new PlatformError('in_use', `secret ${ref.name} is referenced`, {
      publicDetail: `Version ${user.number} of ${user.functionName} lists it in \`secrets\`.`,
    });
  await tx.orm.delete(functionSecrets).where(isFunctionSecret(ref));
  await functionSecretChanged(tx, ref, live);
  const target = `${ref.functionName}/${ref.name}`;
  await tx.audit({ account: ref.account, actor, action: 'function_secret.delete', target });
}

/** @returns the revision with which every node has heard of it. */
async function functionSecretChanged(
  tx: WriteTx,
  { account, functionName }: FunctionSecretRef,
  live: readonly VersionRow[],
): Promise<number> {
  await changeVersions(tx, live);
  return tx.change('function', `${account}/${functionName}`);
}

/** All that a version of a function may have in its `env`. */
export interface KnownSecrets {
  readonly account: readonly SecretRow[];
  readonly own: readonly FunctionSecretRow[];
}

/** As a member of `env`: one that is for certain hosts never is. */
export function mayBind(row: Pick<SecretRow, 'functions' | 'hosts'>, functionName: FunctionName): boolean {
  return row.hosts === null && (row.functions === null || row.functions.includes(functionName));
}

/** Reads them for many versions at once. */
export async function secretsOfAccounts(
  orm: Orm,
  wanted: readonly { readonly account: AccountName }[],
): Promise<(ref: { readonly account: AccountName; readonly functionName: FunctionName }) => KnownSecrets> {
  const names = [...new Set(wanted.map(({ account }) => account))];
  if (names.length === 0) return () => ({ account: [], own: [] });
  const shared = await orm.select().from(secrets).where(inArray(secrets.account, names));
  const own = await orm.select().from(functionSecrets).where(inArray(functionSecrets.account, names));
  return ({ account, functionName }) => ({
    account: shared.filter((row) => row.account === account),
    own: own.filter((row) => row.account === account && row.functionName === functionName),
  });
}
