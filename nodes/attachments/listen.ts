/**
 * Sockets that the agent makes in the folder of a slot. User code's process may write to that folder, and the agent may
 * be root: nothing here follows a link in it.
 */
import { chmodSync, chownSync, closeSync, constants, openSync, rmSync } from 'node:fs';
import type { Server } from 'node:http';
import type { Socket } from 'node:net';
import process from 'node:process';

/** Connections that may wait to be accepted; one more is refused with EAGAIN. The kernel has a bound of its own. */
const BACKLOG = 4_096;
/** Open connections of one instance to one socket that has no bound of its own: more than its requests have calls open. */
const CONNECTIONS_MAX = 2_000;
/**
 * Open connections up to which one is kept when its request is over. workerd keeps a pool for each host that code
 * names, so who names many hosts would have that many idle ones, and the next be refused.
 */
const KEPT_MAX = 64;
/** Linux' own; Node has no name for it. Opens nothing but the name, so also a socket. */
const O_PATH = 0o10000000;

export interface SocketPlace {
  readonly path: string;
  /** User that must be able to connect, when it is not the agent's. */
  readonly owner: { readonly uid: number; readonly gid: number } | undefined;
}

export async function listenAt(server: Server, { path, owner }: SocketPlace): Promise<void> {
  // By node, 0 and undefined are none.
  server.maxConnections ||= CONNECTIONS_MAX;
  keepFew(server);
  // Each call takes microseconds: through the thread pool they cost a start five times as much.
  // A thread that died left its socket files.
  rmSync(path, { force: true });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen({ path, backlog: BACKLOG }, () => {
      server.off('error', reject);
      resolve();
    });
  });
  // Elsewhere there is no sandbox, no other user, and the folder's own mode.
  if (process.platform !== 'linux') return;
  const named = openSync(path, O_PATH | constants.O_NOFOLLOW);
  try {
    // The descriptor is what lay there, whatever lies there now.
    const socket = `/proc/self/fd/${named}`;
    chmodSync(socket, 0o600);
    if (owner !== undefined) chownSync(socket, owner.uid, owner.gid);
  } finally {
    closeSync(named);
  }
}

/** Those of each server that listens here. */
const connections = new WeakMap<Server, Set<Socket>>();

/** Whether a connection of it stays open when its request is over. */
export function mayKeep(server: Server): boolean {
  return (connections.get(server)?.size ?? 0) <= KEPT_MAX;
}

/** With all connections, whatever has become of them. */
export function closeNow(server: Server): void {
  if (server.listening) server.close();
  for (const socket of connections.get(server) ?? []) socket.destroy();
}

/** Told by `Connection: close`, so that no request is on its way on a connection that ends. */
function keepFew(server: Server): void {
  const open = new Set<Socket>();
  connections.set(server, open);
  server.on('connection', (socket) => {
    open.add(socket);
    socket.once('close', () => open.delete(socket));
  });
  server.prependListener('request', (_incoming, outgoing) => {
    if (!mayKeep(server)) outgoing.shouldKeepAlive = false;
  });
}
