/** What the feed reads: current values of everything, or of what changed after a revision. */
import { and, asc, eq, gt, inArray, isNotNull, or, sql } from 'drizzle-orm';
import type { Tier } from '#shared/contracts/config.ts';
import type { AccountItem, FeedItem, FeedRole } from '#shared/contracts/feed.ts';
import { FEED_KINDS } from '#shared/contracts/feed.ts';
import {
  accountNameSchema,
  functionNameSchema,
  parseVersionId,
  secretNameSchema,
  versionIdSchema,
} from '#shared/ids.ts';
import {
  accountItem,
  functionItem,
  hasCode,
  keyItem,
  placementItem,
  routeItem,
  runnableItem,
  secretItem,
  versionItem,
} from './items.ts';
import { newestRevision, type Orm } from '../db/database.ts';
import { liveVersionIds } from '../db/live.ts';
import { secretsOfAccounts, type KnownSecrets } from '../db/secrets.ts';
import {
  accounts,
  aliases,
  changes,
  functions,
  keys,
  routes,
  secrets,
  versions,
  type ChangeKind,
} from '../db/schema.ts';

type VersionRow = typeof versions.$inferSelect;

export interface FeedSnapshot {
  readonly revision: number;
  readonly items: FeedItem[];
}

/** `compacted`: changes after `from` were dropped, or `from` never existed here. */
export type FeedDelta = (FeedSnapshot & { readonly kind: 'delta' }) | { readonly kind: 'compacted' };

/** Keys per IN list: SQLite's bound on parameters is far higher. */
const KEYS_PER_QUERY = 500;

function chunks<T>(values: readonly T[]): readonly (readonly T[])[] {
  const parts: (readonly T[])[] = [];
  for (let index = 0; index < values.length; index += KEYS_PER_QUERY)
    parts.push(values.slice(index, index + KEYS_PER_QUERY));
  return parts;
}

function grouped<T>(values: readonly T[], keyOf: (value: T) => string): ReadonlyMap<string, readonly T[]> {
  const groups = new Map<string, T[]>();
  for (const value of values) {
    const group = groups.get(keyOf(value));
    if (group === undefined) groups.set(keyOf(value), [value]);
    else group.push(value);
  }
  return groups;
}

/** What nodes are told of a version beside its row. */
interface ForNodes {
  readonly tiers: ReadonlyMap<string, Tier>;
  readonly secretsOf: (row: VersionRow) => KnownSecrets;
}

async function forNodes(orm: Orm, role: FeedRole, rows: Iterable<VersionRow>): Promise<ForNodes> {
  if (role !== 'node') return { tiers: new Map(), secretsOf: () => ({ account: [], own: [] }) };
  return { tiers: await tiersOf(orm), secretsOf: await secretsOfAccounts(orm, [...rows]) };
}

function forVersion(role: FeedRole, key: string, row: VersionRow | undefined, nodes: ForNodes): FeedItem {
  if (role === 'gateway')
    return readable('version', key, () => (row === undefined ? null : versionItem(row)));
  return readable('runnable', key, () =>
    row === undefined || !hasCode(row)
      ? null
      : runnableItem(row, nodes.secretsOf(row), nodes.tiers.get(row.account)),
  );
}

/**
 * A row that this release cannot read must not stop the feed of all the others: it goes out as what no consumer
 * can read, so that each skips and reports it (shared/feed/read.ts).
 */
function readable(kind: FeedItem['kind'], key: string, build: () => FeedItem['value']): FeedItem {
  try {
    return { kind, key, value: build() } as unknown as FeedItem;
  } catch (thrown) {
    const value = `the stored row cannot be read: ${thrown instanceof Error ? thrown.message : 'unknown'}`;
    return { kind, key, value } as unknown as FeedItem;
  }
}

/** Least tier of each account that has one. */
async function tiersOf(orm: Orm): Promise<ReadonlyMap<string, Tier>> {
  const tiers = new Map<string, Tier>();
  for (const { name, ceilings } of await orm.select().from(accounts).where(isNotNull(accounts.ceilings)))
    if (ceilings?.tier !== undefined) tiers.set(name, ceilings.tier);
  return tiers;
}

/** Kinds of the wire that a change of `kind` brings about. */
const WIRE_KINDS: Readonly<Record<ChangeKind, readonly FeedItem['kind'][]>> = {
  account: ['account'],
  function: ['function', 'placement'],
  version: ['version', 'runnable'],
  route: ['route'],
  key: ['key'],
  secret: ['secret'],
};

