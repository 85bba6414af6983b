/** The server that functions reach out to, or Node's own `fetch` of it: each in a process of its own. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import process from 'node:process';
import { toEgressSchema, type FromEgress } from './egress-messages.ts';

const tell = (message: FromEgress): void => void process.send?.(message);
let requests = 0;
let openSockets = 0;

function serve(): void {
  const server = createServer((_request, response) => {
    requests += 1;
    response.end('ok');
  });
  server.keepAliveTimeout = 60_000;
  server.on('connection', (socket) => {
    openSockets += 1;
    socket.once('close', () => (openSockets -= 1));
  });
  server.listen(0, '127.0.0.1', () =>
    tell({ type: 'listening', port: (server.address() as AddressInfo).port }),
  );
}

async function fetchFor(url: string, connections: number, durationMs: number): Promise<void> {
  const begin = performance.now();
  let done = 0;
  const one = async (): Promise<void> => {
    while (performance.now() - begin < durationMs) {
      const response = await fetch(url);
      await response.text();
      done += 1;
    }
  };
  await Promise.all(Array.from({ length: connections }, one));
  tell({ type: 'fetched', perSecond: (done * 1_000) / (performance.now() - begin) });
}

process.on('message', (raw) => {
  const message = toEgressSchema.parse(raw);
  if (message.type === 'serve') serve();
  else if (message.type === 'count') tell({ type: 'counted', requests, openSockets });
  else void fetchFor(message.url, message.connections, message.durationMs);
});
process.on('disconnect', () => process.exit(0));
