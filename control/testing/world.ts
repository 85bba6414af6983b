/** A whole control plane in one process for tests: real libSQL file, real blobs, scripted nodes. */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { CreateKey } from '#shared/contracts/access.ts';
import type { PublishReply } from '#shared/contracts/api.ts';
import { credentialsSchema } from '#shared/contracts/credentials.ts';
import type { FunctionConfigInput } from '#shared/contracts/config.ts';
import type { Runnable } from '#shared/contracts/feed.ts';
import type { CheckReply, LogEntry } from '#shared/contracts/nodes.ts';
import { kvQuestionSchema, type KvQuestion } from '#shared/contracts/kv.ts';
import { PlatformError, type Problem } from '#shared/errors.ts';
import { accountNameSchema } from '#shared/ids.ts';
import { systemClock, systemTimers, type Clock, type Timers } from '#shared/runtime/clock.ts';
import { toBase64Url } from '#shared/encoding.ts';
import { importKeyEncryptionKey } from '#shared/seal.ts';
import { importSigningKey, signRequest, type SigningKey } from '#shared/signatures/sign.ts';
import type { Samples } from '#shared/metrics/samples.ts';
import { memoryLog } from '#shared/testing/fakes.ts';
import { tempFolder } from '#shared/testing/temp.node.ts';
import { readFile } from 'node:fs/promises';
import type { ApiDeps } from '../api/deps.ts';
import { ownSamples } from '../api/metrics.ts';
import { createControl } from '../app.ts';
import { AssetStore } from '../assets/store.ts';
import { Authenticator } from '../auth/authenticate.ts';
import { makeKey } from '../auth/keys.ts';
import { realDisk, type Disk } from '../blobs/files.ts';
import { BlobStore } from '../blobs/store.ts';
import { ensureOwner } from '../bootstrap.ts';
import { createAccount, findAccount } from '../db/accounts.ts';
import { Database, type DatabaseOptions } from '../db/database.ts';
import { insertKey } from '../db/keys.ts';
import { Consumers } from '../feed/consumers.ts';
import { FeedHub } from '../feed/hub.ts';
import { createInternal } from '../internal.ts';
import { StackMapper } from '../logs/mapper.ts';
import { Metrics } from '../metrics.ts';
import type { LogQuery, NodePort } from '../nodes.ts';
import type { SchedulerReports } from '../scheduler.ts';
import { newShares, newTrials } from '../shares.ts';
import { UsageLedger } from '../usage/ledger.ts';

export const ORIGIN = 'http://control.test';
const KEK = toBase64Url(new Uint8Array(32).fill(7));

/** What nodes open secrets with. */
export const NODE_KEY = toBase64Url(new Uint8Array(32).fill(9));

export interface ScriptedNode extends NodePort {
  readonly checked: Runnable[];
  onCheck: (runnable: Runnable) => Promise<CheckReply>;
  onLogs: (query: LogQuery, signal: AbortSignal) => AsyncIterable<LogEntry>;
}

/** Values by `namespace id/key`; the bytes of UTF-8 alone. */
function scriptedKv(): NodePort['ask'] {
  const values = new Map<string, Uint8Array>();
  const nothing = new Uint8Array();
  const answer = (asked: KvQuestion): Uint8Array => {
    const inNamespace = [...values.keys()].filter((name) => name.startsWith(`${asked.namespaceId}/`));
    switch (asked.ask) {
      case 'list': {
        const keys = inNamespace
          .map((name) => name.slice(asked.namespaceId.length + 1))
          .filter((name) => name.startsWith(asked.prefix))
          .sort()
          .slice(0, asked.limit)
          .map((name) => ({ name }));
        return new TextEncoder().encode(JSON.stringify({ keys }));
      }
      case 'get': {
        const value = values.get(`${asked.namespaceId}/${asked.key}`);
        if (value === undefined) throw new PlatformError('not_found', 'no such key');
        return value;
      }
      case 'put':
        values.set(
          `${asked.namespaceId}/${asked.key}`,
          new Uint8Array(Buffer.from(asked.value, asked.encoding)),
        );
        return nothing;
      case 'remove':
        values.delete(`${asked.namespaceId}/${asked.key}`);
        return nothing;
      case 'drop':
        for (const name of inNamespace) values.delete(name);
        return nothing;
    }
  };
  return async ({ question }) => answer(kvQuestionSchema.parse(question));
}

export function scriptedNode(nodeId = 'node-1'): ScriptedNode {
  const checked: Runnable[] = [];
  const node: ScriptedNode = {
    nodeId,
    checked,
    onCheck: () => Promise.resolve({ ok: true, startMs: 5 }),
    // eslint-disable-next-line require-yield -- a node without logs
    onLogs: async function* () {},
    check: (runnable) => {
      checked.push(runnable);
      return node.onCheck(runnable);
    },
    logs: (query, signal) => node.onLogs(query, signal),
    status: () =>
      Promise.resolve({
        nodeId,
        sandbox: { level: 'full', missing: [] },
        instances: 0,
        freeSlots: 1,
        capacity: 1,
        feedRevision: 0,
      }),
    ask: scriptedKv(),
    close: () => Promise.resolve(),
  };
  return node;
}

