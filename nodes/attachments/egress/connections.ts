/**
 * Outbound connections of one instance: counted, kept alive for reuse by the same instance and origin, and
 * gone with it. Never shared: what one function said on a connection is nothing to another.
 */
import type { Socket } from 'node:net';
import { Client } from 'undici';
import type { Dial } from './dial.ts';
import type { Shares } from '#shared/shares.ts';
import { refusal } from './refusal.ts';
import type { Rules } from './rules.ts';
import type { ConnectTarget, Target } from './target.ts';

const IDLE_MS_MAX = 5_000;
export const HEADER_BYTES_MAX = 64 * 1_024;

/** One TCP or TLS connection that carries one request at a time. */
export interface Connection {
  readonly client: Client;
  readonly origin: string;
  /** It has carried a request before: a failure may only mean that the target closed it meanwhile. */
  used: boolean;
}

export interface ConnectionsOptions {
  readonly connectionsMax: number;
  /** Connections of all instances of the node. */
  readonly shares: Shares;
  readonly account: string;
  readonly dial: Dial;
  readonly rules: Rules;
}

export class Connections {
  readonly #options: ConnectionsOptions;
  readonly #clients = new Set<Connection>();
  readonly #sockets = new Set<Socket>();
  /** Oldest first. */
  readonly #idle = new Set<Connection>();
  #opening = 0;
  #closed = false;

  constructor(options: ConnectionsOptions) {
    this.#options = options;
  }

  get open(): number {
    return this.#clients.size + this.#sockets.size + this.#opening;
  }

  /** An idle connection to the origin, or a new one. */
  async acquire(target: Target): Promise<Connection> {
    let newest: Connection | undefined;
    // The one that was used last, so that those nobody needs grow idle and close.
    for (const connection of this.#idle)
      if (connection.origin === target.origin && !connection.client.destroyed) newest = connection;
    if (newest === undefined) return this.fresh(target);
    this.#idle.delete(newest);
    return newest;
  }

  async fresh(target: Target): Promise<Connection> {
    let socket: Socket | undefined = await this.#connect(target);
    const client = new Client(target.origin, {
      pipelining: 1,
      allowH2: false,
      keepAliveTimeout: IDLE_MS_MAX,
      keepAliveMaxTimeout: IDLE_MS_MAX,
      maxHeaderSize: HEADER_BYTES_MAX,
      // One connection and no second: a new one would have to be counted and judged again.
      connect: (_options, callback) => {
        const given = socket;
        socket = undefined;
        // Not at once: the client is still busy with the request that made it connect.
        queueMicrotask(() => {
          if (given === undefined || given.destroyed) callback(new Error('the connection is closed'), null);
          else callback(null, given);
        });
      },
    });
    const connection: Connection = { client, origin: target.origin, used: false };
    this.#clients.add(connection);
    client.once('disconnect', () => this.discard(connection));
    return connection;
  }

  release(connection: Connection): void {
    connection.used = true;
    if (this.#clients.has(connection)) this.#idle.add(connection);
  }

  discard(connection: Connection): void {
    this.#clients.delete(connection);
    this.#idle.delete(connection);
    void connection.client.destroy().catch(() => undefined);
  }

  /** A connection for bytes; counted until it closes. */
  async socket(target: ConnectTarget & Partial<Pick<Target, 'tls'>>): Promise<Socket> {
    const socket = await this.#connect(target);
    this.#sockets.add(socket);
    socket.once('close', () => this.#sockets.delete(socket));
    return socket;
  }

  close(): void {
    this.#closed = true;
    for (const connection of this.#clients) this.discard(connection);
    for (const socket of this.#sockets) socket.destroy();
  }

  async #connect(target: ConnectTarget & Partial<Pick<Target, 'tls'>>): Promise<Socket> {
    const { connectionsMax, shares, account, dial, rules } = this.#options;
    if (this.open >= connectionsMax) {
      const [oldest] = this.#idle;
      if (oldest === undefined)
        throw refusal(
          'connections_exceeded',
          `the instance has ${connectionsMax} connections open, which is its limit (limits.connections)`,
        );
      this.discard(oldest);
    }
    if (!shares.take(account, 1)) throw shares.full(account);
    this.#opening += 1;
    let socket: Socket | undefined;
    try {
      socket = await dial(target, { rules, account });
      socket.once('close', () => shares.give(account, 1));
      if (this.#closed) {
        socket.destroy();
        throw refusal('egress_failed', 'the instance has ended');
      }
      return socket;
    } finally {
      this.#opening -= 1;
      if (socket === undefined) shares.give(account, 1);
    }
  }
}
