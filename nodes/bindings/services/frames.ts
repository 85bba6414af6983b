/**
 * Reads along a Cap'n Proto RPC connection to know whether a call is open on it.
 *
 * workerd keeps one connection per service binding for the life of the caller, so its being open says
 * nothing. Each JavaScript session is a call that stays open until the session and every stub of it is gone
 * (EventDispatcher.jsRpcSession), so a connection without an open question is at rest. Layout: rpc.capnp and
 * https://capnproto.org/encoding.html.
 *
 * Only the head of each message is looked at. A message that cannot be understood makes {@link lost} true
 * for good: the connection is then never taken to be at rest.
 */

/** Discriminants of `Message`. */
const CALL = 2;
const RETURN = 3;
const FINISH = 4;
const BOOTSTRAP = 8;

const WORD = 8;
/** Of the segment table: more is refused by every implementation of RPC. */
const SEGMENTS_MAX = 512;
/** Of the first segment: the message struct and its member lie at its beginning. */
const HEAD_BYTES = 8 * WORD;

interface Message {
  readonly kind: number;
  readonly id: number;
  readonly noFinishNeeded: boolean;
}

/** Splits one direction into messages. */
class Splitter {
  #pending = Buffer.alloc(0);
  #skip = 0;
  broken = false;

  push(chunk: Buffer, onMessage: (message: Message) => void): void {
    if (this.broken) return;
    let rest = chunk;
    for (;;) {
      if (this.#skip >= rest.byteLength) {
        this.#skip -= rest.byteLength;
        return;
      }
      rest = rest.subarray(this.#skip);
      this.#skip = 0;
      if (this.#pending.byteLength > 0) rest = Buffer.concat([this.#pending, rest]);
      this.#pending = Buffer.alloc(0);
      const taken = this.#take(rest, onMessage);
      if (taken === undefined) {
        // The head of a message is short, so this never grows.
        this.#pending = Buffer.from(rest);
        return;
      }
      if (this.broken) return;
      this.#skip = taken;
    }
  }

  /** @returns bytes of the message at the start of `bytes`, or undefined while its head is not all there. */
  #take(bytes: Buffer, onMessage: (message: Message) => void): number | undefined {
    if (bytes.byteLength < 4) return undefined;
    const segments = bytes.readUInt32LE(0) + 1;
    if (segments > SEGMENTS_MAX) {
      this.broken = true;
      return 0;
    }
    const table = Math.ceil((4 + 4 * segments) / WORD) * WORD;
    if (bytes.byteLength < table) return undefined;
    let size = 0;
    for (let index = 0; index < segments; index += 1) size += bytes.readUInt32LE(4 + 4 * index) * WORD;
    const first = Math.min(bytes.readUInt32LE(4) * WORD, HEAD_BYTES);
    if (bytes.byteLength < table + first) return undefined;
    const message = readHead(bytes.subarray(table, table + first));
    if (message === undefined) this.broken = true;
    else onMessage(message);
    return table + size;
  }
}

/** Where a struct pointer at `at` leads, in bytes; undefined for everything else. */
function follow(segment: Buffer, at: number): number | undefined {
  if (at + WORD > segment.byteLength) return undefined;
  const low = segment.readInt32LE(at);
  if ((low & 3) !== 0) return undefined;
  const target = at + WORD + (low >> 2) * WORD;
  return target >= 0 && target + WORD <= segment.byteLength ? target : undefined;
}

function readHead(segment: Buffer): Message | undefined {
  const root = follow(segment, 0);
  if (root === undefined) return undefined;
  const kind = segment.readUInt16LE(root);
  if (kind !== CALL && kind !== RETURN && kind !== FINISH && kind !== BOOTSTRAP)
    return { kind, id: 0, noFinishNeeded: false };
  const member = follow(segment, root + WORD);
  if (member === undefined) return undefined;
  return {
    kind,
    id: segment.readUInt32LE(member),
    // Return: answerId (32 bits), releaseParamCaps, noFinishNeeded.
    noFinishNeeded: kind === RETURN && (segment.readUInt8(member + 4) & 2) !== 0,
  };
}

export class OpenQuestions {
  readonly #fromCaller = new Splitter();
  readonly #fromTarget = new Splitter();
  readonly #open = new Set<number>();

  get lost(): boolean {
    return this.#fromCaller.broken || this.#fromTarget.broken;
  }

  get any(): boolean {
    return this.#open.size > 0 || this.lost;
  }

  /** @returns whether a question was asked. */
  caller(chunk: Buffer): boolean {
    let asked = false;
    this.#fromCaller.push(chunk, ({ kind, id }) => {
      if (kind === CALL || kind === BOOTSTRAP) {
        this.#open.add(id);
        asked = true;
      } else if (kind === FINISH) this.#open.delete(id);
    });
    return asked || this.#fromCaller.broken;
  }

  target(chunk: Buffer): void {
    this.#fromTarget.push(chunk, ({ kind, id, noFinishNeeded }) => {
      if (kind === RETURN && noFinishNeeded) this.#open.delete(id);
    });
  }
}
