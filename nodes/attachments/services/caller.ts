/** What the parts that carry calls have in common: whom a socket leads to, and a place there. */
import { randomUUID } from 'node:crypto';
import type { Duplex } from 'node:stream';
import type { Attempt, Carriage, CarryDeps } from '#shared/carry/attempts.ts';
import type { CarryTools } from '#shared/carry/exchange.node.ts';
import type { Answered, Unanswered } from '#shared/carry/ports.ts';
import type { Address } from '#shared/contracts/address.ts';
import { PlatformError } from '#shared/errors.ts';
import type { ResponseWriter } from '#shared/http/writer.ts';
import type { Log } from '#shared/runtime/log.ts';
import { beside } from '#shared/runtime/transport.node.ts';
import type { Shares } from '#shared/shares.ts';
import type { AttachmentSocket } from '../protocol.ts';
import type { Call, CallDepths } from './depth.ts';
import type { CallerSessions } from './sessions.ts';
import type { Resolved, ServiceTarget, Targets, TargetVersion } from './targets.ts';

export interface ServiceDeps extends CarryDeps, CarryTools {
  readonly targets: Targets;
  readonly depths: CallDepths;
  readonly sessions: CallerSessions;
  /** Bytes of bodies in hand. */
  readonly bodies: Shares;
  readonly log: Log;
  /** CONNECT target that begins RPC; any other is refused. */
  readonly rpcHost: string;
}

export type ServiceSocket = AttachmentSocket<ServiceTarget>;

export const newRequestId = (): string => randomUUID();

/** Where one attempt goes. */
export interface Place {
  /** Socket of the entrypoint on the instance. */
  readonly address: Address;
  readonly call: Call;
}

/** What differs between the things that a binding carries. */
interface Carrying<A extends Answered> {
  readonly requestId: string;
  readonly repeatable: boolean;
  readonly countsItself?: boolean;
  /** Whoever waits for the answer goes when this closes. */
  readonly receiver: ResponseWriter | Duplex;
  send(attempt: Attempt<TargetVersion>, place: Place): Promise<A | Unanswered>;
}

/** A call through a binding: its target follows the alias, and it stands one below the deepest call of its caller. */
export class Calling<A extends Answered> implements Carriage<TargetVersion, A> {
  readonly #deps: ServiceDeps;
  readonly #socket: ServiceSocket;
  readonly #carrying: Carrying<A>;
  #resolved: Resolved | undefined;
  #depth = 0;
  #listener: (() => void) | undefined;

  constructor(deps: ServiceDeps, socket: ServiceSocket, carrying: Carrying<A>) {
    this.#deps = deps;
    this.#socket = socket;
    this.#carrying = carrying;
  }

  get requestId(): string {
    return this.#carrying.requestId;
  }

  get repeatable(): boolean {
    return this.#carrying.repeatable;
  }

  get countsItself(): boolean {
    return this.#carrying.countsItself === true;
  }

  get gone(): boolean {
    return this.#carrying.receiver.destroyed;
  }

  onGone(listener: (() => void) | undefined): void {
    const { receiver } = this.#carrying;
    if (this.#listener !== undefined) receiver.off('close', this.#listener);
    this.#listener = listener;
    if (listener !== undefined) receiver.on('close', listener);
  }

  /** @throws {PlatformError} what {@link Targets.resolve} does, and `call_depth_exceeded`. */
  version(): TargetVersion {
    const { targets, depths } = this.#deps;
    const { target, instanceId } = this.#socket;
    const resolved = targets.resolve(target);
    const depth = depths.next(instanceId);
    if (depth === undefined)
      throw new PlatformError('call_depth_exceeded', `calls that leave ${instanceId} are too deep`);
    this.#resolved = resolved;
    this.#depth = depth;
    return resolved.version;
  }

  session({ scaling }: TargetVersion): string | undefined {
    return this.#deps.sessions.of(this.#socket.instanceId, scaling);
  }

  async deliver(attempt: Attempt<TargetVersion>): Promise<A | Unanswered> {
    const { depths } = this.#deps;
    const { instanceId, endpoint } = attempt.permit.lease;
    const call = depths.entered(instanceId, this.#depth);
    try {
      const address = beside(endpoint.instance, this.#resolved?.socketFile ?? '');
      return await this.#carrying.send(attempt, { call, address });
    } finally {
      depths.left(call);
    }
  }
}