function concerns(role: FeedRole, kind: ChangeKind): boolean {
  const kinds: readonly string[] = FEED_KINDS[role];
  return WIRE_KINDS[kind].some((wire) => kinds.includes(wire));
}

/** Nodes hold to the quota of KV; who may invoke is nothing to them. */
function forAccount(role: FeedRole, row: typeof accounts.$inferSelect): AccountItem {
  if (role !== 'node') return accountItem(row);
  const kvBytes = row.ceilings?.kvBytes;
  return { name: row.name, ...(kvBytes === undefined ? {} : { ceilings: { kvBytes } }) };
}

function forFunction(
  role: FeedRole,
  key: string,
  found: {
    readonly row: typeof functions.$inferSelect | undefined;
    readonly pointing: readonly (typeof aliases.$inferSelect)[];
    readonly versionOf: (id: string) => VersionRow | undefined;
  },
): FeedItem {
  const { row, pointing } = found;
  if (role !== 'scheduler')
    return { kind: 'function', key, value: row === undefined ? null : functionItem(row, pointing) };
  const live = [...liveVersionIds(pointing)].flatMap((id) => found.versionOf(id) ?? []);
  return readable('placement', key, () => (row === undefined ? null : placementItem(row, pointing, live)));
}

async function versionsById(orm: Orm, ids: readonly string[]): Promise<ReadonlyMap<string, VersionRow>> {
  const found = new Map<string, VersionRow>();
  for (const part of chunks(ids)) {
    const wanted = part.map((id) => parseVersionId(versionIdSchema.parse(id)));
    const rows = await orm
      .select()
      .from(versions)
      .where(
        or(
          ...wanted.map((ref) =>
            and(
              eq(versions.account, ref.account),
              eq(versions.functionName, ref.functionName),
              eq(versions.number, ref.number),
            ),
          ),
        ),
      );
    for (const row of rows) found.set(`${row.account}/${row.functionName}@${row.number}`, row);
  }
  return found;
}

export async function readSnapshot(orm: Orm, role: FeedRole): Promise<FeedSnapshot> {
  const revision = await newestRevision(orm);
  const pointing = await orm.select().from(aliases);
  const live = liveVersionIds(pointing);
  const rows = await versionsById(orm, [...live]);
  const nodes = await forNodes(orm, role, rows.values());
  const items: FeedItem[] = concerns(role, 'version')
    ? [...live].map((id) => forVersion(role, id, rows.get(id), nodes))
    : [];
  const aliasesByFunction = grouped(pointing, (alias) => `${alias.account}/${alias.functionName}`);
  for (const row of await orm.select().from(functions)) {
    const key = `${row.account}/${row.name}`;
    const pointingHere = aliasesByFunction.get(key) ?? [];
    items.push(forFunction(role, key, { row, pointing: pointingHere, versionOf: (id) => rows.get(id) }));
  }
  if (concerns(role, 'account'))
    for (const row of await orm.select().from(accounts))
      items.push({ kind: 'account', key: row.name, value: forAccount(role, row) });
  if (concerns(role, 'secret'))
    for (const row of await orm.select().from(secrets))
      items.push({ kind: 'secret', key: `${row.account}/${row.name}`, value: secretItem(row) });
  if (concerns(role, 'route'))
    for (const row of await orm.select().from(routes))
      items.push({ kind: 'route', key: row.id, value: routeItem(row) });
  if (concerns(role, 'key'))
    for (const row of await orm.select().from(keys)) {
      const value = keyItem(row);
      if (value !== undefined) items.push({ kind: 'key', key: row.id, value });
    }
  return { revision, items };
}

function functionRef(key: string) {
  const slash = key.indexOf('/');
  return {
    account: accountNameSchema.parse(key.slice(0, slash)),
    functionName: functionNameSchema.parse(key.slice(slash + 1)),
  };
}

async function versionItems(orm: Orm, role: FeedRole, ids: readonly string[]): Promise<readonly FeedItem[]> {
  const refs = [...new Set(ids.map((id) => id.slice(0, id.lastIndexOf('@'))))].map(functionRef);
  const pointing = [];
  for (const part of chunks(refs))
    pointing.push(
      ...(await orm
        .select()
        .from(aliases)
        .where(
          or(
            ...part.map((ref) =>
              and(eq(aliases.account, ref.account), eq(aliases.functionName, ref.functionName)),
            ),
          ),
        )),
    );
  const live = liveVersionIds(pointing);
  const rows = await versionsById(
    orm,
    ids.filter((id) => live.has(id)),
  );
  const nodes = await forNodes(orm, role, rows.values());
  return ids.map((id) => forVersion(role, id, rows.get(id), nodes));
}