export interface WorldOptions {
  readonly startedMs?: number;
  /** Metrics of other planes. */
  readonly planes?: (gateways: readonly string[]) => readonly Samples[];
  readonly clock?: Clock;
  readonly timers?: Timers;
  readonly disk?: Disk;
  readonly nodes?: readonly NodePort[];
  readonly scheduler?: Partial<SchedulerReports>;
  readonly database?: Partial<DatabaseOptions>;
}

export interface CallOptions {
  readonly signal?: AbortSignal;
  readonly body?: unknown;
  readonly raw?: Uint8Array<ArrayBuffer>;
  readonly headers?: Record<string, string>;
  readonly token?: string;
  readonly as?: SigningKey;
  /** No credentials at all. */
  readonly anonymous?: true;
  /** Instead of {@link ORIGIN}: what the call is addressed to. */
  readonly origin?: string;
}

export interface Reply<T = Record<string, unknown>> {
  readonly status: number;
  readonly body: T;
  readonly headers: Headers;
}

export class World implements AsyncDisposable {
  readonly app: ReturnType<typeof createControl>;
  readonly internal: ReturnType<typeof createInternal>;
  readonly deps: ApiDeps;
  readonly hub: FeedHub;
  readonly owner: SigningKey;
  readonly folder: string;

  constructor(parts: { deps: ApiDeps; hub: FeedHub; owner: SigningKey; folder: string }) {
    this.deps = parts.deps;
    this.hub = parts.hub;
    this.owner = parts.owner;
    this.folder = parts.folder;
    this.app = createControl(parts.deps);
    this.internal = createInternal({
      hub: parts.hub,
      consumers: parts.deps.consumers,
      blobs: parts.deps.blobs,
      assets: parts.deps.assets,
      log: parts.deps.log,
      samples: () => ownSamples(parts.deps),
      usage: new UsageLedger(parts.deps.db, parts.deps.clock),
    });
  }

  /** Signed by the owner unless told otherwise. */
  async call<T = Record<string, unknown>>(
    method: string,
    path: string,
    options: CallOptions = {},
  ): Promise<Reply<T>> {
    const response = await this.response(method, path, options);
    const text = await response.text();
    const parsed: unknown =
      text !== '' && response.headers.get('content-type')?.includes('json') === true && !text.includes('\n')
        ? JSON.parse(text)
        : text;
    return { status: response.status, body: parsed as T, headers: response.headers };
  }

  async response(method: string, path: string, options: CallOptions = {}): Promise<Response> {
    const body =
      options.raw ??
      (options.body === undefined ? undefined : new TextEncoder().encode(JSON.stringify(options.body)));
    const origin = options.origin ?? ORIGIN;
    const url = origin + path;
    const headers: Record<string, string> = {
      ...(options.body === undefined ? {} : { 'content-type': 'application/json' }),
      ...options.headers,
    };
    if (options.token !== undefined) headers['authorization'] = `Bearer ${options.token}`;
    else if (options.anonymous !== true)
      Object.assign(
        headers,
        await signRequest(
          { method, url, headers, ...(body === undefined ? {} : { body }) },
          options.as ?? this.owner,
          { nowMs: this.deps.clock.wallMs() },
        ),
      );
    headers['host'] = new URL(origin).host;
    return this.app.request(url, {
      method,
      headers,
      ...(body === undefined ? {} : { body }),
      ...(options.signal === undefined ? {} : { signal: options.signal }),
    });
  }

  /** Publishes `files` (name → text) as a function version. */
  async publish(
    name: string,
    files: Record<string, string | Uint8Array> = { 'main.js': `export default {} // ${name}` },
    options: PublishOptions = {},
  ): Promise<Reply<PublishReply & Problem>> {
    const { raw, contentType } = await multipart(publishParts(files, options));
    return this.call('POST', `/v1/accounts/${options.account ?? 'default'}/functions/${name}/versions`, {
      ...options.call,
      raw,
      headers: { 'content-type': contentType },
    });
  }

  async layer(name: string, files: Record<string, string>): Promise<Reply> {
    const { raw, contentType } = await multipart({
      metadata: JSON.stringify({
        modules: Object.keys(files).map((file) => ({ name: file, type: 'esm' })),
      }),
      ...Object.fromEntries(Object.entries(files).map(([file, text]) => [`module:${file}`, text])),
    });
    return this.call('POST', `/v1/accounts/default/layers/${name}/versions`, {
      raw,
      headers: { 'content-type': contentType },
    });
  }

