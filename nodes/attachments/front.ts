/**
 * Reads plain requests of instances itself, and gives every other connection to Node's server (ADR 17), whose objects
 * cost more than most of what is asked for here.
 */
import type { Server } from 'node:http';
import type { Socket } from 'node:net';
import {
  PlainConnection,
  type ConnectionOwner,
  type PlainRequest,
} from '#shared/http/plain/connection.node.ts';
import { HttpDate } from '#shared/http/plain/http-date.ts';
import type { Clock, Timer, Timers } from '#shared/runtime/clock.ts';
import { mayKeep } from './listen.ts';

const LOOK_MS = 5_000;

interface Behind {
  readonly server: Server;
  readonly serve: (request: PlainRequest) => void;
  readonly take: (socket: Socket) => void;
}

/** Those of a thread, looked at by one timer. */
export class BindingFronts {
  readonly #clock: Clock;
  readonly #plain = new Map<PlainConnection, Server>();
  readonly #timer: Timer;
  readonly #date: HttpDate;
  /** Monotonic time of the last look. */
  coarseMs: number;

  constructor({ clock, timers }: { readonly clock: Clock; readonly timers: Timers }) {
    this.#clock = clock;
    this.#date = new HttpDate(clock);
    this.coarseMs = clock.monotonicMs();
    this.#timer = timers.every(LOOK_MS, () => this.#look());
  }

  get date(): string {
    return this.#date.text;
  }

  /** @param serve - gets what is plain; all else comes to the server as ever. */
  putBefore(server: Server, serve: (request: PlainRequest) => void): void {
    // Node's own, which make a connection one of its server's.
    const listeners = server.listeners('connection') as ((this: Server, socket: Socket) => void)[];
    server.removeAllListeners('connection');
    const take = (socket: Socket): void => {
      for (const listener of listeners) listener.call(server, socket);
    };
    const front = new Front(this, { server, serve, take });
    server.on('connection', (socket: Socket) => {
      this.#plain.set(new PlainConnection(socket, front), server);
    });
  }

  left(connection: PlainConnection): void {
    this.#plain.delete(connection);
  }

  close(): void {
    this.#timer.cancel();
  }

  #look(): void {
    const nowMs = this.#clock.monotonicMs();
    this.coarseMs = nowMs;
    for (const [connection, { keepAliveTimeout }] of this.#plain) {
      const sinceMs = connection.idleSinceMs;
      if (sinceMs !== undefined && nowMs - sinceMs >= keepAliveTimeout) connection.socket.destroy();
    }
  }
}

class Front implements ConnectionOwner {
  readonly #fronts: BindingFronts;
  readonly #behind: Behind;

  constructor(fronts: BindingFronts, behind: Behind) {
    this.#fronts = fronts;
    this.#behind = behind;
  }

  get date(): string {
    return this.#fronts.date;
  }

  get keepAliveS(): number {
    return Math.floor(this.#behind.server.keepAliveTimeout / 1_000);
  }

  get closing(): boolean {
    return !mayKeep(this.#behind.server);
  }

  get coarseMs(): number {
    return this.#fronts.coarseMs;
  }

  serve(request: PlainRequest): void {
    this.#behind.serve(request);
  }

  spoke(): void {}

  left(connection: PlainConnection): void {
    this.#fronts.left(connection);
  }

  handOver(socket: Socket): void {
    this.#behind.take(socket);
  }

  /** workerd ends both sides of a connection at once. */
  ended(socket: Socket): void {
    socket.destroy();
  }

  unread(): void {}
}
