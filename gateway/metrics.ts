/** Counters of one gateway. Plain numbers, so that any exporter can print them. */

export interface GatewayMetrics {
  /** Finished requests by outcome: `ok`, `cut`, `client_gone`, or the code of the error. */
  readonly requests: Readonly<Record<string, number>>;
  readonly inFlight: number;
  readonly coldStarts: number;
  readonly retries: number;
}

export class Metrics {
  readonly #requests = new Map<string, number>();
  inFlight = 0;
  coldStarts = 0;
  retries = 0;

  count(outcome: string): void {
    this.#requests.set(outcome, (this.#requests.get(outcome) ?? 0) + 1);
  }

  snapshot(): GatewayMetrics {
    return {
      requests: Object.fromEntries(this.#requests),
      inFlight: this.inFlight,
      coldStarts: this.coldStarts,
      retries: this.retries,
    };
  }
}
