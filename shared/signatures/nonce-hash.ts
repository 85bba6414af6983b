/** 64-bit hashes of nonces, and sets of them that cost 16 to 32 bytes an entry. */

export interface Hash64 {
  readonly high: number;
  readonly low: number;
}

const FREE = 0;
/** `low` of an entry that was deleted; its `high` is 0, which no hash has. */
const DELETED = 1;
const SLOTS_MIN = 64;

/** Two lanes of multiply and mix over both texts, each begun with its own seed (the cyrb53 construction). */
export function seededHash(seeds: Uint32Array): (scope: string, text: string) => Hash64 {
  const [seedA = 0, seedB = 0] = seeds;
  return (scope, text) => {
    let a = seedA ^ 0xdeadbeef;
    let b = seedB ^ 0x41c6ce57;
    const take = (part: string): void => {
      for (let index = 0; index < part.length; index += 1) {
        const unit = part.charCodeAt(index);
        a = Math.imul(a ^ unit, 0x9e3779b1);
        b = Math.imul(b ^ unit, 0x5f356495);
      }
      // Ends the part: `ab` and `c` are not `a` and `bc`.
      a = Math.imul(a ^ (a >>> 16) ^ 0x10000, 0x85ebca6b);
      b = Math.imul(b ^ (b >>> 16) ^ 0x10000, 0xc2b2ae35);
    };
    take(scope);
    take(text);
    a = Math.imul(a ^ (a >>> 16), 0x85ebca6b) ^ Math.imul(b ^ (b >>> 13), 0xc2b2ae35);
    b = Math.imul(b ^ (b >>> 16), 0x85ebca6b) ^ Math.imul(a ^ (a >>> 13), 0xc2b2ae35);
    return { high: a >>> 0 === 0 ? 1 : a >>> 0, low: b >>> 0 };
  };
}

/** Open addressing with linear probing; doubles at three quarters. */
export class HashSet {
  /** `high` and `low` in turn. */
  #slots = new Uint32Array(2 * SLOTS_MIN);
  /** Slots that are not free, deleted ones included. */
  #filled = 0;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  has(hash: Hash64): boolean {
    return this.#find(hash) >= 0;
  }

  /** The hash must not be in the set. */
  add(hash: Hash64): void {
    if (4 * (this.#filled + 1) > 3 * (this.#slots.length / 2)) this.#grow();
    this.#insert(hash.high, hash.low);
  }

  /** False when it was not there. */
  delete(hash: Hash64): boolean {
    const at = this.#find(hash);
    if (at < 0) return false;
    this.#slots[at] = 0;
    this.#slots[at + 1] = DELETED;
    this.#size -= 1;
    return true;
  }

  #find({ high, low }: Hash64): number {
    const mask = this.#slots.length - 2;
    for (let at = (low << 1) & mask; ; at = (at + 2) & mask) {
      const there = this.#slots[at];
      if (there === high && this.#slots[at + 1] === low) return at;
      if (there === 0 && this.#slots[at + 1] === FREE) return -1;
    }
  }

  #insert(high: number, low: number): void {
    const mask = this.#slots.length - 2;
    let at = (low << 1) & mask;
    while (this.#slots[at] !== 0) at = (at + 2) & mask;
    if (this.#slots[at + 1] === FREE) this.#filled += 1;
    this.#slots[at] = high;
    this.#slots[at + 1] = low;
    this.#size += 1;
  }

  #grow(): void {
    const old = this.#slots;
    // Mostly deleted: as large as before is enough.
    const slots = 2 * this.#size > old.length / 4 ? old.length : old.length / 2;
    this.#slots = new Uint32Array(2 * slots);
    this.#filled = 0;
    this.#size = 0;
    for (let at = 0; at < old.length; at += 2)
      if (old[at] !== 0) this.#insert(old[at] ?? 0, old[at + 1] ?? 0);
  }
}
