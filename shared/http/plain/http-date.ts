/** The text of a Date header, made once a second. */
import type { Clock } from '../../runtime/clock.ts';

export class HttpDate {
  readonly #clock: Pick<Clock, 'wallMs'>;
  #secondMs = Number.NEGATIVE_INFINITY;
  #text = '';

  constructor(clock: Pick<Clock, 'wallMs'>) {
    this.#clock = clock;
  }

  get text(): string {
    const nowMs = this.#clock.wallMs();
    const secondMs = nowMs - (nowMs % 1_000);
    if (secondMs !== this.#secondMs) {
      this.#secondMs = secondMs;
      this.#text = new Date(secondMs).toUTCString();
    }
    return this.#text;
  }
}
