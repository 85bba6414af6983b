/**
 * How deep a call from function to function stands. Pure bookkeeping.
 *
 * Nothing says which request of an instance made a call, and what its code says is not believed: a call is
 * taken to stand one below the deepest call in flight on the instance that it comes from. Functions that call
 * each other and are busy without a pause may therefore be counted deeper than they are, never shallower.
 */
import { LIMITS } from '#shared/limits.ts';

export interface Call {
  readonly instanceId: string;
  depth: number;
}

export class CallDepths {
  /** Calls in flight per instance that they were sent to. */
  readonly #inFlight = new Map<string, Set<Call>>();

  /** Depth of a call that leaves `instanceId` now; undefined: beyond the limit. */
  next(instanceId: string): number | undefined {
    let deepest = 0;
    for (const { depth } of this.#inFlight.get(instanceId) ?? []) deepest = Math.max(deepest, depth);
    return deepest >= LIMITS.callDepthMax ? undefined : deepest + 1;
  }

  /** A call of that depth goes to `instanceId`; {@link left} ends it. */
  entered(instanceId: string, depth: number): Call {
    const call = { instanceId, depth };
    const calls = this.#inFlight.get(instanceId) ?? new Set();
    this.#inFlight.set(instanceId, calls);
    calls.add(call);
    return call;
  }

  left(call: Call): void {
    const calls = this.#inFlight.get(call.instanceId);
    calls?.delete(call);
    if (calls?.size === 0) this.#inFlight.delete(call.instanceId);
  }
}
