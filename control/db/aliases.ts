/** Aliases and the history of where they pointed. Each move is one deployment, in the same transaction. */
import { and, asc, desc, eq, gt, inArray, lt } from 'drizzle-orm';
import type { AliasView, DeploymentView, Weights } from '#shared/contracts/api.ts';
import { PlatformError } from '#shared/errors.ts';
import { versionId, type AliasName } from '#shared/ids.ts';
import { requireFeedRoom, requireRoom } from './ceilings.ts';
import type { Orm, WriteTx } from './database.ts';
import { aliasesOf, aliasView, requireFunction, type FunctionRef } from './functions.ts';
import { instant, pageOf, readCursor, readNumberCursor, type Page, type PageRequest } from './page.ts';
import { aliases, deployments, routes, versions } from './schema.ts';

type DeploymentRow = typeof deployments.$inferSelect;

export interface Move {
  readonly alias: AliasName;
  readonly weights: Weights;
  readonly reason: DeploymentRow['reason'];
  readonly message: string | undefined;
  readonly actor: string;
}

function view(row: DeploymentRow): DeploymentView {
  return {
    id: String(row.id),
    function: row.functionName,
    alias: row.alias,
    weights: row.weights,
    ...(row.previous === null ? {} : { previous: row.previous }),
    reason: row.reason,
    ...(row.message === null ? {} : { message: row.message }),
    createdAt: instant(row.createdAt),
    createdBy: row.createdBy,
    revision: row.revision,
  };
}

function isAlias(ref: FunctionRef, name: AliasName) {
  return and(aliasesOf(ref), eq(aliases.name, name));
}

function historyOf(ref: FunctionRef, alias: AliasName | undefined) {
  return and(
    eq(deployments.account, ref.account),
    eq(deployments.functionName, ref.functionName),
    alias === undefined ? undefined : eq(deployments.alias, alias),
  );
}

/** @throws {PlatformError} `alias_not_found` (or `function_not_found`). */
export async function requireAlias(orm: Orm, ref: FunctionRef, name: AliasName) {
  await requireFunction(orm, ref);
  const [row] = await orm.select().from(aliases).where(isAlias(ref, name));
  if (row === undefined) throw new PlatformError('alias_not_found', `no alias ${ref.functionName}@${name}`);
  return row;
}

export async function listAliases(orm: Orm, ref: FunctionRef, page: PageRequest): Promise<Page<AliasView>> {
  await requireFunction(orm, ref);
  const after = readCursor(page.cursor);
  const rows = await orm
    .select()
    .from(aliases)
    .where(and(aliasesOf(ref), after === undefined ? undefined : gt(aliases.name, after as AliasName)))
    .orderBy(asc(aliases.name))
    .limit(page.limit + 1);
  return pageOf(rows, page.limit, {
    item: aliasView,
    key: (row) => row.name,
  });
}

export async function listDeployments(
  orm: Orm,
  ref: FunctionRef,
  alias: AliasName | undefined,
  page: PageRequest,
): Promise<Page<DeploymentView>> {
  await requireFunction(orm, ref);
  const rows = await orm
    .select()
    .from(deployments)
    .where(and(historyOf(ref, alias), lt(deployments.id, readNumberCursor(page.cursor))))
    .orderBy(desc(deployments.id))
    .limit(page.limit + 1);
  return pageOf(rows, page.limit, { item: view, key: (row) => row.id });
}

/** @throws {PlatformError} `version_not_found` (or `function_not_found`). */
export async function requireVersions(
  orm: Orm,
  ref: FunctionRef,
  weights: Weights,
): Promise<readonly (typeof versions.$inferSelect)[]> {
  await requireFunction(orm, ref);
  const wanted = weights.map((entry) => entry.version);
  const rows = await orm
    .select()
    .from(versions)
    .where(
      and(
        eq(versions.account, ref.account),
        eq(versions.functionName, ref.functionName),
        inArray(versions.number, wanted),
      ),
    );
  const found = new Set(rows.map((row) => row.number));
  const missing = wanted.filter((number) => !found.has(number));
  if (missing.length > 0)
    throw new PlatformError('version_not_found', `no versions ${missing.join(', ')}`, {
      publicDetail: `There is no version ${missing.join(', ')}.`,
    });
  return rows;
}

/**
 * Points the alias at the weights, creating it when needed, and writes the deployment. Whether these versions may
 * be served is decided before: publish/move.ts.
 */
