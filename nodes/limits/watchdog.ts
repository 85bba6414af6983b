/** Drives watch.ts for all instances of the node with one timer. */
import type { Address } from '#shared/contracts/address.ts';
import type { FunctionLimits } from '#shared/contracts/config.ts';
import type { OverdueReport, SlowReport } from '#shared/contracts/nodes.ts';
import { transitMs } from '#shared/runtime/machine-clock.node.ts';
import type { Clock, Timer, Timers } from '#shared/runtime/clock.ts';
import type { Guest } from '../slots/runner.ts';
import { probe } from './probe.ts';
import {
  newWatch,
  onOverdue,
  onProbeAnswered,
  onSample,
  onSlow,
  type Action,
  type Sample,
  type Step,
  type Watch,
} from './watch.ts';

export interface WatchedInstance {
  readonly id: string;
  readonly guest: Pick<Guest, 'sample' | 'lower' | 'restore'>;
  readonly address: Address;
  readonly limits: Pick<FunctionLimits, 'cpuMs' | 'memoryMb'>;
}

type KillAction = Extract<Action, { kind: 'kill' }>;

export interface WatchdogOptions {
  readonly clock: Clock;
  readonly timers: Timers;
  readonly kill: (instanceId: string, action: KillAction) => void;
  /** Hears of every sample taken. */
  readonly onSample?: (instanceId: string, sample: Sample) => void;
}

const SLOW_MS_MIN = 20;

interface Watched {
  readonly instance: WatchedInstance;
  watch: Watch;
  dueMs: number;
  cancelProbe: (() => void) | undefined;
}

/** Idle instances are looked at in rounds: each round walks over all of them, so there must be few. */
const ROUND_MS = 500;

function together(dueMs: number, intervalMs: number): number {
  return intervalMs < 2 * ROUND_MS ? dueMs : Math.ceil(dueMs / ROUND_MS) * ROUND_MS;
}

export class Watchdog {
  readonly #options: WatchdogOptions;
  readonly #watched = new Map<string, Watched>();
  #timer: Timer | undefined;
  #timerDueMs = Infinity;

  constructor(options: WatchdogOptions) {
    this.#options = options;
  }

  watch(instance: WatchedInstance): void {
    const watch = newWatch(instance.limits);
    const dueMs = this.#options.clock.monotonicMs() + watch.intervalMs;
    this.#watched.set(instance.id, { instance, watch, dueMs, cancelProbe: undefined });
    this.#schedule(dueMs);
  }

  unwatch(instanceId: string): void {
    this.#watched.get(instanceId)?.cancelProbe?.();
    this.#watched.delete(instanceId);
  }

  overdue(instanceId: string, report: OverdueReport): void {
    const watched = this.#watched.get(instanceId);
    const sample = watched === undefined ? undefined : this.#sample(watched);
    if (watched !== undefined && sample !== undefined)
      this.#apply(
        watched,
        onOverdue(watched.watch, { ...report, ageMs: report.ageMs + transitMs(report.sentAtMs) }, sample),
      );
  }

  /** Requests without an answer for a while, by instance. */
  slow(report: SlowReport): void {
    const lateMs = transitMs(report.sentAtMs);
    for (const { instanceId, ageMs } of report.instances) {
      const watched = this.#watched.get(instanceId);
      if (watched === undefined || this.#isFresh(watched)) continue;
      const sample = this.#sample(watched);
      if (sample !== undefined) this.#apply(watched, onSlow(watched.watch, ageMs + lateMs, sample));
    }
  }

  /** Looks once more, before a process ends. */
  look(instanceId: string): void {
    const watched = this.#watched.get(instanceId);
    if (watched !== undefined) this.#sample(watched);
  }

  close(): void {
    this.#timer?.cancel();
    for (const id of this.#watched.keys()) this.unwatch(id);
  }

  /** A report must not make the watch busier than an instance that burns would. */
  #isFresh({ watch }: Watched): boolean {
    const last = watch.samples.at(-1)?.atMs ?? -Infinity;
    return this.#options.clock.monotonicMs() - last < SLOW_MS_MIN && watch.intervalMs <= SLOW_MS_MIN;
  }

  #sample(watched: Watched): Sample | undefined {
    const { guest } = watched.instance;
    const sample = guest.sample(this.#options.clock.monotonicMs(), watched.watch.samples.at(-1));
    if (sample !== undefined) this.#options.onSample?.(watched.instance.id, sample);
    return sample;
  }

  #yielded(watched: Watched): void {
    watched.cancelProbe = undefined;
    const { lowered } = watched.watch;
    watched.watch = onProbeAnswered(watched.watch);
    if (lowered === 'yes') watched.instance.guest.restore();
  }

  #apply(watched: Watched, { watch, action }: Step): void {
    watched.watch = watch;
    watched.dueMs = together(this.#options.clock.monotonicMs() + watch.intervalMs, watch.intervalMs);
    this.#schedule(watched.dueMs);
    switch (action.kind) {
      case 'none':
        break;
      case 'probe':
        watched.cancelProbe = probe(watched.instance.address, () => this.#yielded(watched));
        break;
      case 'lower':
      case 'restore':
        watched.instance.guest[action.kind]();
        break;
      case 'kill':
        this.#options.kill(watched.instance.id, action);
        break;
    }
  }

  /** Moves the one timer forward when something is due earlier than it fires. */
  #schedule(dueMs: number): void {
    if (dueMs >= this.#timerDueMs) return;
    this.#timer?.cancel();
    this.#timerDueMs = dueMs;
    this.#timer = this.#options.timers.after(Math.max(1, dueMs - this.#options.clock.monotonicMs()), () =>
      this.#tick(),
    );
  }

  #tick(): void {
    this.#timerDueMs = Infinity;
    const nowMs = this.#options.clock.monotonicMs();
    let nextMs = Infinity;
    for (const watched of this.#watched.values()) {
      if (watched.dueMs <= nowMs) {
        const sample = this.#sample(watched);
        if (sample !== undefined) this.#apply(watched, onSample(watched.watch, sample));
        else watched.dueMs = nowMs + watched.watch.intervalMs;
      }
      nextMs = Math.min(nextMs, watched.dueMs);
    }
    if (nextMs < Infinity) this.#schedule(nextMs);
  }
}
