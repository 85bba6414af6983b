/**
 * A real agent with real workerd processes, and a stand-in for control that serves a feed and blobs. Tests
 * publish versions as plain sources and call instances over their sockets as a gateway would.
 */
import { createHash } from 'node:crypto';
import { rm } from 'node:fs/promises';
import type { Server } from 'node:http';
import { request as httpRequest, type IncomingHttpHeaders } from 'node:http';
import type { FeedLine, Runnable } from '#shared/contracts/feed.ts';
import { functionConfigSchema, type FunctionConfigInput } from '#shared/contracts/config.ts';
import { egressRulesOf } from '#shared/contracts/egress.ts';
import type { ModuleType } from '#shared/contracts/modules.ts';
import { logEntrySchema, startReplySchema, type LogEntry, type StartReply } from '#shared/contracts/nodes.ts';
import { digestSchema, versionIdSchema, type VersionId } from '#shared/ids.ts';
import { ensurePrivateFolder, layoutOf, type Layout } from '#shared/runtime/layout.node.ts';
import { closeServer, peerOf, serveAt } from '#shared/runtime/transport.node.ts';
import type { Peer } from '#shared/runtime/peer.ts';
import type { RunningPlane } from '#shared/runtime/plane.node.ts';
import { memoryLog, waitFor, type LoggedLine } from '#shared/testing/fakes.ts';
import { tempFolder, type TempFolder } from '#shared/testing/temp.node.ts';
import { problemResponse, PlatformError } from '#shared/errors.ts';
import { startAgent } from '../plane.ts';
import { boxFolder, type AgentOptions } from '../agent/parts.ts';

export interface SourceModule {
  readonly name: string;
  readonly type?: ModuleType;
  readonly content: string | Uint8Array;
}

export interface TestVersion extends Partial<
  Pick<
    FunctionConfigInput,
    | 'style'
    | 'vars'
    | 'limits'
    | 'compatibilityDate'
    | 'compatibilityFlags'
    | 'hooks'
    | 'tier'
    | 'egress'
    | 'entrypoints'
  >
> {
  readonly id?: string;
  readonly secrets?: Runnable['secrets'];
  readonly modules: readonly SourceModule[];
  readonly bindings?: Runnable['bindings'];
}

/** Control's feed and blobs, from memory. */
class FakeControl {
  readonly blobs = new Map<string, Uint8Array>();
  blobReads = 0;
  readonly #items = new Map<string, Runnable>();
  readonly #streams = new Set<(line: FeedLine) => void>();
  #revision = 1;
  #server: Server | undefined;

  async listen(layout: Layout): Promise<void> {
    this.#server = await serveAt(layout.sockets.control, (request) => this.#answer(request));
  }

  async close(): Promise<void> {
    if (this.#server !== undefined) await closeServer(this.#server, 0);
  }

  runnable(version: TestVersion): Runnable {
    const id = versionIdSchema.parse(version.id ?? 'default/hello@1');
    const config = functionConfigSchema.parse({
      compatibilityDate: version.compatibilityDate ?? '2026-11-01',
      ...(version.entrypoints === undefined ? {} : { entrypoints: version.entrypoints }),
      ...(version.style === undefined ? {} : { style: version.style }),
      ...(version.vars === undefined ? {} : { vars: version.vars }),
      ...(version.limits === undefined ? {} : { limits: version.limits }),
      ...(version.hooks === undefined ? {} : { hooks: version.hooks }),
      ...(version.tier === undefined ? {} : { tier: version.tier }),
      ...(version.egress === undefined ? {} : { egress: version.egress }),
      ...(version.compatibilityFlags === undefined ? {} : { compatibilityFlags: version.compatibilityFlags }),
    });
    const modules = version.modules.map(({ name, type, content }) => {
      const bytes = typeof content === 'string' ? new TextEncoder().encode(content) : content;
      const digest = digestSchema.parse(createHash('sha256').update(bytes).digest('hex'));
      this.blobs.set(digest, bytes);
      return { name, type: type ?? ('esm' as const), digest, bytes: bytes.byteLength };
    });
    return {
      id,
      style: config.style,
      main: modules[0]?.name ?? '',
      modules,
      compatibilityDate: config.compatibilityDate,
      compatibilityFlags: config.compatibilityFlags,
      vars: config.vars,
      limits: config.limits,
      scaling: config.scaling,
      egress: egressRulesOf(config),
      bindings: version.bindings ?? [],
      secrets: version.secrets ?? [],
      entrypoints: config.entrypoints,
      hooks: config.hooks,
      tier: config.tier,
    };
  }

  publish(version: TestVersion): VersionId {
    const value = this.runnable(version);
    this.#items.set(value.id, value);
    this.#revision += 1;
    const line: FeedLine = {
      type: 'delta',
      revision: this.#revision,
      items: [{ kind: 'runnable', key: value.id, value }],
    };
    for (const send of this.#streams) send(line);
    return value.id;
  }

  #answer(request: Request): Response {
    const url = new URL(request.url);
    if (url.pathname === '/internal/feed/ack') return new Response(null, { status: 204 });
    if (url.pathname === '/internal/feed') return this.#feed(request.signal);
    this.blobReads += 1;
    const bytes = this.blobs.get(url.pathname.replace('/internal/blobs/', ''));
    if (bytes === undefined) return problemResponse(new PlatformError('blob_not_found', 'no such blob'));
    return new Response(new Uint8Array(bytes));
  }

  #feed(signal: AbortSignal): Response {
    const encoder = new TextEncoder();
    let send: ((line: FeedLine) => void) | undefined;
    const drop = (): void => void (send !== undefined && this.#streams.delete(send));
    signal.addEventListener('abort', drop);
    const stream = new ReadableStream<Uint8Array>({
      start: (controller) => {
        send = (line) => controller.enqueue(encoder.encode(`${JSON.stringify(line)}\n`));
        const items = [...this.#items.values()].map((value) => ({
          kind: 'runnable' as const,
          key: value.id,
          value,
        }));
        send({ type: 'snapshot', epoch: 'e1', revision: this.#revision, items });
        this.#streams.add(send);
      },
      cancel: drop,
    });
    return new Response(stream, { headers: { 'content-type': 'application/x-ndjson' } });
  }
}

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
}

