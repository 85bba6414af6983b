/** Numbers that the scheduler's decisions depend on. Times are in ms. */
import { SHARED } from '#shared/shared-things.ts';
import { LIMITS } from '#shared/limits.ts';

/** An agent answers a start when its code listens and its `init`, which may wait for long, is over. */
export const START_CALL_MS = LIMITS.startMsMax + LIMITS.hookTimeoutMsMax;

export interface CoreConfig {
  readonly leaseTtlMs: number;
  /** The scheduler holds a lease longer than it tells the gateway, by more than a message may take. */
  readonly leaseMarginMs: number;
  readonly memberDeadMs: number;
  /**
   * An agent may hang, be replaced and start for this long after it was heard, also on a machine that is overloaded:
   * what it runs is used, and when it was the only one callers wait, within their queue time.
   */
  readonly nodeReturnMs: number;
  /** A list sent this long ago may not know what was decided since: absence in it proves nothing yet. */
  readonly confirmMs: number;
  /** An adopted instance gives no lease for this long: its holders have not all been heard. */
  readonly adoptGraceMs: number;
  /** A start without an answer for this long has failed. Must exceed the driver's own timeout. */
  readonly startTimeoutMs: number;
  readonly stopGraceMs: number;
  readonly retryAfterMs: number;
  /** After a failed start of a version: first pause and longest pause, doubling. */
  readonly startBackoffMs: number;
  readonly startBackoffMsMax: number;
  /** After a node failed to answer a start: first pause and longest pause, doubling. */
  readonly nodeBackoffMs: number;
  readonly nodeBackoffMsMax: number;
  /** Quarantine: `killsMin` killed instances within `workWindowMs`, and no more than as many good requests. */
  readonly killsMin: number;
  readonly workWindowMs: number;
  readonly quarantineMs: number;
  readonly quarantineMsMax: number;
  /** On a full node an instance unused for this long makes room for a version that has none. */
  readonly evictIdleMs: number;
  /** Of requests in an instance that ends so that another account gets its part of the room. */
  readonly yieldMsMax: number;
  /** A version that its last alias has left keeps its instances for this long, so that rollback is warm. */
  readonly lingerMs: number;
  /** Longest wait for the next version's provisioned instances before those of the last one are drained. */
  readonly handoverMsMax: number;
  readonly gatewaysMax: number;
  readonly nodesMax: number;
  readonly versionsMax: number;
  readonly waitersMax: number;
  readonly startsPerNodeMax: number;
  /** A node takes at most this multiple of its share before the next one in its version's order is asked. */
  readonly loadFactor: number;
}

export const CORE_CONFIG: CoreConfig = {
  leaseTtlMs: LIMITS.leaseTtlMs,
  leaseMarginMs: LIMITS.heartbeatMs,
  memberDeadMs: LIMITS.memberDeadMs,
  nodeReturnMs: 4 * LIMITS.planeSilentMsMax,
  confirmMs: 2 * LIMITS.heartbeatMs,
  adoptGraceMs: 3 * LIMITS.heartbeatMs,
  startTimeoutMs: START_CALL_MS + 5_000,
  stopGraceMs: 2_000,
  retryAfterMs: 1_000,
  startBackoffMs: 500,
  startBackoffMsMax: 60_000,
  nodeBackoffMs: 250,
  nodeBackoffMsMax: 5_000,
  killsMin: 5,
  workWindowMs: 60_000,
  quarantineMs: 10_000,
  quarantineMsMax: 600_000,
  evictIdleMs: 2 * LIMITS.heartbeatMs,
  yieldMsMax: 3_000,
  lingerMs: 10_000,
  handoverMsMax: 60_000,
  gatewaysMax: 1_000,
  nodesMax: 1_000,
  versionsMax: 50_000,
  waitersMax: SHARED['scheduler.waiters'].total,
  startsPerNodeMax: SHARED['scheduler.starts'].total,
  loadFactor: 1.25,
};

function must(condition: boolean, law: string): void {
  if (!condition) throw new Error(`scheduler/core/config.ts: ${law}`);
}

/** Throws when numbers contradict each other. */
export function assertConfig(config: CoreConfig): void {
  must(config.confirmMs < config.memberDeadMs, 'a list is trusted before its sender is taken for dead');
  must(
    config.memberDeadMs <= config.nodeReturnMs,
    'a node is waited for at least until it is taken for dead',
  );
  must(
    LIMITS.planeSilentMsMax <= config.nodeReturnMs / 2,
    'an agent that hangs is replaced before its node is given up',
  );
  must(config.leaseMarginMs < config.leaseTtlMs, 'the margin is a part of the lease time');
  must(config.startBackoffMs <= config.startBackoffMsMax, 'start pauses grow');
  must(config.nodeBackoffMs <= config.nodeBackoffMsMax, 'node pauses grow');
  must(config.quarantineMs <= config.quarantineMsMax, 'quarantines grow');
  must(config.lingerMs <= config.handoverMsMax, 'a handover takes at least the linger');
  must(config.loadFactor >= 1, 'a node may take its own share');
}
assertConfig(CORE_CONFIG);
