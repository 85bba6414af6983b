/** The queue's two exits other than a grant: a refusal, and the client's leaving. */
import type { Fault } from './events.ts';
import type { Machine, Waiter } from './state.ts';

export function dequeue(m: Machine, waiter: Waiter): void {
  const { version } = waiter;
  if (!version.queue.delete(waiter.requestId)) return;
  version.waiting -= waiter.waiting;
  m.state.waiters.delete(waiter.requestId);
  m.state.places.give(version.account, 1);
  if (version.queue.size === 0) m.state.queued.delete(version);
}

/** Spread over half as long again, so that those who were refused together do not return together. */
export function laterMs(m: Machine, baseMs: number = m.config.retryAfterMs): number {
  return Math.round(baseMs * (1 + m.random() / 2));
}

export function refuse(m: Machine, waiter: Waiter, fault: Fault, retryAfterMs: number | undefined): void {
  dequeue(m, waiter);
  m.effects.push({ type: 'refuse', requestId: waiter.requestId, fault, retryAfterMs });
}