export async function recordMove(tx: WriteTx, ref: FunctionRef, move: Move): Promise<DeploymentView> {
  const { orm, nowMs } = tx;
  const [before] = await orm.select().from(aliases).where(isAlias(ref, move.alias));
  if (before === undefined) await requireRoom(tx, ref.account, 'aliases');
  await orm
    .insert(aliases)
    .values({ ...ref, name: move.alias, weights: move.weights, updatedAt: nowMs })
    .onConflictDoUpdate({
      target: [aliases.account, aliases.functionName, aliases.name],
      set: { weights: move.weights, updatedAt: nowMs },
    });
  // A way back must always be open.
  if (move.reason !== 'rollback') await requireFeedRoom(tx, ref.account);
  const touched = new Set([...move.weights, ...(before?.weights ?? [])].map((entry) => entry.version));
  // Versions before the function: whoever applies changes one by one knows a version before traffic needs it.
  for (const number of touched) await tx.change('version', versionId(ref.account, ref.functionName, number));
  const revision = await tx.change('function', `${ref.account}/${ref.functionName}`);
  const [row] = await orm
    .insert(deployments)
    .values({
      ...ref,
      alias: move.alias,
      weights: move.weights,
      previous: before?.weights,
      reason: move.reason,
      message: move.message,
      revision,
      createdAt: nowMs,
      createdBy: move.actor,
    })
    .returning();
  if (row === undefined) throw new PlatformError('internal', 'the deployment row was not written');
  await tx.audit({
    account: ref.account,
    actor: move.actor,
    action: `alias.${move.reason}`,
    target: `${ref.functionName}@${move.alias}`,
    detail: { weights: move.weights },
  });
  return view(row);
}

function sameWeights(left: Weights, right: Weights): boolean {
  const text = (weights: Weights): string =>
    weights
      .map((entry) => `${entry.version}:${entry.weight}`)
      .sort()
      .join(',');
  return text(left) === text(right);
}

const VERSIONS_NAMED_MAX = 10;

/** After rollbacks the newer versions are still there, and only their numbers lead to them. */
function noWayBack(alias: AliasName, present: Weights, existing: ReadonlySet<number>): string {
  const served = new Set(present.map((entry) => entry.version));
  const others = [...existing].filter((number) => !served.has(number)).sort((a, b) => b - a);
  const named = others.slice(0, VERSIONS_NAMED_MAX).join(', ');
  const more = others.length > VERSIONS_NAMED_MAX ? ' and older ones' : '';
  return `${alias} serves version ${[...served].join(', ')}, before which it served nothing that still exists; ${
    others.length === 0 ? 'there is no other version.' : `these versions exist too: ${named}${more}.`
  }`;
}

const HISTORY_SEARCHED_MAX = 1_000;

/**
 * The weights to roll back to; deployments of deleted versions are passed over. A rollback is itself a deployment, so "the one before" is searched before
 * the deployment that first put the present weights live, or two rollbacks in a row would swap two versions.
 *
 * @throws {PlatformError} `no_previous_version`.
 */
export async function previousWeights(orm: Orm, ref: FunctionRef, alias: AliasName): Promise<Weights> {
  const { weights: present } = await requireAlias(orm, ref, alias);
  const history = await orm
    .select()
    .from(deployments)
    .where(historyOf(ref, alias))
    .orderBy(desc(deployments.id))
    .limit(HISTORY_SEARCHED_MAX);
  const existing = await orm
    .select({ number: versions.number })
    .from(versions)
    .where(and(eq(versions.account, ref.account), eq(versions.functionName, ref.functionName)));
  const numbers = new Set(existing.map((row) => row.number));
  const found = rollbackTarget(
    history
      .filter((row) => row.weights.every((entry) => numbers.has(entry.version)))
      .map((row) => ({ weights: row.weights, rollback: row.reason === 'rollback' })),
    present,
  );
  if (found === undefined)
    throw new PlatformError('no_previous_version', `${ref.functionName}@${alias} has no earlier deployment`, {
      publicDetail: noWayBack(alias, present, numbers),
    });
  return found;
}

/** Pure. @param history - newest first. */
export function rollbackTarget(
  history: readonly { readonly weights: Weights; readonly rollback: boolean }[],
  present: Weights,
): Weights | undefined {
  const origin = history.findIndex((entry) => !entry.rollback && sameWeights(entry.weights, present));
  return history.slice(Math.max(0, origin)).find((entry) => !sameWeights(entry.weights, present))?.weights;
}

/** @throws {PlatformError} `in_use` while a route names it. */
export async function deleteAlias(
  tx: WriteTx,
  ref: FunctionRef,
  name: AliasName,
  actor: string,
): Promise<void> {
  const row = await requireAlias(tx.orm, ref, name);
  const [route] = await tx.orm
    .select()
    .from(routes)
    .where(
      and(eq(routes.account, ref.account), eq(routes.functionName, ref.functionName), eq(routes.alias, name)),
    )
    .limit(1);
  if (route !== undefined)
    throw new PlatformError('in_use', `route ${route.id} uses alias ${name}`, {
      publicDetail: `The route ${route.host}${route.path} uses alias ${name}.`,
    });
  await tx.orm.delete(aliases).where(isAlias(ref, name));
  for (const entry of row.weights)
    await tx.change('version', versionId(ref.account, ref.functionName, entry.version));
  await tx.change('function', `${ref.account}/${ref.functionName}`);
  await tx.audit({
    account: ref.account,
    actor,
    action: 'alias.delete',
    target: `${ref.functionName}@${name}`,
  });
}
