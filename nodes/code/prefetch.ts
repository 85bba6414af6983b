/**
 * Brings the code of every version of this node onto its disk before anybody calls it, so that a start needs
 * nobody else. What could not be fetched is tried again when control is heard again.
 */
import type { Runnable } from '#shared/contracts/feed.ts';
import type { Log } from '#shared/runtime/log.ts';

/** Fetches under way: starts that wait for theirs must not queue behind all others. */
const AT_ONCE_MAX = 4;

export interface PrefetchOptions {
  /** Rejects when the code cannot be had now. */
  readonly prepare: (runnable: Runnable) => Promise<unknown>;
  readonly log: Log;
}

export class Prefetch {
  readonly #options: PrefetchOptions;
  /** Wanted and not known to be here, by version id. */
  readonly #missing = new Map<string, Runnable>();
  readonly #queue = new Map<string, Runnable>();
  #running = 0;

  constructor(options: PrefetchOptions) {
    this.#options = options;
  }

  /** Versions whose code is not here. */
  get missing(): number {
    return this.#missing.size;
  }

  want(id: string, runnable: Runnable | undefined): void {
    this.#missing.delete(id);
    this.#queue.delete(id);
    if (runnable === undefined) return;
    this.#missing.set(id, runnable);
    this.#queue.set(id, runnable);
    this.#pump();
  }

  retry(): void {
    for (const [id, runnable] of this.#missing) this.#queue.set(id, runnable);
    this.#pump();
  }

  #pump(): void {
    for (const [id, runnable] of this.#queue) {
      if (this.#running >= AT_ONCE_MAX) return;
      this.#queue.delete(id);
      this.#running += 1;
      void this.#fetch(id, runnable).finally(() => {
        this.#running -= 1;
        this.#pump();
      });
    }
  }

  async #fetch(id: string, runnable: Runnable): Promise<void> {
    try {
      await this.#options.prepare(runnable);
      if (this.#missing.get(id) === runnable) this.#missing.delete(id);
    } catch (error) {
      this.#options.log.warn('prefetch_failed', { versionId: id, error });
    }
  }
}
