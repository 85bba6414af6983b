/**
 * Encoded workerd configs, ready to be written to a slot. A version's code is read, verified and encoded
 * once; further starts reuse the bytes.
 */
import { createHash } from 'node:crypto';
import type { Runnable } from '#shared/contracts/feed.ts';
import { parseVersionId } from '#shared/ids.ts';
import { SharedCache } from '#shared/shared-cache.ts';
import { Shares } from '#shared/shares.ts';
import { buildWorkerdConfig, type BuildOptions } from '../workerd/build.ts';
import { encodeWorkerdConfig } from '../workerd/encode.ts';
import type { Program } from '../slots/slot.ts';
import type { BlobCache } from '#shared/blobs/cache.node.ts';
import type { OpenSecrets } from './open-secrets.ts';

export interface ProgramsOptions extends Omit<BuildOptions, 'secrets'> {
  readonly openSecrets: OpenSecrets;
  readonly code: BlobCache;
}

const READS_AT_ONCE_MAX = 8;

export class Programs {
  readonly #options: ProgramsOptions;
  readonly #encoded: SharedCache<Program>;
  readonly #running = new Map<string, Promise<Program>>();

  constructor(options: ProgramsOptions) {
    this.#options = options;
    this.#encoded = new SharedCache(new Shares('node.programs'), ({ config }) =>
      Math.max(1, config.byteLength),
    );
  }

  /** @throws {PlatformError} `blob_not_found`, `blob_corrupt`, or control cannot be reached. */
  of(runnable: Runnable): Promise<Program> {
    // By content: a trial start and the later version may carry the same id and differ.
    const key = createHash('sha256').update(JSON.stringify(runnable)).digest('base64url');
    const { account } = parseVersionId(runnable.id);
    const known = this.#encoded.get(account, key);
    if (known !== undefined) return Promise.resolve(known);
    const running = this.#running.get(key);
    if (running !== undefined) return running;
    const encoding = this.#encode(runnable)
      .then((program) => {
        this.#encoded.set(account, key, program);
        return program;
      })
      .finally(() => this.#running.delete(key));
    this.#running.set(key, encoding);
    return encoding;
  }

  async #encode(runnable: Runnable): Promise<Program> {
    const contents: Uint8Array[] = [];
    for (let from = 0; from < runnable.modules.length; from += READS_AT_ONCE_MAX) {
      const batch = runnable.modules.slice(from, from + READS_AT_ONCE_MAX);
      contents.push(...(await Promise.all(batch.map((module) => this.#options.code.get(module.digest)))));
    }
    const modules = runnable.modules.map(({ name, type }, index) => ({
      name,
      type,
      content: contents[index] ?? new Uint8Array(),
    }));
    const secrets = await this.#options.openSecrets(runnable.secrets);
    const { config, eventSecret, logMark } = buildWorkerdConfig(runnable, modules, {
      ...this.#options,
      secrets,
    });
    return {
      config: encodeWorkerdConfig(config),
      sockets: config.sockets.map(({ name }) => name),
      eventSecret,
      logMark,
    };
  }
}
