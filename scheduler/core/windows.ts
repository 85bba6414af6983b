/** How many instances a provision asks for at an instant, and how an alias splits them. Pure. */
import type { Provision } from '#shared/contracts/provision.ts';

const MINUTE_MS = 60_000;
const DAY_MINUTES = 24 * 60;

type Window = Provision['schedule'][number];

function minuteOf(clock: string): number {
  return Number(clock.slice(0, 2)) * 60 + Number(clock.slice(3, 5));
}

/** `to` is the first minute outside. `from` equal to `to` is a whole day; a night belongs to the day it begins on. */
function isOpen(window: Window, day: number, minute: number): boolean {
  const from = minuteOf(window.from);
  const to = minuteOf(window.to);
  if (from < to) return window.days.includes(day) && minute >= from && minute < to;
  const yesterday = (day + 6) % 7;
  return (window.days.includes(day) && minute >= from) || (window.days.includes(yesterday) && minute < to);
}

/** The largest of `instances` and all windows that are open. */
export function provisionedAt(provision: Provision, wallMs: number): number {
  const minutes = Math.floor(wallMs / MINUTE_MS);
  // 1 January 1970 was a Thursday.
  const day = (Math.floor(minutes / DAY_MINUTES) + 4) % 7;
  const minute = minutes % DAY_MINUTES;
  let most = provision.instances;
  for (const window of provision.schedule)
    if (isOpen(window, day, minute)) most = Math.max(most, window.instances);
  return most;
}

/**
 * Parts of `instances` by weight, in the order of the weights. At least 1 each, so with more versions than
 * instances the sum is the number of versions; else it is `instances`.
 */
export function splitByWeight(instances: number, weights: readonly number[]): number[] {
  if (instances <= 0) return weights.map(() => 0);
  const sum = weights.reduce((all, weight) => all + weight, 0);
  const exact = weights.map((weight) => (instances * weight) / sum);
  const parts = weights.map(() => 1);
  for (let left = instances - weights.length; left > 0; left -= 1) {
    let poorest = 0;
    for (let index = 1; index < parts.length; index += 1) {
      const lacks = (exact[index] ?? 0) - (parts[index] ?? 0);
      if (lacks > (exact[poorest] ?? 0) - (parts[poorest] ?? 0)) poorest = index;
    }
    parts[poorest] = (parts[poorest] ?? 0) + 1;
  }
  return parts;
}
