/** What the parts that carry calls have in common: whom a socket leads to, and a place there. */
import { randomUUID } from 'node:crypto';
import { dirname, join } from 'node:path';
import type { AgentPort, LeaseSource, Permit } from '#shared/leases/ports.ts';
import type { Watch } from '#shared/carry/deadlines.ts';
import { PlatformError } from '#shared/errors.ts';
import type { UsageMeters } from '#shared/usage/meter.ts';
import type { Clock, Timers } from '#shared/runtime/clock.ts';
import type { Log } from '#shared/runtime/log.ts';
import type { UpstreamClient } from '#shared/upstream/upstream.ts';
import type { BindingSocket } from '../protocol.ts';
import type { Call, CallDepths } from './depth.ts';
import type { CallerSessions } from './sessions.ts';
import type { Resolved, ServiceTarget, Targets } from './targets.ts';

export interface ServiceDeps {
  readonly targets: Targets;
  readonly depths: CallDepths;
  readonly sessions: CallerSessions;
  readonly leases: LeaseSource;
  readonly agent: AgentPort;
  readonly client: UpstreamClient;
  readonly usage: UsageMeters;
  readonly watch: Watch;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly log: Log;
  /** CONNECT target that begins RPC; any other is refused. */
  readonly rpcHost: string;
}

export type ServiceSocket = BindingSocket<ServiceTarget>;

export const newRequestId = (): string => randomUUID();

/** A place on an instance, held until {@link leave}. */
export interface Place {
  readonly permit: Permit;
  readonly call: Call;
  /** Socket of the entrypoint on the instance. */
  readonly socketPath: string;
  leave(): void;
}

function depthOf(deps: Pick<ServiceDeps, 'depths'>, socket: ServiceSocket): number {
  const depth = deps.depths.next(socket.instanceId);
  if (depth === undefined)
    throw new PlatformError('call_depth_exceeded', `calls that leave ${socket.instanceId} are too deep`);
  return depth;
}

/**
 * Waits for a place as a request at a gateway does.
 *
 * @returns undefined when `gone` fired before.
 * @throws {PlatformError} `call_depth_exceeded`, or what the queue or the scheduler refused with.
 */
export async function enter(
  deps: ServiceDeps,
  { socket, resolved }: { readonly socket: ServiceSocket; readonly resolved: Resolved },
  gone: AbortSignal,
): Promise<Place | undefined> {
  const { version, socketFile } = resolved;
  const depth = depthOf(deps, socket);
  const waiting: { cancel?: () => void } = {};
  const cancel = (): void => waiting.cancel?.();
  gone.addEventListener('abort', cancel);
  try {
    const admitting = deps.leases.admit(
      version,
      waiting,
      deps.sessions.of(socket.instanceId, version.scaling),
    );
    if (gone.aborted) waiting.cancel?.();
    const admitted = admitting instanceof Promise ? await admitting : admitting;
    if (admitted.kind === 'refused') throw admitted.error;
    if (admitted.kind === 'cancelled') return undefined;
    const { permit } = admitted;
    const call = deps.depths.entered(permit.lease.instanceId, depth);
    return {
      permit,
      call,
      socketPath: join(dirname(permit.lease.endpoint.instance.path), socketFile),
      leave: () => {
        deps.depths.left(call);
        permit.release();
      },
    };
  } finally {
    gone.removeEventListener('abort', cancel);
  }
}

/** Each may meet an instance that has just ended: the scheduler hears of it a moment after us. */
const UNREACHABLE_RETRIES_MAX = 5;
const UNREACHABLE_PAUSE_MS = 10;

/** After an instance could not be reached. @throws {PlatformError} `instance_lost` when it was once too often. */
export async function pauseBefore(timers: Timers, attempt: number): Promise<void> {
  if (attempt > UNREACHABLE_RETRIES_MAX)
    throw new PlatformError('instance_lost', 'no instance could be reached', { retryAfterMs: 1_000 });
  await new Promise<void>((resolve) => timers.after(UNREACHABLE_PAUSE_MS * 2 ** (attempt - 1), resolve));
}
