/** {@link Call} over web standards: the gateway in front of another gateway. */
import { HEADER_PREFIX } from '#shared/contracts/invoke.ts';
import type { LeaseSource } from '#shared/leases/ports.ts';
import type { BodyRead, Call, ForwardOutcome } from './ports.ts';

/** Where requests go: a regional gateway that routes and checks again. */
export interface Origin {
  fetch(request: Request): Promise<Response>;
}

export class WebCall implements Call {
  readonly method: string;
  readonly scheme: 'http' | 'https';
  readonly host: string;
  readonly path: string;
  readonly query: string;
  readonly bodyBytes: number | undefined;
  readonly #request: Request;
  readonly #origin: Origin;
  #buffered: Uint8Array<ArrayBuffer> | undefined;

  constructor(request: Request, origin: Origin) {
    const url = new URL(request.url);
    const length = request.headers.get('content-length');
    this.#request = request;
    this.#origin = origin;
    this.method = request.method;
    this.scheme = url.protocol === 'https:' ? 'https' : 'http';
    // On workerd the URL carries the host; a Host header may be that of the hop before.
    this.host = url.host;
    this.path = url.pathname;
    this.query = url.search;
    this.bodyBytes = request.body === null ? 0 : length === null ? undefined : Number(length);
  }

  get gone(): boolean {
    return this.#request.signal.aborted;
  }

  header(name: string): string | undefined {
    return this.#request.headers.get(name) ?? undefined;
  }

  /** The runtime cancels the whole invocation when the client goes. */
  onGone(): void {
    // Nothing waits here: leases are the origin's.
  }

  async buffer(bytesMax: number): Promise<BodyRead> {
    if (this.#buffered !== undefined) return { kind: 'body', bytes: this.#buffered };
    const chunks: Uint8Array[] = [];
    let bytes = 0;
    for await (const chunk of this.#request.body ?? []) {
      bytes += chunk.byteLength;
      if (bytes > bytesMax) return { kind: 'too_large' };
      chunks.push(chunk);
    }
    const whole = new Uint8Array(bytes);
    let at = 0;
    for (const chunk of chunks) {
      whole.set(chunk, at);
      at += chunk.byteLength;
    }
    this.#buffered = whole;
    return { kind: 'body', bytes: whole };
  }

  /** With the client's own credentials: the origin trusts nothing that an edge says. */
  async forward(): Promise<ForwardOutcome> {
    const headers = new Headers(this.#request.headers);
    this.#request.headers.forEach((_value, name) => {
      if (name.startsWith(HEADER_PREFIX)) headers.delete(name);
    });
    const request = new Request(this.#request, {
      headers,
      redirect: 'manual',
      ...(this.#buffered === undefined ? {} : { body: this.#buffered }),
    });
    return { kind: 'answered', response: await this.#origin.fetch(request), end: 'complete' };
  }
}

/** Every request may go: slots and queues are the origin's. */
export const unlimitedLeases: LeaseSource = {
  admit: (version) => ({
    kind: 'admitted',
    permit: {
      lease: {
        leaseId: 'origin',
        versionId: version.id,
        instanceId: 'origin',
        endpoint: { instance: { kind: 'unix', path: '' }, agent: { kind: 'unix', path: '' } },
        slots: 1,
        ttlMs: 1,
      },
      coldStart: false,
      inFlight: () => 1,
      again: () => true,
      release: () => undefined,
      lost: () => undefined,
    },
  }),
};
