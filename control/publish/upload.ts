/**
 * Reads a multipart upload in a bounded way: what exceeds a bound is refused while it arrives, and what does not
 * goes to disk (spool.ts).
 */
import { Busboy } from '@fastify/busboy';
import { asPlatformError, PlatformError } from '#shared/errors.ts';
import { LIMITS } from '#shared/limits.ts';
import { jsonOrRefuse } from '../validation.ts';
import { Spool, type SpooledPart, type SpoolOptions } from './spool.ts';

const METADATA_BYTES_MAX = 1024 * 1024;
const PART_NAME_BYTES_MAX = 2 * LIMITS.moduleNameBytesMax + 10;
const PARTS_MAX = 2 * LIMITS.modulesPerVersionMax + 1;
/** Boundaries and part headers, generously. */
const FRAMING_BYTES_MAX = PARTS_MAX * 1024;

export const UPLOAD_BYTES_MAX =
  LIMITS.bundleBytesMax + LIMITS.sourceMapBytesMax + METADATA_BYTES_MAX + FRAMING_BYTES_MAX;

export interface UploadedBlob extends SpooledPart {
  readonly name: string;
}

/** Its blobs can be read until it is disposed of. */
export interface Upload extends AsyncDisposable {
  readonly metadata: unknown;
  /** Parsed; undefined when there is no such part. */
  readonly assets: unknown;
  /** Files, by the digest that their part is named after. */
  readonly files: readonly UploadedBlob[];
  readonly modules: readonly UploadedBlob[];
  readonly maps: readonly UploadedBlob[];
}

type Kind = 'metadata' | 'module' | 'map' | 'assets' | 'asset';

function tooLarge(what: string, max: number): PlatformError {
  return new PlatformError('bundle_too_large', `${what} exceed ${max} bytes`, {
    publicDetail: `The ${what} exceed ${max} bytes.`,
  });
}

function bad(message: string): PlatformError {
  return new PlatformError('bad_request', message, { publicDetail: message });
}

/** @param field - undefined where a part has no name, whatever the parser's types say. */
function kindOf(field: string | undefined): { readonly kind: Kind; readonly name: string } | undefined {
  if (field === undefined) return undefined;
  if (field === 'metadata') return { kind: 'metadata', name: '' };
  if (field === 'assets') return { kind: 'assets', name: '' };
  if (field.startsWith('asset:')) return { kind: 'asset', name: field.slice('asset:'.length) };
  if (field.startsWith('module:')) return { kind: 'module', name: field.slice('module:'.length) };
  if (field.startsWith('map:')) return { kind: 'map', name: field.slice('map:'.length) };
  return undefined;
}

const BOUNDS: Record<Kind, { readonly bytesMax: number; readonly what: string }> = {
  metadata: { bytesMax: METADATA_BYTES_MAX, what: 'metadata' },
  module: { bytesMax: LIMITS.bundleBytesMax, what: 'modules' },
  map: { bytesMax: LIMITS.sourceMapBytesMax, what: 'source maps' },
  assets: { bytesMax: LIMITS.assetManifestBytesMax, what: 'list of assets' },
  asset: { bytesMax: LIMITS.assetUploadBytesMax, what: 'assets of one upload' },
};

