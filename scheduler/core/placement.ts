/**
 * Chooses the node for a new instance: rendezvous hashing with bounded load.
 *
 * Every version has its own order of the nodes, the same in each scheduler and stable when nodes come
 * and go, so code caches and gateways' fallback pins stay right. A node that carries more than
 * `loadFactor` times its share is passed over unless all do (Mirrokni, Thorup, Zadimoghaddam,
 * "Consistent hashing with bounded loads", 2018).
 *
 * Must hold: a node at its capacity is never chosen (test/sim/checkers.ts).
 */
import { mustYield } from './fairness.ts';
import { isAlive, type Machine, type NodeRecord, type Version } from './state.ts';

/** FNV-1a with a final mix: close inputs differ in all bits. */
export function rendezvousScore(versionId: string, nodeId: string): number {
  let hash = 0x811c9dc5;
  const text = `${versionId}\n${nodeId}`;
  for (let index = 0; index < text.length; index += 1)
    hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

function mayStart(m: Machine, node: NodeRecord, account: string): boolean {
  return (
    isAlive(m, node) &&
    !node.draining &&
    node.avoidUntilMs <= m.nowMs &&
    node.starts.roomOf(account) > 0 &&
    node.instances.size < node.capacity
  );
}

/** Undefined also when the account starts as many instances everywhere as it may at once, or others come first. */
export function placeInstance(m: Machine, { id: versionId, account }: Version): NodeRecord | undefined {
  if (mustYield(m, account)) return undefined;
  let load = 0;
  let capacity = 0;
  const candidates: { readonly node: NodeRecord; readonly score: number }[] = [];
  for (const node of m.state.nodes.values()) {
    if (!isAlive(m, node) || node.draining) continue;
    load += node.instances.size;
    capacity += node.capacity;
    if (mayStart(m, node, account)) candidates.push({ node, score: rendezvousScore(versionId, node.id) });
  }
  candidates.sort((a, b) => b.score - a.score || (a.node.id < b.node.id ? -1 : 1));
  const within = candidates.find(({ node }) => {
    const bound = Math.ceil((m.config.loadFactor * (load + 1) * node.capacity) / capacity);
    return node.instances.size < bound;
  });
  return (within ?? candidates[0])?.node;
}

/** The account may have one instance more. */
export function underCeiling(m: Machine, version: Version): boolean {
  const most = m.state.ceilings.get(version.account);
  return most === undefined || (m.state.accountInstances.get(version.account)?.size ?? 0) < most;
}

/**
 * A node that could take instances at all, now or after a pause. One that drains counts: its agent may be
 * about to start anew, and a restart in order must not be worse for callers than a crash, which they wait out.
 */
export function someNodeAlive(m: Machine): boolean {
  for (const node of m.state.nodes.values()) if (isAlive(m, node) && node.capacity > 0) return true;
  return false;
}

/** No node has room even after its pauses: only ending an instance makes some. */
export function allNodesFull(m: Machine): boolean {
  for (const node of m.state.nodes.values())
    if (isAlive(m, node) && !node.draining && node.instances.size < node.capacity) return false;
  return true;
}
