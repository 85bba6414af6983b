/** {@link Call} over web standards, and how it passes to the gateway behind this one. */
import { HEADER_PREFIX } from '#shared/contracts/invoke.ts';
import type { Shares } from '#shared/shares.ts';
import { asPlatformError } from '#shared/errors.ts';
import { HeldBytes } from '#shared/held-bytes.ts';
import { PlatformError } from '#shared/errors.ts';
import { readTarget, type RequestTarget } from '#shared/http/target.ts';
import type { Behind } from './invoke.ts';
import type { BodyRead, BodyWanted, Call } from './ports.ts';

/** Where requests go: a regional gateway that routes and checks again. */
export interface Origin {
  fetch(request: Request): Promise<Response>;
}

export class WebCall implements Call {
  readonly method: string;
  readonly scheme: 'http' | 'https';
  readonly host: string;
  readonly target: RequestTarget;
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

  header(name: string): string | undefined {
    return this.#request.headers.get(name) ?? undefined;
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

  close(): void {
    this.#held?.release();
  }

  /** With the client's own credentials: the origin trusts nothing that an edge says. */
  pass(): Promise<Response> {
    const headers = new Headers(this.#request.headers);
    this.#request.headers.forEach((_value, name) => {
      if (name.startsWith(HEADER_PREFIX)) headers.delete(name);
    });
    const request = new Request(this.#request, {
      headers,
      redirect: 'manual',
      ...(this.#buffered === undefined ? {} : { body: this.#buffered }),
    });
    return this.#origin.fetch(request);
  }
}

/** The gateway behind this one routes, checks and serves again: it has the instances, and the files. */
export const gatewayBehind: Behind<WebCall> = {
  checksAgain: true,
  deliverer:
    ({ metrics }) =>
    async ({ call }) => {
      const response = await call.pass();
      metrics.count('ok');
      return response;
    },
};
