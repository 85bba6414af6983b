/** A hang is found within its bound, and a slow machine is not taken for one. */
import { describe, test } from 'vitest';
import { LIMITS } from '#shared/limits.ts';
import { firstLook, LIVENESS, look, type Seen, type Verdict } from './liveness.ts';

/** Looks every `stepMs` until something is wrong, at most `looks` times. */
function watch(stepMs: number, looks: number, seen: Omit<Seen, 'nowMs'>): { verdict: Verdict; atMs: number } {
  let pulse = firstLook(0);
  for (let count = 1; count <= looks; count += 1) {
    const next = look(pulse, { ...seen, nowMs: count * stepMs });
    pulse = next.pulse;
    if (next.verdict !== 'alive') return { verdict: next.verdict, atMs: count * stepMs };
  }
  return { verdict: 'alive', atMs: looks * stepMs };
}

describe('look()', () => {
  test('finds a stopped process at its bound, not one look before', ({ expect }) => {
    expect(watch(LIVENESS.lookMs, 100, { answered: false, stopped: true })).toEqual({
      verdict: 'stopped',
      atMs: LIVENESS.stoppedMsMax,
    });
  });

  test('finds a silent process at its bound, not one look before', ({ expect }) => {
    expect(watch(LIVENESS.lookMs, 100, { answered: false, stopped: false })).toEqual({
      verdict: 'silent',
      atMs: LIMITS.planeSilentMsMax,
    });
  });

  test('leaves whoever answers alone, however long', ({ expect }) => {
    expect(watch(LIVENESS.lookMs, 10_000, { answered: true, stopped: false }).verdict).toBe('alive');
  });

  test('counts no more of a late look than of one in time: a starved machine proves nothing', ({
    expect,
  }) => {
    const looks = LIVENESS.silentMsMax / LIVENESS.lookMs;
    expect(watch(60_000, looks - 1, { answered: false, stopped: false }).verdict).toBe('alive');
    expect(watch(60_000, looks, { answered: false, stopped: false }).verdict).toBe('silent');
  });

  test('forgets silence at the first answer', ({ expect }) => {
    let pulse = firstLook(0);
    for (let count = 1; count < LIVENESS.silentMsMax / LIVENESS.lookMs; count += 1)
      ({ pulse } = look(pulse, { nowMs: count * LIVENESS.lookMs, answered: false, stopped: false }));
    const nowMs = pulse.lookedAtMs + LIVENESS.lookMs;
    expect(look(pulse, { nowMs, answered: true, stopped: false }).pulse.silentMs).toBe(0);
  });
});
