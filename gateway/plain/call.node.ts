/** {@link InstanceCall} over a plain request: head and body are here, all of it. */
import { exchange } from '#shared/carry/exchange.node.ts';
import { ServerSink } from '#shared/carry/server-sink.node.ts';
import { WholeBody } from '#shared/carry/whole-body.ts';
import { forwarded, headersFor, type NodeRuntime } from '../forward/node-call.node.ts';
import type { BodyRead, BodyWanted, ForwardOutcome, ForwardPlan, InstanceCall } from '../ports.ts';
import { fieldOf } from '#shared/http/head.ts';
import type { RequestTarget } from '#shared/http/target.ts';
import type { PlainRequest } from '#shared/http/plain/connection.node.ts';
import type { PlainResponse } from '#shared/http/plain/response.node.ts';

/** What a body costs beside its bytes. */
const HELD_BYTES_MIN = 4_096;

export class PlainCall implements InstanceCall {
  readonly method: string;
  readonly scheme: 'http' | 'https';
  readonly host: string;
  readonly target: RequestTarget;
  readonly client: string;
  readonly upgrades = false;
  readonly bodyBytes: number;
  readonly response: PlainResponse;
  readonly #runtime: NodeRuntime;
  readonly #request: PlainRequest;
  readonly #forwardedHost: string | undefined;
  #goneListener: (() => void) | undefined;
  #held: { readonly account: string; readonly bytes: number } | undefined;

  constructor(runtime: NodeRuntime, request: PlainRequest) {
    const { rawHeaders, socket } = request;
    this.#runtime = runtime;
    this.#request = request;
    const facts = runtime.proxies.clientOf(socket.remoteAddress, rawHeaders);
    this.method = request.method;
    this.target = request.target;
    this.response = request.response;
    this.scheme = facts.scheme;
    this.client = facts.address;
    this.#forwardedHost = facts.host;
    this.host = facts.host ?? fieldOf(rawHeaders, 'host') ?? '';
    this.bodyBytes = request.body.byteLength;
  }

  get gone(): boolean {
    return this.response.destroyed;
  }

  header(name: string): string | undefined {
    return fieldOf(this.#request.rawHeaders, name);
  }

  onGone(listener: (() => void) | undefined): void {
    if (this.#goneListener !== undefined) this.response.off('close', this.#goneListener);
    this.#goneListener = listener;
    if (listener !== undefined) this.response.on('close', listener);
  }

  buffer(wanted: BodyWanted): Promise<BodyRead> {
    const problem = this.#hold(wanted);
    return Promise.resolve(problem ?? { kind: 'body', bytes: new Uint8Array(this.#request.body) });
  }

  ready(wanted: BodyWanted): Promise<Exclude<BodyRead, { kind: 'body' }> | undefined> {
    return Promise.resolve(this.#hold(wanted));
  }

  /** The bytes are here already; those who are called pay for them as for others. */
  #hold({ account, bytesMax }: BodyWanted): Exclude<BodyRead, { kind: 'body' }> | undefined {
    if (this.bodyBytes > bytesMax) return { kind: 'too_large' };
    if (this.#held !== undefined) return undefined;
    const bytes = Math.max(HELD_BYTES_MIN, this.bodyBytes);
    const { bodies } = this.#runtime;
    if (!bodies.take(account, bytes)) return { kind: 'failed', error: bodies.full(account) };
    this.#held = { account, bytes };
    return undefined;
  }

  close(): void {
    if (this.#held === undefined) return;
    this.#runtime.bodies.give(this.#held.account, this.#held.bytes);
    this.#held = undefined;
  }

  forward(plan: ForwardPlan): Promise<ForwardOutcome> {
    const { response, body, rawHeaders } = this.#request;
    const { method, bodyBytes } = this;
    const request = {
      address: plan.lease.endpoint.instance,
      method,
      target: this.target.path + (plan.query ?? this.target.query),
      headers: headersFor(rawHeaders, this.#forwardedHost, plan),
      bodyBytes,
      body: bodyBytes === 0 ? undefined : new WholeBody(body),
      sink: new ServerSink(this.#request, response),
    };
    return new Promise((resolve) =>
      exchange(this.#runtime, request, plan, (outcome) => resolve(forwarded(outcome))),
    );
  }
}
