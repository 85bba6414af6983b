/**
 * All connections that are still plain, in front of Node's HTTP server: who has said nothing for too long, who is
 * given over, and the end of all of them.
 */
import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { PlatformError } from '#shared/errors.ts';
import { refuseOn } from '#shared/http/answer.node.ts';
import { askWhetherGone } from '#shared/http/gone.node.ts';
import type { Front, HttpSide } from '#shared/http/strict-server.node.ts';
import type { Clock, Timer, Timers } from '#shared/runtime/clock.ts';
import {
  PlainConnection,
  type ConnectionOwner,
  type PlainRequest,
} from '#shared/http/plain/connection.node.ts';
import { HttpDate } from '#shared/http/plain/http-date.ts';
import type { PlainResponse } from '#shared/http/plain/response.node.ts';

const SWEEP_MS = 1_000;

export interface PlainFrontOptions {
  readonly clock: Clock;
  readonly timers: Timers;
  readonly newRequestId: () => string;
  readonly serve: (request: PlainRequest) => void;
}

class PlainFront implements Front, ConnectionOwner {
  readonly #options: PlainFrontOptions;
  readonly #http: HttpSide;
  readonly #plain = new Set<PlainConnection>();
  /** Since when those are here that have not asked for anything yet, plain or given over. */
  readonly #silent = new Map<Socket, number>();
  readonly #sweep: Timer;
  readonly #date: HttpDate;
  closing = false;
  coarseMs: number;

  constructor(options: PlainFrontOptions, http: HttpSide) {
    this.#options = options;
    this.#http = http;
    this.#date = new HttpDate(options.clock);
    this.coarseMs = options.clock.monotonicMs();
    this.#sweep = options.timers.every(Math.min(SWEEP_MS, http.headMsMax), () => this.#look());
    for (const event of ['request', 'checkContinue', 'checkExpectation', 'upgrade', 'connect'])
      http.server.prependListener(event, (incoming: IncomingMessage) => this.spoke(incoming.socket));
  }

  get keepAliveS(): number {
    return Math.floor(this.#http.keepAliveMs / 1_000);
  }

  get date(): string {
    return this.#date.text;
  }

  accept(socket: Socket): void {
    this.#silent.set(socket, this.#options.clock.monotonicMs());
    socket.once('close', () => this.#silent.delete(socket));
    this.#plain.add(new PlainConnection(socket, this));
  }

  serve(request: PlainRequest): void {
    this.#options.serve(request);
  }

  spoke(socket: Socket): void {
    this.#silent.delete(socket);
  }

  left(connection: PlainConnection): void {
    this.#plain.delete(connection);
  }

  handOver(socket: Socket): void {
    this.#http.take(socket);
  }

  ended(socket: Socket, response: PlainResponse): void {
    askWhetherGone(socket, response);
  }

  unread(socket: Socket, response: PlainResponse): void {
    askWhetherGone(socket, response);
  }

  close(graceMs: number): void {
    this.closing = true;
    for (const connection of this.#plain) connection.endIdle();
    const force = this.#options.timers.after(graceMs, () => {
      for (const { socket } of this.#plain) socket.destroy();
    });
    this.#http.server.once('close', () => {
      force.cancel();
      this.#sweep.cancel();
    });
  }

  #look(): void {
    const nowMs = this.#options.clock.monotonicMs();
    this.coarseMs = nowMs;
    for (const [socket, sinceMs] of this.#silent) {
      // Those that came later stand behind.
      if (nowMs - sinceMs < this.#http.headMsMax) break;
      this.#silent.delete(socket);
      socket.once('finish', () => socket.destroySoon());
      const late = new PlatformError('request_timeout', 'no request head in time');
      refuseOn(socket, late, this.#options.newRequestId());
    }
    for (const connection of this.#plain) {
      const sinceMs = this.#silent.has(connection.socket) ? undefined : connection.idleSinceMs;
      if (sinceMs !== undefined && nowMs - sinceMs >= this.#http.keepAliveMs) connection.socket.destroy();
    }
  }
}

/** Puts plain connections in front of a strict server. */
export function plainFront(options: PlainFrontOptions): (http: HttpSide) => Front {
  return (http) => new PlainFront(options, http);
}
