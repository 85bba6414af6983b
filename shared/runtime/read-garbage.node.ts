/**
 * Chunks of bodies are garbage that V8 hardly sees: each weighs a few hundred bytes in the young generation and up to
 * 64 KiB outside of it. So the generation is full, and collected, only after more than 100 MiB of them, and of what
 * malloc took by then much is never given back, since what lives on lies in between.
 *
 * Whoever reads bodies says how much; after so much a young collection frees the chunks. It takes half a millisecond,
 * less than a tenth of what reading that many bytes has taken.
 */
import type { Collect } from './collector.node.ts';
import { collector } from './collector.node.ts';

const COLLECT_BYTES = 16 * 1_048_576;

export class ReadGarbage {
  readonly #find: () => Collect | undefined;
  #collect: Collect | undefined;
  #bytes = 0;

  /** @param find - the collector, once it is needed; undefined: not now. */
  constructor(find: () => Collect | undefined) {
    this.#find = find;
  }

  read(bytes: number): void {
    this.#bytes += bytes;
    if (this.#bytes < COLLECT_BYTES) return;
    this.#bytes = 0;
    this.#collect ??= this.#find();
    this.#collect?.({ type: 'minor', execution: 'sync' });
  }
}

/** One for each thread, as its heap is. */
export const readGarbage = new ReadGarbage(collector);