async function functionItems(
  orm: Orm,
  role: FeedRole,
  keyList: readonly string[],
): Promise<readonly FeedItem[]> {
  const items: FeedItem[] = [];
  for (const key of keyList) {
    const ref = functionRef(key);
    const [row] = await orm
      .select()
      .from(functions)
      .where(and(eq(functions.account, ref.account), eq(functions.name, ref.functionName)));
    const pointing = await orm
      .select()
      .from(aliases)
      .where(and(eq(aliases.account, ref.account), eq(aliases.functionName, ref.functionName)))
      .orderBy(asc(aliases.name));
    const rows = role === 'scheduler' ? await versionsById(orm, [...liveVersionIds(pointing)]) : undefined;
    items.push(forFunction(role, key, { row, pointing, versionOf: (id) => rows?.get(id) }));
  }
  return items;
}

async function currentItems(
  orm: Orm,
  role: FeedRole,
  kind: ChangeKind,
  keyList: readonly string[],
): Promise<readonly FeedItem[]> {
  switch (kind) {
    case 'version':
      return versionItems(orm, role, keyList);
    case 'function':
      return functionItems(orm, role, keyList);
    case 'account': {
      const names = keyList.map((key) => accountNameSchema.parse(key));
      const rows = await orm.select().from(accounts).where(inArray(accounts.name, names));
      const found = new Map<string, (typeof rows)[number]>(rows.map((row) => [row.name, row]));
      return keyList.map((key) => {
        const row = found.get(key);
        return { kind, key, value: row === undefined ? null : forAccount(role, row) };
      });
    }
    case 'secret': {
      const items: FeedItem[] = [];
      for (const key of keyList) {
        const slash = key.indexOf('/');
        const [row] = await orm
          .select()
          .from(secrets)
          .where(
            and(
              eq(secrets.account, accountNameSchema.parse(key.slice(0, slash))),
              eq(secrets.name, secretNameSchema.parse(key.slice(slash + 1))),
            ),
          );
        items.push({ kind, key, value: row === undefined ? null : secretItem(row) });
      }
      return items;
    }
    case 'route': {
      const rows = await orm
        .select()
        .from(routes)
        .where(inArray(routes.id, [...keyList]));
      const found = new Map(rows.map((row) => [row.id, row]));
      return keyList.map((key) => {
        const row = found.get(key);
        return { kind, key, value: row === undefined ? null : routeItem(row) };
      });
    }
    case 'key': {
      const rows = await orm
        .select()
        .from(keys)
        .where(inArray(keys.id, [...keyList]));
      const found = new Map(rows.map((row) => [row.id, row]));
      return keyList.map((key) => {
        const row = found.get(key);
        return { kind, key, value: row === undefined ? null : (keyItem(row) ?? null) };
      });
    }
  }
}

/** Current values of everything that changed after `from`. All reads must be in one transaction. */
export async function readDelta(orm: Orm, role: FeedRole, from: number): Promise<FeedDelta> {
  const revision = await newestRevision(orm);
  if (from > revision) return { kind: 'compacted' };
  if (from === revision) return { kind: 'delta', revision, items: [] };
  const [oldest] = await orm.select({ revision: sql<number | null>`min(${changes.revision})` }).from(changes);
  if (oldest?.revision == null || from < oldest.revision - 1) return { kind: 'compacted' };
  const touched = await orm
    .selectDistinct({ kind: changes.kind, key: changes.key })
    .from(changes)
    .where(gt(changes.revision, from));
  const items: FeedItem[] = [];
  const byKind = grouped(touched, (row) => row.kind);
  // Versions first: see recordMove.
  for (const kind of ['version', 'secret', 'function', 'account', 'route', 'key'] as const) {
    const keyList = (byKind.get(kind) ?? []).map((row) => row.key);
    if (!concerns(role, kind)) continue;
    for (const part of chunks(keyList)) items.push(...(await currentItems(orm, role, kind, part)));
  }
  return { kind: 'delta', revision, items };
}