  /** A bearer token, straight from the database. */
  async token(role: CreateKey['role'], options: { account?: string; functions?: string[] } = {}) {
    const account = accountNameSchema.parse(options.account ?? 'default');
    const made = await makeKey(
      account,
      {
        name: role,
        role,
        algorithm: 'token',
        ...(options.functions === undefined
          ? {}
          : { functions: options.functions as NonNullable<CreateKey['functions']> }),
      },
      'test',
      this.deps.kek,
    );
    await this.deps.db.write(async (tx) => {
      if ((await findAccount(tx.orm, account)) === undefined) await createAccount(tx, account, 'test');
      await insertKey(tx, made.row);
    });
    return { id: made.row.id, token: made.secret ?? '' };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.hub.close();
    await this.deps.db.close();
    await rm(this.folder, { recursive: true, force: true, maxRetries: 3 });
  }
}

export interface PublishOptions {
  readonly account?: string;
  readonly config?: Partial<FunctionConfigInput>;
  readonly metadata?: Readonly<Record<string, unknown>>;
  readonly maps?: Record<string, string>;
  readonly call?: CallOptions;
}

export function publishParts(
  files: Record<string, string | Uint8Array>,
  options: PublishOptions = {},
): Record<string, string | Uint8Array> {
  const metadata = {
    config: { compatibilityDate: '2026-01-01', ...options.config },
    main: Object.keys(files)[0],
    modules: Object.keys(files).map((file) => ({ name: file, type: 'esm' })),
    alias: 'live',
    ...options.metadata,
  };
  return {
    metadata: JSON.stringify(metadata),
    ...Object.fromEntries(Object.entries(files).map(([file, text]) => [`module:${file}`, text])),
    ...Object.fromEntries(Object.entries(options.maps ?? {}).map(([file, text]) => [`map:${file}`, text])),
  };
}

export async function multipart(
  parts: Record<string, string | Uint8Array> | readonly (readonly [string, string | Uint8Array])[],
): Promise<{ raw: Uint8Array<ArrayBuffer>; contentType: string }> {
  const form = new FormData();
  const entries = Array.isArray(parts)
    ? (parts as readonly (readonly [string, string | Uint8Array])[])
    : Object.entries(parts as Record<string, string | Uint8Array>);
  for (const [name, content] of entries)
    form.append(name, new Blob([typeof content === 'string' ? content : new Uint8Array(content)]), 'blob');
  const response = new Response(form);
  return {
    raw: new Uint8Array(await response.arrayBuffer()),
    contentType: response.headers.get('content-type') ?? '',
  };
}

export async function world(options: WorldOptions = {}): Promise<World> {
  const folder = (await tempFolder()).path;
  const clock = options.clock ?? systemClock;
  const timers = options.timers ?? systemTimers;
  const log = memoryLog();
  const db = await Database.open({
    path: join(folder, 'control.db'),
    clock,
    random: Math.random,
    randomId: () => crypto.randomUUID(),
    ...options.database,
  });
  const blobs = await BlobStore.open(join(folder, 'blobs'), { disk: options.disk ?? realDisk });
  const assets = new AssetStore({
    folder: join(folder, 'assets'),
    db,
    clock,
    log,
    ...(options.disk === undefined ? {} : { disk: options.disk }),
  });
  const kek = await importKeyEncryptionKey(KEK);
  const credentials = join(folder, 'credentials.json');
  await ensureOwner({ credentials }, db, kek, log);
  const owner = await importSigningKey(
    credentialsSchema.parse(JSON.parse(await readFile(credentials, 'utf8'))),
  );
  const consumers = new Consumers(clock, timers);
  const hub = new FeedHub({ db, consumers, timers, log });
  const deps: ApiDeps = {
    db,
    blobs,
    assets,
    nodes: options.nodes ?? [scriptedNode()],
    log,
    kek,
    nodeKey: await importKeyEncryptionKey(NODE_KEY),
    consumers,
    // Absent unless scripted.
    scheduler: {
      life: () => Promise.resolve(undefined),
      held: () => Promise.resolve(undefined),
      close: () => Promise.resolve(),
      ...options.scheduler,
    },
    clock,
    timers,
    latestDate: '2026-11-17',
    checkTimeoutMs: 5_000,
    authenticator: new Authenticator({ db, kek, clock, startedMs: options.startedMs ?? 0 }),
    shares: newShares(),
    metrics: new Metrics(),
    planes: { samples: (gateways) => Promise.resolve(options.planes?.(gateways) ?? []) },
    trials: newTrials(),
    mapper: new StackMapper({ db, blobs, clock, log }),
    ownNames: () => ({ host: '127.0.0.1', port: 8788, names: [new URL(ORIGIN).host] }),
    baseDomain: 'localhost',
    gatewayUrl: () => Promise.resolve('http://127.0.0.1:8787'),
    disk: () => Promise.resolve(undefined),
    requestId: () => crypto.randomUUID(),
  };
  return new World({ deps, hub, owner, folder });
}
