/** Takes the reports of gateways and nodes (shared/contracts/usage.ts), and forgets what is too old. */
import type { UsageReport } from '#shared/contracts/usage.ts';
import type { Clock } from '#shared/runtime/clock.ts';
import type { Database } from '../db/database.ts';
import { applyUsage, pruneUsage } from '../db/usage.ts';

const PRUNE_MS = 3_600_000;

export class UsageLedger {
  readonly #db: Database;
  readonly #clock: Clock;
  #pruneAtMs = -Infinity;

  constructor(db: Database, clock: Clock) {
    this.#db = db;
    this.#clock = clock;
  }

  /** One transaction; a report that was applied before changes nothing. */
  async apply(report: UsageReport): Promise<void> {
    const nowMs = this.#clock.monotonicMs();
    const prune = nowMs >= this.#pruneAtMs;
    await this.#db.write(async (tx) => {
      await applyUsage(tx, report);
      if (prune) await pruneUsage(tx);
    });
    if (prune) this.#pruneAtMs = nowMs + PRUNE_MS;
  }
}
