/** Medians and quantiles of small samples. */

/** @param sorted - ascending. Nearest-rank. */
export function quantile(sorted: ArrayLike<number>, share: number): number {
  if (sorted.length === 0) return Number.NaN;
  return sorted[Math.min(sorted.length - 1, Math.max(0, Math.ceil(share * sorted.length) - 1))] ?? Number.NaN;
}

/**
 * Quantile of the wait at an instant that is chosen without regard to the server: P(wait > x) is
 * Σ max(0, Lᵢ − x) ÷ Σ Lᵢ over the latencies L of connections that are always busy.
 *
 * A quantile over requests hides pauses: during one that stops everything for 100 ms a closed-loop client
 * sends one request per connection instead of hundreds (coordinated omission).
 *
 * @param sorted - ascending.
 */
export function pauseQuantile(sorted: ArrayLike<number>, share: number): number {
  let total = 0;
  for (let index = 0; index < sorted.length; index += 1) total += sorted[index] ?? 0;
  if (total === 0) return Number.NaN;
  const target = (1 - share) * total;
  // With the k largest above x, their sum minus k·x is what remains above it.
  let sum = 0;
  for (let count = 1; count <= sorted.length; count += 1) {
    sum += sorted[sorted.length - count] ?? 0;
    const next = sorted[sorted.length - count - 1] ?? 0;
    if (sum - count * next >= target) return (sum - target) / count;
  }
  return 0;
}

export function median(values: readonly number[]): number {
  return quantile(Float64Array.from(values).sort(), 0.5);
}

export interface Summary {
  readonly count: number;
  readonly p50: number;
  readonly p99: number;
  readonly min: number;
  readonly max: number;
}

export function summarise(values: readonly number[]): Summary {
  const sorted = Float64Array.from(values).sort();
  return {
    count: sorted.length,
    p50: quantile(sorted, 0.5),
    p99: quantile(sorted, 0.99),
    min: sorted[0] ?? Number.NaN,
    max: sorted.at(-1) ?? Number.NaN,
  };
}
