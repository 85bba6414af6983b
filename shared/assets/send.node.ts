/**
 * Writes a file of the assets to a client. The usual request, a small file from memory, costs a few look-ups
 * and one write.
 */
import type { FileHandle } from 'node:fs/promises';
import { STATUS_CODES } from 'node:http';
import type { AssetFile } from '../contracts/assets.ts';
import type { ResponseWriter } from '../http/writer.ts';
import { MEMORY_FILE_BYTES_MAX, type AssetLibrary, type Body } from './library.node.ts';
import {
  cacheControlOf,
  changed,
  codingOf,
  contentTypeOf,
  isCompressible,
  isMatched,
  matchedTag,
  merged,
  rangeOf,
  tagOf,
  type Coding,
  type FlatHeaders,
} from './representation.ts';
import type { Decision } from './site.ts';

type FileDecision = Extract<Decision, { kind: 'file' }>;

interface AssetRequest {
  readonly method: string;
  /** `name` is lower case. */
  header(name: string): string | undefined;
}

export interface SendOptions {
  readonly account: string;
  readonly request: AssetRequest;
  readonly outgoing: ResponseWriter;
  readonly decision: FileDecision;
  /** Anyone may read it. */
  readonly anyone: boolean;
  /** False: as it is, because code reads it. */
  readonly mayCompress: boolean;
  /** Headers beside the file's own, lower case. */
  readonly extra: FlatHeaders;
}

/** A reader that takes nothing for this long is left. */
const READER_IDLE_MS = 300_000;
const PIECE_BYTES = 64 * 1024;

/** Of each decision: per coding, and whether it may be cached at all. */
const heads = new WeakMap<FileDecision, Map<string, FlatHeaders>>();

function makeHead(
  { file, changes }: FileDecision,
  { coding, cacheControl, vary }: { coding: Coding; cacheControl: string | undefined; vary: boolean },
): FlatHeaders {
  const type = contentTypeOf(file.path);
  const plain: FlatHeaders = [
    ...(type === undefined ? [] : ['content-type', type]),
    'etag',
    tagOf(file, coding),
    ...(cacheControl === undefined ? [] : ['cache-control', cacheControl]),
    ...(vary ? ['vary', 'accept-encoding'] : []),
    ...(coding === 'identity' ? [] : ['content-encoding', coding]),
    'accept-ranges',
    'bytes',
  ];
  return changed(plain, changes);
}

function headOf(
  decision: FileDecision,
  coding: Coding,
  { request, anyone, extra }: SendOptions,
  vary: boolean,
): FlatHeaders {
  const shared = anyone && request.header('authorization') === undefined;
  const cached = !anyone || (shared && request.header('range') === undefined);
  const key = `${coding}${anyone ? 'a' : 'p'}${cached ? 'c' : 'n'}`;
  const known = heads.get(decision) ?? new Map<string, FlatHeaders>();
  heads.set(decision, known);
  let head = known.get(key);
  if (head === undefined) {
    head = makeHead(decision, { coding, vary, cacheControl: cached ? cacheControlOf(anyone) : undefined });
    known.set(key, head);
  }
  return merged(head, extra);
}

const OF_THE_BODY = new Set(['content-type', 'content-encoding', 'accept-ranges']);

function withoutBody(head: FlatHeaders, tag: string): string[] {
  const kept: string[] = [];
  for (let index = 0; index < head.length; index += 2) {
    const name = head[index] ?? '';
    if (!OF_THE_BODY.has(name)) kept.push(name, name === 'etag' ? tag : (head[index + 1] ?? ''));
  }
  return kept;
}

function isOwnCoding({ changes }: FileDecision): boolean {
  return changes.some(({ set }) => set.some(([name]) => name === 'content-encoding'));
}

function begin({ outgoing }: SendOptions, status: number, head: string[]): ResponseWriter {
  outgoing.writeHead(status, STATUS_CODES[status] ?? '', head);
  return outgoing;
}

/** @returns bytes of the body; a promise only when something had to be read. @throws {PlatformError} */
export function sendFile(library: AssetLibrary, options: SendOptions): number | Promise<number> {
  const { request, decision, account, mayCompress } = options;
  const { file, status } = decision;
  const asked = status === 200 && request.method === 'GET' ? request.header('range') : undefined;
  const vary =
    mayCompress && file.bytes <= MEMORY_FILE_BYTES_MAX && isCompressible(file) && !isOwnCoding(decision);
  const coding = vary && asked === undefined ? codingOf(request.header('accept-encoding')) : 'identity';
  // Conditions are for what would be answered with 2xx: not for a page that stands in (RFC 9110, section 13.2.1).
  if (status === 200) {
    if (!isMatched(file, request.header('if-match'))) {
      const head = withoutBody(headOf(decision, 'identity', options, vary), tagOf(file, 'identity'));
      begin(options, 412, [...head, 'content-length', '0']).end();
      return 0;
    }
    const tag = matchedTag(file, coding, request.header('if-none-match'));
    if (tag !== undefined) {
      begin(options, 304, withoutBody(headOf(decision, coding, options, vary), tag)).end();
      return 0;
    }
  }
  if (asked !== undefined) {
    const range = rangeOf(file, asked, request.header('if-range'));
    if (range.kind !== 'whole') return sendRange(library, options, range);
  }
  if (file.bytes > MEMORY_FILE_BYTES_MAX)
    return sendFromDisk(library, options, { from: 0, to: file.bytes - 1 });
  const body = library.body(account, file, coding);
  if (body instanceof Promise)
    return body.then((loaded) => sendBody(library, options, { body: loaded, coding, vary }));
  return sendBody(library, options, { body, coding, vary });
}

