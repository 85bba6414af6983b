/**
 * Looks whether the platform can listen where it was told, before anything is made or started. Every place is
 * held until all were tried, so that the same one cannot be promised twice.
 */
import { createServer, type Server } from 'node:net';
import { PlatformError } from '#shared/errors.ts';

export interface Place {
  /** Of whom, for the message. */
  readonly plane: string;
  readonly host: string;
  /** 0: the system chooses; the address may be unusable all the same. */
  readonly port: number;
}

/** @throws {PlatformError} `port_in_use` or `address_unusable`, naming the place. */
export async function probePlaces(places: readonly Place[]): Promise<void> {
  const held: Server[] = [];
  try {
    for (const place of places) held.push(await hold(place));
  } finally {
    await Promise.all(held.map((server) => new Promise((resolve) => server.close(resolve))));
  }
}

function hold({ plane, host, port }: Place): Promise<Server> {
  const server = createServer();
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const what = `${plane} cannot listen on ${host}:${port}`;
      reject(
        error.code === 'EADDRINUSE'
          ? new PlatformError('port_in_use', what, { cause: error })
          : new PlatformError('address_unusable', `${what}: ${error.message}`, { cause: error }),
      );
    });
    // Never shared: a gateway that joined the port of a stranger would answer half of his calls.
    server.listen({ host, port, exclusive: true }, () => resolve(server));
  });
}
