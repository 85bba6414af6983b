/** A job that wants requests carried, on real leases, sockets and instances; the scheduler and the agent are scripted. */
import { createServer as createHttpServer, type RequestListener } from 'node:http';
import { createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { attempts, type CarryDeps } from '../carry/attempts.ts';
import { Watch } from '../carry/deadlines.ts';
import { exchange } from '../carry/exchange.node.ts';
import type { BodySink, CarryOutcome, RequestBody, ResponseSink, SinkListener } from '../carry/ports.ts';
import { addressAt } from '../contracts/address.ts';
import { limitsSchema, scalingSchema, type FunctionLimits, type Scaling } from '../contracts/config.ts';
import type { Lease } from '../contracts/leases.ts';
import type { ExitReport } from '../contracts/nodes.ts';
import { PlatformError } from '../errors.ts';
import { versionId } from '../ids.ts';
import { LeaseManager } from '../leases/manager.ts';
import { systemClock, systemTimers } from '../runtime/clock.ts';
import { SocketClient } from '../upstream/socket-client.node.ts';
import { UsageMeters } from '../usage/meter.ts';
import { memoryLog } from './fakes.ts';
import type { TempFolder } from './temp.node.ts';

export class Collector implements ResponseSink {
  gone = false;
  ended = false;
  status = 0;
  text = '';
  headers: readonly string[] = [];
  how: 'open' | 'ended' | 'cut' = 'open';
  listener: SinkListener | undefined;
  /** False: it takes no more until the listener is told. */
  room = true;
  refusesHead = false;

  listen(listener: SinkListener | undefined): void {
    this.listener = listener;
  }

  head(status: number, _reason: string, headers: string[]): void {
    if (this.refusesHead) throw new Error('a byte that it does not take');
    this.status = status;
    this.headers = headers;
  }

  write(chunk: Buffer): boolean {
    this.text += chunk.toString('latin1');
    return this.room;
  }

  end(): void {
    this.how = 'ended';
  }

  cut(): void {
    this.how = 'cut';
  }
}

/** A body that comes when the test says so. */
export class Stream implements RequestBody {
  readonly whole = undefined;
  sink: BodySink | undefined;

  flow(sink: BodySink): void {
    this.sink = sink;
  }

  resume(): void {
    // Whatever comes is written by the test.
  }

  credit(): void {
    // Nothing measures how fast it comes.
  }

  stop(): void {
    this.sink = undefined;
  }
}

export const kept = (text: string): RequestBody => ({
  whole: Buffer.from(text),
  flow: () => undefined,
  resume: () => undefined,
  credit: () => undefined,
  stop: () => undefined,
});

interface Job {
  readonly method?: string;
  readonly repeatable?: boolean;
  readonly body?: RequestBody;
  readonly sink?: Collector;
  readonly scaling?: Partial<Scaling>;
  readonly limits?: Partial<FunctionLimits>;
  /** Numbers of the version that the alias names at each attempt; the last one stays. */
  readonly versions?: number[];
}

export class World {
  readonly #folder: TempFolder;
  readonly #servers: Server[] = [];
  readonly #client = new SocketClient(systemClock);
  readonly #watch = new Watch(systemClock, systemTimers);
  readonly #leases: LeaseManager;
  readonly usage = new UsageMeters();
  readonly grants: Lease[] = [];
  readonly acquires: string[] = [];
  exit: ExitReport = { ended: false };
  /** What the agent was told and asked. */
  readonly told: string[] = [];
  again = 0;
  unsent = 0;

  constructor(folder: TempFolder) {
    this.#folder = folder;
    this.#leases = new LeaseManager({
      clock: systemClock,
      timers: systemTimers,
      log: memoryLog(),
      scheduler: {
        acquire: ({ versionId: id }) => {
          this.acquires.push(id);
          const lease = this.grants.shift();
          return Promise.resolve(
            lease === undefined
              ? { kind: 'refused', error: new PlatformError('no_capacity', 'scripted') }
              : { kind: 'lease', lease: { ...lease, versionId: id } },
          );
        },
        heartbeat: () => Promise.resolve({ revoked: [] }),
      },
    });
  }

  path(name: string): string {
    return join(this.#folder.path, name);
  }

  grant(path: string, more: Partial<Lease> = {}): void {
    const name = String(this.grants.length + this.acquires.length);
    this.grants.push({
      leaseId: `lease-${name}`,
      versionId: versionId('default', 'job', 1),
      instanceId: `instance-${name}`,
      endpoint: { instance: addressAt(path), agent: addressAt('unused') },
      slots: 8,
      ttlMs: 10_000,
      ...more,
    });
  }

  async #listen(server: Server, more: Partial<Lease>): Promise<void> {
    const path = this.path(`i${this.#servers.push(server)}.sock`);
    await new Promise<void>((resolve) => server.listen(path, resolve));
    this.grant(path, more);
  }

  instance(listener: RequestListener, more: Partial<Lease> = {}): Promise<void> {
    return this.#listen(createHttpServer(listener), more);
  }

  /** Answers every connection with these bytes, and ends it. */
  says(bytes: string): Promise<void> {
    return this.#listen(
      createServer(
        (socket) => void socket.on('error', () => undefined).once('data', () => socket.end(bytes)),
      ),
      {},
    );
  }

  /** Nothing listens there. */
  dead(): void {
    this.grant(this.path('nobody.sock'));
  }

  /** @returns how it ended, or the code of the refusal. */
  async carry(job: Job = {}): Promise<string> {
    const { sink = new Collector(), body, versions = [1] } = job;
    const limits = limitsSchema.parse({ ...job.limits });
    const scaling = scalingSchema.parse({ ...job.scaling });
    const deps: CarryDeps = {
      leases: this.#leases,
      clock: systemClock,
      timers: systemTimers,
      usage: this.usage,
      agent: {
        exit: () => {
          this.told.push('exit?');
          return Promise.resolve(this.exit);
        },
        overdue: (_lease, { kind }) => void this.told.push(`overdue ${kind}`),
        broken: (_lease, requestId) => void this.told.push(`broken ${requestId}`),
        // On a busy machine any request may be slow.
        slow: () => undefined,
      },
    };
    try {
      const answered = await attempts(deps, {
        requestId: 'r-1',
        repeatable: job.repeatable ?? false,
        version: () => ({
          id: versionId('default', 'job', (versions.length > 1 ? versions.shift() : versions[0]) ?? 1),
          scaling,
          limits,
        }),
        session: () => undefined,
        gone: false,
        onGone: () => undefined,
        onAgain: () => (this.again += 1),
        onUnsent: () => (this.unsent += 1),
        deliver: ({ permit, meter, onSlow, onBroken }) =>
          new Promise<CarryOutcome>((resolve) =>
            exchange(
              { client: this.#client, watch: this.#watch },
              {
                address: permit.lease.endpoint.instance,
                method: job.method ?? 'POST',
                target: '/work',
                headers: ['host', 'job', 'x-job', '7'],
                bodyBytes: body === undefined ? 0 : undefined,
                body,
                sink,
              },
              {
                limits,
                meter,
                responseHeaders: ['x-carried', '1'],
                filter: undefined,
                stalledMsMax: Number.POSITIVE_INFINITY,
                onSlow,
                onBroken,
              },
              resolve,
            ),
          ),
      });
      return answered?.end ?? 'nobody';
    } catch (thrown) {
      return thrown instanceof PlatformError ? thrown.code : String(thrown);
    }
  }

  get counted(): readonly (readonly [number, number])[] {
    return [...this.usage.drain()].map(
      ({ amounts: { requests = 0, errors = 0 } }) => [requests, errors] as const,
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#leases.close();
    await this.#client.close();
    for (const server of this.#servers) server.close();
    await this.#folder[Symbol.asyncDispose]();
  }
}