interface Whole {
  readonly body: Body | undefined;
  readonly coding: Coding;
  readonly vary: boolean;
}

function sendBody(library: AssetLibrary, options: SendOptions, whole: Whole): number | Promise<number> {
  const { body, coding, vary } = whole;
  const { account, decision, outgoing, request } = options;
  if (body === undefined) {
    const plain = library.body(account, decision.file, 'identity');
    return plain instanceof Promise
      ? plain.then((loaded) => sendBody(library, options, { body: loaded, coding: 'identity', vary }))
      : sendBody(library, options, { body: plain, coding: 'identity', vary });
  }
  const { bytes, text } = body;
  if (text === undefined && request.method !== 'HEAD' && !hold(library, options, bytes.byteLength))
    return sendFromDisk(library, options, { from: 0, to: decision.file.bytes - 1 });
  const head = [...headOf(decision, coding, options, vary), 'content-length', String(bytes.byteLength)];
  begin(options, decision.status, head);
  if (request.method === 'HEAD') {
    outgoing.end();
    return 0;
  }
  if (text === undefined) outgoing.end(bytes);
  else outgoing.end(text, 'latin1');
  return bytes.byteLength;
}

/** Until the reader has it all, the bytes stay in memory even if the cache lets go of them. */
function hold({ sending }: AssetLibrary, { account, outgoing }: SendOptions, bytes: number): boolean {
  if (!sending.take(account, bytes)) return false;
  outgoing.setTimeout(READER_IDLE_MS, () => outgoing.destroy());
  outgoing.once('close', () => sending.give(account, bytes));
  return true;
}

interface Piece {
  readonly from: number;
  /** Last byte. */
  readonly to: number;
}

async function sendRange(
  library: AssetLibrary,
  options: SendOptions,
  range: { readonly kind: 'unsatisfiable' } | ({ readonly kind: 'part' } & Piece),
): Promise<number> {
  const { decision, outgoing, account } = options;
  const { file } = decision;
  if (range.kind === 'unsatisfiable') {
    const head = withoutBody(headOf(decision, 'identity', options, false), tagOf(file, 'identity'));
    begin(options, 416, [...head, 'content-range', `bytes */${file.bytes}`, 'content-length', '0']).end();
    return 0;
  }
  const body = file.bytes > MEMORY_FILE_BYTES_MAX ? undefined : await library.body(account, file, 'identity');
  const length = range.to - range.from + 1;
  if (body === undefined || !hold(library, options, body.bytes.byteLength))
    return sendFromDisk(library, options, range, rangeHead(file, range));
  const vary = options.mayCompress && isCompressible(file);
  begin(options, 206, [
    ...headOf(decision, 'identity', options, vary),
    ...rangeHead(file, range),
    'content-length',
    String(length),
  ]);
  outgoing.end(body.bytes.subarray(range.from, range.to + 1));
  return length;
}

function rangeHead(file: AssetFile, { from, to }: Piece): FlatHeaders {
  return ['content-range', `bytes ${from}-${to}/${file.bytes}`];
}

async function sendFromDisk(
  library: AssetLibrary,
  options: SendOptions,
  { from, to }: Piece,
  partial?: FlatHeaders,
): Promise<number> {
  const { account, decision, outgoing, request } = options;
  const vary =
    options.mayCompress && decision.file.bytes <= MEMORY_FILE_BYTES_MAX && isCompressible(decision.file);
  const head = headOf(decision, 'identity', options, vary);
  const length = String(to - from + 1);
  const status = partial === undefined ? decision.status : 206;
  if (request.method === 'HEAD') {
    begin(options, status, [...head, 'content-length', length]).end();
    return 0;
  }
  const handle = await library.handle(account, decision.file);
  begin(options, status, [...head, ...(partial ?? []), 'content-length', length]);
  return pour(handle, outgoing, { from, to });
}

async function pour(handle: FileHandle, outgoing: ResponseWriter, { from, to }: Piece): Promise<number> {
  outgoing.setTimeout(READER_IDLE_MS, () => outgoing.destroy());
  const source = handle.createReadStream({ start: from, end: to, highWaterMark: PIECE_BYTES });
  try {
    for await (const piece of source as AsyncIterable<Buffer>) {
      if (outgoing.destroyed) break;
      if (!outgoing.write(piece)) await roomOrEnd(outgoing);
    }
    if (!outgoing.destroyed) outgoing.end();
  } catch {
    // The disk failed in the middle: only the end of the connection says so.
    outgoing.destroy();
  }
  return source.bytesRead;
}

function roomOrEnd(outgoing: ResponseWriter): Promise<void> {
  return new Promise((resolve) => {
    if (outgoing.destroyed) return resolve();
    const over = (): void => {
      outgoing.off('drain', over);
      outgoing.off('close', over);
      resolve();
    };
    outgoing.on('drain', over);
    outgoing.on('close', over);
  });
}