export interface CallInit {
  readonly method?: string;
  readonly path?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  readonly signal?: AbortSignal;
}

/** One HTTP request to the socket of an instance. */
export function callSocket(socketPath: string, init: CallInit = {}): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const outgoing = httpRequest(
      {
        socketPath,
        path: init.path ?? '/',
        method: init.method ?? (init.body === undefined ? 'GET' : 'POST'),
        headers: { host: 'hello.localhost', ...init.headers },
        agent: false,
        ...(init.signal === undefined ? {} : { signal: init.signal }),
      },
      (incoming) => {
        const chunks: Uint8Array[] = [];
        incoming.on('data', (chunk: Uint8Array) => chunks.push(chunk));
        incoming.on('end', () =>
          resolve({
            status: incoming.statusCode ?? 0,
            headers: incoming.headers,
            text: Buffer.concat(chunks).toString('utf8'),
          }),
        );
        incoming.on('error', reject);
      },
    );
    outgoing.on('error', reject);
    outgoing.end(init.body);
  });
}

export class World implements AsyncDisposable {
  readonly control = new FakeControl();
  readonly lines: LoggedLine[] = [];
  readonly layout: Layout;
  readonly peer: Peer;
  readonly #folder: TempFolder;
  #agent: RunningPlane | undefined;
  #next = 0;

  private constructor(folder: TempFolder) {
    this.#folder = folder;
    this.layout = layoutOf(folder.path);
    this.peer = peerOf(this.layout.sockets.node('node-1'));
  }

  static async start(options: Partial<AgentOptions> = {}): Promise<World> {
    const world = new World(await tempFolder());
    await ensurePrivateFolder(world.layout.runDir);
    await world.control.listen(world.layout);
    await world.startAgent(options);
    return world;
  }

  async startAgent(options: Partial<AgentOptions> = {}): Promise<void> {
    this.#agent = await startAgent({
      layout: this.layout,
      nodeId: 'node-1',
      slots: 1,
      // A fixed number, so that tests can count; those about demand say otherwise.
      slotsMax: options.slots ?? 1,
      capacity: 100,
      sandbox: 'auto',
      codeCacheBytes: 64 * 1_048_576,
      log: memoryLog(this.lines),
      ...options,
    });
  }

  async stopAgent(): Promise<void> {
    await this.#agent?.close(200);
    this.#agent = undefined;
  }

  /** Starts an instance; the reply also says which. */
  async start(
    versionId: VersionId,
  ): Promise<StartReply & { readonly instanceId: string; readonly path: string }> {
    this.#next += 1;
    const instanceId = `i${this.#next}`;
    const reply = await this.peer.call('/v1/instances', startReplySchema, {
      method: 'POST',
      body: { instanceId, versionId },
    });
    return { ...reply, instanceId, path: reply.endpoint.instance.path };
  }

  async run(
    version: TestVersion,
  ): Promise<StartReply & { readonly instanceId: string; readonly path: string }> {
    return this.start(this.control.publish(version));
  }

  /** Newline-delimited entries of a function's log. */
  async logs(functionName: string): Promise<string> {
    const bytes = await this.peer.bytes(
      `/v1/logs?account=default&function=${functionName}&tail=2000`,
      64_000_000,
    );
    return Buffer.from(bytes).toString('utf8');
  }

  /** Waits until there are `atLeast`. */
  entries(functionName: string, atLeast = 0): Promise<LogEntry[]> {
    return waitFor(`logs of ${functionName}`, async () => {
      const lines = (await this.logs(functionName)).split('\n').filter((line) => line !== '');
      return lines.length >= atLeast && lines.map((line) => logEntrySchema.parse(JSON.parse(line)));
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stopAgent();
    await this.peer.close();
    await this.control.close();
    await rm(boxFolder(this.layout, 'node-1'), { recursive: true, force: true });
    await rm(this.layout.runDir, { recursive: true, force: true });
    await this.#folder[Symbol.asyncDispose]();
  }
}