class Collector {
  readonly #spool: Spool;
  readonly #used: Record<Kind, number> = { metadata: 0, module: 0, map: 0, assets: 0, asset: 0 };
  readonly #parts: {
    readonly kind: Kind;
    readonly name: string;
    readonly part: ReturnType<Spool['begin']>;
  }[] = [];
  failure: PlatformError | undefined;

  constructor(spool: Spool) {
    this.#spool = spool;
  }

  fail(error: PlatformError): void {
    this.failure ??= error;
  }

  begin(field: string | undefined): ((chunk: Uint8Array) => void) | undefined {
    const target = kindOf(field);
    if (target === undefined) {
      this.fail(
        bad('A part of the upload is neither metadata, assets, module:NAME, map:NAME nor asset:DIGEST.'),
      );
      return undefined;
    }
    if (
      (target.kind === 'metadata' || target.kind === 'assets') &&
      this.#parts.some((part) => part.kind === target.kind)
    ) {
      this.fail(bad(`The upload holds two ${target.kind} parts.`));
      return undefined;
    }
    const part = this.#spool.begin();
    this.#parts.push({ ...target, part });
    const { bytesMax, what } = BOUNDS[target.kind];
    return (chunk) => {
      this.#used[target.kind] += chunk.byteLength;
      if (this.#used[target.kind] > bytesMax) return this.fail(tooLarge(what, bytesMax));
      try {
        this.#spool.add(part, chunk);
      } catch (thrown) {
        this.fail(asPlatformError(thrown));
      }
    };
  }

  async finish(): Promise<Omit<Upload, typeof Symbol.asyncDispose>> {
    const blobs = (kind: Kind): UploadedBlob[] =>
      this.#parts
        .filter((part) => part.kind === kind)
        .map(({ name, part }) => ({ name, ...this.#spool.finished(part) }));
    const [metadata] = blobs('metadata');
    const [assets] = blobs('assets');
    if (metadata === undefined) throw bad('The upload holds no metadata part.');
    return {
      metadata: jsonOrRefuse(await metadata.read(), 'metadata part'),
      assets: assets === undefined ? undefined : jsonOrRefuse(await assets.read(), 'assets part'),
      files: blobs('asset'),
      modules: blobs('module'),
      maps: blobs('map'),
    };
  }
}

function startParser(contentType: string, collector: Collector): InstanceType<typeof Busboy> {
  try {
    const parser = new Busboy({
      headers: { 'content-type': contentType },
      // Every part is bytes, whatever content type its sender gave it.
      isPartAFile: () => true,
      limits: { parts: PARTS_MAX, files: PARTS_MAX, fieldNameSize: PART_NAME_BYTES_MAX, headerPairs: 20 },
    });
    parser.on('file', (field, stream) => {
      const take = collector.begin(field);
      if (take === undefined) stream.resume();
      else stream.on('data', (chunk: Uint8Array) => take(chunk));
      stream.on('error', () => collector.fail(bad('The upload ended in the middle of a part.')));
    });
    const tooMany = (): void => collector.fail(tooLarge('parts', PARTS_MAX));
    parser.on('partsLimit', tooMany);
    parser.on('filesLimit', tooMany);
    return parser;
  } catch (thrown) {
    throw new PlatformError('bad_request', 'not multipart', {
      cause: thrown,
      publicDetail: 'The body must be multipart/form-data with a boundary.',
    });
  }
}

/** Chunks of the network are joined to pieces of this size: the parser costs much for each. */
const PIECE_BYTES = 65_536;

async function* pieces(body: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let piece = new Uint8Array(PIECE_BYTES);
  let length = 0;
  for await (const chunk of body) {
    for (let at = 0; at < chunk.byteLength;) {
      const part = chunk.subarray(at, at + PIECE_BYTES - length);
      piece.set(part, length);
      length += part.byteLength;
      at += part.byteLength;
      if (length < PIECE_BYTES) continue;
      yield piece;
      // The parser may still hold on to it.
      piece = new Uint8Array(PIECE_BYTES);
      length = 0;
    }
  }
  if (length > 0) yield piece.subarray(0, length);
}

/**
 * @param body - chunks of the request; reading stops at the first breach.
 * @throws {PlatformError} `bundle_too_large`, `share_full`, `storage_full`, or `bad_request` with the reason.
 */
export async function readUpload(
  contentType: string,
  body: AsyncIterable<Uint8Array>,
  options: SpoolOptions,
): Promise<Upload> {
  if (!contentType.toLowerCase().startsWith('multipart/form-data'))
    throw bad('The body must be multipart/form-data.');
  await using opened = new AsyncDisposableStack();
  const spool = opened.use(await Spool.open(options));
  const collector = new Collector(spool);
  await parse(contentType, body, { collector, spool });
  const upload = await collector.finish();
  const kept = opened.move();
  return { ...upload, [Symbol.asyncDispose]: () => kept.disposeAsync() };
}

async function parse(
  contentType: string,
  body: AsyncIterable<Uint8Array>,
  { collector, spool }: { readonly collector: Collector; readonly spool: Spool },
): Promise<void> {
  const parser = startParser(contentType, collector);
  const finished = new Promise<void>((resolve, reject) => {
    parser.once('finish', () => resolve());
    parser.once('error', (thrown: unknown) =>
      reject(
        new PlatformError('bad_request', 'multipart error', {
          cause: thrown,
          publicDetail: 'The multipart body is malformed.',
        }),
      ),
    );
  });
  // A failure is thrown below; without this a second one would be unhandled.
  finished.catch(() => undefined);
  let total = 0;
  for await (const piece of pieces(body)) {
    total += piece.byteLength;
    if (total > UPLOAD_BYTES_MAX) throw tooLarge('upload', UPLOAD_BYTES_MAX);
    if (!parser.write(piece))
      await Promise.race([new Promise((resolve) => parser.once('drain', resolve)), finished]);
    if (collector.failure !== undefined) throw collector.failure;
    await spool.flush();
  }
  parser.end();
  await finished;
  if (collector.failure !== undefined) throw collector.failure;
  await spool.flush();
}
