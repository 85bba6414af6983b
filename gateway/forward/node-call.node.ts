/** {@link InstanceCall} over Node's request and response objects. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response';
import type {
  BodyRead,
  BodyWanted,
  CallAnswered,
  ForwardOutcome,
  ForwardPlan,
  InstanceCall,
} from '../ports.ts';
import { exchange } from '#shared/carry/exchange.node.ts';
import { bodyBytesOf, Intake } from '#shared/carry/intake.node.ts';
import type { Answered, CarryOutcome } from '#shared/carry/ports.ts';
import { ServerSink } from '#shared/carry/server-sink.node.ts';
import { tunnel } from '#shared/carry/tunnel.node.ts';
import { fieldOf, readHead } from '#shared/http/head.ts';
import type { RequestTarget } from '#shared/http/target.ts';
import { requestHeaders } from '#shared/carry/headers.ts';
import type { TrustedProxies } from './proxies.node.ts';
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

const sent = (end: Answered['end']): CallAnswered => ({
  kind: 'answered',
  end,
  response: RESPONSE_ALREADY_SENT,
});
const SENT = { complete: sent('complete'), cut: sent('cut'), client_gone: sent('client_gone') } as const;

/** The response has gone to the client already. */
export function forwarded(outcome: CarryOutcome): ForwardOutcome {
  return outcome.kind === 'answered' ? SENT[outcome.end] : outcome;
}

const HOST: ReadonlySet<string> = new Set(['host']);

/** What the instance is sent. @param forwardedHost - of a trusted proxy: the function sees the host that was routed. */
export function headersFor(
  raw: readonly string[],
  forwardedHost: string | undefined,
  { requestHeaders: added, requestDropped }: ForwardPlan,
): string[] {
  if (forwardedHost === undefined) return requestHeaders(raw, added, requestDropped);
  const headers = requestHeaders(raw, added, new Set([...HOST, ...(requestDropped ?? [])]));
  headers.push('host', forwardedHost);
  return headers;
}

export class NodeCall implements InstanceCall {
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
    if (read.kind === 'whole')
      return { kind: 'body', bytes: new Uint8Array(read.bytes.buffer, 0, read.bytes.byteLength) };
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
    const { watch } = this.#runtime;
    const address = plan.lease.endpoint.instance;
    const { method, bodyBytes } = this;
    const target = this.target.path + (plan.query ?? this.target.query);
    const headers = headersFor(incoming.rawHeaders, this.#forwardedHost, plan);
    return new Promise((resolve) => {
      const settle = (outcome: CarryOutcome): void => resolve(forwarded(outcome));
      if (upgrade !== undefined) {
        const { subprotocol } = plan;
        return tunnel({ address, method, target, headers, subprotocol, ...upgrade }, plan, watch, settle);
      }
      if (outgoing === undefined) return resolve({ kind: 'client_gone' });
      const sink = new ServerSink(incoming, outgoing);
      const body = this.#intake;
      exchange(this.#runtime, { address, method, target, headers, bodyBytes, body, sink }, plan, settle);
    });
  }
}
