/** The control API from the side of one account: paths, pages, streams. */
import { z } from 'zod';
import { importSigningKey, type SigningKey } from '#shared/signatures/sign.ts';
import { CliError, EXIT } from '../failure.ts';
import { callControl, sendControl, type CallOptions } from './call.ts';
import type { Connection } from './connection.ts';

export type { CallOptions } from './call.ts';

const BYTES_TIMEOUT_MS = 120_000;
/** Items of all pages of a list together. */
const LIST_ITEMS_MAX = 100_000;

export class ControlApi {
  readonly #connection: Connection;
  #key: Promise<SigningKey> | undefined;

  constructor(connection: Connection) {
    this.#connection = connection;
  }

  get account(): string {
    return this.#connection.account;
  }

  /** `/functions/x` → `/v1/accounts/ACCOUNT/functions/x`. */
  path(rest: string): string {
    return `/v1/accounts/${this.account}${rest}`;
  }

  /** @throws {CliError} `token_signs_nothing`. */
  signingKey(): Promise<SigningKey> {
    const { key } = this.#connection;
    if (key.kind === 'token')
      throw new CliError(
        'token_signs_nothing',
        'A token is for the control API; calls of functions are signed.',
        {
          advice:
            'Use a key that signs: `isoplane keys create NAME --role invoker` (ed25519), then ISOPLANE_KEY. A public function needs none: curl.',
          exitCode: EXIT.usage,
        },
      );
    this.#key ??= importSigningKey(key.credentials);
    return this.#key;
  }

  call<S extends z.ZodType>(path: string, schema: S, options: CallOptions = {}): Promise<z.infer<S>> {
    return callControl(this.#connection, path, schema, options);
  }

  /** Like {@link call}, for answers without a body. */
  async send(path: string, options: CallOptions): Promise<void> {
    await this.call(path, z.unknown(), options);
  }

  async bytes(path: string): Promise<Uint8Array> {
    const signal = AbortSignal.timeout(BYTES_TIMEOUT_MS);
    return new Uint8Array(await (await sendControl(this.#connection, path, { signal })).arrayBuffer());
  }

  /** All pages of a list. */
  async list<S extends z.ZodType>(path: string, item: S): Promise<z.infer<S>[]> {
    const page = z.object({ items: z.array(item), nextCursor: z.string().optional() });
    const items: z.infer<S>[] = [];
    let cursor: string | undefined;
    do {
      const separator = path.includes('?') ? '&' : '?';
      const answer = await this.call(
        cursor === undefined ? path : `${path}${separator}cursor=${encodeURIComponent(cursor)}`,
        page,
      );
      items.push(...answer.items);
      cursor = answer.nextCursor;
    } while (cursor !== undefined && items.length < LIST_ITEMS_MAX);
    return items;
  }

  /** Lines of an NDJSON answer until it ends or `signal` fires. */
  async *lines<S extends z.ZodType>(
    path: string,
    schema: S,
    signal?: AbortSignal,
  ): AsyncGenerator<z.infer<S>> {
    const response = await sendControl(this.#connection, path, signal === undefined ? {} : { signal });
    let rest = '';
    const decoder = new TextDecoder();
    for await (const chunk of response.body ?? []) {
      const lines = (rest + decoder.decode(chunk as Uint8Array, { stream: true })).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) if (line.trim() !== '') yield schema.parse(JSON.parse(line));
    }
  }
}
