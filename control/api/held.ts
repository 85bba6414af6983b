/** Why a version is not started for now, as clients see it. */
import type { HeldView } from '#shared/contracts/api.ts';
import type { HeldVersion } from '#shared/contracts/scheduling.ts';
import { instant } from '../db/page.ts';

/** The scheduler tells durations; clients get an instant by control's clock. */
export function heldView({ retryAfterMs, ...held }: HeldVersion, nowMs: number): HeldView {
  return { ...held, until: instant(Math.ceil(nowMs + retryAfterMs)) };
}
