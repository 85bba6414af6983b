/**
 * Bytes in both directions between two connections after an upgrade. It ends when both directions have ended: what one
 * side said last, a Close frame for instance (RFC 6455 section 7.1), still reaches the other. Once one side has ended
 * the other may stay silent for CLOSING_MS_MAX only.
 */
import type { Duplex } from 'node:stream';

const CLOSING_MS_MAX = 1_000;

export interface JoinListener {
  /** A chunk from `left` passes. */
  onLeft(chunk: Buffer): void;
  onRight(chunk: Buffer): void;
  /** One side has ended: from here on silence is counted anew, and may last for this long at most. */
  onEnding(silenceMsMax: number): void;
  /** Both connections are closed. */
  onOver(): void;
}

export class Join {
  readonly #listener: JoinListener;
  #closing = false;
  #open = 2;

  /** Both must stay writable after their peer has ended (allowHalfOpen). */
  static of(left: Duplex, right: Duplex, listener: JoinListener): Join {
    return new Join(left, right, listener);
  }

  private constructor(left: Duplex, right: Duplex, listener: JoinListener) {
    this.#listener = listener;
    left.on('data', (chunk: Buffer) => listener.onLeft(chunk));
    right.on('data', (chunk: Buffer) => listener.onRight(chunk));
    this.#carry(left, right);
    this.#carry(right, left);
  }

  /** Silence after which the two are to be closed, when `usual` holds while both are open. */
  silenceMsMax(usual: number): number {
    return this.#closing ? Math.min(CLOSING_MS_MAX, usual) : usual;
  }

  #carry(from: Duplex, to: Duplex): void {
    from.on('end', () => this.#ending());
    from.on('error', () => from.destroy());
    from.on('close', () => this.#closed(from, to));
    if (from.destroyed) return this.#closed(from, to);
    from.pipe(to);
  }

  #ending(): void {
    if (this.#closing) return;
    this.#closing = true;
    this.#listener.onEnding(CLOSING_MS_MAX);
  }

  #closed(from: Duplex, to: Duplex): void {
    this.#ending();
    this.#open -= 1;
    from.unpipe(to);
    if (!to.destroyed) {
      // Whatever was written before reaches the peer; what it says now has no receiver.
      to.end();
      to.resume();
    }
    if (this.#open === 0) this.#listener.onOver();
  }
}
