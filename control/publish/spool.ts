/**
 * An upload on its way in: its parts lie one behind the other in one file that nobody else can see, so that
 * memory holds a read of the network and no more, however large an upload is and however many there are.
 */
import { createHash, type Hash } from 'node:crypto';
import { open, unlink, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { PlatformError } from '#shared/errors.ts';
import { digestSchema, type Digest } from '#shared/ids.ts';
import type { Shares } from '#shared/shares.ts';

export interface SpooledPart {
  readonly digest: Digest;
  readonly bytes: number;
  read(): Promise<Uint8Array>;
}

/** Parts may come mixed: each knows where its bytes lie. */
interface Part {
  readonly hash: Hash;
  readonly segments: { readonly offset: number; bytes: number }[];
  bytes: number;
}

export interface SpoolOptions {
  readonly folder: string;
  readonly shares: Shares;
  /** Whose share the bytes are taken from. */
  readonly account: string;
}

export class Spool implements AsyncDisposable {
  readonly #options: SpoolOptions;
  readonly #file: FileHandle;
  readonly #pending: { readonly part: Part; readonly chunk: Uint8Array }[] = [];
  #written = 0;
  #taken = 0;

  private constructor(options: SpoolOptions, file: FileHandle) {
    this.#options = options;
    this.#file = file;
  }

  static async open(options: SpoolOptions): Promise<Spool> {
    const path = join(options.folder, `upload-${crypto.randomUUID()}`);
    const file = await open(path, 'wx+', 0o600);
    // Without a name it goes with its last user, also when that is killed.
    await unlink(path);
    return new Spool(options, file);
  }

  begin(): Part {
    return { hash: createHash('sha256'), segments: [], bytes: 0 };
  }

  /** @throws {PlatformError} `share_full`. */
  add(part: Part, chunk: Uint8Array): void {
    const { shares, account } = this.#options;
    shares.takeOrThrow(account, chunk.byteLength);
    this.#taken += chunk.byteLength;
    part.bytes += chunk.byteLength;
    part.hash.update(chunk);
    this.#pending.push({ part, chunk });
  }

  /** To be called between two reads of the network. @throws {PlatformError} `storage_full`. */
  async flush(): Promise<void> {
    const pending = this.#pending.splice(0);
    let offset = this.#written;
    for (const { part, chunk } of pending) {
      const last = part.segments.at(-1);
      if (last !== undefined && last.offset + last.bytes === offset) last.bytes += chunk.byteLength;
      else part.segments.push({ offset, bytes: chunk.byteLength });
      offset += chunk.byteLength;
    }
    const bytes = Buffer.concat(pending.map(({ chunk }) => chunk));
    try {
      for (let at = 0; at < bytes.byteLength;) {
        const { bytesWritten } = await this.#file.write(bytes, at, bytes.byteLength - at, this.#written);
        at += bytesWritten;
        this.#written += bytesWritten;
      }
    } catch (thrown) {
      const { code } = thrown as NodeJS.ErrnoException;
      throw new PlatformError(
        code === 'ENOSPC' || code === 'EDQUOT' ? 'storage_full' : 'internal',
        'an upload cannot be written',
        { cause: thrown, retryAfterMs: 60_000 },
      );
    }
  }

  finished({ hash, segments, bytes }: Part): SpooledPart {
    return {
      digest: digestSchema.parse(hash.digest('hex')),
      bytes,
      read: async () => {
        const content = new Uint8Array(bytes);
        let at = 0;
        for (const segment of segments)
          for (let done = 0; done < segment.bytes;) {
            const left = segment.bytes - done;
            const { bytesRead } = await this.#file.read(content, at, left, segment.offset + done);
            if (bytesRead === 0) throw new PlatformError('internal', 'an upload ended early on the disk');
            done += bytesRead;
            at += bytesRead;
          }
        return content;
      },
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { shares, account } = this.#options;
    await this.#file.close();
    shares.give(account, this.#taken);
    this.#taken = 0;
  }
}
