/**
 * Tells a plane that hangs from one that is slow: pure, time is an argument.
 *
 * The supervisor asks each plane and looks at its process. What counts as silence is the supervisor's own time on
 * duty: a look that comes late (the machine is overloaded, or was suspended) counts no more than one that comes in
 * time, so that a machine on which nobody gets to run proves nothing about a plane.
 */
import { LIMITS } from '#shared/limits.ts';

export const LIVENESS = {
  lookMs: 500,
  /** A process that was stopped (SIGSTOP) answers nobody, and connections are still given to it. */
  stoppedMsMax: 1_500,
  silentMsMax: LIMITS.planeSilentMsMax,
} as const;

export interface Pulse {
  readonly lookedAtMs: number;
  readonly silentMs: number;
  readonly stoppedMs: number;
}

export interface Seen {
  readonly nowMs: number;
  /** It has answered since the last look. */
  readonly answered: boolean;
  /** The kernel says that the process is stopped. */
  readonly stopped: boolean;
}

export type Verdict = 'alive' | 'stopped' | 'silent';

export function firstLook(nowMs: number): Pulse {
  return { lookedAtMs: nowMs, silentMs: 0, stoppedMs: 0 };
}

export function look(pulse: Pulse, seen: Seen): { readonly pulse: Pulse; readonly verdict: Verdict } {
  const onDutyMs = Math.min(seen.nowMs - pulse.lookedAtMs, LIVENESS.lookMs);
  const next: Pulse = {
    lookedAtMs: seen.nowMs,
    silentMs: seen.answered ? 0 : pulse.silentMs + onDutyMs,
    stoppedMs: seen.stopped ? pulse.stoppedMs + onDutyMs : 0,
  };
  if (next.stoppedMs >= LIVENESS.stoppedMsMax) return { pulse: next, verdict: 'stopped' };
  return { pulse: next, verdict: next.silentMs >= LIVENESS.silentMsMax ? 'silent' : 'alive' };
}
