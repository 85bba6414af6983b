/**
 * Tells an instance of something that is no request of a caller, on a socket of its own, which lies in the slot's folder:
 * no gateway and no other instance can reach it. One event, one outcome, both JSON, so that what comes later (schedules,
 * queues) is another kind of event and no other path.
 *
 * What comes back was written by user code and is believed in nothing but the outcome of this event.
 */
import { request, type IncomingMessage } from 'node:http';
import { join } from 'node:path';
import { z } from 'zod';
import type { Hooks } from '#shared/contracts/config.ts';
import type { Timers } from '#shared/runtime/clock.ts';
import { addressAt } from '#shared/contracts/address.ts';
import { connectTo } from '#shared/runtime/transport.node.ts';
import { EVENTS_SOCKET } from '../slots/sockets.ts';

/** Taken by nodes/entry/runtime.worker.ts. */
type InstanceEvent = { readonly kind: 'hook'; readonly name: keyof Hooks };

export type EventOutcome =
  | { readonly kind: 'done' }
  | { readonly kind: 'failed'; readonly message: string; readonly stack: string | undefined }
  /** Something was answered that is no outcome, or more than one may be. */
  | { readonly kind: 'unreadable' }
  | { readonly kind: 'late' }
  /** The connection broke: the process is gone or about to be, and its end tells why. */
  | { readonly kind: 'lost' };

export interface EventCall {
  /** Folder of the slot. */
  readonly folder: string;
  readonly event: InstanceEvent;
  /** Of the program: the socket alone is not enough, since user code finds the class behind it. */
  readonly secret: string;
  readonly timeoutMs: number;
  readonly timers: Timers;
}

/** Message and stack of an exception. */
const OUTCOME_BYTES_MAX = 65_536;
const outcomeSchema = z.discriminatedUnion('outcome', [
  z.object({ outcome: z.literal('done') }),
  z.object({ outcome: z.literal('failed'), message: z.string(), stack: z.string().optional() }),
]);

/** Resolves within `timeoutMs`. Never rejects. */
export function invoke({ folder, event, secret, timeoutMs, timers }: EventCall): Promise<EventOutcome> {
  return new Promise((resolve) => {
    const body = JSON.stringify(event);
    const finish = (outcome: EventOutcome): void => {
      timer.cancel();
      outgoing.destroy();
      resolve(outcome);
    };
    const timer = timers.after(timeoutMs, () => finish({ kind: 'late' }));
    const outgoing = request(
      {
        createConnection: () => connectTo(addressAt(join(folder, EVENTS_SOCKET))),
        method: 'POST',
        path: `/${secret}`,
        headers: { host: 'events', 'content-length': Buffer.byteLength(body) },
      },
      (incoming) => readOutcome(incoming, finish),
    );
    outgoing.on('error', () => finish({ kind: 'lost' }));
    outgoing.end(body);
  });
}

function readOutcome(incoming: IncomingMessage, finish: (outcome: EventOutcome) => void): void {
  const chunks: Buffer[] = [];
  let length = 0;
  const end = (): void => finish(outcomeOf(Buffer.concat(chunks).toString('utf8')));
  incoming.on('data', (chunk: Buffer) => {
    length += chunk.byteLength;
    if (length > OUTCOME_BYTES_MAX) finish({ kind: 'unreadable' });
    else chunks.push(chunk);
  });
  incoming.once('end', end);
  incoming.once('error', end);
}

function outcomeOf(text: string): EventOutcome {
  try {
    const told = outcomeSchema.parse(JSON.parse(text));
    if (told.outcome === 'done') return { kind: 'done' };
    return { kind: 'failed', message: told.message, stack: told.stack };
  } catch {
    return { kind: 'unreadable' };
  }
}
