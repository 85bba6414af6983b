/**
 * Planes refuse what was signed in the second of their start, since it may have been used before it. Of the
 * refusals with status 401 that one alone says when to come again.
 */
import { setTimeout } from 'node:timers/promises';

export interface Refusal {
  readonly status: number | undefined;
  readonly contentType: string | null | undefined;
  readonly retryAfter: string | null | undefined;
}

export function wasTooEarly({ status, contentType, retryAfter }: Refusal): boolean {
  return status === 401 && contentType === 'application/problem+json' && typeof retryAfter === 'string';
}

/** One second is what signatures can tell apart. */
export async function untilLater(): Promise<void> {
  await setTimeout(1_000 - (Date.now() % 1_000));
}
