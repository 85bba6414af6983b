/** What a version's scaling means in numbers. Pure. */
import type { Scaling } from '#shared/contracts/config.ts';

/** Requests that an instance may handle at once. */
export function concurrencyOf(scaling: Scaling): number {
  return scaling.isolation === 'request' ? 1 : scaling.concurrency;
}

/** Requests that an instance may serve in its life; undefined: any number. */
export function requestsOf(scaling: Scaling): number | undefined {
  return scaling.isolation === 'request' ? 1 : scaling.maxRequests;
}

/** Requests that a new instance takes at once. */
export function roomOf(scaling: Scaling): number {
  return Math.min(concurrencyOf(scaling), requestsOf(scaling) ?? Number.POSITIVE_INFINITY);
}
