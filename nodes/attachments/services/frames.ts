/**
 * Reads along an RPC connection to know whether it is at rest: no call is open on it, and the caller holds
 * no object of the target.
 *
 * workerd keeps one connection per service binding for the life of the caller, so its being open says
 * nothing. What it fetches once and keeps, the bootstrap capability, is not counted.
 *
 * Where a message cannot be followed (too large, several segments, unknown), it errs towards not being at
 * rest: {@link ReadAlong.lost} for good when the framing itself is not understood.
 */
import {
  beginsEvent,
  BOOTSTRAP,
  CALL,
  calledExports,
  FINISH,
  noFinishNeeded,
  readMessage,
  referenceCount,
  RELEASE,
  releasesResults,
  RESOLVE,
  resolvedExports,
  resolvedToError,
  RETURN,
  returnedExports,
  threw,
  type Message,
} from './capnp.ts';

const WORD = 8;
/** Of the segment table: more is refused by every implementation of RPC. */
const SEGMENTS_MAX = 512;
/** Of the first segment: the message struct and its member lie at its beginning. */
const HEAD_BYTES = 8 * WORD;
/** A message that may give capabilities is looked at whole up to this. */
const WHOLE_BYTES_MAX = 16_384;

type OnMessage = (message: Message, whole: boolean) => void;

/** Splits one direction into messages. */
class Splitter {
  readonly #kindsWhole: ReadonlySet<number>;
  #pending = Buffer.alloc(0);
  #skip = 0;
  broken = false;

  /** @param kindsWhole - these are waited for to their end, when they are not too large. */
  constructor(kindsWhole: readonly number[]) {
    this.#kindsWhole = new Set(kindsWhole);
  }

  push(chunk: Buffer, onMessage: OnMessage): void {
    let rest = chunk;
    while (!this.broken) {
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
        // At most WHOLE_BYTES_MAX and a segment table.
        this.#pending = Buffer.from(rest);
        return;
      }
      this.#skip = taken;
    }
  }

  /** @returns bytes of the message at the start of `bytes`, or undefined while more of it is needed. */
  #take(bytes: Buffer, onMessage: OnMessage): number | undefined {
    if (bytes.byteLength < 4) return undefined;
    const segments = bytes.readUInt32LE(0) + 1;
    if (segments > SEGMENTS_MAX) return this.#break();
    const table = Math.ceil((4 + 4 * segments) / WORD) * WORD;
    if (bytes.byteLength < table) return undefined;
    let size = 0;
    for (let index = 0; index < segments; index += 1) size += bytes.readUInt32LE(4 + 4 * index) * WORD;
    const first = bytes.readUInt32LE(4) * WORD;
    const head = table + Math.min(first, HEAD_BYTES);
    if (bytes.byteLength < head) return undefined;
    const message = readMessage(bytes.subarray(table, head));
    if (message === undefined) return this.#break();
    const wanted = this.#kindsWhole.has(message.kind);
    if (!wanted || segments > 1 || first > WHOLE_BYTES_MAX) {
      onMessage(message, !wanted);
      return table + size;
    }
    if (bytes.byteLength < table + first) return undefined;
    const whole = readMessage(bytes.subarray(table, table + first));
    if (whole === undefined) return this.#break();
    onMessage(whole, true);
    return table + size;
  }

  #break(): number {
    this.broken = true;
    return 0;
  }
}

interface Question {
  readonly bootstrap: boolean;
  /** Lasts as long as the event. */
  readonly event: boolean;
}

/**
 * @param readable - all of the message is there, or an exception, which gives nothing: workerd sends those in
 *   several segments, for the serialised error and its stack.
 */
function exportsOf(
  member: Message['member'],
  readable: boolean,
  read: (member: NonNullable<Message['member']>) => readonly number[] | undefined,
): readonly number[] | undefined {
  return readable && member !== undefined ? read(member) : undefined;
}

export class ReadAlong {
  readonly #fromCaller = new Splitter([]);
  readonly #fromTarget = new Splitter([RETURN, RESOLVE, CALL]);
  readonly #questions = new Map<number, Question>();
  /** Exports of the target that the caller holds, with the number of references. */
  readonly #held = new Map<number, number>();
  /** What a Return gave, for a Finish that releases all of it. */
  readonly #given = new Map<number, readonly number[]>();
  /** Capabilities were given that could not be counted. */
  #uncounted = false;
  /** Events that the caller began, and calls that threw, so far. */
  events = 0;
  failures = 0;

  get lost(): boolean {
    return this.#fromCaller.broken || this.#fromTarget.broken;
  }

  /** A call waits for its answer. */
  get open(): boolean {
    return this.#questions.size > 0 || this.lost;
  }

  /** Events without an end. */
  get eventsOpen(): number {
    let open = 0;
    for (const { event } of this.#questions.values()) if (event) open += 1;
    return open;
  }

  get atRest(): boolean {
    return !this.open && this.#held.size === 0 && !this.#uncounted;
  }

  /** @returns whether a question was asked. */
  caller(chunk: Buffer): boolean {
    let asked = false;
    this.#fromCaller.push(chunk, ({ kind, id, member }) => {
      if (kind === CALL || kind === BOOTSTRAP) {
        const event = kind === CALL && member !== undefined && beginsEvent(member);
        if (event) this.events += 1;
        this.#questions.set(id, { bootstrap: kind === BOOTSTRAP, event });
        asked = true;
      } else if (kind === FINISH) {
        this.#questions.delete(id);
        if (member !== undefined && releasesResults(member)) this.#release(this.#given.get(id) ?? []);
        this.#given.delete(id);
      } else if (kind === RELEASE && member !== undefined) {
        const left = (this.#held.get(id) ?? 0) - referenceCount(member);
        if (left > 0) this.#held.set(id, left);
        else this.#held.delete(id);
      }
    });
    return asked || this.#fromCaller.broken;
  }

  target(chunk: Buffer): void {
    this.#fromTarget.push(chunk, ({ kind, id, member }, whole) => {
      if (kind === RETURN) this.#returned(id, member, whole);
      else if (kind === RESOLVE)
        this.#hold(
          exportsOf(member, whole || (member !== undefined && resolvedToError(member)), resolvedExports),
        );
      else if (kind === CALL && (!whole || member === undefined || calledExports(member)?.length !== 0))
        // The other side's Return decides what becomes of them: too seldom to follow.
        this.#uncounted = true;
    });
  }

  #returned(id: number, member: Message['member'], whole: boolean): void {
    const question = this.#questions.get(id);
    // A Finish that came before it, or the bootstrap capability: kept by neither side's code.
    if (question === undefined || question.bootstrap) return;
    const failed = member !== undefined && threw(member);
    if (failed && !question.event) this.failures += 1;
    const exports = exportsOf(member, whole || failed, returnedExports);
    this.#hold(exports);
    if (member !== undefined && noFinishNeeded(member)) this.#questions.delete(id);
    else if (exports !== undefined && exports.length > 0) this.#given.set(id, exports);
  }

  #hold(exports: readonly number[] | undefined): void {
    if (exports === undefined) this.#uncounted = true;
    else for (const id of exports) this.#held.set(id, (this.#held.get(id) ?? 0) + 1);
  }

  #release(exports: readonly number[]): void {
    for (const id of exports) {
      const left = (this.#held.get(id) ?? 0) - 1;
      if (left > 0) this.#held.set(id, left);
      else this.#held.delete(id);
    }
  }
}
