/** {@link Call} over web standards: the gateway in front of another gateway. */
import { addressAt } from '#shared/contracts/address.ts';
import { HEADER_PREFIX } from '#shared/contracts/invoke.ts';
import type { Shares } from '#shared/shares.ts';
import { asPlatformError } from '#shared/errors.ts';
import { HeldBytes } from '#shared/held-bytes.ts';
import type { LeaseSource } from '#shared/leases/ports.ts';
import { PlatformError } from '#shared/errors.ts';
import { readTarget, type RequestTarget } from '#shared/http/target.ts';
import type { BodyRead, BodyWanted, Call, ForwardOutcome } from './ports.ts';

/** Where requests go: a regional gateway that routes and checks again. */
export interface Origin {
  fetch(request: Request): Promise<Response>;
}

export class WebCall implements Call {
  readonly method: string;
  readonly scheme: 'http' | 'https';
  readonly host: string;
  readonly target: RequestTarget;
  readonly client = undefined;
  readonly upgrades: boolean;
  readonly bodyBytes: number | undefined;
  readonly #request: Request;
  readonly #origin: Origin;
  readonly #bodies: Shares;
  #held: HeldBytes | undefined;
  #buffered: Uint8Array<ArrayBuffer> | undefined;

  constructor(request: Request, origin: Origin, bodies: Shares) {
    const url = new URL(request.url);
    const length = request.headers.get('content-length');
    this.#request = request;
    this.#origin = origin;
    this.#bodies = bodies;
    this.method = request.method;
    this.scheme = url.protocol === 'https:' ? 'https' : 'http';
    // On workerd the URL carries the host; a Host header may be that of the hop before.
    this.host = url.host;
    const target = readTarget(url.href.slice(url.origin.length, url.href.length - url.hash.length));
    if ('problem' in target)
      throw new PlatformError('target_invalid', target.problem, { publicDetail: target.problem });
    this.target = target;
    this.upgrades = request.headers.get('upgrade')?.toLowerCase() === 'websocket';
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

  async buffer({ account, bytesMax }: BodyWanted): Promise<BodyRead> {
    if (this.#buffered !== undefined) return { kind: 'body', bytes: this.#buffered };
    const held = new HeldBytes(this.#bodies, account);
    this.#held = held;
    for await (const chunk of this.#request.body ?? []) {
      if (held.length + chunk.byteLength > bytesMax) return { kind: 'too_large' };
      try {
        held.add(chunk);
      } catch (thrown) {
        return { kind: 'failed', error: asPlatformError(thrown) };
      }
    }
    this.#buffered = held.whole();
    return { kind: 'body', bytes: this.#buffered };
  }

  /** No instance waits here: places are the origin's. */
  ready(): Promise<undefined> {
    return Promise.resolve(undefined);
  }

  close(): void {
    this.#held?.release();
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
        endpoint: { instance: addressAt(''), agent: addressAt('') },
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
