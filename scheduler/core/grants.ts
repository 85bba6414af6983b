/** The queue's way out: a lease, or the passing of the deadline. */
import type { Fault } from './events.ts';
import { grantLease, requestsLeft, freeSlots } from './lifecycle.ts';
import { underCeiling } from './placement.ts';
import { dequeue, laterMs, refuse } from './refusals.ts';
import { concurrencyOf } from './scaling.ts';
import { liveGateways, type GatewayRecord, type Instance, type Machine, type Waiter } from './state.ts';

export const AT_CEILING: Fault = {
  code: 'no_capacity',
  detail: 'The account has as many instances as it may have.',
};

export function grant(m: Machine, waiter: Waiter, gateway: GatewayRecord, instance: Instance): void {
  if (instance.endpoint === undefined) return;
  const gateways = Math.max(1, liveGateways(m));
  const share = Math.ceil(concurrencyOf(waiter.version.scaling) / gateways);
  const slots = Math.min(share, freeSlots(m, instance));
  const left = requestsLeft(instance);
  const requests = left === undefined ? undefined : Math.ceil(left / gateways);
  const ids = grantLease(m, instance, gateway, { slots, requests });
  dequeue(m, waiter);
  m.effects.push({
    type: 'grant',
    requestId: waiter.requestId,
    lease: {
      ...ids,
      instanceId: instance.id,
      endpoint: instance.endpoint,
      slots,
      ttlMs: m.config.leaseTtlMs,
      warm: instance.readyAtMs < waiter.sinceMs,
      ...(requests === undefined ? {} : { requests }),
    },
  });
}

/** The deadline has passed: say whether there was no machine to use, or none of its instances was free. */
export function timeOut(m: Machine, waiter: Waiter): void {
  const { version } = waiter;
  if (version.instances.size > 0) return refuse(m, waiter, { code: 'queue_timeout' }, laterMs(m));
  refuse(m, waiter, underCeiling(m, version) ? { code: 'no_capacity' } : AT_CEILING, laterMs(m));
}
