/** Looks at the server of the gateway from outside: what was asked, what was answered, how long it took. */
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import type { Exchange } from './settings.ts';

export interface ExchangeDeps {
  readonly nowMs: () => number;
  readonly tell: (exchange: Exchange) => void;
  /** Host of the function that answers at the bare host; undefined: the gateway answers itself. */
  readonly mainHost: () => string | undefined;
}

const BARE_HOST = /^(?:localhost|127\.0\.0\.1|\[::1\])(?<port>:\d+)?$/i;
const STATUS = /^HTTP\/1\.1 (?<status>\d{3})/;

export function watchExchanges(server: Server, deps: ExchangeDeps): void {
  const onRequest = (incoming: IncomingMessage, outgoing: ServerResponse): void => {
    const tell = begun(incoming, deps);
    sendToMain(incoming, deps.mainHost());
    outgoing.once('close', () => {
      const { headersSent, statusCode, writableFinished } = outgoing;
      tell(headersSent ? statusCode : undefined, writableFinished);
    });
  };
  // Before the gateway's own listener, which reads the host at once.
  server.prependListener('request', onRequest);
  server.prependListener('checkContinue', onRequest);
  server.prependListener('upgrade', (incoming: IncomingMessage, socket: Duplex) => {
    const tell = begun(incoming, deps);
    sendToMain(incoming, deps.mainHost());
    onFirstBytes(socket, (status) => tell(status, status !== undefined));
  });
}

function begun(
  incoming: IncomingMessage,
  { nowMs, tell }: ExchangeDeps,
): (status: number | undefined, complete: boolean) => void {
  const startedMs = nowMs();
  const { method = '', url = '' } = incoming;
  const { host = '' } = incoming.headers;
  return (status, complete) =>
    tell({
      event: 'dev-request',
      method,
      host,
      path: url,
      ...(status === undefined ? {} : { status }),
      complete,
      tookMs: nowMs() - startedMs,
      ...preflightOf(incoming),
    });
}

/** Read when the host is that of a function, also for what was asked at the bare host. */
function preflightOf({ method, headers }: IncomingMessage): Pick<Exchange, 'preflight'> {
  const { host, origin } = headers;
  const asks = method === 'OPTIONS' && headers['access-control-request-method'] !== undefined;
  return asks && host !== undefined && origin !== undefined ? { preflight: { host, origin } } : {};
}

function sendToMain(incoming: IncomingMessage, mainHost: string | undefined): void {
  const { host } = incoming.headers;
  const match = host === undefined ? null : BARE_HOST.exec(host);
  if (mainHost === undefined || match === null) return;
  const named = `${mainHost}${match.groups?.['port'] ?? ''}`;
  incoming.headers.host = named;
  // Every second entry is a value.
  for (let index = 0; index < incoming.rawHeaders.length; index += 2)
    if (incoming.rawHeaders[index]?.toLowerCase() === 'host') incoming.rawHeaders[index + 1] = named;
}

/** The status of an answer that does not go through a ServerResponse. */
function onFirstBytes(socket: Duplex, told: (status: number | undefined) => void): void {
  let done = false;
  const finish = (status: number | undefined): void => {
    if (done) return;
    done = true;
    told(status);
  };
  const statusOf = (chunk: unknown): void => {
    if (done || !(typeof chunk === 'string' || chunk instanceof Uint8Array)) return;
    const text = typeof chunk === 'string' ? chunk : Buffer.from(chunk).toString('latin1', 0, 12);
    finish(Number(STATUS.exec(text)?.groups?.['status']) || undefined);
  };
  for (const name of ['write', 'end'] as const) {
    const real = socket[name].bind(socket) as (...args: unknown[]) => never;
    socket[name] = (...args: unknown[]) => {
      statusOf(args[0]);
      return real(...args);
    };
  }
  socket.once('close', () => finish(undefined));
}
