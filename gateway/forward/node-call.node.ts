/** {@link Call} over Node's request and response objects. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import type { BodyRead, BodyWanted, Call, ForwardOutcome, ForwardPlan } from '../ports.ts';
import { Exchange } from './exchange.node.ts';
import { Intake } from './intake.node.ts';
import { tunnel } from './tunnel.node.ts';
import type { UpstreamClient } from '#shared/upstream/upstream.ts';
import type { Watch } from '#shared/leases/watch.ts';
import type { Shares } from '#shared/shares.ts';

export interface NodeRuntime {
  /** Bytes of bodies in hand. */
  readonly bodies: Shares;
  readonly client: UpstreamClient;
  readonly watch: Watch;
}

/** What the server gives to the app with each request. */
export interface NodeBindings {
  readonly incoming: IncomingMessage;
  readonly outgoing: ServerResponse | undefined;
  /** Set for a WebSocket upgrade, which has no response object. */
  readonly upgrade?: { readonly socket: Duplex; readonly head: Buffer };
}

function bodyBytesOf(incoming: IncomingMessage): number | undefined {
  const length = incoming.headers['content-length'];
  if (length !== undefined) return Number(length);
  return incoming.headers['transfer-encoding'] === undefined ? 0 : undefined;
}

export class NodeCall implements Call {
  readonly method: string;
  readonly scheme: 'http' | 'https' = 'http';
  readonly host: string;
  readonly path: string;
  readonly query: string;
  readonly bodyBytes: number | undefined;
  readonly #runtime: NodeRuntime;
  readonly #bindings: NodeBindings;
  #intake: Intake | undefined;
  #goneListener: (() => void) | undefined;

  /** @param url - absolute, as the server normalised it. */
  constructor(runtime: NodeRuntime, bindings: NodeBindings, url: string) {
    const { incoming } = bindings;
    this.#runtime = runtime;
    this.#bindings = bindings;
    this.method = incoming.method ?? 'GET';
    this.host = incoming.headers.host ?? '';
    // `http://host/…`: the authority holds no slash.
    const pathAt = url.indexOf('/', 8);
    const queryAt = url.indexOf('?', pathAt);
    this.path = queryAt < 0 ? url.slice(pathAt) : url.slice(pathAt, queryAt);
    this.query = queryAt < 0 ? '' : url.slice(queryAt);
    this.bodyBytes = bodyBytesOf(incoming);
  }

  get gone(): boolean {
    const { outgoing, upgrade } = this.#bindings;
    return upgrade === undefined ? (outgoing?.destroyed ?? true) : upgrade.socket.destroyed;
  }

  get #expectsContinue(): boolean {
    const { headers, httpVersion } = this.#bindings.incoming;
    return headers.expect !== undefined && httpVersion === '1.1' && /100-continue/i.test(headers.expect);
  }

  header(name: string): string | undefined {
    const value = this.#bindings.incoming.headers[name];
    return typeof value === 'string' || value === undefined ? value : value.join(', ');
  }

  onGone(listener: (() => void) | undefined): void {
    const emitter = this.#bindings.upgrade?.socket ?? this.#bindings.outgoing;
    if (this.#goneListener !== undefined) emitter?.off('close', this.#goneListener);
    this.#goneListener = listener;
    if (listener !== undefined) emitter?.on('close', listener);
  }

  async buffer({ account, bytesMax }: BodyWanted): Promise<BodyRead> {
    const read = await this.#intakeFor(account).read(bytesMax);
    if (read.kind === 'whole') return { kind: 'body', bytes: new Uint8Array(read.bytes) };
    return read.kind === 'more' ? { kind: 'too_large' } : read;
  }

  async ready(
    { account, bytesMax }: BodyWanted,
    enough: number,
  ): Promise<Exclude<BodyRead, { kind: 'body' }> | undefined> {
    if (this.#bindings.upgrade !== undefined) return undefined;
    const read = await this.#intakeFor(account).read(bytesMax, enough);
    return read.kind === 'whole' || read.kind === 'more' ? undefined : read;
  }

  close(): void {
    const { incoming, outgoing } = this.#bindings;
    this.#intake?.stop();
    // Of other methods the listener throws away what is left of the body, for a while.
    if (this.bodyBytes !== 0 && !incoming.complete && (this.method === 'GET' || this.method === 'HEAD'))
      outgoing?.once('finish', () => incoming.socket.destroySoon());
  }

  #intakeFor(account: string): Intake {
    const { incoming, outgoing } = this.#bindings;
    if (this.#intake === undefined) {
      if (this.#expectsContinue) outgoing?.writeContinue();
      const { watch, bodies } = this.#runtime;
      this.#intake = new Intake({ incoming, watch, shares: bodies, account });
    }
    return this.#intake;
  }

  forward(plan: ForwardPlan): Promise<ForwardOutcome> {
    const { incoming, outgoing, upgrade } = this.#bindings;
    const target = this.path + this.query;
    if (upgrade !== undefined) return tunnel({ incoming, ...upgrade, target }, plan, this.#runtime.watch);
    return new Promise((resolve) => {
      if (outgoing === undefined || outgoing.destroyed) return resolve({ kind: 'client_gone' });
      new Exchange(
        {
          incoming,
          outgoing,
          target,
          bodyBytes: this.bodyBytes,
          intake: this.#intake,
        },
        plan,
        this.#runtime.watch,
        resolve,
      ).start(this.#runtime.client);
    });
  }
}
