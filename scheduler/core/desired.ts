/**
 * What control wants, from the feed: which versions are live, how many instances of each are kept ready, and
 * what an account may have at most.
 */
import type { AccountItem, FeedItem, PlacementItem } from '#shared/contracts/feed.ts';
import { versionId, type VersionId } from '#shared/ids.ts';
import { provisionedAt, splitByWeight } from './windows.ts';
import type { Machine } from './state.ts';

const MINUTE_MS = 60_000;
const DELETED_MAX = 1_000;

export function onDesired(m: Machine, items: readonly FeedItem[], wallMs: number): void {
  for (const item of items) {
    if (item.kind === 'placement') placementChanged(m, item.key, item.value ?? undefined);
    if (item.kind === 'account') accountChanged(m, item.key, item.value ?? undefined);
  }
  makeTargets(m, Math.floor(wallMs / MINUTE_MS));
  // A ceiling may have risen.
  m.roomFreed = true;
}

/** Windows open and close on minutes. */
export function retarget(m: Machine, wallMs: number): void {
  const minute = Math.floor(wallMs / MINUTE_MS);
  if (minute !== m.state.targetsMinute) makeTargets(m, minute);
}

function forget({ state }: Machine, key: string): void {
  if (!state.functions.delete(key)) return;
  state.deleted.add(key);
  const [oldest] = state.deleted;
  if (state.deleted.size > DELETED_MAX && oldest !== undefined) state.deleted.delete(oldest);
}

function placementChanged(m: Machine, key: string, item: PlacementItem | undefined): void {
  const { state } = m;
  const before = state.functions.get(key);
  if (item === undefined) forget(m, key);
  else state.functions.set(key, item);
  if (item !== undefined) state.deleted.delete(key);
  state.provisioned.delete(key);
  if (item?.enabled === true && item.aliases.some((alias) => alias.provision !== undefined))
    state.provisioned.add(key);
  const live = new Map((item?.enabled === true ? item.versions : []).map(({ id, scaling }) => [id, scaling]));
  for (const { id } of before?.versions ?? []) {
    if (live.has(id) || !state.live.has(id)) continue;
    state.live.delete(id);
    if (state.versions.has(id)) state.departed.set(id, m.nowMs);
  }
  for (const [id, scaling] of live) {
    state.live.set(id, scaling);
    state.departed.delete(id);
    const version = state.versions.get(id);
    if (version === undefined) continue;
    version.scaling = scaling;
    version.scalingKnown = true;
  }
}

function accountChanged(m: Machine, name: string, item: AccountItem | undefined): void {
  const most = item?.ceilings?.instances;
  if (most === undefined) m.state.ceilings.delete(name);
  else m.state.ceilings.set(name, most);
}

function makeTargets(m: Machine, minute: number): void {
  const targets = new Map<VersionId, number>();
  for (const key of m.state.provisioned) {
    const item = m.state.functions.get(key);
    for (const alias of item?.aliases ?? [])
      for (const [id, part] of targetsOf(item, alias, minute * MINUTE_MS))
        targets.set(id, (targets.get(id) ?? 0) + part);
  }
  m.state.targets = targets;
  m.state.targetsMinute = minute;
}

/** What one alias asks for, by version. */
export function targetsOf(
  item: PlacementItem | undefined,
  alias: PlacementItem['aliases'][number],
  wallMs: number,
): Map<VersionId, number> {
  const targets = new Map<VersionId, number>();
  if (item?.enabled !== true || alias.provision === undefined) return targets;
  const parts = splitByWeight(
    provisionedAt(alias.provision, wallMs),
    alias.weights.map(({ weight }) => weight),
  );
  for (const [index, { version }] of alias.weights.entries()) {
    const id = versionId(item.account, item.name, version);
    const most = item.versions.find((live) => live.id === id)?.scaling.maxInstances ?? 0;
    const part = Math.min(parts[index] ?? 0, most);
    if (part > 0) targets.set(id, part);
  }
  return targets;
}
