/** The inside of a binding thread: listens where the agent says, hands connections to its kind. */
import type { Server } from 'node:http';
import process from 'node:process';
import { parentPort, workerData } from 'node:worker_threads';
import { asPlatformError } from '#shared/errors.ts';
import { systemTimers } from '#shared/runtime/clock.ts';
import type { Log, LogLevel } from '#shared/runtime/log.ts';
import type { UsageSource } from '#shared/usage/reporter.ts';
import { closeNow, listenAt } from './listen.ts';
import type { AttachmentSocket, FromThread, StateEntry, ToThread } from './protocol.ts';

export interface ThreadPart<T> {
  /** A server for one binding of one instance; it does not listen yet. */
  serve(socket: AttachmentSocket<T>): Server;
  state?(entries: readonly StateEntry[]): void;
  /** The instance is gone; its servers are closed after this. */
  detached?(instanceId: string): void;
  answer?(question: unknown): Promise<unknown>;
  /** What the kind counts for the functions it reaches; asked every second and once after close(). */
  readonly usage?: UsageSource;
  close(): Promise<void>;
}

/** Tells the owner of the function that runs in an instance, in its log. */
export type Refused = (instanceId: string, message: string, requestId?: string) => void;

type Send = (message: FromThread) => void;

function threadLog(send: Send): Log {
  const emit =
    (level: LogLevel, base: Readonly<Record<string, unknown>>) =>
    (event: string, fields: Readonly<Record<string, unknown>> = {}): void => {
      const plain: Record<string, unknown> = { ...base };
      // Errors lose their class and their own fields when they are cloned.
      for (const [key, value] of Object.entries(fields))
        plain[key] = value instanceof Error ? (value.stack ?? String(value)) : value;
      send({ type: 'log', level, event, fields: plain });
    };
  const log = (base: Readonly<Record<string, unknown>>): Log => ({
    debug: emit('debug', base),
    info: emit('info', base),
    warn: emit('warn', base),
    error: emit('error', base),
    with: (fields) => log({ ...base, ...fields }),
  });
  return log({});
}

const USAGE_MS = 1_000;

class Attached<T> {
  readonly #part: ThreadPart<T>;
  readonly #servers = new Map<string, readonly Server[]>();

  constructor(part: ThreadPart<T>) {
    this.#part = part;
  }

  async attach(instanceId: string, sockets: readonly AttachmentSocket<T>[]): Promise<void> {
    const servers = sockets.map((socket) => this.#part.serve(socket));
    this.#servers.set(instanceId, servers);
    for (const [index, server] of servers.entries()) {
      const socket = sockets[index];
      if (socket !== undefined) await listenAt(server, socket);
    }
    // Detached meanwhile: a server that began to listen after it must not stay.
    if (!this.#servers.has(instanceId)) closeAll(servers);
  }

  detach(instanceId: string): void {
    const servers = this.#servers.get(instanceId);
    if (servers === undefined) return;
    this.#servers.delete(instanceId);
    this.#part.detached?.(instanceId);
    closeAll(servers);
  }

  detachAll(): void {
    for (const instanceId of this.#servers.keys()) this.detach(instanceId);
  }
}

function closeAll(servers: readonly Server[]): void {
  for (const server of servers) closeNow(server);
}

/** @param open - makes the kind's part from the data that the agent gave; a rejection ends the thread. */
export async function runThread<T>(
  open: (data: unknown, log: Log, refused: Refused) => Promise<ThreadPart<T>>,
): Promise<void> {
  const port = parentPort;
  if (port === null) throw new Error('a binding thread runs in a worker of the agent');
  const send: Send = (message) => port.postMessage(message);
  const part = await open(workerData, threadLog(send), (instanceId, message, requestId) =>
    send({ type: 'refused', instanceId, message, requestId }),
  );
  const attached = new Attached<T>(part);
  const tellUsage = (): void => {
    const entries = [...(part.usage?.() ?? [])];
    if (entries.length > 0) send({ type: 'usage', entries });
  };
  const usageTimer = part.usage === undefined ? undefined : systemTimers.every(USAGE_MS, tellUsage);
  const ask = async (id: number, question: unknown): Promise<void> => {
    try {
      send({ type: 'answer', id, value: await part.answer?.(question) });
    } catch (thrown) {
      const error = asPlatformError(thrown);
      send({ type: 'failed', id, code: error.code, detail: error.publicDetail ?? '' });
    }
  };
  port.on('message', (message: ToThread) => {
    switch (message.type) {
      case 'attach':
        attached.attach(message.instanceId, message.sockets as readonly AttachmentSocket<T>[]).then(
          () => send({ type: 'attached', instanceId: message.instanceId }),
          (thrown: unknown) =>
            send({ type: 'attached', instanceId: message.instanceId, problem: String(thrown) }),
        );
        break;
      case 'detach':
        attached.detach(message.instanceId);
        break;
      case 'state':
        part.state?.(message.entries);
        break;
      case 'ask':
        void ask(message.id, message.question);
        break;
      case 'close':
        attached.detachAll();
        usageTimer?.cancel();
        void part.close().finally(() => {
          tellUsage();
          port.close();
          // A look-up that nobody waits for would keep the thread; what was posted is delivered before its end is told.
          setImmediate(() => process.exit(0));
        });
        break;
    }
  });
}
