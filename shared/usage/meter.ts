/**
 * What passes to functions through a gateway or a node, by version. A request costs one map lookup and a few additions: the
 * counters of a version are one object for as long as it is used.
 */
import { parseVersionId, type VersionId } from '../ids.ts';
import type { UsageEntry } from './reporter.ts';

export interface Meter {
  requests: number;
  errors: number;
  /** Of bodies, and of both directions of WebSockets. */
  requestBytes: number;
  responseBytes: number;
  /** Exchanges under way: they go on counting here. */
  open: number;
}

export class UsageMeters {
  readonly #meters = new Map<VersionId, Meter>();

  of(versionId: VersionId): Meter {
    let meter = this.#meters.get(versionId);
    if (meter === undefined) {
      meter = { requests: 0, errors: 0, requestBytes: 0, responseBytes: 0, open: 0 };
      this.#meters.set(versionId, meter);
    }
    return meter;
  }

  /** What was counted since the last call. Versions without requests are forgotten. */
  *drain(): Generator<UsageEntry> {
    for (const [versionId, meter] of this.#meters) {
      const { open, ...amounts } = meter;
      if (Object.values(amounts).every((amount) => amount === 0)) {
        if (open === 0) this.#meters.delete(versionId);
        continue;
      }
      Object.assign(meter, { requests: 0, errors: 0, requestBytes: 0, responseBytes: 0 });
      const { account, functionName } = parseVersionId(versionId);
      yield { account, function: functionName, amounts };
    }
  }
}
