/** A client of the control API that is written from its contract, and knows nothing of the CLI. */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { request } from 'undici';
import type { z } from 'zod';
import {
  deploymentViewSchema,
  layerVersionViewSchema,
  platformStatusSchema,
  propagationSchema,
  publishReplySchema,
  type DeploymentView,
  type LayerVersionView,
  type PlatformStatus,
  type Propagation,
  type PublishReply,
} from '#shared/contracts/api.ts';
import type { FunctionConfigInput } from '#shared/contracts/config.ts';
import { credentialsSchema } from '#shared/contracts/credentials.ts';
import type { ModuleType } from '#shared/contracts/modules.ts';
import { importSigningKey, signRequest, type SigningKey } from '#shared/signatures/sign.ts';

/** Planes refuse what was signed in the second of their start. */
export function nextSecond(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 1_000 - (Date.now() % 1_000)));
}

export const COMPATIBILITY_DATE = '2026-11-01';

export interface ApiAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  /** Parsed when it is JSON, text otherwise. */
  readonly body: unknown;
}

/** A public function that answers with this text. */
export const says = (text: string) => ({
  modules: { 'index.js': `export default { fetch: () => new Response('${text}') };` },
  config: { auth: { mode: 'public' as const } },
});

export type Source = string | Uint8Array<ArrayBuffer>;

export interface Upload {
  /** Name → content; the type follows the ending unless given in `types`. */
  readonly modules: Readonly<Record<string, Source>>;
  readonly types?: Readonly<Record<string, ModuleType>>;
  readonly main?: string;
  readonly config?: Partial<FunctionConfigInput>;
  /** null publishes without moving an alias. */
  readonly alias?: string | null;
  readonly maps?: Readonly<Record<string, string>>;
  /** Static files by path, with `config.assets`. */
  readonly assets?: Readonly<Record<string, Source>>;
}

/** Thrown by the calls that expect success. */
export class ApiFailure extends Error {
  readonly answer: ApiAnswer;

  constructor(what: string, answer: ApiAnswer) {
    super(`${what} answered ${answer.status}: ${JSON.stringify(answer.body)?.slice(0, 2_000)}`);
    this.answer = answer;
  }
}

async function readKey(credentialsPath: string): Promise<SigningKey> {
  return importSigningKey(credentialsSchema.parse(JSON.parse(await readFile(credentialsPath, 'utf8'))));
}

function typeOf(name: string): ModuleType {
  if (/\.m?js$/.test(name)) return 'esm';
  if (name.endsWith('.cjs')) return 'commonjs';
  if (name.endsWith('.wasm')) return 'wasm';
  if (name.endsWith('.json')) return 'json';
  return name.endsWith('.txt') ? 'text' : 'data';
}

export class ControlApi {
  readonly url: string;
  readonly key: SigningKey;
  readonly #account: string;

  constructor(url: string, key: SigningKey, account = 'default') {
    this.url = url;
    this.key = key;
    this.#account = account;
  }

  static async open(platform: {
    readonly controlUrl: string;
    readonly credentialsPath: string;
  }): Promise<ControlApi> {
    return new ControlApi(platform.controlUrl, await readKey(platform.credentialsPath));
  }

