/**
 * The load generator, in a process of its own so that its CPU time is nobody else's: keep-alive
 * connections with one request each, bytes made beforehand, answers only counted.
 */
import { connect, type Socket } from 'node:net';
import process from 'node:process';
import { importSigningKey, signRequest } from '#shared/signatures/sign.ts';
import { getRequest } from '../support/raw.ts';
import { ResponseParser } from '../support/response-parser.ts';
import { toLoadSchema, type FromLoad, type LoadJob, type LoadResult } from './load-messages.ts';
import { pauseQuantile, quantile } from './statistics.ts';
import { tokenMaker } from './tokens.ts';

const SIGNATURE_TTL_MS = 60_000;
const READ_BYTES = 64 * 1024;

async function makeRequests(job: LoadJob): Promise<Buffer[]> {
  const { plan, host } = job;
  const requests: Buffer[] = [];
  switch (plan.kind) {
    case 'same':
      requests.push(getRequest(host, '/', plan.headers));
      break;
    case 'tokens': {
      const next = tokenMaker(plan);
      for (let index = 0; index < plan.count; index += 1)
        requests.push(getRequest(host, '/', { authorization: `Bearer ${next()}` }));
      break;
    }
    case 'signed': {
      const key = await importSigningKey(plan.key);
      for (let index = 0; index < plan.count; index += 1) {
        const headers = await signRequest({ method: 'GET', url: `http://${host}/` }, key, {
          nowMs: Date.now(),
          ttlMs: SIGNATURE_TTL_MS,
        });
        requests.push(getRequest(host, '/', headers));
      }
    }
  }
  return requests;
}

class Load {
  readonly #job: LoadJob;
  readonly #requests: readonly Buffer[];
  readonly #latencies: number[] = [];
  readonly #refused: Record<string, number> = {};
  readonly #finished: Promise<void>;
  #finish: () => void = () => undefined;
  #fail: (error: Error) => void = () => undefined;
  readonly #sockets: Socket[] = [];
  #firstRefusal: string | undefined;
  #next = 0;
  #open = 0;
  #beginMs = 0;
  #endMs = 0;
  #lastMs = 0;

  constructor(job: LoadJob, requests: readonly Buffer[]) {
    this.#job = job;
    this.#requests = requests;
    this.#finished = new Promise((resolve, reject) => {
      this.#finish = resolve;
      this.#fail = reject;
    });
  }

  async run(): Promise<LoadResult> {
    const { connections, durationMs } = this.#job;
    this.#beginMs = performance.now();
    this.#endMs = this.#beginMs + durationMs;
    this.#open = connections;
    for (let index = 0; index < connections; index += 1) this.#connect();
    await this.#finished;
    for (const socket of this.#sockets) socket.destroy();
    const sorted = Float64Array.from(this.#latencies).sort();
    return {
      type: 'done',
      elapsedMs: this.#lastMs - this.#beginMs,
      answered: sorted.length,
      refused: this.#refused,
      ...(this.#firstRefusal === undefined ? {} : { firstRefusal: this.#firstRefusal }),
      p50Ms: quantile(sorted, 0.5),
      p99Ms: quantile(sorted, 0.99),
      p999Ms: quantile(sorted, 0.999),
      pauseP99Ms: pauseQuantile(sorted, 0.99),
      maxMs: sorted.at(-1) ?? Number.NaN,
    };
  }

  #take(): Buffer | undefined {
    if (this.#job.plan.kind === 'same') return this.#requests[0];
    const request = this.#requests[this.#next];
    this.#next += 1;
    return request;
  }

  #connect(): void {
    const { hostname, port } = new URL(this.#job.url);
    let sentMs = 0;
    const sendNext = (): void => {
      const now = performance.now();
      const request = now < this.#endMs ? this.#take() : undefined;
      if (request === undefined) {
        this.#open -= 1;
        if (this.#open === 0) this.#finish();
        return;
      }
      sentMs = now;
      socket.write(request);
    };
    const parser = new ResponseParser((response) => {
      const now = performance.now();
      if (response.status === 200) {
        this.#latencies.push(now - sentMs);
      } else {
        this.#refused[response.status] = (this.#refused[response.status] ?? 0) + 1;
        this.#firstRefusal ??= response.head + response.body;
      }
      this.#lastMs = Math.max(this.#lastMs, now);
      sendNext();
    }, false);
    const socket = connect({
      host: hostname,
      port: Number(port),
      noDelay: true,
      onread: {
        buffer: Buffer.allocUnsafe(READ_BYTES),
        callback: (bytes, buffer) => {
          parser.push(Buffer.from(buffer.buffer, buffer.byteOffset, bytes));
          return true;
        },
      },
    });
    this.#sockets.push(socket);
    socket.once('connect', sendNext);
    socket.once('error', (error) => this.#fail(error));
    socket.once('end', () => this.#fail(new Error('the server closed a connection under load')));
  }
}

const tell = (message: FromLoad): void => void process.send?.(message);
const failed = (error: unknown): void => tell({ type: 'failed', message: String(error) });
let prepared: Load | undefined;

async function prepare(job: LoadJob): Promise<void> {
  prepared = new Load(job, await makeRequests(job));
  tell({ type: 'prepared' });
}

process.on('message', (raw) => {
  const message = toLoadSchema.parse(raw);
  if (message.type === 'prepare') {
    prepare(message.job).catch(failed);
    return;
  }
  prepared?.run().then(tell, failed);
});
process.on('disconnect', () => process.exit(0));
