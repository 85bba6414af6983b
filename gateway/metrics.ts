/** Counters of one gateway (shared/metrics/table.ts). */
import { byLabel, type Sample } from '#shared/metrics/samples.ts';
import { REQUEST_SECONDS_BUCKETS } from '#shared/metrics/table.ts';

export interface GatewayMetrics {
  /** Finished requests by outcome: `ok`, `cut`, `client_gone`, or the code of the error. */
  readonly requests: Readonly<Record<string, number>>;
  readonly inFlight: number;
  readonly coldStarts: number;
  readonly retries: number;
}

export class Metrics {
  readonly #requests = new Map<string, number>();
  /** Requests by duration; the last is for those that took longer than every bound. */
  readonly #durations = [...REQUEST_SECONDS_BUCKETS, Number.POSITIVE_INFINITY].map(() => 0);
  #secondsSum = 0;
  inFlight = 0;
  coldStarts = 0;
  retries = 0;

  count(outcome: string): void {
    this.#requests.set(outcome, (this.#requests.get(outcome) ?? 0) + 1);
  }

  /** A request that found a function is over. */
  took(milliseconds: number): void {
    const seconds = milliseconds / 1_000;
    this.#secondsSum += seconds;
    let bucket = 0;
    while (bucket < REQUEST_SECONDS_BUCKETS.length && seconds > (REQUEST_SECONDS_BUCKETS[bucket] ?? 0))
      bucket += 1;
    this.#durations[bucket] = (this.#durations[bucket] ?? 0) + 1;
  }

  snapshot(): GatewayMetrics {
    return {
      requests: Object.fromEntries(this.#requests),
      inFlight: this.inFlight,
      coldStarts: this.coldStarts,
      retries: this.retries,
    };
  }

  samples(): Sample[] {
    return [
      ...byLabel('isoplane_gateway_requests_total', this.#requests),
      {
        name: 'isoplane_gateway_request_seconds',
        value: { counts: [...this.#durations], sum: this.#secondsSum },
      },
      { name: 'isoplane_gateway_requests_in_flight', value: this.inFlight },
      { name: 'isoplane_gateway_cold_starts_total', value: this.coldStarts },
      { name: 'isoplane_gateway_retries_total', value: this.retries },
    ];
  }
}
