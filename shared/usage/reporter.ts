/**
 * Brings what a plane counted to the control plane: at least once, applied once (contracts/usage.ts).
 *
 * A report that was not answered is sent again unchanged, because it may have been applied; what is
 * counted meanwhile is merged into one entry a function and waits. So memory is bounded by the number of
 * functions however long control is away, and nothing is lost up to that bound.
 */
import type { UsageAmounts, UsageReport } from '../contracts/usage.ts';
import type { AccountName, FunctionName } from '../ids.ts';
import { LIMITS } from '../limits.ts';
import type { Timer, Timers } from '../runtime/clock.ts';
import type { Log } from '../runtime/log.ts';

export interface UsageEntry {
  readonly account: AccountName;
  readonly function: FunctionName;
  readonly amounts: Partial<UsageAmounts>;
}

/** What was used since the call before. */
export type UsageSource = () => Iterable<UsageEntry>;

export interface UsageReporterOptions {
  /** Names this run of the plane: unlike that of any other run. */
  readonly source: string;
  readonly sources: readonly UsageSource[];
  /** Rejects when it is not certain that the report was applied. */
  readonly send: (report: UsageReport) => Promise<unknown>;
  readonly timers: Timers;
  readonly log: Log;
  /** Functions whose amounts wait; those of one more are dropped and said. Default {@link FUNCTIONS_MAX}. */
  readonly functionsMax?: number;
}

/** The bound of one report. */
const FUNCTIONS_MAX = 50_000;

type Pending = UsageReport['entries'][number];

const NOTHING: UsageAmounts = {
  requests: 0,
  errors: 0,
  cpuMs: 0,
  memoryMbMs: 0,
  requestBytes: 0,
  responseBytes: 0,
  egressRequests: 0,
  egressBytes: 0,
};
const NAMES = Object.keys(NOTHING) as (keyof UsageAmounts)[];

export class UsageReporter {
  readonly #options: UsageReporterOptions;
  readonly #waiting = new Map<string, Pending>();
  readonly #timer: Timer;
  /** Sent, and perhaps applied. */
  #unanswered: UsageReport | undefined;
  #sequence = 0;
  #dropped = 0;
  #reachable = true;
  #sending: Promise<void> | undefined;

  constructor(options: UsageReporterOptions) {
    this.#options = options;
    this.#timer = options.timers.every(LIMITS.usageReportMs, () => void this.report());
  }

  /** Sends what there is; never rejects. */
  report(): Promise<void> {
    this.#sending ??= this.#report().finally(() => {
      this.#sending = undefined;
    });
    return this.#sending;
  }

  /** One last report. */
  async close(): Promise<void> {
    this.#timer.cancel();
    await this.#sending;
    await this.report();
  }

  async #report(): Promise<void> {
    this.#collect();
    try {
      if (this.#unanswered !== undefined) await this.#send(this.#unanswered);
      if (this.#waiting.size > 0) {
        this.#sequence += 1;
        const entries = [...this.#waiting.values()];
        this.#waiting.clear();
        this.#unanswered = { source: this.#options.source, sequence: this.#sequence, entries };
        await this.#send(this.#unanswered);
      }
      if (!this.#reachable) this.#options.log.info('usage_reported_again');
      this.#reachable = true;
    } catch (thrown) {
      if (this.#reachable) this.#options.log.warn('usage_not_reported', { error: thrown });
      this.#reachable = false;
    }
  }

  async #send(report: UsageReport): Promise<void> {
    await this.#options.send(report);
    this.#unanswered = undefined;
  }

  #collect(): void {
    const droppedBefore = this.#dropped;
    for (const source of this.#options.sources) for (const entry of source()) this.#add(entry);
    if (this.#dropped > droppedBefore)
      this.#options.log.error('usage_dropped', { entries: this.#dropped - droppedBefore });
  }

  #add(entry: UsageEntry): void {
    const key = `${entry.account}/${entry.function}`;
    let known = this.#waiting.get(key);
    if (known === undefined) {
      if (this.#waiting.size >= (this.#options.functionsMax ?? FUNCTIONS_MAX)) {
        this.#dropped += 1;
        return;
      }
      known = { account: entry.account, function: entry.function, amounts: { ...NOTHING } };
      this.#waiting.set(key, known);
    }
    for (const name of NAMES) known.amounts[name] += entry.amounts[name] ?? 0;
  }
}
