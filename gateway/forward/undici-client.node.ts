/** {@link UpstreamClient} over undici's dispatcher: one pool per instance socket. */
import { Readable } from 'node:stream';
import { Pool, type Dispatcher } from 'undici';
import { LRUCache } from 'lru-cache';
import type {
  UpstreamClient,
  UpstreamExchange,
  UpstreamFailure,
  UpstreamHandler,
  UpstreamRequest,
} from './upstream.ts';

const POOLS_MAX = 10_000;
/** Below workerd's own 5 s, so that a request never meets a connection that is being closed. */
const KEEP_ALIVE_MS = 3_000;

function failureOf(error: Error & { code?: string }): UpstreamFailure {
  switch (error.code) {
    case 'ECONNREFUSED':
    case 'ENOENT':
    case 'UND_ERR_CONNECT_TIMEOUT':
      return 'unreachable';
    default:
      return error.name === 'HTTPParserError' || error.code?.startsWith('HPE_') === true
        ? 'malformed'
        : 'reset';
  }
}

class Exchange implements UpstreamExchange, Dispatcher.DispatchHandler {
  readonly body: Readable | null;
  readonly #handler: UpstreamHandler;
  #controller: Dispatcher.DispatchController | undefined;
  #over = false;
  #ready = false;

  constructor(request: UpstreamRequest, handler: UpstreamHandler) {
    this.#handler = handler;
    this.body =
      request.bodyBytes === 0
        ? null
        : new Readable({
            read: () => {
              if (this.#over) return;
              if (this.#ready) handler.onDrain();
              this.#becomeReady();
            },
          });
    this.body?.on('error', () => undefined);
  }

  #becomeReady(): void {
    if (this.#ready || this.#over) return;
    this.#ready = true;
    this.#handler.onReady();
  }

  write(chunk: Uint8Array): boolean {
    return this.body?.push(chunk) ?? true;
  }

  end(): void {
    this.body?.push(null);
  }

  resume(): void {
    this.#controller?.resume();
  }

  abort(): void {
    if (this.#over) return;
    this.#over = true;
    this.#controller?.abort(new Error('aborted'));
    this.body?.destroy();
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller;
    if (this.#over) controller.abort(new Error('aborted'));
    else if (this.body === null) this.#becomeReady();
  }

  onResponseStart(
    controller: Dispatcher.DispatchController,
    status: number,
    _headers: unknown,
    reason?: string,
  ): void {
    if (this.#over || status < 200) return;
    const raw = (controller.rawHeaders ?? []) as readonly (Buffer | string)[];
    this.#handler.onHead(
      status,
      reason ?? '',
      raw.map((part) => (typeof part === 'string' ? part : part.toString('latin1'))),
    );
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (!this.#over && !this.#handler.onData(chunk)) controller.pause();
  }

  onResponseEnd(): void {
    if (this.#over) return;
    this.#over = true;
    this.#handler.onEnd();
  }

  onResponseError(_controller: Dispatcher.DispatchController, error: Error): void {
    if (this.#over) return;
    this.#over = true;
    this.#handler.onFailure(failureOf(error), error);
  }
}

export function createUndiciClient(): UpstreamClient {
  const pools = new LRUCache<string, Pool>({
    max: POOLS_MAX,
    dispose: (pool) => void pool.close().catch(() => undefined),
  });
  const poolOf = (socketPath: string): Pool => {
    let pool = pools.get(socketPath);
    if (pool === undefined) {
      pool = new Pool('http://instance', {
        socketPath,
        connections: null,
        pipelining: 1,
        headersTimeout: 0,
        bodyTimeout: 0,
        keepAliveTimeout: KEEP_ALIVE_MS,
        keepAliveMaxTimeout: KEEP_ALIVE_MS,
      });
      pools.set(socketPath, pool);
    }
    return pool;
  };
  return {
    send(request, handler) {
      const exchange = new Exchange(request, handler);
      const headers =
        request.bodyBytes === undefined || request.bodyBytes === 0
          ? [...request.headers]
          : [...request.headers, 'content-length', String(request.bodyBytes)];
      queueMicrotask(() =>
        poolOf(request.socketPath).dispatch(
          {
            path: request.target,
            method: request.method,
            headers,
            body: exchange.body,
          },
          exchange,
        ),
      );
      return exchange;
    },
    async close() {
      const all = [...pools.values()];
      await Promise.all(all.map((pool) => pool.destroy()));
    },
  };
}
