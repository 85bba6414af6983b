/** {@link Call} over Node's request and response objects. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import type { BodyRead, BodyWanted, Call, ForwardOutcome, ForwardPlan } from '../ports.ts';
import { Exchange } from './exchange.node.ts';
import { fieldOf, readHead } from '#shared/http/head.ts';
import type { RequestTarget } from '#shared/http/target.ts';
import { requestHeaders } from '#shared/carry/headers.ts';
import { Intake } from './intake.node.ts';
import type { TrustedProxies } from './proxies.node.ts';
import { tunnel, UPGRADE } from './tunnel.node.ts';
import type { UpstreamClient } from '#shared/upstream/upstream.ts';
import type { Watch } from '#shared/carry/deadlines.ts';
import type { Shares } from '#shared/shares.ts';

export interface NodeRuntime {
  /** Bytes of bodies in hand. */
  readonly bodies: Shares;
  readonly client: UpstreamClient;
  readonly watch: Watch;
  readonly proxies: TrustedProxies;
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

const HOST: ReadonlySet<string> = new Set(['host']);

export class NodeCall implements Call {
  readonly method: string;
  readonly scheme: 'http' | 'https';
  readonly host: string;
  readonly target: RequestTarget;
  readonly client: string;
  readonly bodyBytes: number | undefined;
  readonly #runtime: NodeRuntime;
  readonly #bindings: NodeBindings;
  readonly #forwardedHost: string | undefined;
  #intake: Intake | undefined;
  #goneListener: (() => void) | undefined;

  /** @throws {PlatformError} for a head that must be refused. */
  constructor(runtime: NodeRuntime, bindings: NodeBindings) {
    const { incoming } = bindings;
    this.#runtime = runtime;
    this.#bindings = bindings;
    this.target = readHead({
      httpVersion: incoming.httpVersion,
      target: incoming.url ?? '',
      rawHeaders: incoming.rawHeaders,
    });
    const facts = runtime.proxies.clientOf(incoming.socket.remoteAddress, incoming.rawHeaders);
    this.method = incoming.method ?? 'GET';
    this.scheme = facts.scheme;
    this.client = facts.address;
    this.#forwardedHost = facts.host;
    this.host = facts.host ?? incoming.headers.host ?? '';
    this.bodyBytes = bodyBytesOf(incoming);
  }

  get upgrades(): boolean {
    return this.#bindings.upgrade !== undefined;
  }

  /** Undefined for an upgrade. */
  get response(): ServerResponse | undefined {
    return this.#bindings.outgoing;
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
    return fieldOf(this.#bindings.incoming.rawHeaders, name);
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
    const target = this.target.path + (plan.query ?? this.target.query);
    const headers = this.#headersFor(plan, upgrade === undefined ? NO_UPGRADE : UPGRADE);
    if (upgrade !== undefined)
      return tunnel({ incoming, ...upgrade, target, headers }, plan, this.#runtime.watch);
    return new Promise((resolve) => {
      if (outgoing === undefined || outgoing.destroyed) return resolve({ kind: 'client_gone' });
      new Exchange(
        {
          incoming,
          outgoing,
          target,
          headers,
          bodyBytes: this.bodyBytes,
          intake: this.#intake,
        },
        plan,
        this.#runtime.watch,
        resolve,
      ).start(this.#runtime.client);
    });
  }

  /** The function sees the host that was routed. */
  #headersFor({ requestHeaders: added, requestDropped }: ForwardPlan, more: readonly string[]): string[] {
    const raw = this.#bindings.incoming.rawHeaders;
    const host = this.#forwardedHost;
    const dropped = host === undefined ? requestDropped : new Set([...HOST, ...(requestDropped ?? [])]);
    const headers = requestHeaders(raw, added, dropped);
    if (host !== undefined) headers.push('host', host);
    for (const part of more) headers.push(part);
    return headers;
  }
}

const NO_UPGRADE: readonly string[] = [];
