/**
 * Reads a multipart upload in a bounded way: what exceeds a bound is refused while it arrives, so memory
 * holds at most the bounds, never what a client chooses to send.
 */
import { Busboy } from '@fastify/busboy';
import { PlatformError } from '#shared/errors.ts';
import type { Digest } from '#shared/ids.ts';
import { LIMITS } from '#shared/limits.ts';
import { sha256 } from '../blobs/store.ts';
import { jsonOrRefuse } from '../validation.ts';

const METADATA_BYTES_MAX = 1024 * 1024;
const PART_NAME_BYTES_MAX = 2 * LIMITS.moduleNameBytesMax + 10;
const PARTS_MAX = 2 * LIMITS.modulesPerVersionMax + 1;
/** Boundaries and part headers, generously. */
const FRAMING_BYTES_MAX = PARTS_MAX * 1024;

export const UPLOAD_BYTES_MAX =
  LIMITS.bundleBytesMax + LIMITS.sourceMapBytesMax + METADATA_BYTES_MAX + FRAMING_BYTES_MAX;

export interface UploadedBlob {
  readonly name: string;
  readonly digest: Digest;
  readonly content: Uint8Array;
}

export interface Upload {
  readonly metadata: unknown;
  readonly modules: readonly UploadedBlob[];
  readonly maps: readonly UploadedBlob[];
}

type Kind = 'metadata' | 'module' | 'map';

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
  if (field.startsWith('module:')) return { kind: 'module', name: field.slice('module:'.length) };
  if (field.startsWith('map:')) return { kind: 'map', name: field.slice('map:'.length) };
  return undefined;
}

const BOUNDS: Record<Kind, { readonly bytesMax: number; readonly what: string }> = {
  metadata: { bytesMax: METADATA_BYTES_MAX, what: 'metadata' },
  module: { bytesMax: LIMITS.bundleBytesMax, what: 'modules' },
  map: { bytesMax: LIMITS.sourceMapBytesMax, what: 'source maps' },
};

class Collector {
  readonly #used: Record<Kind, number> = { metadata: 0, module: 0, map: 0 };
  readonly #parts: { readonly kind: Kind; readonly name: string; readonly chunks: Uint8Array[] }[] = [];
  failure: PlatformError | undefined;

  fail(error: PlatformError): void {
    this.failure ??= error;
  }

  begin(field: string | undefined): ((chunk: Uint8Array) => void) | undefined {
    const target = kindOf(field);
    if (target === undefined) {
      this.fail(bad('A part of the upload is neither metadata, module:NAME nor map:NAME.'));
      return undefined;
    }
    if (target.kind === 'metadata' && this.#parts.some((part) => part.kind === 'metadata')) {
      this.fail(bad('The upload holds two metadata parts.'));
      return undefined;
    }
    const chunks: Uint8Array[] = [];
    this.#parts.push({ ...target, chunks });
    const { bytesMax, what } = BOUNDS[target.kind];
    return (chunk) => {
      this.#used[target.kind] += chunk.byteLength;
      if (this.#used[target.kind] > bytesMax) this.fail(tooLarge(what, bytesMax));
      else chunks.push(chunk);
    };
  }

  finish(): Upload {
    const blobs = (kind: Kind): UploadedBlob[] =>
      this.#parts
        .filter((part) => part.kind === kind)
        .map(({ name, chunks }) => {
          const content = Buffer.concat(chunks);
          return { name, digest: sha256(content), content };
        });
    const [metadata] = blobs('metadata');
    if (metadata === undefined) throw bad('The upload holds no metadata part.');
    return {
      metadata: jsonOrRefuse(metadata.content, 'metadata part'),
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

/**
 * @param body - chunks of the request; reading stops at the first breach.
 * @throws {PlatformError} `bundle_too_large`, or `bad_request` with the reason.
 */
export async function readUpload(contentType: string, body: AsyncIterable<Uint8Array>): Promise<Upload> {
  if (!contentType.toLowerCase().startsWith('multipart/form-data'))
    throw bad('The body must be multipart/form-data.');
  const collector = new Collector();
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
  for await (const chunk of body) {
    total += chunk.byteLength;
    if (total > UPLOAD_BYTES_MAX) throw tooLarge('upload', UPLOAD_BYTES_MAX);
    if (!parser.write(chunk))
      await Promise.race([new Promise((resolve) => parser.once('drain', resolve)), finished]);
    if (collector.failure !== undefined) throw collector.failure;
  }
  parser.end();
  await finished;
  if (collector.failure !== undefined) throw collector.failure;
  return collector.finish();
}
