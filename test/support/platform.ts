/** A real platform on a fresh data folder and free ports, and calls through its gateway. */
import { join } from 'node:path';
import { request } from 'undici';
import type { PlatformOptions } from '#cli/up/options.ts';
import { startPlatform, type Platform } from '#cli/up/platform.ts';
import type { SigningKey } from '#shared/signatures/sign.ts';
import { signRequest } from '#shared/signatures/sign.ts';
import { tempFolder, type TempFolder } from '#shared/testing/temp.node.ts';
import { ControlApi, nextSecond } from './api.ts';
import { runCli, type CliResult } from './cli.ts';

export interface CallOptions {
  readonly method?: string;
  readonly path?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array<ArrayBuffer>;
  /** Signs with the owner key; or with another key, or at another time. */
  readonly sign?: boolean | { readonly key?: SigningKey; readonly nowMs?: number; readonly ttlMs?: number };
  readonly signal?: AbortSignal;
}

export interface CallAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly text: string;
  /** `code` of a problem document. */
  readonly code: string | undefined;
}

/** Host under which the gateway at `gatewayUrl` serves a function; `name` may carry an account. */
export function hostOf(gatewayUrl: string, name: string): string {
  return `${name}.localhost:${new URL(gatewayUrl).port}`;
}

export async function signedHeaders(
  gatewayUrl: string,
  name: string,
  options: CallOptions,
  key: SigningKey,
): Promise<Record<string, string>> {
  const body = typeof options.body === 'string' ? new TextEncoder().encode(options.body) : options.body;
  const at = typeof options.sign === 'object' ? options.sign : {};
  return signRequest(
    {
      method: options.method ?? 'GET',
      url: `http://${hostOf(gatewayUrl, name)}${options.path ?? '/'}`,
      ...(body === undefined ? {} : { body }),
    },
    at.key ?? key,
    { nowMs: at.nowMs ?? Date.now(), ...(at.ttlMs === undefined ? {} : { ttlMs: at.ttlMs }) },
  );
}

/** One request through a gateway; the connection goes to its address, the function's name into Host. */
export async function callGateway(
  gatewayUrl: string,
  name: string,
  options: CallOptions = {},
  key?: SigningKey,
): Promise<CallAnswer> {
  const signed =
    options.sign === undefined || options.sign === false || key === undefined
      ? {}
      : await signedHeaders(gatewayUrl, name, options, key);
  const response = await request(new URL(options.path ?? '/', gatewayUrl), {
    method: (options.method ?? 'GET') as 'GET',
    headers: { ...options.headers, ...signed, host: hostOf(gatewayUrl, name) },
    ...(options.body === undefined ? {} : { body: options.body }),
    ...(options.signal === undefined ? {} : { signal: options.signal }),
  });
  const text = await response.body.text();
  return {
    status: response.statusCode,
    headers: response.headers,
    text,
    code: codeOf(response.headers, text),
  };
}

function codeOf(headers: CallAnswer['headers'], text: string): string | undefined {
  if (!String(headers['content-type']).includes('problem+json')) return undefined;
  const problem: unknown = JSON.parse(text);
  return typeof problem === 'object' && problem !== null && 'code' in problem
    ? String(problem.code)
    : undefined;
}

export class TestPlatform implements AsyncDisposable {
  readonly dataDir: string;
  readonly #folder: TempFolder;
  readonly #options: Partial<PlatformOptions>;
  #platform: Platform;
  #api: ControlApi;

  private constructor(
    folder: TempFolder,
    dataDir: string,
    options: Partial<PlatformOptions>,
    started: { platform: Platform; api: ControlApi },
  ) {
    this.#folder = folder;
    this.dataDir = dataDir;
    this.#options = options;
    this.#platform = started.platform;
    this.#api = started.api;
  }

  static async start(options: Partial<PlatformOptions> = {}): Promise<TestPlatform> {
    const folder = await tempFolder();
    const dataDir = options.dataDir ?? join(folder.path, 'data');
    try {
      const platform = await launch(dataDir, options);
      return new TestPlatform(folder, dataDir, options, platform);
    } catch (thrown) {
      await folder[Symbol.asyncDispose]();
      throw thrown;
    }
  }

  get api(): ControlApi {
    return this.#api;
  }

  get platform(): Platform {
    return this.#platform;
  }

  get gatewayUrl(): string {
    return this.#platform.gatewayUrl;
  }

  call(name: string, options: CallOptions = {}): Promise<CallAnswer> {
    return callGateway(this.gatewayUrl, name, options, this.#api.key);
  }

  cli(args: readonly string[], cwd?: string): Promise<CliResult> {
    return runCli(['--data', this.dataDir, ...args], cwd === undefined ? {} : { cwd });
  }

  stop(): Promise<void> {
    return this.#platform.close();
  }

  /** Starts again on the same data folder; `between` runs while nothing does. */
  async restart(between: () => Promise<void> = () => Promise.resolve()): Promise<void> {
    await this.stop();
    await between();
    const started = await launch(this.dataDir, this.#options);
    this.#platform = started.platform;
    this.#api = started.api;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    await this.#folder[Symbol.asyncDispose]();
  }
}

async function launch(
  dataDir: string,
  options: Partial<PlatformOptions>,
): Promise<{ platform: Platform; api: ControlApi }> {
  const platform = await startPlatform({
    dataDir,
    gatewayPort: 0,
    controlPort: 0,
    // Filling a large pool would only keep the machine from the tests.
    slots: 3,
    ...options,
  });
  // Whoever signs his calls himself need not think of it.
  await nextSecond();
  return { platform, api: await ControlApi.open(platform) };
}
