/**
 * Leases that were given back, for the time in which the scheduler is silent: their instances are warm, and nobody
 * else can say so. Pure.
 *
 * A lease that is used again is named in heartbeats as any other. The scheduler that returns adopts it when its
 * instance has room, or revokes it: no other conversation is needed.
 *
 * Never used again: a lease with a budget (what is left of it was told) or of a session (it may have another
 * instance by now), one that was revoked or did not answer, and any of a function with concurrency 1, whose
 * instance another holder may have got. Otherwise the share that each holder was granted bounds them all together.
 */
import { LRUCache } from 'lru-cache';
import type { Lease } from '../contracts/leases.ts';
import type { VersionId } from '../ids.ts';
import type { Leasable } from './ports.ts';

const VERSIONS_MAX = 1_000;
const PER_VERSION_MAX = 16;

export class GivenBack {
  /** By instance, the last given back at the end. */
  readonly #versions = new LRUCache<VersionId, Map<string, Lease>>({ max: VERSIONS_MAX });

  add(id: VersionId, lease: Lease): void {
    const kept = this.#versions.get(id) ?? new Map<string, Lease>();
    kept.delete(lease.instanceId);
    kept.set(lease.instanceId, lease);
    for (const oldest of kept.keys()) {
      if (kept.size <= PER_VERSION_MAX) break;
      kept.delete(oldest);
    }
    this.#versions.set(id, kept);
  }

  /** A newer lease of the instance is held. */
  forget(id: VersionId, instanceId: string): void {
    this.#versions.get(id)?.delete(instanceId);
  }

  /** The last given back first: the least likely to have been stopped for idleness before the silence began. */
  take({ id, scaling }: Leasable): Lease | undefined {
    const kept = this.#versions.get(id);
    if (kept === undefined || scaling.concurrency === 1) return undefined;
    const lease = [...kept.values()].at(-1);
    if (lease !== undefined) kept.delete(lease.instanceId);
    return lease;
  }
}
