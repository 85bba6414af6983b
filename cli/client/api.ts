/** Signed calls of the control API; failures come back as the PlatformErrors they describe. */
import process from 'node:process';
import { z } from 'zod';
import { fromProblem } from '#shared/errors.ts';
import { importSigningKey, signRequest, type SigningKey } from '#shared/signatures/sign.ts';
import { CliError, EXIT } from '../failure.ts';
import type { Connection } from './connection.ts';

/** Publishing waits for a trial start; nothing here takes longer than that plus the upload. */
const CALL_TIMEOUT_MS = 120_000;
/** Items of all pages of a list together. */
const LIST_ITEMS_MAX = 100_000;

export interface CallOptions {
  readonly method?: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  readonly json?: unknown;
  readonly form?: FormData;
  readonly signal?: AbortSignal;
}

export class ControlApi {
  readonly #connection: Connection;
  #key: Promise<SigningKey> | undefined;

  constructor(connection: Connection) {
    this.#connection = connection;
  }

  get account(): string {
    return this.#connection.credentials.account;
  }

  /** `/functions/x` → `/v1/accounts/ACCOUNT/functions/x`. */
  path(rest: string): string {
    return `/v1/accounts/${this.account}${rest}`;
  }

  signingKey(): Promise<SigningKey> {
    this.#key ??= importSigningKey(this.#connection.credentials);
    return this.#key;
  }

  async call<S extends z.ZodType>(path: string, schema: S, options: CallOptions = {}): Promise<z.infer<S>> {
    const response = await this.#send(path, { ...options, signal: AbortSignal.timeout(CALL_TIMEOUT_MS) });
    const text = await response.text();
    if (!response.ok)
      throw fromProblem(parseJson(text), `${options.method ?? 'GET'} ${path} answered ${response.status}`);
    return schema.parse(text === '' ? undefined : parseJson(text));
  }

  /** Like {@link call}, for answers without a body. */
  async send(path: string, options: CallOptions): Promise<void> {
    await this.call(path, z.unknown(), options);
  }

  async bytes(path: string): Promise<Uint8Array> {
    const response = await this.#send(path, { signal: AbortSignal.timeout(CALL_TIMEOUT_MS) });
    if (!response.ok)
      throw fromProblem(parseJson(await response.text()), `GET ${path} answered ${response.status}`);
    return new Uint8Array(await response.arrayBuffer());
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
    const response = await this.#send(path, signal === undefined ? {} : { signal });
    if (!response.ok)
      throw fromProblem(parseJson(await response.text()), `GET ${path} answered ${response.status}`);
    let rest = '';
    const decoder = new TextDecoder();
    for await (const chunk of response.body ?? []) {
      const lines = (rest + decoder.decode(chunk as Uint8Array, { stream: true })).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) if (line.trim() !== '') yield schema.parse(JSON.parse(line));
    }
  }

  async #send(path: string, options: CallOptions): Promise<Response> {
    const url = new URL(path, this.#connection.platform.controlUrl);
    const method = options.method ?? 'GET';
    const { body, contentType } = await encodeBody(options);
    const headers: Record<string, string> = { accept: 'application/json, application/x-ndjson' };
    if (contentType !== undefined) headers['content-type'] = contentType;
    const signed = await signRequest(
      { method, url: url.href, headers, ...(body === undefined ? {} : { body }) },
      await this.signingKey(),
      { nowMs: Date.now() },
    );
    try {
      return await fetch(url, {
        method,
        headers: { ...headers, ...signed },
        ...(body === undefined ? {} : { body }),
        ...(options.signal === undefined ? {} : { signal: options.signal }),
      });
    } catch (thrown) {
      if (
        options.signal?.aborted === true &&
        !(thrown instanceof DOMException && thrown.name === 'TimeoutError')
      )
        throw thrown;
      throw new CliError('platform_unreachable', `The control API at ${url.origin} does not answer.`, {
        advice: `Start the platform with \`npm start\`; ${process.env['ISOPLANE_DATA_DIR'] === undefined ? 'with several platforms, name the folder with --data DIR' : 'ISOPLANE_DATA_DIR names its folder'}.`,
        exitCode: EXIT.unreachable,
        cause: thrown,
      });
    }
  }
}

/** The whole body as bytes: it is signed by its digest, so it cannot be streamed. */
async function encodeBody(
  options: CallOptions,
): Promise<{ body?: Uint8Array<ArrayBuffer>; contentType?: string }> {
  if (options.json !== undefined)
    return { body: new TextEncoder().encode(JSON.stringify(options.json)), contentType: 'application/json' };
  if (options.form === undefined) return {};
  const encoded = new Response(options.form);
  return {
    body: new Uint8Array(await encoded.arrayBuffer()),
    contentType: encoded.headers.get('content-type') ?? 'multipart/form-data',
  };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
