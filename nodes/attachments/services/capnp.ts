/**
 * As much of the Cap'n Proto encoding and of rpc.capnp as it takes to follow the calls and capabilities of a
 * connection. Pure. Layout: https://capnproto.org/encoding.html and rpc.capnp; what cannot be read is undefined.
 */

/** Discriminants of `Message`. */
export const CALL = 2;
export const RETURN = 3;
export const FINISH = 4;
export const RESOLVE = 5;
export const RELEASE = 6;
export const BOOTSTRAP = 8;

const WORD = 8;
/** `Return.results`, `Resolve.cap`. */
const FIRST = 0;
const SENDER_HOSTED = 1;
/** `Return.exception`. */
const EXCEPTION = 1;
const SENDER_PROMISE = 2;
const COMPOSITE = 7;

export interface Struct {
  readonly segment: Buffer;
  readonly dataAt: number;
  readonly pointersAt: number;
  readonly pointers: number;
}

export interface Message {
  readonly kind: number;
  /** Of the question; of the export for Release. */
  readonly id: number;
  readonly member: Struct | undefined;
}

/** The struct that the pointer at `at` leads to within the segment. */
function structAt(segment: Buffer, at: number): Struct | undefined {
  if (at + WORD > segment.byteLength) return undefined;
  const low = segment.readInt32LE(at);
  if ((low & 3) !== 0) return undefined;
  const dataAt = at + WORD + (low >> 2) * WORD;
  const pointersAt = dataAt + segment.readUInt16LE(at + 4) * WORD;
  const pointers = segment.readUInt16LE(at + 6);
  if (dataAt < 0 || pointersAt > segment.byteLength) return undefined;
  return { segment, dataAt, pointersAt, pointers };
}

function field(struct: Struct, index: number): Struct | undefined {
  return index < struct.pointers ? structAt(struct.segment, struct.pointersAt + index * WORD) : undefined;
}

/** @param segment - the first one of the message, or its beginning. */
export function readMessage(segment: Buffer): Message | undefined {
  const root = structAt(segment, 0);
  if (root === undefined || root.pointersAt === root.dataAt) return undefined;
  const kind = segment.readUInt16LE(root.dataAt);
  if (kind !== CALL && kind !== RETURN && kind !== FINISH && kind !== RELEASE && kind !== BOOTSTRAP)
    return { kind, id: 0, member: kind === RESOLVE ? field(root, 0) : undefined };
  const member = field(root, 0);
  if (member === undefined || member.pointersAt === member.dataAt) return undefined;
  return { kind, id: segment.readUInt32LE(member.dataAt), member };
}

/** Of a Return: the sender needs no Finish. The bit after releaseParamCaps. */
export function noFinishNeeded({ segment, dataAt }: Struct): boolean {
  return (segment.readUInt8(dataAt + 4) & 2) !== 0;
}

/** Of a Finish: capabilities in the results count as released. True by default, so stored inverted. */
export function releasesResults({ segment, dataAt }: Struct): boolean {
  return (segment.readUInt8(dataAt + 4) & 1) === 0;
}

/** Of a Release. */
export function referenceCount({ segment, dataAt }: Struct): number {
  return segment.readUInt32LE(dataAt + 4);
}

/** Exports of the sender that a Return gives to the receiver. */
export function returnedExports(member: Struct): readonly number[] | undefined {
  if (member.segment.readUInt16LE(member.dataAt + 6) !== FIRST) return [];
  const payload = field(member, 0);
  return payload === undefined ? undefined : capTable(payload);
}

/** The export that a Resolve puts in place of a promise. */
export function resolvedExports(member: Struct): readonly number[] | undefined {
  if (member.segment.readUInt16LE(member.dataAt + 4) !== FIRST) return [];
  const descriptor = field(member, 0);
  return descriptor === undefined ? undefined : exportOf(descriptor.segment, descriptor.dataAt);
}

/** Of a Resolve: the promise was broken. */
export function resolvedToError({ segment, dataAt }: Struct): boolean {
  return segment.readUInt16LE(dataAt + 4) === EXCEPTION;
}

/** `EventDispatcher` of workerd's worker-interface.capnp; `prewarm` is the one method that begins no event. */
const EVENT_DISPATCHER = 0xf20697475ec1752dn;
const PREWARM = 2;

/** Of a Call: code of the target runs for it. Calls on objects that it gave are part of the same event. */
export function beginsEvent({ segment, dataAt, pointersAt }: Struct): boolean {
  return (
    pointersAt - dataAt >= 2 * WORD &&
    segment.readBigUInt64LE(dataAt + WORD) === EVENT_DISPATCHER &&
    segment.readUInt16LE(dataAt + 4) !== PREWARM
  );
}

/** Of a Return: the call threw. */
export function threw({ segment, dataAt }: Struct): boolean {
  return segment.readUInt16LE(dataAt + 6) === EXCEPTION;
}

/** `Call.params` is the second pointer of a Call. */
export function calledExports(member: Struct): readonly number[] | undefined {
  const payload = field(member, 1);
  return payload === undefined ? undefined : capTable(payload);
}

function exportOf(segment: Buffer, at: number): readonly number[] {
  const kind = segment.readUInt16LE(at);
  return kind === SENDER_HOSTED || kind === SENDER_PROMISE ? [segment.readUInt32LE(at + 4)] : [];
}

/** `Payload.capTable`: the second pointer, a list of structs. */
function capTable({ segment, pointersAt, pointers }: Struct): readonly number[] | undefined {
  const at = pointersAt + WORD;
  if (pointers < 2 || at + WORD > segment.byteLength) return undefined;
  if (segment.readUInt32LE(at) === 0 && segment.readUInt32LE(at + 4) === 0) return [];
  const low = segment.readInt32LE(at);
  if ((low & 3) !== 1 || (segment.readUInt32LE(at + 4) & 7) !== COMPOSITE) return undefined;
  const tagAt = at + WORD + (low >> 2) * WORD;
  if (tagAt < 0 || tagAt + WORD > segment.byteLength) return undefined;
  const count = segment.readUInt32LE(tagAt) >>> 2;
  const size = (segment.readUInt16LE(tagAt + 4) + segment.readUInt16LE(tagAt + 6)) * WORD;
  if (tagAt + WORD + count * size > segment.byteLength) return undefined;
  const exports: number[] = [];
  for (let index = 0; index < count; index += 1)
    exports.push(...exportOf(segment, tagAt + WORD + index * size));
  return exports;
}
