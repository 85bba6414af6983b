/**
 * One RPC connection of a function to an instance of another: piped, counted, and closed when it is at rest.
 *
 * workerd opens one such connection per binding and keeps it, with all calls of the caller on it. It holds
 * one slot of the target until it closes. At rest for {@link REST_MS} (no call open, no object of the target
 * held, no byte) it is closed, so that the target may scale to zero and the next call follows the alias;
 * workerd then connects anew.
 */
import { request as httpRequest, type IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { attempts, type Attempt } from '#shared/carry/attempts.ts';
import { unsent } from '#shared/carry/ended.ts';
import type { Answered, CarryOutcome } from '#shared/carry/ports.ts';
import type { Address } from '#shared/contracts/address.ts';
import { connectTo } from '#shared/runtime/transport.node.ts';
import type { Meter } from '#shared/usage/meter.ts';
import { asPlatformError, ERRORS, PlatformError } from '#shared/errors.ts';
import { nextReportMs, SLOW_MS, type Watched } from '#shared/carry/deadlines.ts';
import { Calling, newRequestId, type Place, type ServiceDeps, type ServiceSocket } from './caller.ts';
import { headText } from '#shared/http/answer.node.ts';
import { ReadAlong } from './frames.ts';
import type { TargetVersion } from './targets.ts';

const REST_MS = 1_000;
/** When its lease allows no further call. A call that comes while it is being closed rejects, so not 0. */
const USED_UP_REST_MS = 50;

interface Inbound {
  readonly incoming: IncomingMessage;
  readonly socket: Duplex;
  readonly head: Buffer;
  /** In the log of the caller: workerd lets a call reject without a reason. */
  readonly tell: (message: string) => void;
}

/** Accepts the CONNECT and pipes until the connection is over, or refuses it: the call rejects. */
export async function connectRpc(deps: ServiceDeps, socket: ServiceSocket, inbound: Inbound): Promise<void> {
  inbound.socket.on('error', () => inbound.socket.destroy());
  try {
    // Whoever could choose the target would speak to us as workerd does to workerd.
    if (inbound.incoming.url !== deps.rpcHost)
      throw new PlatformError('forbidden', 'CONNECT to anything but the RPC host');
    const calling = new Calling(deps, socket, {
      requestId: newRequestId(),
      repeatable: false,
      // Each event on it is a request.
      countsItself: true,
      receiver: inbound.socket,
      send: async (attempt, place): Promise<CarryOutcome> => {
        const instance = await dial(place.address, deps.rpcHost);
        if (typeof instance === 'string') return { kind: instance };
        if (inbound.socket.destroyed) {
          instance.destroy();
          return { kind: 'client_gone' };
        }
        return new Promise((resolve) =>
          new Session({ deps, socket, attempt, place }, inbound, instance, resolve).start(),
        );
      },
    });
    await attempts(deps, calling);
  } catch (thrown) {
    const error = asPlatformError(thrown);
    const fields = { instance: socket.instanceId, code: error.code, error: thrown };
    if (error.code === 'internal') deps.log.error('rpc_failed', fields);
    else deps.log.debug('rpc_refused', fields);
    inbound.tell(
      `RPC to ${socket.target.functionName} failed: ${error.code}: ${error.publicDetail ?? ERRORS[error.code].message}`,
    );
    inbound.socket.end(headText(503, error.code, ['content-length', '0', 'connection', 'close']));
  }
}

/** `unreachable`: nobody listens, or it is not workerd's RPC. */
function dial(address: Address, rpcHost: string): Promise<Duplex | 'unreachable' | 'busy'> {
  return new Promise((resolve) => {
    const request = httpRequest({
      createConnection: () => connectTo(address),
      method: 'CONNECT',
      path: rpcHost,
    });
    request.on('connect', (response, connection, head) => {
      if (response.statusCode !== 200) {
        connection.destroy();
        return resolve('unreachable');
      }
      if (head.byteLength > 0) connection.unshift(head);
      resolve(connection);
    });
    request.on('response', (response) => {
      response.destroy();
      resolve('unreachable');
    });
    request.on('error', (error) => resolve(unsent(error)));
    request.end();
  });
}

interface Between {
  readonly deps: ServiceDeps;
  readonly socket: ServiceSocket;
  readonly attempt: Attempt<TargetVersion>;
  readonly place: Place;
}

class Session implements Watched {
  watchedAt: number | undefined;
  readonly #between: Between;
  readonly #caller: Duplex;
  readonly #head: Buffer;
  readonly #tell: (message: string) => void;
  readonly #instance: Duplex;
  readonly #readAlong = new ReadAlong();
  readonly #meter: Meter;
  readonly #settle: (outcome: Answered) => void;
  #lastByteMs = 0;
  /** Since when the instance has been silent with a call open. */
  #silentSinceMs = 0;
  #reportAtMs = SLOW_MS;
  /** Events of this connection that the lease was charged with. */
  #charged = 0;
  #over = false;

  // oxlint-disable-next-line max-params -- the same shape as Exchange
  constructor(
    between: Between,
    { socket, head, tell }: Inbound,
    instance: Duplex,
    settle: (outcome: Answered) => void,
  ) {
    this.#between = between;
    this.#settle = settle;
    this.#meter = between.attempt.meter;
    this.#meter.open += 1;
    this.#caller = socket;
    this.#head = head;
    this.#tell = tell;
    this.#instance = instance;
  }

  start(): void {
    const caller = this.#caller;
    const instance = this.#instance;
    this.#lastByteMs = this.#between.deps.watch.add(this);
    caller.write(headText(200, 'OK', []));
    if (this.#head.byteLength > 0) caller.unshift(this.#head);
    for (const event of ['error', 'close']) {
      // Who leaves before the answer counts no error.
      caller.on(event, () => this.#end());
      instance.on(event, () => this.#cut('its instance ended during a call; its own log says why'));
    }
    caller.on('data', (chunk: Buffer) => this.#fromCaller(chunk));
    instance.on('data', (chunk: Buffer) => this.#fromInstance(chunk));
    caller.on('drain', () => instance.resume());
    instance.on('drain', () => caller.resume());
    caller.on('end', () => instance.end());
    instance.on('end', () => caller.end());
  }

  tick(nowMs: number): void {
    const { onSlow, version } = this.#between.attempt;
    const { limits } = version;
    const quietMs = nowMs - this.#lastByteMs;
    if (quietMs >= limits.streamIdleMs) return this.#cut(`nothing was sent for ${limits.streamIdleMs} ms`);
    if (!this.#readAlong.open) {
      // After this round of reading: what has just arrived still counts.
      if (this.#readAlong.atRest && quietMs >= this.#restMs) setImmediate(() => this.#closeAtRest());
      return;
    }
    const ageMs = nowMs - this.#silentSinceMs;
    if (ageMs < this.#reportAtMs) return;
    this.#reportAtMs = nextReportMs(ageMs, limits.cpuMs);
    onSlow(ageMs);
  }

  #fromCaller(chunk: Buffer): void {
    const idle = !this.#readAlong.open;
    const { events } = this.#readAlong;
    const asked = this.#readAlong.caller(chunk);
    this.#meter.requestBytes += chunk.byteLength;
    this.#meter.requests += this.#readAlong.events - events;
    if (asked && !this.#deepEnough())
      return this.#cut('functions call each other in a chain that is too long');
    if (!this.#charge()) return this.#cut('its instance has had all requests that it may have');
    this.#touch();
    if (idle) this.#answering();
    if (this.#restMs === 0 && this.#readAlong.atRest) setImmediate(() => this.#closeAtRest());
    if (!this.#instance.write(chunk)) this.#caller.pause();
  }

  #fromInstance(chunk: Buffer): void {
    const { failures } = this.#readAlong;
    this.#readAlong.target(chunk);
    this.#meter.responseBytes += chunk.byteLength;
    this.#meter.errors += this.#readAlong.failures - failures;
    this.#touch();
    this.#answering();
    // Without an open call nothing is below it.
    if (!this.#readAlong.open) this.#between.place.call.depth = 0;
    if (!this.#caller.write(chunk)) this.#instance.pause();
  }

  /**
   * Charges events to the lease. The permit paid for the first. Once the budget is used up the connection
   * goes at a short rest, and at twice the budget at the next one of any length; with isolation `request` an
   * event too many is refused, and all with it: none may meet what another left.
   */
  #charge(): boolean {
    const { deps, socket, attempt } = this.#between;
    const { version, permit } = attempt;
    for (; this.#charged < this.#readAlong.events; this.#charged += 1) {
      if (this.#charged === 0 || permit.again()) continue;
      if (version.scaling.isolation !== 'request') break;
      deps.log.debug('rpc_refused', { instance: socket.instanceId, code: 'instance_lost' });
      return false;
    }
    return true;
  }

  /** How long it must be at rest. */
  get #restMs(): number {
    const { version, permit } = this.#between.attempt;
    const { requests } = permit.lease;
    if (requests === undefined || this.#readAlong.events < requests) return REST_MS;
    const goesOn = version.scaling.isolation !== 'request' && this.#readAlong.events < 2 * requests;
    return goesOn ? USED_UP_REST_MS : 0;
  }

  /** A new call on it may stand deeper than the one that opened the connection. */
  #deepEnough(): boolean {
    const { deps, socket, place } = this.#between;
    const depth = deps.depths.next(socket.instanceId);
    if (depth === undefined) {
      deps.log.debug('rpc_refused', { instance: socket.instanceId, code: 'call_depth_exceeded' });
      return false;
    }
    place.call.depth = Math.max(place.call.depth, depth);
    return true;
  }

  #touch(): void {
    this.#lastByteMs = this.#between.deps.watch.coarseMs;
  }

  #answering(): void {
    this.#silentSinceMs = this.#between.deps.watch.coarseMs;
    this.#reportAtMs = SLOW_MS;
  }

  #closeAtRest(): void {
    const quietMs = this.#between.deps.clock.monotonicMs() - this.#lastByteMs;
    if (this.#readAlong.atRest && quietMs >= this.#restMs) this.#close();
  }

  #cut(reason: string): void {
    if (!this.#over && this.#readAlong.open)
      this.#tell(`RPC to ${this.#between.socket.target.functionName} was cut off: ${reason}.`);
    this.#close();
  }

  #close(): void {
    if (this.#over) return;
    this.#meter.errors += this.#readAlong.eventsOpen;
    this.#end();
  }

  #end(): void {
    if (this.#over) return;
    this.#over = true;
    this.#between.deps.watch.delete(this);
    this.#meter.open -= 1;
    // What either side sent last still goes out.
    for (const side of [this.#caller, this.#instance]) if (!side.destroyed) side.end(() => side.destroy());
    this.#settle({ kind: 'answered', end: 'complete' });
  }
}
