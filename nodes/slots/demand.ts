/**
 * How many slots should wait ready, from the starts there were. Pure.
 *
 * A pool protects against what comes faster than it can be refilled. So starts are counted over the time that
 * refilling takes (a count that leaks away: exact for a burst, rate times horizon for a steady stream), the
 * highest count is remembered and fades over minutes, and as many slots wait as that count, and two standard
 * deviations more, since arrivals scatter like their square root. Quiet pools go back to their least size.
 */
export interface Demand {
  /** Starts within about the last horizon. */
  readonly level: number;
  /** The highest level that there was, faded. */
  readonly peak: number;
  readonly atMs: number;
}

export interface PoolBounds {
  readonly min: number;
  readonly max: number;
}

export interface PoolSupply {
  readonly nowMs: number;
  /** Slots that wait already. */
  readonly waiting: number;
  /** Memory that could still be had. */
  readonly freeBytes: number;
}

export const NO_DEMAND: Demand = { level: 0, peak: 0, atMs: 0 };

/** Private memory of a slot that waits for its config, measured: 5 to 9 MB. */
export const SLOT_BYTES = 8 * 1_048_576;
/** Waiting slots may take this part of what is free; instances need the rest. */
const FREE_SHARE = 1 / 8;
/** Horizon in spawns: a pool that is refilled one by one while it is emptied must last this long. */
const HORIZON_SPAWNS = 20;
const HORIZON_MS_MIN = 500;
const HORIZON_MS_MAX = 5_000;
/** A burst that came once may come again, but not for ever. */
const PEAK_HALF_LIFE_MS = 60_000;

function horizonMs(spawnMs: number): number {
  return Math.min(HORIZON_MS_MAX, Math.max(HORIZON_MS_MIN, spawnMs * HORIZON_SPAWNS));
}

/** @param spawnMs - how long one slot takes to be ready, lately. */
export function onDemand(demand: Demand, nowMs: number, spawnMs: number): Demand {
  const elapsedMs = Math.max(0, nowMs - demand.atMs);
  const level = demand.level * Math.exp(-elapsedMs / horizonMs(spawnMs)) + 1;
  return { level, peak: Math.max(level, faded(demand, nowMs)), atMs: nowMs };
}

export function poolTarget(demand: Demand, { min, max }: PoolBounds, supply: PoolSupply): number {
  const peak = faded(demand, supply.nowMs);
  // Below one start there is no demand to speak of.
  const wanted = peak < 1 ? min : Math.ceil(peak + 2 * Math.sqrt(peak));
  const affordable = supply.waiting + Math.floor((supply.freeBytes * FREE_SHARE) / SLOT_BYTES);
  return Math.min(Math.max(min, Math.min(max, wanted)), affordable);
}

function faded(demand: Demand, nowMs: number): number {
  return demand.peak * 2 ** (-Math.max(0, nowMs - demand.atMs) / PEAK_HALF_LIFE_MS);
}
