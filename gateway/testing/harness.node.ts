/**
 * A whole gateway on a free port with scripted peers behind real Unix sockets: a scheduler that grants
 * leases on demand, an agent that answers what the test tells it, and instances that are HTTP servers.
 * Its snapshot comes from disk: there is no control plane, as after a restart without one.
 */
import { mkdir, rm } from 'node:fs/promises';
import { createServer, type RequestListener, type Server } from 'node:http';
import { connect, type Socket } from 'node:net';
import { dirname, join } from 'node:path';
import { PlatformError, problemResponse } from '#shared/errors.ts';
import { addressAt, type Address } from '#shared/contracts/address.ts';
import type { FeedItem } from '#shared/contracts/feed.ts';
import { acquireRequestSchema, holderHeartbeatSchema, type Lease } from '#shared/contracts/leases.ts';
import {
  overdueReportSchema,
  slowReportSchema,
  type ExitReport,
  type OverdueReport,
} from '#shared/contracts/nodes.ts';
import { FeedJournal } from '#shared/feed/journal.node.ts';
import { layoutOf, type Layout } from '#shared/runtime/layout.node.ts';
import { closeServer, serveAt } from '#shared/runtime/transport.node.ts';
import { memoryLog, waitFor } from '#shared/testing/fakes.ts';
import { request } from 'undici';
import { versionIdSchema } from '#shared/ids.ts';
import { tempFolder, type TempFolder } from '#shared/testing/temp.node.ts';
import type { ForwardedKind } from '../config.ts';
import { TrustedProxies } from '../forward/proxies.node.ts';
import { startGateway, type GatewayPlane } from '../plane.node.ts';
import { stateOf } from './items.ts';

export interface InstanceOptions {
  readonly versionId?: string;
  readonly slots?: number;
  readonly instanceId?: string;
}

export interface Script {
  /** Leases the scheduler hands out, one per acquire; when none is left it answers `grantError`. */
  grants: Lease[];
  grantError: PlatformError;
  acquires: { versionId: string; waiting: number }[];
  heartbeats: string[][];
  revoked: string[];
  exitReport: ExitReport;
  overdue: OverdueReport[];
  slow: { instanceId: string; ageMs: number }[];
  /** `ACCOUNT/DIGEST` of what control was asked for. */
  assets: string[];
}

function serveScheduler(address: Address, script: Script): Promise<Server> {
  return serveAt(address, async (request) => {
    const body: unknown = await request.json();
    if (new URL(request.url).pathname === '/v1/leases') {
      const { versionId, waiting } = acquireRequestSchema.parse(body);
      script.acquires.push({ versionId, waiting });
      const lease = script.grants.shift();
      return lease === undefined ? problemResponse(script.grantError) : Response.json(lease);
    }
    script.heartbeats.push(holderHeartbeatSchema.parse(body).leases.map(({ leaseId }) => leaseId));
    return Response.json({ revoked: script.revoked });
  });
}

function serveAgent(address: Address, script: Script): Promise<Server> {
  return serveAt(address, async (request) => {
    if (request.method === 'GET') return Response.json(script.exitReport);
    if (new URL(request.url).pathname === '/v1/slow') {
      script.slow.push(...slowReportSchema.parse(await request.json()).instances);
      return new Response(null, { status: 204 });
    }
    script.overdue.push(overdueReportSchema.parse(await request.json()));
    return new Response(null, { status: 204 });
  });
}

/** Of harnesses that do not say: whether connections are read by the gateway itself, or all by Node's server. */
export const defaults = { plain: true };

export interface HarnessOptions {
  readonly trustedProxies?: readonly string[];
  readonly forwardedHeader?: ForwardedKind;
  readonly connectionsMax?: number;
  readonly startedMs?: number;
  readonly headMsMax?: number;
  /** False: every request goes through Node's HTTP server. */
  readonly plain?: boolean;
  /** False: control is not there. */
  readonly control?: boolean;
  /** Blobs of assets that control has, by `ACCOUNT/DIGEST`. */
  readonly assets?: ReadonlyMap<string, Uint8Array>;
}

/** Says that the journal is all there is, hands out files of assets, and takes reports. */
function serveControl(
  address: Address,
  revision: number,
  { blobs, asked }: { readonly blobs: ReadonlyMap<string, Uint8Array>; readonly asked: string[] },
): Promise<Server> {
  return serveAt(address, (request) => {
    const { pathname } = new URL(request.url);
    const wanted = /^\/internal\/assets\/(.+)$/.exec(pathname)?.[1];
    if (wanted !== undefined) {
      asked.push(wanted);
      const bytes = blobs.get(wanted);
      return bytes === undefined
        ? problemResponse(new PlatformError('blob_not_found', 'scripted'))
        : new Response(new Uint8Array(bytes));
    }
    if (pathname !== '/internal/feed') return new Response(null, { status: 204 });
    const line = new TextEncoder().encode(`${JSON.stringify({ type: 'bookmark', revision })}\n`);
    return new Response(new ReadableStream({ start: (controller) => controller.enqueue(line) }), {
      headers: { 'content-type': 'application/x-ndjson' },
    });
  });
}

