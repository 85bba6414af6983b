/** Secrets of accounts, opened in memory: this part of the node alone ever holds them. */
import { PlatformError } from '#shared/errors.ts';
import { unseal, type KeyEncryptionKey } from '#shared/seal.ts';
import { refusal } from './refusal.ts';

export interface SecretsOptions {
  readonly loadKey: () => Promise<KeyEncryptionKey>;
  readonly onProblem: (key: string, error: unknown) => void;
}

export class Secrets {
  readonly #options: SecretsOptions;
  readonly #opened = new Map<string, Promise<string | undefined>>();
  #key: Promise<KeyEncryptionKey> | undefined;

  constructor(options: SecretsOptions) {
    this.#options = options;
  }

  /** @param key - `account/name`. */
  set(key: string, sealed: string | undefined): void {
    if (sealed === undefined) this.#opened.delete(key);
    else this.#opened.set(key, this.#open(key, sealed));
  }

  /** @throws {PlatformError} `egress_failed`: a request must not leave without what it should carry. */
  async value(key: string): Promise<string> {
    const value = await this.#opened.get(key);
    if (value !== undefined) return value;
    throw refusal('egress_failed', `the secret ${key.slice(key.indexOf('/') + 1)} is not available`);
  }

  async #open(key: string, sealed: string): Promise<string | undefined> {
    try {
      this.#key ??= this.#options.loadKey();
      return new TextDecoder('utf-8', { fatal: true }).decode(
        await unseal(await this.#key, sealed, `secret/${key}`),
      );
    } catch (thrown) {
      // A key file that comes later is looked for again.
      this.#key = undefined;
      this.#options.onProblem(key, thrown instanceof PlatformError ? (thrown.cause ?? thrown) : thrown);
      return undefined;
    }
  }
}
