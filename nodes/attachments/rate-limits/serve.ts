/**
 * What nodes/entry/rate-limit.worker.ts asks: `GET /?key=KEY&amount=N`, answered 204 or, when the limit is
 * reached, 429. Code may speak through the socket by other means: the socket alone says what is counted.
 */
import { createServer, type Server } from 'node:http';
import type { RateRule, Windows } from './windows.ts';

/** A key of 2,048 bytes, each escaped, and the amount. */
const TARGET_LENGTH_MAX = 8_192;

/** undefined: malformed. */
function questionIn(target: string): { readonly key: string; readonly amount: number } | undefined {
  const query = new URLSearchParams(target.slice(target.indexOf('?') + 1));
  const key = query.get('key');
  const amount = Number(query.get('amount') ?? 1);
  if (!target.startsWith('/?') || target.length > TARGET_LENGTH_MAX || key === null) return undefined;
  return Number.isSafeInteger(amount) && amount > 0 ? { key, amount } : undefined;
}

export function rateLimitServer(windows: Pick<Windows, 'take'>, rule: RateRule): Server {
  const server = createServer({ keepAliveTimeout: 60_000 }, ({ method, url, headers, socket }, outgoing) => {
    const hasBody = headers['content-length'] !== undefined || headers['transfer-encoding'] !== undefined;
    const question = method === 'GET' && !hasBody ? questionIn(url ?? '') : undefined;
    if (question === undefined) {
      // Whatever follows is not read.
      outgoing.writeHead(400, { connection: 'close', 'content-length': 0 }).end(() => socket.destroy());
      return;
    }
    const status = windows.take(rule, question.key, question.amount) ? 204 : 429;
    outgoing.writeHead(status, status === 204 ? {} : { 'content-length': 0 }).end();
  });
  server.on('connect', (_incoming, duplex) => duplex.destroy());
  server.on('upgrade', (_incoming, duplex) => duplex.destroy());
  server.on('clientError', (_error, duplex) => duplex.destroy());
  return server;
}