export async function startHarness(
  items: readonly FeedItem[],
  options: HarnessOptions = {},
): Promise<Harness> {
  const folder = await tempFolder();
  const layout = layoutOf(join(folder.path, 'data'));
  await mkdir(layout.runDir, { recursive: true, mode: 0o700 });
  const journal = layout.gatewaySnapshot('gateway-1');
  await mkdir(dirname(journal), { recursive: true, mode: 0o700 });
  const known = stateOf(items);
  await new FeedJournal(journal).append(known.toSnapshot(), known);
  const script: Script = {
    grants: [],
    grantError: new PlatformError('no_capacity', 'scripted', { retryAfterMs: 1_000 }),
    acquires: [],
    heartbeats: [],
    revoked: [],
    exitReport: { ended: false },
    overdue: [],
    slow: [],
    assets: [],
  };
  const servers = [
    ...(options.control !== false
      ? [
          await serveControl(layout.sockets.control, known.revision, {
            blobs: options.assets ?? new Map(),
            asked: script.assets,
          }),
        ]
      : []),
    await serveScheduler(layout.sockets.scheduler, script),
    await serveAgent(addressAt(join(folder.path, 'agent.sock')), script),
  ];
  const log = memoryLog();
  const plane = await startGateway({
    layout,
    gatewayId: 'gateway-1',
    host: '127.0.0.1',
    port: 0,
    baseDomain: 'localhost',
    reusePort: false,
    proxies: new TrustedProxies(options.trustedProxies ?? [], options.forwardedHeader),
    ...(options.connectionsMax === undefined ? {} : { connectionsMax: options.connectionsMax }),
    // Tests sign within the second of the start.
    startedMs: options.startedMs ?? 0,
    ...(options.headMsMax === undefined ? {} : { headMsMax: options.headMsMax }),
    plain: options.plain ?? defaults.plain,
    log,
  });
  return new Harness({ plane, layout, folder, log, script, servers });
}

export class Harness implements AsyncDisposable {
  readonly plane: GatewayPlane;
  readonly layout: Layout;
  readonly log: ReturnType<typeof memoryLog>;
  /** What the scheduler and the agent do, and what they were told. */
  readonly script: Script;
  readonly #folder: TempFolder;
  readonly #servers: Server[];
  #leases = 0;

  constructor(parts: {
    plane: GatewayPlane;
    layout: Layout;
    folder: TempFolder;
    log: ReturnType<typeof memoryLog>;
    script: Script;
    servers: Server[];
  }) {
    this.plane = parts.plane;
    this.layout = parts.layout;
    this.log = parts.log;
    this.script = parts.script;
    this.#folder = parts.folder;
    this.#servers = parts.servers;
  }

  get folder(): string {
    return this.#folder.path;
  }

  /** Queues a lease on a socket path. */
  grant(path: string, options: InstanceOptions = {}): Lease {
    this.#leases += 1;
    const lease: Lease = {
      leaseId: `lease-${this.#leases}`,
      versionId: versionIdSchema.parse(options.versionId ?? 'default/hello@1'),
      instanceId: options.instanceId ?? `instance-${this.#leases}`,
      endpoint: {
        instance: addressAt(path),
        agent: addressAt(join(this.folder, 'agent.sock')),
      },
      slots: options.slots ?? 64,
      ttlMs: 10_000,
    };
    this.script.grants.push(lease);
    return lease;
  }

  /** Starts an instance and queues a lease for it. */
  async instance(listener: RequestListener, options?: InstanceOptions): Promise<Server> {
    const path = join(this.folder, `i${this.#servers.length}.sock`);
    // As generous as workerd, so that the bounds met are the gateway's.
    const server = createServer({ maxHeaderSize: 1_048_576 }, listener);
    await new Promise<void>((resolve) => server.listen(path, resolve));
    this.#servers.push(server);
    this.grant(path, options);
    return server;
  }

  request(host: string, init: CallInit = {}): Promise<Response> {
    return fetchAs(this.plane.port, host, init);
  }

  raw(): Socket {
    return connect(this.plane.port, '127.0.0.1');
  }

  /** Writes bytes as they are and returns everything the gateway sends until it closes or falls silent on `until`. */
  async exchange(text: string, until?: (received: string) => boolean): Promise<string> {
    const socket = this.raw();
    let received = '';
    let closed = false;
    socket.on('data', (chunk) => {
      received += chunk.toString('latin1');
    });
    socket.on('error', () => undefined);
    socket.on('close', () => {
      closed = true;
    });
    socket.write(text, 'latin1');
    await waitFor('an answer', () => closed || until?.(received));
    socket.destroy();
    return received;
  }

  async stopScheduler(): Promise<void> {
    const [scheduler] = this.#servers.splice(0, 1);
    if (scheduler !== undefined) await closeServer(scheduler, 0);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.plane.close(0);
    await Promise.all(this.#servers.map((server) => closeServer(server, 0)));
    await rm(this.layout.runDir, { recursive: true, force: true });
    await this.#folder[Symbol.asyncDispose]();
  }
}

export type CallInit = RequestInit & { readonly path?: string };

/** `*.localhost` need not resolve on every machine, so the name goes into the Host header only. */
export async function fetchAs(port: number, host: string, init: CallInit): Promise<Response> {
  const headers: Record<string, string> = { host };
  new Headers(init.headers).forEach((value, name) => {
    headers[name] = value;
  });
  const answer = await request(`http://127.0.0.1:${port}${init.path ?? '/'}`, {
    method: (init.method ?? 'GET') as 'GET',
    headers,
    ...(init.body === undefined || init.body === null ? {} : { body: init.body as string }),
    ...(init.signal === undefined || init.signal === null ? {} : { signal: init.signal }),
  });
  const flat = Object.entries(answer.headers).flatMap(([name, value]): [string, string][] =>
    value === undefined ? [] : [...(Array.isArray(value) ? value : [value])].map((each) => [name, each]),
  );
  const bodyless = [204, 304].includes(answer.statusCode) || init.method === 'HEAD';
  if (bodyless) await answer.body.dump();
  return new Response(bodyless ? null : answer.body, {
    status: answer.statusCode,
    headers: flat,
  });
}