  /** `path` below the account (`functions/x`), or absolute (`/v1/status`). */
  async call(method: string, path: string, body?: unknown): Promise<ApiAnswer> {
    const url = new URL(path.startsWith('/') ? path : `/v1/accounts/${this.#account}/${path}`, this.url);
    const sent = new Request(url, {
      method,
      ...(body === undefined
        ? {}
        : body instanceof FormData
          ? { body }
          : { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } }),
    });
    const bytes = body === undefined ? undefined : new Uint8Array(await sent.arrayBuffer());
    const type = sent.headers.get('content-type');
    const headers = type === null ? {} : { 'content-type': type };
    const answer = await this.#send(method, url, headers, bytes);
    // Signed in the second in which control started.
    if (answer.status !== 401 || answer.headers['retry-after'] === undefined) return answer;
    await nextSecond();
    return this.#send(method, url, headers, bytes);
  }

  async #send(
    method: string,
    url: URL,
    headers: Readonly<Record<string, string>>,
    bytes: Uint8Array<ArrayBuffer> | undefined,
  ): Promise<ApiAnswer> {
    const body = bytes === undefined ? {} : { body: bytes };
    const signed = await signRequest({ method, url: url.href, ...body }, this.key, { nowMs: Date.now() });
    const response = await request(url, {
      method: method as 'GET',
      headers: { ...signed, ...headers },
      ...body,
    });
    const text = await response.body.text();
    const isJson = /[/+]json\b/.test(String(response.headers['content-type']));
    return {
      status: response.statusCode,
      headers: response.headers,
      body: isJson && text !== '' ? JSON.parse(text) : text,
    };
  }

  async expect<S extends z.ZodType>(
    schema: S,
    method: string,
    path: string,
    body?: unknown,
  ): Promise<z.infer<S>> {
    const answer = await this.call(method, path, body);
    if (answer.status >= 300) throw new ApiFailure(`${method} ${path}`, answer);
    return schema.parse(answer.body);
  }

  async upload(name: string, upload: Upload): Promise<ApiAnswer> {
    const names = Object.keys(upload.modules);
    const metadata = {
      config: { compatibilityDate: COMPATIBILITY_DATE, ...upload.config },
      main: upload.main ?? names[0],
      modules: names.map((module) => ({ name: module, type: upload.types?.[module] ?? typeOf(module) })),
      ...(upload.alias === null ? {} : { alias: upload.alias ?? 'live' }),
    };
    const form = multipart(metadata, upload.modules, upload.maps);
    if (upload.assets !== undefined) form.set('assets', await this.#uploadAssets(name, upload.assets));
    return this.call('POST', `functions/${name}/versions`, form);
  }

  /** @returns the list of them, as a publish wants it. */
  async #uploadAssets(name: string, assets: Readonly<Record<string, Source>>): Promise<string> {
    const form = new FormData();
    form.set('metadata', '{}');
    const files = Object.entries(assets).map(([path, content]) => {
      const bytes = Buffer.from(content);
      const digest = createHash('sha256').update(bytes).digest('hex');
      form.set(`asset:${digest}`, new Blob([bytes]), digest);
      return { path, digest, bytes: bytes.byteLength };
    });
    const answer = await this.call('POST', `functions/${name}/assets`, form);
    if (answer.status >= 300) throw new ApiFailure(`upload of assets of ${name}`, answer);
    return JSON.stringify({ files });
  }

  async publish(name: string, upload: Upload): Promise<PublishReply> {
    const answer = await this.upload(name, upload);
    if (answer.status >= 300) throw new ApiFailure(`publish of ${name}`, answer);
    return publishReplySchema.parse(answer.body);
  }

  /** Publishes and waits until every consumer serves it. */
  async deploy(name: string, upload: Upload): Promise<PublishReply> {
    const reply = await this.publish(name, upload);
    await this.propagated(reply.deployment?.revision ?? 0);
    return reply;
  }

  publishLayer(name: string, modules: Readonly<Record<string, Source>>): Promise<LayerVersionView> {
    const metadata = {
      modules: Object.keys(modules).map((module) => ({ name: module, type: typeOf(module) })),
    };
    return this.expect(
      layerVersionViewSchema,
      'POST',
      `layers/${name}/versions`,
      multipart(metadata, modules),
    );
  }

  rollback(name: string, toVersion?: number): Promise<DeploymentView> {
    return this.expect(
      deploymentViewSchema,
      'POST',
      `functions/${name}/aliases/live/rollback`,
      toVersion === undefined ? {} : { toVersion },
    );
  }

  propagated(revision: number, waitMs = 10_000): Promise<Propagation> {
    return this.expect(propagationSchema, 'GET', `/v1/propagation?revision=${revision}&waitMs=${waitMs}`);
  }

  status(): Promise<PlatformStatus> {
    return this.expect(platformStatusSchema, 'GET', '/v1/status');
  }
}

function multipart(
  metadata: unknown,
  modules: Readonly<Record<string, Source>>,
  maps: Readonly<Record<string, string>> = {},
): FormData {
  const form = new FormData();
  form.set('metadata', JSON.stringify(metadata));
  for (const [name, content] of Object.entries(modules))
    form.set(`module:${name}`, new Blob([content]), 'module');
  for (const [name, content] of Object.entries(maps)) form.set(`map:${name}`, new Blob([content]), 'map');
  return form;
}
