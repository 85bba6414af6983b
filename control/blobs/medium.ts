/** Where blobs lie: files of this machine, or a bucket. Whoever reads checks the digest. */
import type { Digest } from '#shared/ids.ts';

export interface BlobMedium {
  /** undefined: there is no such blob. */
  read(digest: Digest): Promise<Uint8Array | undefined>;
  /** In bytes; undefined: there is no such blob. */
  size(digest: Digest): Promise<number | undefined>;
  /** Durably, whole or not at all; replaces what is there. */
  write(digest: Digest, bytes: Uint8Array): Promise<void>;
  /** What is not there is removed. */
  remove(digest: Digest): Promise<void>;
  list(): Promise<readonly Digest[]>;
}
