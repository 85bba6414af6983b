/**
 * Room on full nodes is divided by account. While there is room, an account may have as much as it likes; when there
 * is none, and a version without an instance waits whose account has less than an equal part, those that have more
 * give: no new instance until it is served, and running ones, the idle first, provisioned and busy ones too. What these
 * do may end within `yieldMsMax`.
 */
import { drainInstance } from './lifecycle.ts';
import { isAlive, NO_HUNGER, type Hunger, type Instance, type Machine, type Version } from './state.ts';

/** @param starving - versions that wait for room, when the nodes are full. */
export function hungerOf(m: Machine, starving: readonly Version[]): Hunger {
  if (starving.length === 0) return NO_HUNGER;
  const accounts = new Set(m.state.accountInstances.keys());
  for (const { account } of starving) accounts.add(account);
  let capacity = 0;
  for (const node of m.state.nodes.values())
    if (isAlive(m, node) && !node.draining) capacity += node.capacity;
  const part = Math.max(1, Math.floor(capacity / accounts.size));
  const hungry = starving.filter((version) => sizeOf(m, version.account) < part);
  return { part, accounts: new Set(hungry.map(({ account }) => account)) };
}

/** The account has its part, and another one waits for its own. */
export function mustYield(m: Machine, account: string): boolean {
  const { accounts, part } = m.state.hunger;
  return accounts.size > 0 && !accounts.has(account) && sizeOf(m, account) >= part;
}

/** Ends instances of those who have more than their part, as many as are wanted by those who have less. */
export function feed(m: Machine, starving: readonly Version[]): void {
  const { accounts, part } = m.state.hunger;
  if (accounts.size === 0) return;
  let wanted = 0;
  for (const account of accounts) {
    const versions = starving.filter((version) => version.account === account).length;
    wanted += Math.min(versions, part - sizeOf(m, account));
  }
  for (const instance of m.state.instances.values()) if (isLeaving(instance)) wanted -= 1;
  for (; wanted > 0; wanted -= 1) {
    const victim = leastUsed(richest(m, part));
    if (victim === undefined) return;
    drainInstance(m, victim, 'yield');
  }
}

/** Of the account that would still have most beyond its part when all that leave are gone. */
function richest(m: Machine, part: number): readonly Instance[] {
  let most: readonly Instance[] = [];
  for (const all of m.state.accountInstances.values()) {
    const staying = [...all].filter((instance) => !isLeaving(instance));
    if (staying.length > part && staying.length > most.length) most = staying;
  }
  return most;
}

function leastUsed(instances: readonly Instance[]): Instance | undefined {
  let least: Instance | undefined;
  for (const instance of instances)
    if (instance.state === 'ready' && (least === undefined || instance.busyAtMs < least.busyAtMs))
      least = instance;
  return least;
}

const isLeaving = ({ state }: Instance): boolean => state === 'draining' || state === 'stopping';

function sizeOf(m: Machine, account: string): number {
  return m.state.accountInstances.get(account)?.size ?? 0;
}
